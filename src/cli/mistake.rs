//! Wrong flags: told in the words of every other error, and to programs as a result.

use std::ffi::OsString;
use std::io::Write as _;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::args::Cli;
use super::flags::LISTS;
use crate::agents::RunResult;
use crate::config::Env;
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{nearest, new_run_id};
use crate::redact::Redactor;
use crate::render::{self, Form, Screen, View};

/// Ends a call whose arguments cannot be read, or that asks for help; gives the exit code.
pub(super) fn end(error: &clap::Error, args: &[OsString], env: &Env, screen: Screen) -> u8 {
    let (form, kind) = asked(args);
    if !error.use_stderr() {
        // Help and version; a closed stream is the end.
        let failed = if form == Form::Text {
            let printed = error.print().and_then(|()| std::io::stdout().flush());
            let failed = printed.err();
            failed.filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe)
        } else {
            let mut result = RunResult::empty(&new_run_id(), kind, "", "");
            result.ok = true;
            result.kind = match error.kind() {
                ErrorKind::DisplayVersion => "version",
                _ => "help",
            };
            result.output = error.to_string();
            _ = View::new(form, screen, &Redactor::default()).finish(&result);
            render::failure().map(Into::into)
        };
        return super::delivered(0, failed, |report| {
            render::styled_stderr_line(&render::error_text(report, screen));
        });
    }
    let told = told(error, args);
    let code = told.class.exit_code();
    let mut result = RunResult::empty(&new_run_id(), kind, "", "");
    let report = told.into();
    let redactor = Redactor::new(env.secrets());
    let text = render::error_text(&report, screen);
    render::styled_stderr_line(&screen.wrapped(&redactor.mask(&text)));
    result.error = Some(report);
    if form != Form::Text {
        // Nobody reads: then there is nothing to tell.
        _ = View::new(form, screen, &redactor).finish(&result);
    }
    code
}

/// The form of output and the kind of call that arguments ask for which cannot be read as a whole.
fn asked(args: &[OsString]) -> (Form, &'static str) {
    let mut form = Form::Text;
    let mut kind = "agent";
    let mut words = args.iter().skip(1).filter_map(|word| word.to_str());
    let mut is_json = false;
    while let Some(word) = words.next() {
        match word {
            "--" => break,
            // Its value may look like a flag.
            "--prompt" => drop(words.next()),
            "--json" => is_json = true,
            "--output" => form = form_of(words.next().unwrap_or_default()).unwrap_or(form),
            "--all" => kind = "all",
            "--task" | "--resume" => kind = "task",
            _ => {
                if let Some(list) = listed(word).filter(|_| kind == "agent") {
                    kind = list;
                } else if let Some(name) = word.strip_prefix("--output=") {
                    form = form_of(name).unwrap_or(form);
                } else if word.starts_with("--task=") || word.starts_with("--resume=") {
                    kind = "task";
                }
            }
        }
    }
    if is_json {
        form = Form::Json;
    }
    (form, kind)
}

/// The action that lists something.
fn listed(word: &str) -> Option<&'static str> {
    let flag = word.strip_prefix("--")?;
    let flag = flag.split('=').next();
    let mut lists = LISTS.iter().map(|(list, _)| *list);
    lists.find(|list| Some(*list) == flag)
}

/// What `--color` says among arguments that cannot be read as a whole, or that ask for help; `None` for `auto`.
pub(super) fn color(args: &[OsString]) -> Option<bool> {
    let mut choice = None;
    let mut words = args.iter().skip(1).filter_map(|word| word.to_str());
    while let Some(word) = words.next() {
        let value = match word {
            "--" => break,
            // Its value may look like a flag.
            "--prompt" => {
                words.next();
                continue;
            }
            "--color" => words.next(),
            _ => word.strip_prefix("--color="),
        };
        match value {
            Some("always") => choice = Some(true),
            Some("never") => choice = Some(false),
            Some("auto") => choice = None,
            _ => {}
        }
    }
    choice
}

fn form_of(name: &str) -> Option<Form> {
    match name {
        "json" => Some(Form::Json),
        "stream-json" => Some(Form::StreamJson),
        "text" => Some(Form::Text),
        _ => None,
    }
}

/// The error as every other one is told.
fn told(error: &clap::Error, args: &[OsString]) -> OrchError {
    if let Some(stray) = stray_word(error) {
        return stray;
    }
    let text = error.to_string();
    let whole = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = whole.lines().take_while(|line| !line.trim().is_empty());
    let words: Vec<&str> = lines.map(str::trim).collect();
    let message = backticks(words.join(" ").trim_end_matches('.'));
    let suggested = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
        ContextKind::SuggestedSubcommand,
    ]
    .into_iter()
    .find_map(|kind| error.get(kind));
    let hint = match suggested {
        Some(ContextValue::String(near)) => format!("did you mean `{near}`?"),
        Some(ContextValue::Strings(near)) if !near.is_empty() => {
            format!("did you mean `{}`?", near.join("` or `"))
        }
        _ => match named(error).or_else(|| command(args)) {
            Some(name) => format!("`orch {name} --help` says what it takes"),
            None => "`orch --help` lists the flags".to_owned(),
        },
    };
    OrchError::new(ErrorClass::Usage, message).with_hint(hint)
}

/// The command of the house that an error of ours is about.
fn named(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::Custom) {
        Some(ContextValue::String(name)) => Some(name.clone()),
        _ => None,
    }
}

/// The command of the house that was named.
fn command(args: &[OsString]) -> Option<String> {
    let command = Cli::command();
    let first = args.get(1)?.to_str()?;
    command
        .get_subcommands()
        .map(clap::Command::get_name)
        .find(|name| *name == first)
        .map(str::to_owned)
}

/// A word that is no flag, no command and no `-`.
fn stray_word(error: &clap::Error) -> Option<OrchError> {
    let (Some(ContextValue::String(place)), Some(ContextValue::String(word))) = (
        error.get(ContextKind::InvalidArg),
        error.get(ContextKind::InvalidValue),
    ) else {
        return None;
    };
    if place != "[-]" {
        return None;
    }
    let command = Cli::command();
    let names: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let told = OrchError::new(ErrorClass::Usage, format!("there is no command `{word}`"));
    Some(told.with_hint(match nearest(word, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a prompt is given with `--prompt \"…\"`".to_owned(),
    }))
}

/// Quotes round a word become backticks; those inside of one stay.
fn backticks(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let near = |index: Option<usize>| index.and_then(|index| chars.get(index)).copied();
    let parts = |index: usize, char: char| {
        let before = near(index.checked_sub(1));
        let after = near(index.checked_add(1));
        let opens = before.is_none_or(|char| char.is_whitespace() || "([".contains(char));
        let closes = after.is_none_or(|char| char.is_whitespace() || ",.:;)]".contains(char));
        if char == '\'' && (opens || closes) {
            '`'
        } else {
            char
        }
    };
    chars
        .iter()
        .enumerate()
        .map(|(index, char)| parts(index, *char))
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_form_is_known_though_the_flags_are_wrong() {
        for (line, expected) in [
            ("orch", (Form::Text, "agent")),
            ("orch --jsn", (Form::Text, "agent")),
            ("orch --all --json --x", (Form::Json, "all")),
            ("orch --output=json --task", (Form::Json, "task")),
            (
                "orch --output stream-json --json --resume=x --y",
                (Form::Json, "task"),
            ),
            ("orch --output stream-json --y", (Form::StreamJson, "agent")),
            ("orch --output yaml", (Form::Text, "agent")),
            ("orch --prompt --json --x", (Form::Text, "agent")),
            ("orch -- --json", (Form::Text, "agent")),
            ("orch check --json --x", (Form::Json, "agent")),
            ("orch --logs=a --json --x", (Form::Json, "logs")),
            ("orch --all --costs --json", (Form::Json, "all")),
        ] {
            assert_eq!(asked(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn colours_are_known_though_the_flags_are_wrong() {
        for (line, expected) in [
            ("orch", None),
            ("orch --color never --x", Some(false)),
            ("orch --x --color=always", Some(true)),
            ("orch check --color always --help", Some(true)),
            ("orch --color always --color auto", None),
            ("orch --color --x", None),
            ("orch --prompt --color=always --x", None),
            ("orch -- --color=always", None),
        ] {
            assert_eq!(color(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_like_every_error() {
        for (line, message, hint) in [
            (
                "orch --agnet a",
                "unexpected argument `--agnet` found",
                "did you mean `--agent`?",
            ),
            (
                "orch --output yaml",
                "invalid value `yaml` for `--output <FORM>` [possible values: text, json, stream-json, mermaid]",
                "`orch --help` lists the flags",
            ),
            (
                "orch chekc",
                "there is no command `chekc`",
                "did you mean `check`?",
            ),
            (
                "orch review",
                "there is no command `review`",
                "a prompt is given with `--prompt \"…\"`",
            ),
            (
                "orch --all --costs",
                "the argument `--all` cannot be used with `--costs`",
                "`orch --help` lists the flags",
            ),
            (
                "orch tool",
                "the following required arguments were not provided: <NAME>",
                "`orch tool --help` says what it takes",
            ),
        ] {
            let line = words(line);
            let error = told(&Cli::try_parse_from(&line).unwrap_err(), &line);
            assert_eq!(
                (error.message.as_str(), error.hint.as_deref()),
                (message, Some(hint)),
                "{line:?}"
            );
        }
    }

    #[test]
    fn only_quotes_round_words_are_replaced() {
        assert_eq!(
            backticks("value 'it's' for '--a <B>': no"),
            "value `it's` for `--a <B>`: no"
        );
    }
}
