//! `--costs`: what was spent, as a table, JSON, CSV or in the original's form.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::{Call, load, run};
use crate::costs::report::{self, Filter};
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::Orchestrator;
use crate::render::{self, Closed};
use crate::store::StoreError;

/// How a CSV ends before its end.
enum Cut {
    Store(StoreError),
    Closed,
}

impl From<StoreError> for Cut {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Closed> for Cut {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

pub(super) fn costs(call: &Call) -> Result<u8, OrchError> {
    let filter = filter(call)?;
    if call.json() && call.cli.actions.csv {
        return Err(
            OrchError::new(ErrorClass::Usage, "`--csv` is a form of its own")
                .with_hint("leave `--json` and `--output` out"),
        );
    }
    let config = Arc::new(load::config(call)?);
    let orchestrator = Orchestrator::look(config, run::options(call)?)?;
    let filter = orchestrator.known(filter)?;
    if call.cli.actions.csv {
        if orchestrator.store().is_none() {
            return Ok(call.print(&report::csv_header()));
        }
        costs_csv(&orchestrator, &filter, render::stdout)?;
        return Ok(0);
    }
    Ok(if call.cli.actions.export {
        call.print_json(&costs_export(&orchestrator, &filter)?)
    } else if call.json() {
        let report = orchestrator.report(&filter)?;
        call.print_json(&serde_json::to_value(&report).unwrap_or_default())
    } else {
        call.list(&costs_text(&orchestrator, &filter)?)
    })
}

/// What was spent, as tables with bars.
pub(crate) fn costs_text(
    orchestrator: &Orchestrator,
    filter: &Filter,
) -> Result<String, OrchError> {
    let report = orchestrator.report(filter)?;
    let columns = render::stdout_is_terminal().then(render::width);
    Ok(report::report_text(&report, columns))
}

/// What was spent, as the original program exported it.
pub(crate) fn costs_export(
    orchestrator: &Orchestrator,
    filter: &Filter,
) -> Result<Value, OrchError> {
    let (budgets, now) = (
        &orchestrator.config().document.settings.budget,
        SystemTime::now(),
    );
    match orchestrator.store() {
        Some(store) => {
            report::export(store, filter, budgets, now).map_err(|error| unreadable(&error))
        }
        None => Ok(report::empty_export(budgets, now)),
    }
}

/// Hands out every attempt as CSV, line by line; a reader that has gone ends it quietly.
pub(crate) fn costs_csv(
    orchestrator: &Orchestrator,
    filter: &Filter,
    mut write: impl FnMut(&str) -> Result<(), Closed>,
) -> Result<(), OrchError> {
    let Some(store) = orchestrator.store() else {
        return Ok(());
    };
    match report::csv(store, filter, |line| write(line).map_err(Cut::from)) {
        Ok(()) | Err(Cut::Closed) => Ok(()),
        Err(Cut::Store(error)) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &StoreError) -> OrchError {
    OrchError::new(ErrorClass::Failed, "the ledger cannot be read")
        .caused_by(error)
        .with_hint(error.hint())
}

fn filter(call: &Call) -> Result<Filter, OrchError> {
    let actions = &call.cli.actions;
    let now = SystemTime::now();
    let wrong = |error: report::PeriodError| {
        OrchError::new(ErrorClass::Usage, error.to_string())
            .with_hint("give a day, a month or a span of time, for example `--since 7d`")
    };
    let since = actions
        .since
        .as_deref()
        .map(|text| report::since(text, now))
        .transpose();
    let until = actions
        .until
        .as_deref()
        .map(|text| report::until(text, now))
        .transpose();
    let filter = Filter {
        since: since.map_err(wrong)?,
        until: until.map_err(wrong)?,
        run: actions.run_id.clone(),
        agent: actions.agent.clone(),
    };
    filter
        .ordered()
        .map_err(|error| OrchError::new(ErrorClass::Usage, error.to_string()))
}
