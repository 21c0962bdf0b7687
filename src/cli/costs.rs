//! `--costs`: what was spent, as a table, JSON, CSV or in the original's form.

use std::sync::Arc;
use std::time::SystemTime;

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
    let unreadable = |error: StoreError| {
        OrchError::new(ErrorClass::Failed, "the ledger cannot be read").caused_by(&error)
    };
    if call.cli.actions.csv {
        let Some(store) = orchestrator.store() else {
            return Ok(call.print(&report::csv_header()));
        };
        return match report::csv(store, &filter, |line| {
            render::stdout(line).map_err(Cut::from)
        }) {
            Ok(()) | Err(Cut::Closed) => Ok(0),
            Err(Cut::Store(error)) => Err(unreadable(error)),
        };
    }
    let sums = orchestrator.report(&filter)?;
    if call.cli.actions.export {
        let limit = orchestrator.config().document.settings.budget.month_usd;
        let export = match orchestrator.store() {
            Some(store) => report::export(store, &filter, &sums, limit).map_err(unreadable)?,
            None => serde_json::json!({"requests": [], "summary": sums, "budget_limit": limit}),
        };
        return Ok(call.print_json(&export));
    }
    Ok(if call.json() {
        call.print_json(&serde_json::to_value(&sums).unwrap_or_default())
    } else {
        call.print(&report::report_text(&sums, render::width()))
    })
}

fn filter(call: &Call) -> Result<Filter, OrchError> {
    let actions = &call.cli.actions;
    let now = SystemTime::now();
    let wrong = |error: report::PeriodError| OrchError::new(ErrorClass::Usage, error.to_string());
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
    Ok(Filter {
        since: since.map_err(wrong)?,
        until: until.map_err(wrong)?,
        run: actions.run_id.clone(),
        agent: actions.agent.clone(),
    })
}
