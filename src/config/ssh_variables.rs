//! `SSH_KEY_PATH` and `SSH_KNOWN_HOSTS_CHECK`, which count where the file says nothing.

use std::path::Path;

use super::node::Node;
use super::{DecidedBy, Document, Env};

const KEY: &str = "SSH_KEY_PATH";
const CHECK: &str = "SSH_KNOWN_HOSTS_CHECK";

/// Fills in what the variables say. Gives what decided that hosts nobody knows are accepted, where there are servers and
/// they are.
pub(super) fn apply(
    document: &mut Document,
    root: &Node<'_>,
    env: &Env,
    notices: &mut Vec<String>,
) -> Option<DecidedBy> {
    if let Some(key) = env.get(KEY) {
        for (_, server) in document.servers.iter_mut() {
            server.key.get_or_insert_with(|| key.to_owned());
        }
    }
    let written = root
        .get("settings")
        .and_then(|settings| settings.get("ssh_strict_host_checking"));
    let mut decided_by = DecidedBy::File;
    if let Some(value) = env.get(CHECK)
        && written.is_none()
    {
        match is_strict(value) {
            Some(strict) => document.settings.ssh_strict_host_checking = strict,
            None => notices.push(format!(
                "`{CHECK}` is neither `true` nor `false`: hosts are checked"
            )),
        }
        decided_by = if is_of_process(env) {
            DecidedBy::Process
        } else {
            DecidedBy::Dotenv
        };
    }
    let accepts = !document.settings.ssh_strict_host_checking && !document.servers.is_empty();
    accepts.then_some(decided_by)
}

/// A `.env` file that does not lie beside the configuration may be anybody's: it may refuse hosts that nobody knows, but
/// not accept them in the name of a configuration that its owner trusts.
pub(super) fn keep_strict(file: &Path, env: &mut Env, notices: &mut Vec<String>) {
    if is_of_process(env) || env.get(CHECK).and_then(is_strict) != Some(false) {
        return;
    }
    env.forget(CHECK);
    notices.push(format!(
        "`{CHECK}` of `{}` is ignored: set it in the environment, or beside the configuration",
        file.display()
    ));
}

/// Whether it is the process environment that says whether hosts are checked.
fn is_of_process(env: &Env) -> bool {
    env.process(CHECK)
        .is_some_and(|value| value.to_str().is_some())
}

/// Whether a value says that hosts are checked; `None` for words that mean neither.
fn is_strict(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}
