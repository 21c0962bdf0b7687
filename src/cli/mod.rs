//! The command line: what the arguments mean, and the housekeeping commands.
//!
//! May use everything.

mod approve;
mod args;
mod ask;
mod call;
mod costs;
mod diagnosis;
mod flags;
mod house;
mod lists;
mod load;
mod log_file;
mod mistake;
mod names;
mod plan;
mod room;
mod run;
pub(crate) mod signals;
mod standing;
mod stdin;
mod task;
mod tool;

pub(crate) use costs::{costs_csv, costs_export, costs_text};
pub(crate) use lists::{agents_text, health_text, logs_of, models_text, status_text, tasks_text};
pub(crate) use load::{config as load_config, reload as reload_config};
pub(crate) use room::at_once;
pub(crate) use run::{conversation, options, parse_budget, time_limit};
pub(crate) use task::runs_text;

use std::ffi::OsString;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ColorChoice, CommandFactory, FromArgMatches};
use tokio::runtime::LocalOptions;

use args::{Actions, Cli, ColorArg, House};
pub(crate) use call::Call;

use crate::agents::ErrorReport;
use crate::config::Env;
use crate::error::{ErrorClass, OrchError};
use crate::process;
use crate::render::{self, ColorHints, Screen};

/// How long commands that were stopped are waited for at the end: they end within some milliseconds.
const LEAVING: Duration = Duration::from_secs(1);

/// Runs the program to its exit code.
pub(crate) fn run(args: &[OsString], env: Env) -> ExitCode {
    if let Some(code) = names::asked(args, &env) {
        return code;
    }
    let cli = match parsed(args, &env) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let screen = screen(&cli, &env);
    process::fail_on_large_files();
    room::raise_open_files();
    let call = Call::new(cli, env, screen);
    if let Err(error) = call.begin_diagnosis() {
        return ExitCode::from(call.fail(error));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = OrchError::new(ErrorClass::Failed, "cannot start").caused_by(&error);
            return ExitCode::from(call.fail(error));
        }
    };
    // As a task: what wakes the future of `block_on` itself costs two system calls each time.
    let running = runtime.spawn_local(async {
        let mut call = call;
        let code = dispatch(&mut call).await;
        let code = signals::last_words(code).await;
        let failed = render::failure().map(Into::into);
        delivered(code, failed, |report| call.say(report))
    });
    let code = match runtime.block_on(running) {
        Ok(code) => code,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    // A thread that still waits for standard input must not hold up the end.
    runtime.shutdown_background();
    render::end_question();
    process::see_gone(LEAVING);
    ExitCode::from(code)
}

/// What the arguments say. On its own, so that the stack that this takes is free again for what runs.
#[inline(never)]
fn parsed(args: &[OsString], env: &Env) -> Result<Cli, ExitCode> {
    let choice = mistake::color(args);
    let mut command = Cli::command().color(match choice {
        None => ColorChoice::Auto,
        Some(true) => ColorChoice::Always,
        Some(false) => ColorChoice::Never,
    });
    let read = command.try_get_matches_from_mut(args).and_then(|matches| {
        flags::check_given(&command, &matches)?;
        Cli::from_arg_matches(&matches)
    });
    read.map_err(|error| {
        let screen = Screen::detect(false, 0, choice, hints(env));
        ExitCode::from(mistake::end(&error, args, env, screen))
    })
}

async fn dispatch(call: &mut Call) -> u8 {
    let result = match call.cli.house.take() {
        Some(house) => self::house(call, house).await,
        None => action(call).await,
    };
    match result {
        Ok(code) => code,
        Err(error) => call.fail(error),
    }
}

/// The exit code of a call whose output had to get somewhere: what a full disk did not take is told, and no success.
fn delivered(code: u8, failed: Option<std::io::Error>, say: impl FnOnce(&ErrorReport)) -> u8 {
    let Some(error) = failed else {
        return code;
    };
    let error = OrchError::new(ErrorClass::Failed, "standard output cannot be written")
        .caused_by(&error)
        .with_hint("make room where it goes; `orch --runs` and `--logs NAME` show what was done");
    let failed = error.class.exit_code();
    say(&error.into());
    if code == 0 { failed } else { code }
}

async fn house(call: &Call, house: House) -> Result<u8, OrchError> {
    match house {
        House::Init { force } => house::init(call, force).await,
        House::Check {
            explain,
            store,
            json: _,
        } => house::check(call, explain.as_deref(), store).await,
        House::Tool {
            name,
            params,
            agent,
            sandbox,
            yes,
            json: _,
        } => {
            let wanted = tool::Wanted {
                name,
                params,
                agent,
                sandbox,
                yes,
            };
            tool::run(call, wanted).await
        }
        House::Trust { file } => house::trust(call, &file),
        House::Prices {
            model,
            update,
            json: _,
        } => house::prices(call, model.as_deref(), update.as_deref()),
        House::Schema { tools } => Ok(house::schema(call, tools)),
        House::Completions { shell } => Ok(house::completions(call, shell)),
        House::Man { command } => house::man(call, command.as_deref()),
    }
}

async fn action(call: &Call) -> Result<u8, OrchError> {
    let Actions {
        all,
        task,
        resume,
        agents,
        models,
        status,
        health,
        costs,
        tasks,
        runs,
        logs,
        ..
    } = &call.cli.actions;
    flags::check(&call.cli)?;
    // Each on its own: as one function they take a stack of the sum of what each needs, and every page of it is
    // touched.
    let doing: Pin<Box<dyn Future<Output = Result<u8, OrchError>>>> = if *agents {
        return lists::agents(call);
    } else if *models {
        return lists::models(call);
    } else if *status {
        return lists::status(call);
    } else if *health {
        Box::pin(lists::health(call))
    } else if *costs {
        return costs::costs(call);
    } else if *tasks {
        return lists::tasks(call);
    } else if *runs {
        return task::runs(call);
    } else if let Some(name) = logs {
        return lists::logs(call, name);
    } else if let Some(name) = task {
        Box::pin(task::task(call, name))
    } else if let Some(id) = resume {
        Box::pin(task::resume(call, id))
    } else if *all {
        Box::pin(run::all(call))
    } else {
        Box::pin(run::agent_or_session(call))
    };
    doing.await
}

fn screen(cli: &Cli, env: &Env) -> Screen {
    let choice = match cli.output.color {
        ColorArg::Auto => None,
        ColorArg::Always => Some(true),
        ColorArg::Never => Some(false),
    };
    Screen::detect(cli.output.quiet, cli.common.verbose, choice, hints(env))
}

/// Terminals on which nothing can be drawn; the line editor knows the same ones.
const DUMB: [&str; 3] = ["dumb", "cons25", "emacs"];

/// What the environment says of colours; an empty variable says nothing.
fn hints(env: &Env) -> ColorHints {
    let set = |name| env.process(name).is_some_and(|value| value != "0");
    ColorHints {
        no_color: env.process("NO_COLOR").is_some(),
        force: set("CLICOLOR_FORCE"),
        dumb: env
            .process("TERM")
            .is_some_and(|term| DUMB.iter().any(|dumb| term.eq_ignore_ascii_case(dumb))),
    }
}
