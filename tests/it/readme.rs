//! The README and the help keep their word: every example runs, every table is complete.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::offline::clone_into;
use crate::support::{Context, Ran, Stub, ran, stub};

/// The commands that the tests themselves are.
const NOT_RUN: &[&str] = &["cargo test"];

/// What stands for a name of the user's own.
const WORDS: &[(&str, &str)] = &[
    ("'{…}'", "'{\"path\": \"README.md\"}'"),
    ("orch tool NAME", "orch tool read"),
    ("--task NAME", "--task feature"),
    ("NAME", "reviewer"),
    ("AGENT", "reviewer"),
    ("--agent X", "--agent reviewer"),
    ("TEXT", "'Say hello'"),
    ("k=v …", "what=this"),
    ("MODEL", "gpt-4o"),
    ("VENDOR", "gemini"),
    ("SHELL", "zsh"),
    ("COMMAND", "check"),
    ("--update FILE", "--update tests/fixtures/model-prices.json"),
    ("trust FILE", "trust orch.yaml"),
    ("=…", "=canary-key-of-the-readme"),
];

const TASK: &str = "tasks:\n  feature:\n    inputs: {what: {default: it}}\n    \
                    steps: [{agent: reviewer, prompt: \"Write {{ inputs.what }}\"}]\n";

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The fenced blocks of a language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut parts = text.split("```");
    // What stands before the first fence.
    parts.next();
    while let Some(block) = parts.next() {
        let (name, body) = block.split_once('\n').unwrap();
        if name == language {
            found.push(body.to_owned());
        }
        parts.next();
    }
    found
}

/// The part of a text under a heading.
fn under<'t>(text: &'t str, heading: &str) -> &'t str {
    let from = text
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no {heading}"))
        + 1;
    let rest = &text[from + heading.len()..];
    let end = rest.find("\n## ").unwrap_or(rest.len());
    &rest[..end]
}

/// A clone of the repository with the configuration of the README, and a model that answers.
struct Place {
    context: Context,
    server: Stub,
}

impl Place {
    fn new() -> Self {
        let server = Stub::start(|seen| {
            if seen.path.ends_with("/models") {
                let list = json!({"object": "list", "data": [{"id": "gpt-4o"}]}).to_string();
                return stub::status(200, &[("content-type", "application/json")], &list);
            }
            stub::text("Fine.")
        });
        let context = Context::new();
        clone_into(&context.work());
        // The examples ask git for differences, wherever the build puts its files.
        let made = Command::new("git")
            .args(["init", "--quiet"])
            .current_dir(context.work())
            .status();
        assert!(made.unwrap().success());
        let yaml = blocks(&readme(), "yaml").remove(0);
        context.write("orch.yaml", format!("{yaml}{TASK}"));
        Self { context, server }
    }

    /// Runs a line in a shell that finds this `orch`.
    fn shell(&self, line: &str) -> Ran {
        let program = Path::new(env!("CARGO_BIN_EXE_orch")).parent().unwrap();
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", line])
            .current_dir(self.context.work())
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
            .env("HOME", self.context.home())
            .env("ORCH_STATE_DIR", self.context.state())
            .env("OPENAI_API_KEY", "canary-key-of-the-readme")
            .env("OPENAI_BASE_URL", self.server.url())
            .stdin(std::process::Stdio::null());
        ran(command.output().unwrap())
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        let mut line = line.replace("cargo run --release --", "orch");
        for (word, own) in WORDS {
            line = line.replace(word, own);
        }
        if line.contains("RUN_ID") {
            let runs: Value =
                serde_json::from_str(&self.shell("orch --runs --json").stdout).unwrap();
            let id = runs[0]["run_id"]
                .as_str()
                .unwrap_or_else(|| panic!("no run: {runs}"));
            line = line.replace("RUN_ID", id);
        }
        // What is there already was written by another example.
        if !line.contains("--force") {
            line = line.replace("orch init", "orch init --force");
        }
        let ended = self.shell(&line);
        assert_eq!(ended.code, 0, "{line}\n{ended:#?}");
        if line.contains("init --force") {
            let yaml = blocks(&readme(), "yaml").remove(0);
            self.context.write("orch.yaml", format!("{yaml}{TASK}"));
        }
        ended.stdout
    }
}

/// A line with its optional parts left out, and one line for each of them.
fn variants(line: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut options = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        let (option, behind) = after.split_once(']').unwrap();
        plain.push_str(before.trim_end());
        options.push(option);
        rest = behind;
    }
    plain.push_str(rest);
    let mut lines = vec![plain.clone()];
    lines.extend(options.iter().map(|option| format!("{plain} {option}")));
    lines
}

#[test]
fn the_commands_of_the_readme_run() {
    let place = Place::new();
    let text = readme();
    let mut run = 0;
    for block in blocks(&text, "sh") {
        for line in block.lines() {
            if line.trim().is_empty() || NOT_RUN.contains(&line) {
                continue;
            }
            place.succeeds(line);
            run += 1;
        }
    }
    assert!(run >= 6, "{run}");
    for request in place.server.chats() {
        assert_eq!(
            request.headers["authorization"],
            "Bearer canary-key-of-the-readme"
        );
    }
}

#[test]
fn the_synopsis_runs() {
    let place = Place::new();
    let text = readme();
    let block = blocks(under(&text, "## The command line"), "").remove(0);
    // A run first, so that there is one to go on with.
    place.succeeds("orch --task feature");
    let mut run = 0;
    for line in block.lines() {
        let command = line.split("    ").next().unwrap().trim();
        let mut forms = command.split(" | ");
        let first = forms.next().unwrap();
        let others = forms.map(|form| format!("orch {form}"));
        for line in std::iter::once(first.to_owned()).chain(others) {
            for line in variants(&line) {
                place.succeeds(&line);
                run += 1;
            }
        }
    }
    assert!(run >= 13, "{run}");
}

#[test]
fn the_commands_within_the_text_run() {
    let place = Place::new();
    place.succeeds("orch --task feature");
    let text = readme();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for line in text.lines() {
        found.extend(
            line.split('`')
                .skip(1)
                .step_by(2)
                .filter(|code| code.starts_with("orch "))
                .map(str::to_owned),
        );
    }
    assert!(found.len() > 12, "{found:?}");
    for line in found {
        for line in variants(&line.replace("--resume ID", "--resume RUN_ID")) {
            place.succeeds(&line);
        }
    }
}

#[test]
fn the_examples_of_the_help_run() {
    let place = Place::new();
    let help = place.shell("orch --help").exits(0).stdout;
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let lines: Vec<&str> = examples
        .lines()
        .filter(|line| line.starts_with("  "))
        .collect();
    assert!(lines.len() >= 5, "{help}");
    for line in lines {
        place.succeeds(line.trim());
    }
}

#[test]
fn the_commands_in_the_examples_can_be_planned() {
    let place = Place::new();
    let mut planned = 0;
    for name in [
        "dev_team",
        "devops",
        "local_ollama",
        "offline",
        "simple",
        "team",
    ] {
        let file = format!("examples/{name}.yaml");
        for line in place.context.read(&file).lines() {
            let Some((_, command)) = line.split_once("orch --config ") else {
                continue;
            };
            let command = command.replace("--config team.yaml", "--config examples/team.yaml");
            let command = if command.starts_with("team.yaml") {
                format!("examples/{command}")
            } else {
                command
            };
            place.succeeds(
                &format!("orch --config {command} --dry-run")
                    .replace("--dry-run --dry-run", "--dry-run"),
            );
            planned += 1;
        }
    }
    assert!(planned >= 10, "{planned}");
}

#[test]
fn the_configurations_of_the_readme_are_right() {
    let text = readme();
    let schema = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/config.schema.json"),
    );
    let schema: Value = serde_json::from_str(&schema.unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let context = Context::new();
    let blocks = blocks(&text, "yaml");
    assert!(blocks.len() >= 3, "{blocks:?}");
    for block in blocks {
        let value: Value =
            serde_yaml::from_str(&block).unwrap_or_else(|error| panic!("{error}\n{block}"));
        let faults: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| error.to_string())
            .collect();
        assert_eq!(faults, Vec::<String>::new(), "{block}");
        // A piece of one is no whole: its agents stand elsewhere.
        if value.get("agents").is_some() {
            context.write("orch.yaml", &block);
            context.orch(&["check"]).exits(0);
        }
    }
}

/// The long flags in a text, `-v` and `-vv` among them.
fn flags(text: &str) -> BTreeSet<String> {
    text.split(|char: char| !(char.is_ascii_alphanumeric() || char == '-'))
        .filter(|word| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|char: char| char.is_ascii_lowercase()))
                || ["-v", "-vv"].contains(word)
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_tables_of_flags_are_complete() {
    let context = Context::new();
    let text = readme();
    let told = flags(under(&text, "## The command line"));
    let own = |help: &str| {
        // The examples show flags, they do not make them.
        let options = help.split("Examples:").next().unwrap().to_owned();
        let mut found = BTreeSet::new();
        for line in options.lines().map(str::trim_start) {
            if line.starts_with('-') {
                found.extend(flags(line.split("  ").next().unwrap()));
            }
        }
        found
    };
    let mut there = own(&context.run(&["--help"]).exits(0).stdout);
    assert!(there.len() > 40, "{there:?}");
    for command in [
        "init",
        "check",
        "tool",
        "trust",
        "prices",
        "schema",
        "completions",
        "man",
    ] {
        there.extend(own(&context.run(&[command, "--help"]).exits(0).stdout));
    }
    let known = ["--help", "--version"].map(str::to_owned);
    let untold: Vec<_> = there
        .difference(&told)
        .filter(|flag| !known.contains(flag))
        .collect();
    assert!(untold.is_empty(), "the README does not tell of {untold:?}");
    let gone: Vec<_> = told
        .difference(&there)
        .filter(|flag| *flag != "-vv")
        .collect();
    assert!(
        gone.is_empty(),
        "the README tells of {gone:?}, which are not there"
    );
}

#[test]
fn where_a_configuration_is_found_is_told_alike_everywhere() {
    let words = |text: &str| {
        let plain = text.replace(['`', '\\'], "");
        plain.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let context = Context::new();
    let places = "else $ORCH_CONFIG, ./orch.yaml, ./config.yaml or ./config.yml with a top-level agents:, the user";
    for text in [
        readme(),
        context.run(&["--help"]).exits(0).stdout,
        context.run(&["man"]).exits(0).stdout,
    ] {
        let text = words(&text);
        assert!(text.contains(places), "{text}");
    }
}

#[test]
fn what_check_says_of_the_sandbox_is_what_is_told_of_it() {
    // The tier in use, as the configuration of the README has one, and no other.
    let check = Place::new().shell("orch check --json || true").json();
    let tiers = check["tiers"].as_object().unwrap();
    assert_eq!(tiers.keys().collect::<Vec<_>>(), ["full"]);
    let told = readme().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("whether each tier of the sandbox that is in use works"));
}

/// The slash commands in a text.
fn slashes(text: &str) -> BTreeSet<String> {
    text.split(|char: char| char.is_whitespace() || "`(),;".contains(char))
        .filter_map(|word| word.strip_prefix('/'))
        .filter(|name| !name.is_empty() && name.chars().all(|char| char.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_table_of_the_session_is_complete() {
    let place = Place::new();
    let help = place.shell("echo /help | orch").exits(0).stdout;
    let text = readme();
    let (told, there) = (slashes(under(&text, "## The session")), slashes(&help));
    assert!(there.len() > 20, "{help}");
    assert_eq!(told, there);
}
