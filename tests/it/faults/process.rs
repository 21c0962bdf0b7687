//! A run beside others.

use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Context, Ran, ran};

/// Starts `orch` on the configuration of the place.
pub fn start(context: &Context, args: &[&str]) -> Child {
    context
        .command(&[&["--config", "orch.yaml"], args].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub fn end(child: Child) -> Ran {
    ran(child.wait_with_output().unwrap())
}

pub fn status(context: &Context) -> Value {
    context.orch(&["--status", "--json"]).exits(0).json()
}
