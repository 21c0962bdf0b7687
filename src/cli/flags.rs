//! Flags that mean nothing beside what a call does. They are refused before anything is done: whoever gives one relies
//! on it, and what a flag was to keep from happening must not happen.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::args::{Cli, OutputForm};
use crate::error::{ErrorClass, OrchError};

/// Looks whether every flag means something.
///
/// # Errors
/// When one does not; the hint says with what it would.
pub(super) fn check(cli: &Cli) -> Result<(), OrchError> {
    let (actions, prompts) = (&cli.actions, &cli.prompt);
    if let Some((flag, needed)) = lonely(cli) {
        return Err(usage(format!(
            "`{flag}` means something with `{needed}` only"
        )));
    }
    let is_task = actions.task.is_some();
    if cli.output.output == OutputForm::Mermaid && !(is_task && cli.run.dry_run) {
        return Err(usage("`--output mermaid` draws a task and runs nothing")
            .with_hint("give `--task NAME --dry-run`"));
    }
    let asked =
        prompts.prompt.is_some() || prompts.prompt_file.is_some() || prompts.stdin.is_some();
    if is_task || actions.resume.is_some() {
        let (who, hint) = if is_task {
            ("a task", "pass what it needs with `--input name=value`")
        } else {
            (
                "a run that goes on",
                "it has the prompt and the conversation that it began with",
            )
        };
        if asked {
            return Err(usage(format!("{who} takes no prompt")).with_hint(hint));
        }
        let others = [
            (prompts.context.is_some(), "--context"),
            (prompts.session.is_some(), "--session"),
            (prompts.continue_last, "--continue"),
        ];
        if let Some((_, flag)) = others.iter().find(|(given, _)| *given) {
            return Err(usage(format!("{who} takes no `{flag}`")).with_hint(hint));
        }
    }
    // An agent that is not named is asked for where the prompt is taken.
    let is_run = actions.all || (asked && !is_other(cli));
    if cli.run.dry_run && !is_run && !is_task {
        return Err(
            usage("`--dry-run` plans a prompt or a task, and there is none").with_hint(
                "give `--agent NAME --prompt TEXT`, `--all --prompt TEXT` or `--task NAME`",
            ),
        );
    }
    if prompts.context.is_some() && !is_run {
        return Err(usage("`--context` belongs to a prompt, and there is none")
            .with_hint("give one with `--prompt TEXT`, `--prompt-file FILE` or `-`"));
    }
    Ok(())
}

/// Whether there is an action that asks no agent for a prompt of the command line.
fn is_other(cli: &Cli) -> bool {
    let actions = &cli.actions;
    let named = actions.task.is_some() || actions.resume.is_some() || actions.logs.is_some();
    let listed = actions.agents || actions.models || actions.tasks || actions.runs;
    named || listed || actions.status || actions.health || actions.costs
}

/// A flag without the action that it belongs to. Clap looks away where that action is in conflict with
/// another that was given.
fn lonely(cli: &Cli) -> Option<(&'static str, &'static str)> {
    let actions = &cli.actions;
    let costs = (actions.costs, "--costs");
    [
        (
            !actions.agents_only.is_empty(),
            "--agents-only",
            (actions.all, "--all"),
        ),
        (
            !actions.input.is_empty(),
            "--input",
            (actions.task.is_some(), "--task"),
        ),
        (actions.deep, "--deep", (actions.health, "--health")),
        (actions.since.is_some(), "--since", costs),
        (actions.until.is_some(), "--until", costs),
        (actions.run_id.is_some(), "--run", costs),
        (actions.csv, "--csv", costs),
        (actions.export, "--export", costs),
    ]
    .into_iter()
    .find_map(|(given, flag, (wanted, needed))| (given && !wanted).then_some((flag, needed)))
}

/// What also means something before a command of the house.
const OF_ALL: [&str; 7] = [
    "config", "verbose", "log_file", "output", "json", "quiet", "color",
];

/// Looks whether what stands before a command of the house means something there.
///
/// # Errors
/// When it does not: the command would be carried out without it.
pub(super) fn check_house(command: &Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let Some(house) = matches.subcommand_name() else {
        return Ok(());
    };
    let is_given = |arg: &&Arg| {
        let id = arg.get_id().as_str();
        !OF_ALL.contains(&id) && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    let Some(arg) = command.get_arguments().find(is_given) else {
        return Ok(());
    };
    let flag = arg
        .get_long()
        .map_or_else(|| "-".to_owned(), |name| format!("--{name}"));
    let words = format!("`{flag}` means nothing before `{house}`");
    let mut error = clap::Error::raw(ErrorKind::ArgumentConflict, words);
    // Whose help says more.
    error.insert(ContextKind::Custom, ContextValue::String(house.to_owned()));
    Err(error)
}

fn usage(message: impl Into<String>) -> OrchError {
    OrchError::new(ErrorClass::Usage, message)
}
