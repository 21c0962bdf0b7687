//! What a line of a session means; no effects.

/// A slash command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name, without the slash.
    pub(crate) name: &'static str,
    /// What may follow, for the help.
    pub(crate) arguments: &'static str,
    /// What it does, for the help.
    pub(crate) about: &'static str,
    /// What Tab completes behind it.
    pub(crate) takes: Takes,
}

/// What stands behind a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    /// A prompt.
    Text,
    /// This word.
    One(&'static str),
    Agent,
    Model,
    Session,
    Run,
    Task,
    File,
}

/// Every slash command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "status",
        arguments: "",
        about: "Show configuration, limits and costs",
        takes: Takes::Nothing,
    },
    Command {
        name: "agents",
        arguments: "",
        about: "List the agents",
        takes: Takes::Nothing,
    },
    Command {
        name: "agent",
        arguments: "NAME",
        about: "Switch to an agent",
        takes: Takes::Agent,
    },
    Command {
        name: "models",
        arguments: "",
        about: "List the models and their aliases",
        takes: Takes::Nothing,
    },
    Command {
        name: "model",
        arguments: "NAME",
        about: "Use another model in this session",
        takes: Takes::Model,
    },
    Command {
        name: "logs",
        arguments: "[NAME]",
        about: "Show the last entries of an agent's log",
        takes: Takes::Agent,
    },
    Command {
        name: "costs",
        arguments: "[reset | …]",
        about: "Show what was spent: since DAY, until DAY, run ID, agent NAME, json, csv, export",
        takes: Takes::One("reset"),
    },
    Command {
        name: "health",
        arguments: "",
        about: "Check every agent's provider",
        takes: Takes::Nothing,
    },
    Command {
        name: "reload",
        arguments: "",
        about: "Read the configuration again",
        takes: Takes::Nothing,
    },
    Command {
        name: "all",
        arguments: "[TEXT]",
        about: "Ask every agent, in parallel",
        takes: Takes::Text,
    },
    Command {
        name: "session",
        arguments: "[NAME]",
        about: "Show or switch the conversation",
        takes: Takes::Session,
    },
    Command {
        name: "sessions",
        arguments: "",
        about: "List the agent's conversations",
        takes: Takes::Nothing,
    },
    Command {
        name: "fork",
        arguments: "[NAME]",
        about: "Go on in a copy of the conversation",
        takes: Takes::Nothing,
    },
    Command {
        name: "export",
        arguments: "FILE",
        about: "Write the conversation as .md or .json",
        takes: Takes::File,
    },
    Command {
        name: "new",
        arguments: "",
        about: "Start a new conversation",
        takes: Takes::Nothing,
    },
    Command {
        name: "tools",
        arguments: "[last]",
        about: "List the agent's tools, or its last calls",
        takes: Takes::One("last"),
    },
    Command {
        name: "diff",
        arguments: "",
        about: "Show what the last turn changed in files",
        takes: Takes::Nothing,
    },
    Command {
        name: "undo",
        arguments: "",
        about: "Take back what the last turn changed in files",
        takes: Takes::Nothing,
    },
    Command {
        name: "budget",
        arguments: "[USD | none]",
        about: "Show the budgets, or cap each conversation with its tasks",
        takes: Takes::One("none"),
    },
    Command {
        name: "task",
        arguments: "NAME [k=v]",
        about: "Run a task",
        takes: Takes::Task,
    },
    Command {
        name: "tasks",
        arguments: "",
        about: "List the tasks",
        takes: Takes::Nothing,
    },
    Command {
        name: "runs",
        arguments: "",
        about: "List the runs",
        takes: Takes::Nothing,
    },
    Command {
        name: "resume",
        arguments: "ID",
        about: "Go on with a run that was stopped",
        takes: Takes::Run,
    },
    Command {
        name: "edit",
        arguments: "[TEXT]",
        about: "Write the next prompt in your editor",
        takes: Takes::Text,
    },
    Command {
        name: "help",
        arguments: "",
        about: "Show this help",
        takes: Takes::Nothing,
    },
    Command {
        name: "quit",
        arguments: "",
        about: "Leave; /exit and Ctrl-D do too",
        takes: Takes::Nothing,
    },
];

/// Another name of `/quit`.
const EXIT: &str = "exit";

/// What a line means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input<'a> {
    /// Nothing.
    Empty,
    /// A command and what follows it.
    Command(&'static str, &'a str),
    /// A command that takes nothing, with something behind it.
    Needless(&'static str),
    /// An unknown command and the nearest known one.
    Unknown(&'a str, Option<&'static str>),
    /// A shell line of the user's own.
    Shell(&'a str),
    /// A prompt, or nothing, for another agent, without switching.
    At(&'a str, &'a str),
    /// A prompt.
    Prompt(&'a str),
}

/// Reads a line; `agents` are the names that `@name` may mean.
pub(crate) fn read<'a>(line: &'a str, agents: &[&str]) -> Input<'a> {
    if line.trim().is_empty() {
        return Input::Empty;
    }
    if line.starts_with("//") {
        return Input::Prompt(line.get(1..).unwrap_or_default());
    }
    if let Some(rest) = line.strip_prefix('/') {
        let (name, arguments) = split_word(rest);
        let known = |name: &str| COMMANDS.iter().find(|command| command.name == name);
        return match if name == EXIT {
            known("quit")
        } else {
            known(name)
        } {
            Some(command)
                if command.takes == Takes::Nothing
                    && command.arguments.is_empty()
                    && !arguments.is_empty() =>
            {
                Input::Needless(command.name)
            }
            Some(command) => Input::Command(
                command.name,
                match command.takes {
                    Takes::Text | Takes::Task => arguments,
                    _ => unquoted(arguments),
                },
            ),
            None => Input::Unknown(name, nearest(name)),
        };
    }
    if let Some(command) = line.strip_prefix('!') {
        return Input::Shell(command.trim());
    }
    if let Some(rest) = line.strip_prefix('@') {
        let (name, text) = split_word(rest);
        if agents.contains(&name) {
            return Input::At(name, text);
        }
    }
    Input::Prompt(line)
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

/// A name without the quotes around it. Quotes around nothing stay: they are no name, and not nothing either.
fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .filter(|name| !name.is_empty())
        .unwrap_or(text)
}

/// A hint that names flags, in the words of a session.
pub(super) fn in_session(hint: &str) -> String {
    let names = [
        "agents", "models", "tasks", "runs", "health", "costs", "status",
    ];
    let hint = hint
        .replace("`orch --resume ", "`/resume ")
        .replace(
            "pass them with `--input name=value`",
            "give them behind its name, as `name=value`",
        )
        .replace(
            "raise `settings.budget.session_usd`",
            "raise it with `/budget USD`",
        );
    names.iter().fold(hint, |hint, name| {
        hint.replace(&format!("`orch --{name}`"), &format!("`/{name}`"))
    })
}

/// The names of all commands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name).chain([EXIT])
}

fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    names()
        .map(|known| (strsim::damerau_levenshtein(&name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let agents = ["coder", "reviewer"];
        for (line, expected) in [
            ("", Input::Empty),
            ("  \t", Input::Empty),
            ("hello", Input::Prompt("hello")),
            ("/agents", Input::Command("agents", "")),
            ("/agent  coder ", Input::Command("agent", "coder")),
            ("/all do it now", Input::Command("all", "do it now")),
            ("/exit", Input::Command("quit", "")),
            ("/agnets", Input::Unknown("agnets", Some("agents"))),
            ("/zzzzzzzz", Input::Unknown("zzzzzzzz", None)),
            (
                "//etc/passwd is what?",
                Input::Prompt("/etc/passwd is what?"),
            ),
            (" /status", Input::Prompt(" /status")),
            ("!ls -l", Input::Shell("ls -l")),
            ("@coder fix it", Input::At("coder", "fix it")),
            ("@coder", Input::At("coder", "")),
            ("/agent \"coder\"", Input::Command("agent", "coder")),
            ("/export 'a b.md'", Input::Command("export", "a b.md")),
            ("/fork \"", Input::Command("fork", "\"")),
            ("/all 'a' or 'b'", Input::Command("all", "'a' or 'b'")),
            ("/exi", Input::Unknown("exi", Some("exit"))),
            ("/STATUS", Input::Unknown("STATUS", Some("status"))),
            ("@nobody hi", Input::Prompt("@nobody hi")),
            ("@src/lib.rs explain", Input::Prompt("@src/lib.rs explain")),
        ] {
            assert_eq!(read(line, &agents), expected, "{line:?}");
        }
    }

    #[test]
    fn hints_name_what_a_session_has() {
        for (hint, expected) in [
            ("see `orch --runs`", "see `/runs`"),
            ("`orch --resume 1` goes on", "`/resume 1` goes on"),
            (
                "its inputs are `a`; pass them with `--input name=value`",
                "its inputs are `a`; give them behind its name, as `name=value`",
            ),
            (
                "raise `settings.budget.session_usd`, or lower `max_output_tokens`",
                "raise it with `/budget USD`, or lower `max_output_tokens`",
            ),
        ] {
            assert_eq!(in_session(hint), expected);
        }
    }
}
