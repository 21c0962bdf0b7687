//! Where cases run: a directory each, with a home and a neighbour full of canaries.

use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Programs that cases and their checks use; of the system, so that every user can start them.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `nobody`, on every system.
const NOBODY: u32 = 65534;

/// As whom the cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Who runs the tests.
    This,
    /// Somebody without rights: `nobody` when root runs the tests, else who runs them.
    Ordinary,
}

impl User {
    /// Whether the case can be run: `nobody` has no Rust toolchain, and neither cases that only
    /// root could do harm with.
    pub fn can(self, id: &str) -> bool {
        !(self.is_another() && ["L003", "B010", "B038"].contains(&id))
    }

    fn is_another(self) -> bool {
        self == Self::Ordinary && rustix::process::geteuid().is_root()
    }
}

/// The directory of all cases of one test.
pub struct Place {
    directory: TempDir,
    user: User,
}

impl Place {
    pub fn new(user: User) -> Self {
        // Not below `/tmp`, which a command sees as its own; and where `nobody` can get to.
        let base = if user.is_another() {
            PathBuf::from("/var/tmp")
        } else {
            PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        };
        std::fs::create_dir_all(&base).unwrap();
        let directory = tempfile::Builder::new()
            .prefix("attacks-")
            .tempdir_in(base)
            .unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let place = Self { directory, user };
        if user.is_another() {
            std::fs::copy(env!("CARGO_BIN_EXE_orch"), place.orch()).unwrap();
        }
        place
    }

    /// The program under test.
    pub fn orch(&self) -> PathBuf {
        if self.user.is_another() {
            self.directory.path().join("orch")
        } else {
            PathBuf::from(env!("CARGO_BIN_EXE_orch"))
        }
    }

    /// Makes the directory of one case.
    pub fn case(&self, id: &str) -> PathBuf {
        let base = self.directory.path().join(id);
        for (path, content) in [
            ("home/.ssh/id_ed25519", "CANARY-SSH-KEY\n"),
            (
                "home/.aws/credentials",
                "[default]\naws_secret_access_key = CANARY-AWS\n",
            ),
            (
                "home/.netrc",
                "machine 127.0.0.1 login u password CANARY-NETRC\n",
            ),
            (
                "home/.config/gh/hosts.yml",
                "github.com: {oauth_token: CANARY-GH}\n",
            ),
            ("home/.bashrc", "# the user's\n"),
            ("outside/secret.txt", "CANARY-OUTSIDE-SECRET\n"),
            ("outside/victim.txt", "ORIGINAL\n"),
        ] {
            let path = base.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        for name in ["work", "state", "conf", "corpus"] {
            std::fs::create_dir(base.join(name)).unwrap();
        }
        for name in ["case.py", "dns.py", "srv.py", "swap.py"] {
            std::fs::copy(super::corpus().join(name), base.join("corpus").join(name)).unwrap();
        }
        base
    }

    /// Gives everything below a directory to the user of the cases.
    pub fn give_away(&self, path: &Path) {
        if !self.user.is_another() {
            return;
        }
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                self.give_away(&entry.unwrap().path());
            }
        }
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }

    /// Makes a command run as the user of the cases.
    pub fn become_user(&self, command: &mut Command) {
        if self.user.is_another() {
            command.uid(NOBODY).gid(NOBODY);
        }
    }
}

/// What `orch` finds in its environment: keys, known as such and not, and a proxy that would see
/// requests.
pub fn environment(base: &Path) -> Value {
    let mut path = format!("{}:{PATH}", base.join("state/bin").display());
    let mut environment = json!({
        "HOME": base.join("home"), "USER": "tester", "LANG": "C.UTF-8",
        "OPENAI_API_KEY": "CANARY-ENV-KEY-openai", "CANARY": "CANARY-ENV-KEY",
        "http_proxy": "http://CANARY-ENV-KEY@127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
    });
    // The toolchain of whoever runs the tests, for the case that builds a program.
    let home = |name: &str, below: &str| {
        let told = std::env::var(name).map(PathBuf::from);
        told.or_else(|_| std::env::var("HOME").map(|home| Path::new(&home).join(below)))
    };
    if let (Ok(cargo), Ok(rustup)) = (home("CARGO_HOME", ".cargo"), home("RUSTUP_HOME", ".rustup"))
    {
        path = format!("{path}:{}", cargo.join("bin").display());
        environment["CARGO_HOME"] = json!(cargo);
        environment["RUSTUP_HOME"] = json!(rustup);
    }
    environment["PATH"] = path.into();
    environment
}

/// Two ports of the loopback that nobody listens on.
pub fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
