//! What a shell completes: the names of agents, tasks, models, runs and conversations, one a line.
//!
//! The scripts of `orch completions` call `orch __names KIND WORDS…` at each Tab, with the words that were typed so
//! far. Whatever is wrong, nothing is printed but names: no question, no error, and nothing is written.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Config, Env, Source, TrustState};
use crate::orchestrator::{Options, Orchestrator};
use crate::providers;
use crate::render;
use crate::sessions;
use crate::tasks::runs;
use crate::tools;

/// The first argument of a call from a script.
pub(super) const ASK: &str = "__names";

/// Conversations of an agent, and runs, that are offered.
const LISTED: u32 = 50;

/// The flag that takes several agents with commas between them.
const TEAM: &str = "agents-only";

/// The kinds of names, and the flags that take one of them.
pub(super) const KINDS: &[(&str, &[&str])] = &[
    ("agents", &["agent", "explain", "logs"]),
    ("teams", &[TEAM]),
    ("tasks", &["task"]),
    ("models", &["model"]),
    ("runs", &["resume", "run"]),
    ("sessions", &["session"]),
];

/// Answers a script; `None` when no script asks.
pub(super) fn asked(args: &[OsString], env: &Env) -> Option<ExitCode> {
    if args.get(1)? != ASK {
        return None;
    }
    let words = args.iter().skip(2).map(|word| word.to_string_lossy());
    let words: Vec<String> = words.map(std::borrow::Cow::into_owned).collect();
    let (kind, words) = words.split_first()?;
    let mut text = String::new();
    for name in names(kind, words, env) {
        // A name in a file that nobody has checked.
        if !name.chars().any(char::is_control) {
            text.push_str(&name);
            text.push('\n');
        }
    }
    // A shell that has gone wants none.
    _ = render::stdout(&text);
    Some(ExitCode::SUCCESS)
}

fn names(kind: &str, words: &[String], env: &Env) -> Vec<String> {
    let Ok(current_dir) = std::env::current_dir() else {
        return Vec::new();
    };
    let named = value_of("config", words).map(|path| env.expand(&path));
    let tools = tools::names();
    let source = Source {
        named: named.as_deref(),
        current_dir: &current_dir,
        tools: &tools,
    };
    match kind {
        // Also of a file that has faults elsewhere, as it has while it is written.
        "agents" | "tasks" => config::names_in(source, env, kind),
        "teams" => {
            let typed = value_of(TEAM, words).unwrap_or_default();
            let agents = config::names_in(source, env, "agents");
            longer_by_one(&typed, agents)
        }
        "models" => {
            let aliases = providers::available_models().into_iter();
            let mut names: Vec<String> = aliases.map(|alias| alias.name.to_owned()).collect();
            names.sort();
            names.dedup();
            names
        }
        "runs" => look(source, env).map_or_else(Vec::new, |orchestrator| {
            let runs = orchestrator
                .store()
                .and_then(|store| runs::list(store, LISTED).ok());
            let runs = runs.unwrap_or_default().into_iter();
            runs.map(|run| run.run_id).collect()
        }),
        "sessions" => look(source, env).map_or_else(Vec::new, |orchestrator| {
            conversations(&orchestrator, value_of("agent", words).as_deref())
        }),
        _ => Vec::new(),
    }
}

/// Lists of names, each one name longer than what is typed before the last comma.
fn longer_by_one(typed: &str, names: Vec<String>) -> Vec<String> {
    let last = typed.rsplit(',').next().unwrap_or_default();
    let before = typed.strip_suffix(last).unwrap_or_default();
    let is_new = |name: &String| before.split(',').all(|listed| listed != name);
    let names = names.into_iter().filter(is_new);
    names.map(|name| format!("{before}{name}")).collect()
}

/// The names of the conversations of an agent, or of all.
fn conversations(orchestrator: &Orchestrator, agent: Option<&str>) -> Vec<String> {
    let Some(store) = orchestrator.store() else {
        return Vec::new();
    };
    let agents = orchestrator.config().document.agents.names();
    let agents = agents.filter(|name| agent.is_none_or(|agent| agent == *name));
    let sessions =
        agents.flat_map(|agent| sessions::list(store, agent, LISTED).unwrap_or_default());
    let mut names: Vec<String> = sessions.filter_map(|session| session.name).collect();
    names.sort();
    names.dedup();
    names
}

/// What a call would look into; `None` where it would fail or ask something first.
fn look(source: Source<'_>, env: &Env) -> Option<Orchestrator> {
    let config: Config = config::load(source, env.clone()).ok()?;
    let is_asked = matches!(config::trust_state(&config), TrustState::Asks(_));
    if is_asked || config::refused_workspace(&config).is_some() {
        return None;
    }
    Orchestrator::look(Arc::new(config), Options::default()).ok()
}

/// The value of a flag among words of a shell, as far as these are plain.
fn value_of(flag: &str, words: &[String]) -> Option<String> {
    let flag = format!("--{flag}");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(&flag) {
            // Some shells make a word of `=`.
            Some("") => words.find(|word| *word != "=")?.as_str(),
            Some(rest) => match rest.strip_prefix('=') {
                Some(value) => value,
                None => continue,
            },
            None => continue,
        };
        return Some(value.replace(['"', '\'', '\\'], ""));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_grows_by_what_is_not_in_it() {
        for (typed, expected) in [
            ("", vec!["a", "b"]),
            ("b", vec!["a", "b"]),
            ("b,", vec!["b,a"]),
            ("c,b,a", vec!["c,b,a"]),
            ("a,b,", vec![]),
        ] {
            let names = ["a", "b"].map(str::to_owned).into();
            assert_eq!(longer_by_one(typed, names), expected, "{typed}");
        }
    }

    #[test]
    fn flags_are_found_in_the_words_of_a_shell() {
        for (line, expected) in [
            ("orch --config x.yaml --agent", Some("x.yaml")),
            ("orch --config=x.yaml", Some("x.yaml")),
            ("orch --config = x.yaml", Some("x.yaml")),
            ("orch --config \"x.yaml\"", Some("x.yaml")),
            ("orch --configuration x.yaml", None),
            ("orch --config", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(value_of("config", &words).as_deref(), expected, "{line}");
        }
    }
}
