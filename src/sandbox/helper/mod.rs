//! The helper: this program, started again to build a sandbox and to stay with the command in it.
//!
//! Two processes stay: the outer one on the machine's side, which holds the lifeline to the caller and takes
//! care of names that must not come into being, and the first process of the new namespaces, with whose end
//! the kernel ends all others. The helper has one thread and starts no runtime.

mod addresses;
mod again;
mod answer;
pub(super) mod channel;
mod confine;
mod exec;
mod failure;
mod guard;
mod identity;
mod inner;
mod keep;
mod mounts;
mod network;
mod notices;
mod outer;
mod paths;
mod reap;
mod root;
mod signals;
mod sources;
mod watchdog;

pub(super) use guard::set_aside;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

/// The name by which this program knows that it is the helper.
pub(super) const NAME: &str = "orch-sandbox";

/// Does the work of the helper, when this process is one: the first argument tells. Call it before anything
/// else.
pub fn run_as_helper(arguments: &[OsString]) -> Option<ExitCode> {
    (arguments.first().map(OsString::as_os_str) == Some(OsStr::new(NAME)))
        .then(|| ExitCode::from(outer::run()))
}
