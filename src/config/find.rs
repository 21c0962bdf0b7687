//! Where a configuration is, and where everything of a run lies.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::dotenv::plain;
use super::problem::{At, Problem};
use super::{Env, Origin, node};

/// Larger files are no configurations.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The configuration file and how it was come by.
pub(super) fn find(
    named: Option<&Path>,
    current_dir: &Path,
    env: &Env,
) -> (Option<PathBuf>, Origin) {
    if let Some(path) = named.or_else(|| env.process("ORCH_CONFIG").map(Path::new)) {
        return (Some(current_dir.join(path)), Origin::Named);
    }
    let own = current_dir.join("orch.yaml");
    if exists(&own) {
        return (Some(own), Origin::Found);
    }
    if let Some(name) = hidden_by_ours(current_dir) {
        return (Some(current_dir.join(name)), Origin::Found);
    }
    let directory = env
        .directory("XDG_CONFIG_HOME")
        .map(Path::to_owned)
        .or_else(|| Some(env.home()?.join(".config")));
    match directory.map(|directory| directory.join("orch/config.yaml")) {
        Some(path) if exists(&path) => (Some(path), Origin::User),
        _ => (None, Origin::Nowhere),
    }
}

/// The configuration of a directory that an `orch.yaml` there comes before; its name.
pub fn hidden_by_ours(directory: &Path) -> Option<&'static str> {
    let names = ["config.yaml", "config.yml"].into_iter();
    names
        .into_iter()
        .find(|name| is_ours(&directory.join(name)))
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether a file with a common name is a configuration of ours.
fn is_ours(path: &Path) -> bool {
    let is_file = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let bytes = if is_file { read(path).ok() } else { None };
    bytes.is_some_and(|bytes| has_agents(&String::from_utf8_lossy(&bytes)))
}

/// Whether a text has a top-level `agents:`, in whatever form of YAML. Where it is none, what can be told of it counts:
/// who makes a mistake in a configuration is told of it, not that there is none.
fn has_agents(text: &str) -> bool {
    const KEY: &str = "agents";
    if let Ok(tree) = node::parse(text) {
        return tree.root.entry(KEY).is_some();
    }
    let at_line_start = |line: &str| {
        let line = line.trim_start_matches('\u{feff}');
        [KEY, "\"agents\"", "'agents'"].iter().any(|key| {
            line.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    };
    is_in_braces(text, KEY) || text.lines().any(at_line_start)
}

/// Whether a text that is broken further on begins with `{` and has this key at the top.
fn is_in_braces(text: &str, key: &str) -> bool {
    let lines = text.trim_start_matches('\u{feff}').lines();
    let mut lines = lines.map(str::trim).skip_while(|line| {
        let line = line.strip_prefix("---").unwrap_or(line);
        line.is_empty() || line.starts_with('#')
    });
    let Some(first) = lines.next().filter(|line| line.starts_with('{')) else {
        return false;
    };
    let (mut open, mut quote, mut word) = (0_usize, None, String::new());
    let mut rest = std::iter::once(first).chain(lines).flat_map(str::chars);
    while let Some(char) = rest.next() {
        match char {
            '\\' if quote == Some('"') => _ = rest.next(),
            _ if quote == Some(char) => quote = None,
            _ if quote.is_some() => word.push(char),
            '"' | '\'' => quote = Some(char),
            '{' | '[' => open += 1,
            '}' | ']' if open == 1 => return false,
            '}' | ']' => open -= 1,
            ':' if open == 1 && word.trim() == key => return true,
            ',' | ':' => word.clear(),
            _ => word.push(char),
        }
        if open != 1 || matches!(char, '{' | '}' | '[' | ']') {
            word.clear();
        }
    }
    false
}

/// The bytes of a configuration file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Problem::whole("is a directory")
            .with_hint("name the file in it, such as `orch.yaml`".to_owned()));
    }
    let mut bytes = Vec::new();
    let read =
        fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => Err(Problem::whole(format!(
            "is larger than {} MiB",
            MAX_BYTES >> 20
        ))),
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Problem::whole("there is no such file")
                .with_hint("`orch init` writes a configuration".to_owned()))
        }
        Err(error) => Err(Problem::whole(format!("cannot be read: {}", plain(&error)))),
    }
}

/// The bytes as text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let before = String::from_utf8_lossy(before);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let at = At {
            line: number(line),
            column: number(column),
        };
        Problem::new(at, "is not UTF-8 from here on").with_hint("save the file as UTF-8".to_owned())
    })
}

/// Where the ledger, sessions and runs are kept when the configuration says nothing; `None` without
/// a home directory.
pub fn state_dir(current_dir: &Path, env: &Env) -> Option<PathBuf> {
    if let Some(path) = env.process("ORCH_STATE_DIR") {
        return Some(current_dir.join(path));
    }
    let state_home = env
        .directory("XDG_STATE_HOME")
        .map(Path::to_owned)
        .or_else(|| Some(env.home()?.join(".local/state")))?;
    Some(state_home.join("orch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_at_the_top_make_a_configuration_in_any_form() {
        for (text, expected) in [
            ("agents: {a: {role: x}}\n", true),
            ("agents:\n", true),
            ("# ours\nsettings:\n\nagents :\n  a: {}\n", true),
            ("'agents': {}\n", true),
            ("\u{feff}agents:\n", true),
            ("{agents: {a: {role: x}}}\n", true),
            (
                "{\"settings\": {}, \"agents\": {\"a\": {\"role\": \"x\"}}}",
                true,
            ),
            ("{\n  \"agents\": {}\n}\n", true),
            ("---\n{\"agents\": null}\n", true),
            ("? agents\n: {a: {}}\n", true),
            ("\"\\x61gents\": {}\n", true),
            ("  agents:\n    a: {role: x}\n", true),
            // With a mistake in it.
            ("agents:\n  a: [\n", true),
            ("settings: [\nagents:\n", true),
            ("{\"agents\": {\"a\": }", true),
            ("{\"settings\": {\"x\": [1, {}]}, \"agents\": [", true),
            // Somebody else's.
            ("", false),
            ("other: {agents: {}}\n", false),
            ("{\"other\": {\"agents\": {}}}", false),
            ("{\"other\": {\"agents\": {\"a\": ", false),
            ("{\"other\": \"agents\", \"x\": [", false),
            ("other:\n  agents: x\n", false),
            ("text: |\n  agents:\n", false),
            ("- agents: {}\n", false),
            ("[{agents: {}}, ", false),
            ("agents", false),
            ("# agents:\n", false),
            ("other: agents\n", false),
            ("no: [yaml\n", false),
        ] {
            assert_eq!(has_agents(text), expected, "{text}");
        }
    }
}
