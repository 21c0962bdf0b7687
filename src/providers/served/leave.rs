//! Requests that may not leave yet.

use tokio::sync::oneshot;

use super::*;
use crate::costs::Clearance;
use crate::store::{StoreError, Synced};

/// A request that may leave once the disk says so, and the disk.
fn waiting() -> (Request, oneshot::Sender<Result<(), StoreError>>) {
    let (on_disk, disk) = oneshot::channel();
    let synced = Synced::when(async { disk.await.unwrap() });
    let asked = Request {
        clearance: Clearance::when(synced),
        ..request()
    };
    (asked, on_disk)
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(9)).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_leaves_once_its_hold_is_on_the_disk() {
    for name in ["lab", "anthropic"] {
        let server = Server::always(answer(400, &[], "{}")).await;
        let provider = server.provider(name);
        let (asked, on_disk) = waiting();
        let (clearance, seen) = (asked.clearance.clone(), server.clone());
        let disk = async {
            a_while().await;
            assert_eq!(seen.seen().len(), 0, "{name}");
            on_disk.send(Ok(())).unwrap();
        };
        let (result, ()) = tokio::join!(ask(&*provider, &asked), disk);
        assert_eq!(result.expect_err("a refusal").status, Some(400));
        assert!(!clearance.revoke(), "{name}: it has left");
        assert_eq!(server.seen().len(), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_revoked_or_is_not_on_the_disk_never_leaves() {
    let server = Server::always(answer(400, &[], "{}")).await;
    let provider = server.provider("lab");
    for (told, is_revoked) in [(Ok(()), true), (Err(StoreError::closed()), false)] {
        let (asked, on_disk) = waiting();
        let disk = async {
            a_while().await;
            if is_revoked {
                assert!(asked.clearance.revoke());
            }
            on_disk.send(told).unwrap();
            a_while().await;
        };
        let (result, ()) = tokio::join!(ask(&*provider, &asked), disk);
        assert!(result.is_err(), "{is_revoked}");
    }
    assert_eq!(server.seen().len(), 0);
}
