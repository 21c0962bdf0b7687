//! When a request may leave: its hold is told of as soon as no other process can take the money, and the disk works
//! while the request is made ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::store::{StoreError, Synced};

const WAITING: u8 = 0;
const GONE: u8 = 1;
const REVOKED: u8 = 2;

/// The leave of one attempt to be sent: given once its hold is on the disk, where no power cut takes it, unless it was
/// revoked. The default is given.
#[derive(Clone, Debug)]
pub struct Clearance {
    synced: Synced,
    state: Arc<AtomicU8>,
}

impl Default for Clearance {
    fn default() -> Self {
        Self {
            synced: Synced::default(),
            state: Arc::new(AtomicU8::new(GONE)),
        }
    }
}

impl Clearance {
    pub(crate) fn when(synced: Synced) -> Self {
        Self {
            synced,
            state: Arc::new(AtomicU8::new(WAITING)),
        }
    }

    /// Waits until the request may leave; from then on it counts as sent.
    ///
    /// # Errors
    /// When the hold did not get to the disk, or nobody waits for an answer any more. Nothing may be sent then.
    pub async fn wait(&self) -> Result<(), StoreError> {
        self.synced.wait().await?;
        match self.leave(GONE) {
            WAITING | GONE => Ok(()),
            _ => Err(StoreError::closed()),
        }
    }

    /// Whether the disk has not answered yet.
    pub fn is_behind(&self) -> bool {
        self.synced.is_pending()
    }

    /// Waits for what keeps the hold from the disk; for ever where nothing does.
    pub async fn failure(&self) -> StoreError {
        match self.synced.wait().await {
            Err(error) => error,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Takes it back; whether nothing was sent, and so nothing will be.
    pub(crate) fn revoke(&self) -> bool {
        self.leave(REVOKED) != GONE
    }

    /// Leaves the state of waiting; returns what was.
    fn leave(&self, next: u8) -> u8 {
        let changed =
            self.state
                .compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire);
        changed.unwrap_or_else(|was| was)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_revoked_never_leaves_and_what_left_is_not_revoked() {
        let (on_disk, disk) = tokio::sync::oneshot::channel();
        let first = Clearance::when(Synced::when(async { disk.await.unwrap() }));
        assert!(first.is_behind());
        on_disk.send(Ok(())).unwrap();
        let sender = first.clone();
        assert_eq!(sender.wait().await, Ok(()));
        assert!(!first.is_behind() && !first.revoke());
        let second = Clearance::when(Synced::default());
        assert!(second.revoke() && second.revoke());
        assert!(second.wait().await.is_err());
        assert!(!Clearance::default().revoke());
    }

    #[tokio::test]
    async fn a_failing_disk_gives_nothing() {
        let failed = Clearance::when(Synced::when(async { Err(StoreError::closed()) }));
        assert_eq!(failed.wait().await, Err(StoreError::closed()));
        assert_eq!(failed.failure().await, StoreError::closed());
        assert!(failed.is_behind() && failed.revoke());
    }
}
