//! Connections that are kept open for the next command, while this program runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::files;
use crate::sandbox::{Child, Command};

/// How long a connection may take to stand.
const PATIENCE: Duration = Duration::from_secs(12);

/// The connections of this process.
static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A server that was asked for before, and its connection where it stands.
struct Kept {
    name: String,
    connection: Option<Arc<Connection>>,
}

/// An open connection; it ends when it is dropped.
pub(super) struct Connection {
    _client: tokio::sync::Mutex<Child>,
    /// The directory of its socket.
    pub(super) directory: PathBuf,
}

/// The name of the socket in its directory.
pub(super) const SOCKET: &str = "s";

/// The open connection of a server, by a name of everything that it depends on. The first command finds none; for
/// the second one it is opened.
pub(super) async fn connection(
    name: &str,
    open: impl FnOnce(&Path) -> Option<Command>,
    state_dir: &Path,
) -> Option<Arc<Connection>> {
    {
        let mut kept = kept();
        let Some(known) = kept.iter_mut().find(|kept| kept.name == name) else {
            kept.push(Kept {
                name: name.to_owned(),
                connection: None,
            });
            return None;
        };
        if let Some(connection) = &known.connection {
            if connection.directory.join(SOCKET).exists() {
                return Some(Arc::clone(connection));
            }
            known.connection = None;
        }
    }
    let directory = state_dir
        .join("ssh")
        .join(uuid::Uuid::new_v4().simple().to_string());
    let connection = Arc::new(start(directory, open).await?);
    if let Some(known) = kept().iter_mut().find(|kept| kept.name == name) {
        known.connection = Some(Arc::clone(&connection));
    }
    Some(connection)
}

async fn start(
    directory: PathBuf,
    open: impl FnOnce(&Path) -> Option<Command>,
) -> Option<Connection> {
    files::private_dir(&directory).ok()?;
    let mut command = open(&directory)?;
    // The helper removes it when the connection ends, even when this program is killed.
    command.temporary = Some(directory.clone());
    let mut client = command.spawn().await.ok()?;
    let socket = directory.join(SOCKET);
    let stands = async {
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let stands = tokio::select! {
        stands = tokio::time::timeout(PATIENCE, stands) => stands.is_ok(),
        // It failed; the command that comes next says why.
        _ = client.wait() => false,
    };
    stands.then(|| Connection {
        _client: tokio::sync::Mutex::new(client),
        directory,
    })
}

fn kept() -> std::sync::MutexGuard<'static, Vec<Kept>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}
