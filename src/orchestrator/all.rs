//! Running many agents side by side on one prompt.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::kept::KeptRun;
use super::resolve::no_agents;
use super::{Conversation, Orchestrator, Order};
use crate::agents::{AgentSettings, ErrorReport, Recorded, RunResult};
use crate::cancel::Cancel;
use crate::error::{ErrorClass, OrchError};
use crate::event::{EventKind, Events};
use crate::providers::Delivery;
use crate::usage::CostSource;

/// What many agents are to do.
#[derive(Clone, Debug)]
pub struct AllOrder {
    /// The run's id.
    pub run_id: Arc<str>,
    /// The agents by name; every one when empty.
    pub only: Vec<String>,
    /// The prompt.
    pub prompt: String,
    /// The conversation of each.
    pub conversation: Conversation,
    /// When the run must be over.
    pub deadline: Option<Instant>,
    /// At most this many agents at once: what is in flight needs open files.
    pub at_once: usize,
}

impl Orchestrator {
    /// Runs agents in parallel; one that fails or hangs holds up no other. `finished` is told each result
    /// as it comes. The results are in configuration order.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub async fn run_all(
        &self,
        order: AllOrder,
        events: &Events,
        cancel: &Cancel,
        mut finished: impl FnMut(&RunResult),
    ) -> Result<RunResult, OrchError> {
        let chosen = self.chosen(&order.only)?;
        let names: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
        let plan = self.all_plan(&order, &names);
        let named = ("all", order.only.join(","));
        let run = self.begin(&order.run_id, (named.0, &named.1), plan).await?;
        let mut whole = self
            .ask_all(&run, order, events, cancel, &mut finished)
            .await;
        run.end(&mut whole).await;
        Ok(whole)
    }

    /// Asks the agents of a run that have not answered yet.
    pub(super) async fn ask_all(
        &self,
        run: &KeptRun,
        order: AllOrder,
        events: &Events,
        cancel: &Cancel,
        finished: &mut dyn FnMut(&RunResult),
    ) -> RunResult {
        let start = Instant::now();
        events
            .emit(EventKind::RunStarted {
                kind: "all",
                model: None,
            })
            .await;
        let mut waiting = run.plan.asked.iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut results: Vec<Option<RunResult>> = run.plan.asked.iter().map(|_| None).collect();
        loop {
            while running.len() < order.at_once.max(1)
                && let Some((index, asked)) = waiting.next()
            {
                let one = Order {
                    run_id: Arc::clone(&order.run_id),
                    agent: asked.agent.clone(),
                    prompt: order.prompt.clone(),
                    conversation: asked.conversation.clone(),
                    deadline: order.deadline,
                    delivery: Delivery::Buffered,
                };
                running.push(async move { (index, self.one_of(run, one, events, cancel).await) });
            }
            let Some((index, result)) = running.next().await else {
                break;
            };
            finished(&result);
            if let Some(slot) = results.get_mut(index) {
                *slot = Some(result);
            }
        }
        let results = results.into_iter().flatten().collect();
        let mut whole = sum(&order.run_id, "all", results);
        whole.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        whole
    }

    /// The answer of one agent: what it said before, or what it says now.
    async fn one_of(
        &self,
        run: &KeptRun,
        mut order: Order,
        events: &Events,
        cancel: &Cancel,
    ) -> RunResult {
        let mut failed = RunResult::empty(&order.run_id, "agent", &order.agent, "");
        failed.charge(run.earlier.of_agent(&order.agent));
        let journal = run.journal.under(&order.agent);
        if let Ok(Recorded::Done(result)) = journal.recall() {
            return result;
        }
        let conversation = std::mem::take(&mut order.conversation);
        let ready = self
            .opened(&order.agent, conversation)
            .and_then(|opened| self.ready(&run.plan, order, opened));
        match ready {
            Ok(ready) => {
                let place = (ready, journal.clone());
                let ending = |result: &mut RunResult| run.ending_one(&journal, result);
                self.run_ready(run, place, ending, events, cancel)
                    .await
                    .result
            }
            Err(error) => RunResult {
                error: Some(error.into()),
                ..failed
            },
        }
    }

    pub(super) fn chosen(&self, only: &[String]) -> Result<Vec<(&str, &AgentSettings)>, OrchError> {
        let agents = &self.config.document.agents;
        for name in only {
            self.settings_of(name)?;
        }
        let chosen: Vec<_> = agents
            .iter()
            .filter(|(name, _)| only.is_empty() || only.iter().any(|n| n == name))
            .collect();
        if chosen.is_empty() {
            return Err(no_agents(&self.config));
        }
        self.check_model(chosen.iter().map(|(name, _)| *name))?;
        Ok(chosen)
    }
}

/// One result for many: sums, and the class that all failures share.
pub(super) fn sum(run_id: &str, kind: &'static str, results: Vec<RunResult>) -> RunResult {
    let mut whole = RunResult::empty(run_id, kind, "", "");
    for result in &results {
        let source = if result.attempts == 0 {
            CostSource::Computed
        } else {
            result.cost_source
        };
        whole.add_cost(result.usage, result.cost_usd, source);
        whole.attempts += result.attempts;
        whole.retries += result.retries;
        whole.turns += result.turns;
    }
    let said = |result: &RunResult| {
        let name = result.agent.clone();
        let warnings = result.warnings.clone().into_iter();
        warnings.map(move |words| format!("{name}: {words}"))
    };
    whole.warnings = results.iter().flat_map(said).collect();
    let failed: Vec<&RunResult> = results.iter().filter(|result| !result.ok).collect();
    whole.ok = failed.is_empty();
    whole.error = error_of(&failed, results.len());
    whole.results = Some(results);
    whole
}

fn error_of(failed: &[&RunResult], all: usize) -> Option<ErrorReport> {
    let first = failed.first()?.error.as_ref()?;
    // What stopped the whole run stopped it whatever had finished before.
    let stopped = failed
        .iter()
        .filter_map(|result| result.error.as_ref())
        .find(|error| {
            matches!(
                error.class,
                ErrorClass::Interrupted | ErrorClass::Terminated
            )
        });
    if let Some(stopped) = stopped {
        return Some(ErrorReport::new(stopped.class, stopped.message.clone()));
    }
    let names: Vec<&str> = failed
        .iter()
        .map(|result| result.agent.as_str())
        .take(10)
        .collect();
    let named = names.join(", ");
    if failed.len() < all {
        let message = format!("{} of {all} agents failed: {named}", failed.len());
        return Some(ErrorReport::new(ErrorClass::Partial, message));
    }
    let common = failed.iter().all(|result| {
        result
            .error
            .as_ref()
            .is_some_and(|error| error.class == first.class)
    });
    let class = if common {
        first.class
    } else {
        ErrorClass::Failed
    };
    Some(ErrorReport {
        hint: first.hint.clone(),
        ..ErrorReport::new(class, format!("every agent failed: {}", first.message))
    })
}
