//! The program as users have it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Cargo's variables of the package at hand: a build that sees them is another one.
const OF_PACKAGE: [&str; 4] = [
    "CARGO_PKG_",
    "CARGO_BIN_",
    "CARGO_MANIFEST_",
    "CARGO_PRIMARY_",
];

/// The program, built like a release and put into place by copying, as installers do. What Cargo builds beside a
/// benchmark has what only tests need, such as a clock that can be stopped: it is larger and starts slower. And what a
/// linker has just written lies in the cache in small pages until it is read anew, which costs a prompt a tenth more
/// than the copy.
pub fn orch() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_orch"));
    let target = beside.ancestors().nth(2).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let bytes = name.as_encoded_bytes();
        if OF_PACKAGE
            .iter()
            .any(|start| bytes.starts_with(start.as_bytes()))
        {
            command.env_remove(name);
        }
    }
    let status = command
        .args(["build", "--release", "--bin", "orch", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the program was not built: {status}");
    let installed = target.join("tmp/installed-orch");
    std::fs::create_dir_all(target.join("tmp")).unwrap();
    // A file that is running, or has a second name, must not be written over.
    drop(std::fs::remove_file(&installed));
    std::fs::copy(target.join("release/orch"), &installed).unwrap();
    installed
}
