//! The command line: what the arguments mean, and the housekeeping commands.
//!
//! May use everything.

mod approve;
mod args;
mod costs;
mod house;
mod lists;
mod load;
mod plan;
mod run;
mod signals;
mod standing;
mod stdin;
mod task;
mod tool;

pub(crate) use lists::{agents_text, health_text, logs_of, models_text, status_text, tasks_text};
pub(crate) use load::{config as load_config, reload as reload_config};
pub(crate) use run::{at_once, options, parse_budget};
pub(crate) use task::runs_text;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::{Actions, Cli, ColorArg, House, OutputForm};

use crate::agents::{ErrorReport, RunResult};
use crate::config::Env;
use crate::error::OrchError;
use crate::redact::Redactor;
use crate::render::{self, ColorHints, Screen};

/// Everything of a call that is settled before anything is done.
pub(crate) struct Call {
    pub(crate) cli: Cli,
    pub(crate) env: Env,
    pub(crate) screen: Screen,
}

/// Runs the program to its exit code.
pub(crate) fn run(args: Vec<OsString>, env: Env) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output, mistakes to standard error; a closed stream is the end.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let screen = screen(&cli, &env);
    raise_open_files();
    let call = Call { cli, env, screen };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            render::stderr_line(&format!("error: cannot start: {error}"));
            return ExitCode::from(1);
        }
    };
    let code = runtime.block_on(dispatch(call));
    // A thread that still waits for standard input must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn dispatch(mut call: Call) -> u8 {
    let result = match call.cli.house.take() {
        Some(house) => self::house(&call, house).await,
        None => action(&call).await,
    };
    match result {
        Ok(code) => code,
        Err(error) => fail(&call, error),
    }
}

async fn house(call: &Call, house: House) -> Result<u8, OrchError> {
    match house {
        House::Init { force } => house::init(call, force),
        House::Check {
            explain,
            store,
            json,
        } => house::check(call, explain.as_deref(), store, json).await,
        House::Tool {
            name,
            params,
            agent,
            sandbox,
            yes,
            json,
        } => {
            let wanted = tool::Wanted {
                name,
                params,
                agent,
                sandbox,
                yes,
                json,
            };
            tool::run(call, wanted).await
        }
        House::Trust { file } => house::trust(call, &file),
        House::Prices {
            model,
            update,
            json,
        } => house::prices(call, model.as_deref(), update.as_deref(), json),
        House::Schema { tools } => Ok(house::schema(tools)),
        House::Completions { shell } => Ok(house::completions(shell)),
        House::Man => house::man(),
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
    if *agents {
        lists::agents(call)
    } else if *models {
        lists::models(call)
    } else if *status {
        lists::status(call)
    } else if *health {
        lists::health(call).await
    } else if *costs {
        costs::costs(call)
    } else if *tasks {
        lists::tasks(call)
    } else if *runs {
        task::runs(call)
    } else if let Some(name) = logs {
        lists::logs(call, name)
    } else if let Some(name) = task {
        task::task(call, name).await
    } else if let Some(id) = resume {
        task::resume(call, id).await
    } else if *all {
        run::all(call).await
    } else {
        run::agent_or_session(call).await
    }
}

/// Tells an error that ended the call before there was a result.
fn fail(call: &Call, error: OrchError) -> u8 {
    let code = error.class.exit_code();
    let report = ErrorReport::from(error);
    let redactor = Redactor::new(call.env.secrets());
    render::stderr_line(&redactor.mask(&render::error_text(&report, call.screen)));
    if call.is_run() && call.form() != render::Form::Text {
        let agent = call
            .cli
            .actions
            .agent
            .as_deref()
            .or(call.cli.actions.task.as_deref());
        let mut result = RunResult::empty("", call.kind(), agent.unwrap_or_default(), "");
        result.error = Some(report);
        // Nobody reads: then there is nothing to tell.
        _ = render::View::new(call.form(), call.screen, &redactor).finish(&result);
    }
    code
}

impl Call {
    pub(crate) fn form(&self) -> render::Form {
        match self.cli.output.output {
            _ if self.cli.output.json => render::Form::Json,
            OutputForm::Text | OutputForm::Mermaid => render::Form::Text,
            OutputForm::Json => render::Form::Json,
            OutputForm::StreamJson => render::Form::StreamJson,
        }
    }

    /// The agent that was named.
    pub(crate) fn agent(&self) -> Option<&str> {
        self.cli.actions.agent.as_deref()
    }

    pub(crate) fn json(&self) -> bool {
        self.form() != render::Form::Text
    }

    fn kind(&self) -> &'static str {
        if self.cli.actions.all {
            "all"
        } else if self.cli.actions.task.is_some() || self.cli.actions.resume.is_some() {
            "task"
        } else {
            "agent"
        }
    }

    fn is_run(&self) -> bool {
        let actions = &self.cli.actions;
        actions.agent.is_some() || actions.all || actions.task.is_some() || actions.resume.is_some()
    }
}

fn screen(cli: &Cli, env: &Env) -> Screen {
    let set = |name| env.process(name).is_some_and(|value| value != "0");
    let hints = ColorHints {
        no_color: env.process("NO_COLOR").is_some(),
        force: set("CLICOLOR_FORCE"),
        dumb: env.process("TERM").is_some_and(|term| term == "dumb"),
    };
    let choice = match cli.output.color {
        ColorArg::Auto => None,
        ColorArg::Always => Some(true),
        ColorArg::Never => Some(false),
    };
    Screen::detect(cli.output.quiet, cli.output.verbose, choice, hints)
}

/// Many agents at once need many open files: the soft limit goes up to the hard one.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Where it cannot be raised, fewer agents run at once.
        _ = setrlimit(Resource::Nofile, raised);
    }
}
