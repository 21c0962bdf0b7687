//! One call of the program: what was asked for, and the one way in which it is answered.
//!
//! Whatever happens, a program that asked for JSON gets one object: the result of a run, what a list
//! shows, or a result that says why there is none.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::Value;

use super::args::{Cli, House, OutputForm};
use super::diagnosis::{self, SharedRedactor};
use crate::agents::{ErrorReport, RunResult};
use crate::config::{Config, Env};
use crate::error::OrchError;
use crate::orchestrator::new_run_id;
use crate::redact::Redactor;
use crate::render::{self, Form, Screen, View};

/// Everything of a call that is settled before anything is done.
pub(crate) struct Call {
    pub(crate) cli: Cli,
    pub(crate) env: Env,
    pub(crate) screen: Screen,
    form: Form,
    kind: &'static str,
    run_id: OnceLock<Arc<str>>,
    /// Lines of `stream-json` that were written.
    sequence: Arc<AtomicU64>,
    redactor: SharedRedactor,
}

impl Call {
    pub(super) fn new(cli: Cli, env: Env, screen: Screen) -> Self {
        let form = match cli.output.output {
            _ if cli.output.json || house_json(cli.house.as_ref()) => Form::Json,
            OutputForm::Text | OutputForm::Mermaid => Form::Text,
            OutputForm::Json => Form::Json,
            OutputForm::StreamJson => Form::StreamJson,
        };
        Self {
            form,
            kind: kind(&cli),
            redactor: Arc::new(Mutex::new(Redactor::new(env.secrets()))),
            cli,
            env,
            screen,
            run_id: OnceLock::new(),
            sequence: Arc::default(),
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The agent that was named.
    pub(crate) fn agent(&self) -> Option<&str> {
        self.cli.actions.agent.as_deref()
    }

    pub(crate) fn json(&self) -> bool {
        self.form != Form::Text
    }

    /// The id of this call's run, whether it comes to one or not.
    pub(super) fn run_id(&self) -> Arc<str> {
        Arc::clone(self.run_id.get_or_init(new_run_id))
    }

    /// The run that this call goes on with.
    pub(super) fn goes_on_with(&self, run_id: &str) -> Arc<str> {
        Arc::clone(self.run_id.get_or_init(|| run_id.into()))
    }

    /// What shows this call's run.
    pub(super) fn view(&self, redactor: &Redactor) -> View {
        View::new(self.form, self.screen, redactor).numbered(Arc::clone(&self.sequence))
    }

    /// Answers with lines for people, as they fit on the screen. Programs get them as the `output` of a result.
    pub(super) fn list(&self, text: &str) -> u8 {
        if self.form == Form::Text {
            self.print(&self.screen.wrapped(text))
        } else {
            self.print(text)
        }
    }

    /// The same with lines that hold styles of our own; foreign text in them is plain.
    pub(super) fn list_styled(&self, text: &str) -> u8 {
        if self.form == Form::Text {
            _ = render::styled_stdout(&self.screen.wrapped(text));
            return 0;
        }
        self.print(text)
    }

    /// Answers with a text as it is, but for what a terminal would obey: it is read by people, behind a pipe too.
    /// Programs get it as the `output` of a result.
    pub(super) fn print(&self, text: &str) -> u8 {
        if self.form == Form::Text {
            // Whoever closed standard output wants no more.
            _ = render::stdout(&render::plain(text));
            return 0;
        }
        let mut result = self.result();
        result.ok = true;
        text.clone_into(&mut result.output);
        self.tell(&result);
        0
    }

    /// Answers with a value: as it is, in `stream-json` as the `structured` of a result.
    pub(super) fn print_json(&self, value: &Value) -> u8 {
        self.print_verdict(value, None)
    }

    /// The same with what is wrong, which decides the exit code.
    pub(super) fn print_verdict(&self, value: &Value, wrong: Option<OrchError>) -> u8 {
        let report = wrong.map(ErrorReport::from);
        let code = report.as_ref().map_or(0, |report| report.class.exit_code());
        if let Some(report) = &report {
            self.say(report);
        }
        if self.form == Form::StreamJson {
            let mut result = self.result();
            result.ok = report.is_none();
            result.structured = Some(value.clone());
            result.error = report;
            self.tell(&result);
        } else {
            _ = render::stdout(&format!("{value:#}\n"));
        }
        code
    }

    /// Tells an error that ended the call before there was a result; gives the exit code.
    pub(super) fn fail(&self, error: OrchError) -> u8 {
        let code = error.class.exit_code();
        let result = self.failed(error);
        if let Some(report) = &result.error {
            self.say(report);
        }
        if self.json() {
            self.tell(&result);
        }
        code
    }

    /// The result of a run that could not be done.
    pub(super) fn failed(&self, error: OrchError) -> RunResult {
        let mut result = RunResult {
            error: Some(error.into()),
            ..self.result()
        };
        self.name_config(&mut result);
        result
    }

    /// Makes the hint how to go on one that works: a configuration that was named is named there, too.
    pub(super) fn name_config(&self, result: &mut RunResult) {
        let hint = result.error.as_mut().and_then(|error| error.hint.as_mut());
        if let (Some(hint), Some(path)) = (hint, &self.cli.common.config) {
            *hint = with_config(hint, &path.to_string_lossy());
        }
    }

    /// Tells that the program is ended in the middle of it, unless that would have to wait for a
    /// reader.
    pub(super) fn cut_short(&self, error: OrchError) {
        if self.json() && render::takes_a_line() {
            self.tell(&self.failed(error));
        }
    }

    fn result(&self) -> RunResult {
        let actions = &self.cli.actions;
        let name = actions.agent.as_deref().or(actions.task.as_deref());
        RunResult::empty(&self.run_id(), self.kind, name.unwrap_or_default(), "")
    }

    fn tell(&self, result: &RunResult) {
        // Nobody reads: then there is nothing to tell.
        _ = self.view(&self.redactor()).finish(result);
    }

    /// Begins to tell what is done, where that is asked for.
    pub(super) fn begin_diagnosis(&self) -> Result<(), OrchError> {
        diagnosis::begin(&self.cli, &self.env, &self.redactor)
    }

    /// What the configuration adds to the secrets is known from here on.
    pub(super) fn learn(&self, config: &Config) {
        let mut redactor = self.redactor.lock().unwrap_or_else(PoisonError::into_inner);
        *redactor = Redactor::new(config.secrets());
    }

    pub(super) fn say(&self, report: &ErrorReport) {
        let text = render::error_text(report, self.screen);
        let text = self.redactor().mask_owned(text);
        render::styled_stderr_line(&self.screen.wrapped(&text));
    }

    /// Of the secrets that are known by now.
    fn redactor(&self) -> Redactor {
        let redactor = self.redactor.lock().unwrap_or_else(PoisonError::into_inner);
        redactor.clone()
    }
}

/// A hint whose command goes on with a run, with the configuration that the run needs.
fn with_config(hint: &str, path: &str) -> String {
    let named = format!("`orch --config {} --resume ", for_shell(path));
    hint.replace("`orch --resume ", &named)
}

/// A word as a shell takes it whole.
fn for_shell(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./+=:@%,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn house_json(house: Option<&House>) -> bool {
    match house {
        Some(House::Check { json, .. } | House::Tool { json, .. } | House::Prices { json, .. }) => {
            *json
        }
        _ => false,
    }
}

/// What was asked for, in one word.
fn kind(cli: &Cli) -> &'static str {
    let actions = &cli.actions;
    let chosen = [
        (actions.all, "all"),
        (actions.task.is_some() || actions.resume.is_some(), "task"),
        (actions.agents, "agents"),
        (actions.models, "models"),
        (actions.status, "status"),
        (actions.health, "health"),
        (actions.costs, "costs"),
        (actions.tasks, "tasks"),
        (actions.runs, "runs"),
        (actions.logs.is_some(), "logs"),
    ];
    match &cli.house {
        Some(House::Init { .. }) => "init",
        Some(House::Check { .. }) => "check",
        Some(House::Tool { .. }) => "tool",
        Some(House::Trust { .. }) => "trust",
        Some(House::Prices { .. }) => "prices",
        Some(House::Schema { .. }) => "schema",
        Some(House::Completions { .. }) => "completions",
        Some(House::Man { .. }) => "man",
        None => chosen
            .into_iter()
            .find_map(|(asked, kind)| asked.then_some(kind))
            .unwrap_or("agent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_configuration_that_was_named() {
        let both = "say yes with `orch --resume 1 --yes`, or answer with `orch --resume 1`";
        for (hint, path, expected) in [
            (
                both,
                "a/orch.yaml",
                "say yes with `orch --config a/orch.yaml --resume 1 --yes`, or answer with \
                 `orch --config a/orch.yaml --resume 1`",
            ),
            (
                "go on with `orch --resume 1`",
                "my team's $x.yaml",
                r"go on with `orch --config 'my team'\''s $x.yaml' --resume 1`",
            ),
            (
                "`orch --runs` lists the runs",
                "a",
                "`orch --runs` lists the runs",
            ),
        ] {
            assert_eq!(with_config(hint, path), expected);
        }
    }
}
