//! The house rules that a test can hold: file length, the direction of dependencies, unfinished words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a module may use stands before it; modules on one line may use each other's words.
const ORDER: &[&[&str]] = &[
    &[
        "maths", "message", "usage", "redact", "cancel", "clock", "error", "files",
    ],
    &["event"],
    &["process"],
    &["store", "sandbox"],
    &["costs"],
    &["providers"],
    &["resilience"],
    &["tools", "mcp"],
    &["sessions"],
    &["agents"],
    &["tasks"],
    &["config"],
    &["orchestrator"],
    &["render"],
    &["repl", "cli"],
];

/// Edges that look upward and are meant: words for time, and the driver of an agent CLI that serves our
/// tools to it.
const MEANT: &[(&str, &str)] = &[];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let mut files = Vec::new();
    for directory in ["src", "tests", "benches"] {
        sources(&root().join(directory), &mut files);
    }
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, std::fs::read_to_string(path).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > 600)
        .map(|(path, lines)| format!("{}: {lines}", path.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn modules_use_only_what_stands_before_them() {
    let rank = |module: &str| ORDER.iter().position(|line| line.contains(&module));
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let mut wrong = BTreeSet::new();
    for path in &files {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let first = relative
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main" | "build") {
            continue;
        }
        let own = rank(module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (at, _) in code.match_indices("crate::") {
            let line = code[..at].rsplit('\n').next().unwrap();
            if line.trim_start().starts_with("//") {
                continue;
            }
            let used: String = code[at + 7..]
                .chars()
                .take_while(|char| char.is_ascii_alphanumeric() || *char == '_')
                .collect();
            if used == module || used.is_empty() || MEANT.contains(&(module, used.as_str())) {
                continue;
            }
            let Some(other) = rank(&used) else { continue };
            if other > own {
                wrong.insert(format!("{} uses crate::{used}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_calls_itself_unfinished() {
    let words = [
        ["to", "do!"],
        ["unimple", "mented!"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["for ", "now"],
        ["dbg", "!("],
    ]
    .map(|halves| halves.concat());
    let mut files = Vec::new();
    for directory in ["src", "tests", "benches"] {
        sources(&root().join(directory), &mut files);
    }
    let mut found = Vec::new();
    for path in &files {
        for (number, line) in std::fs::read_to_string(path).unwrap().lines().enumerate() {
            // Names of temporary files are made of these letters.
            let line = line.replace("XXXXXX", "");
            found.extend(
                words
                    .iter()
                    .filter(|word| line.contains(word.as_str()))
                    .map(|word| format!("{}:{}: {word}", path.display(), number + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Directories of the program are for their owner alone, which one function sees to. Others make those of the
/// workspace, which agents share with the user, and of the sandbox, whose helper may use nothing of the rest.
#[test]
fn one_function_makes_directories() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let own = ["files.rs", "sandbox/helper/", "tools/workspace/replace.rs"];
    let tests = |path: &str| path.contains("/tests") || path.ends_with("testing.rs");
    let mut found = Vec::new();
    for path in &files {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let relative = relative.to_str().unwrap();
        if own.iter().any(|own| relative.starts_with(own)) || tests(relative) {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let makes = ["create_dir", "DirBuilder", "mkdirat("];
        found.extend(
            makes
                .into_iter()
                .filter(|word| code.contains(word))
                .map(|word| format!("{relative}: {word}")),
        );
    }
    assert!(found.is_empty(), "{found:#?}");
}
