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
            let sysroot = Command::new("rustc")
                .args(["--print", "sysroot"])
                .output()
                .unwrap();
            let sysroot = String::from_utf8(sysroot.stdout).unwrap();
            for part in ["bin", "lib"] {
                link_or_copy(
                    &Path::new(sysroot.trim()).join(part),
                    &place.toolchain().join(part),
                );
            }
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

    /// A Rust toolchain that the user of the cases can get to.
    fn toolchain(&self) -> PathBuf {
        self.directory.path().join("rustup")
    }

    /// What `orch` finds in its environment.
    pub fn environment(&self, base: &Path) -> Value {
        let toolchain = self.user.is_another().then(|| self.toolchain());
        environment(base, toolchain.as_deref())
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

/// The files of a directory in another one, without a copy of their contents where that can be.
fn link_or_copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            link_or_copy(&from, &to);
        } else if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

/// Keys, known as such and not, a proxy that would see requests, and the toolchain of whoever runs the tests, or the
/// one that is told.
fn environment(base: &Path, toolchain: Option<&Path>) -> Value {
    let mut path = format!("{}:{PATH}", base.join("state/bin").display());
    let mut environment = json!({
        "HOME": base.join("home"), "USER": "tester", "LANG": "C.UTF-8",
        "OPENAI_API_KEY": "CANARY-ENV-KEY-openai", "CANARY": "CANARY-ENV-KEY",
        "http_proxy": "http://CANARY-ENV-KEY@127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9",
    });
    if let Some(toolchain) = toolchain {
        environment["CARGO_HOME"] = json!(base.join("home/.cargo"));
        environment["RUSTUP_HOME"] = json!(toolchain);
        environment["PATH"] = format!("{path}:{}", toolchain.join("bin").display()).into();
        return environment;
    }
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
