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

/// What also means something before a command of the house, and with what is listed.
const OF_ALL: [&str; 7] = [
    "config", "verbose", "log_file", "output", "json", "quiet", "color",
];

/// Commands of the house that read no configuration but the one that they are about.
const WITHOUT_CONFIG: [&str; 2] = ["init", "trust"];

/// What keeps a call from something that listing does not do either.
const KEPT_ANYWAY: [&str; 3] = ["no_stdin", "no_input", "no_log"];

/// The actions that run no agent on a prompt, and what else means something with each.
pub(super) const LISTS: [(&str, &[&str]); 8] = [
    ("agents", &[]),
    ("models", &[]),
    ("tasks", &[]),
    ("runs", &[]),
    ("logs", &[]),
    ("status", &["sandbox"]),
    (
        "health",
        &[
            "agent", "deep", "model", "budget", "timeout", "record", "replay",
        ],
    ),
    (
        "costs",
        &["agent", "since", "until", "run_id", "csv", "export"],
    ),
];

/// Looks whether what is given beside a command of the house, or an action that lists something, means something there.
///
/// # Errors
/// When it does not: the command would be carried out without it.
pub(super) fn check_given(command: &Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let first = |means_nothing: &dyn Fn(&str) -> bool| {
        let mut given = command.get_arguments();
        given.find(|arg| is_given(arg.get_id().as_str()) && means_nothing(arg.get_id().as_str()))
    };
    let of_all = |id: &str| OF_ALL.contains(&id);
    let name = |arg: &Arg| match arg.get_long() {
        Some(name) => format!("--{name}"),
        None => "-".to_owned(),
    };
    let refused = |words| clap::Error::raw(ErrorKind::ArgumentConflict, words);
    if let Some(house) = matches.subcommand_name() {
        let takes = |id: &str| of_all(id) && !(id == "config" && WITHOUT_CONFIG.contains(&house));
        let Some(arg) = first(&|id| !takes(id)) else {
            return Ok(());
        };
        let mut error = refused(format!("`{}` means nothing before `{house}`", name(arg)));
        // Whose help says more.
        error.insert(ContextKind::Custom, ContextValue::String(house.to_owned()));
        return Err(error);
    }
    let Some((list, more)) = LISTS.into_iter().find(|(list, _)| is_given(list)) else {
        return Ok(());
    };
    let takes =
        |id: &str| id == list || of_all(id) || KEPT_ANYWAY.contains(&id) || more.contains(&id);
    match first(&|id| !takes(id)) {
        Some(arg) => Err(refused(format!(
            "`{}` means nothing with `--{list}`",
            name(arg)
        ))),
        None => Ok(()),
    }
}

fn usage(message: impl Into<String>) -> OrchError {
    OrchError::new(ErrorClass::Usage, message)
}
