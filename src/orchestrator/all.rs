//! Running many agents side by side on one prompt.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::resolve::no_agents;
use super::{Conversation, Orchestrator, Order};
use crate::agents::{AgentSettings, ErrorReport, RunResult};
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
        let start = Instant::now();
        events
            .emit(EventKind::RunStarted {
                kind: "all",
                model: None,
            })
            .await;
        let mut waiting = chosen.iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut results: Vec<Option<RunResult>> = chosen.iter().map(|_| None).collect();
        loop {
            while running.len() < order.at_once.max(1)
                && let Some((index, (name, settings))) = waiting.next()
            {
                let one = Order {
                    run_id: Arc::clone(&order.run_id),
                    agent: (*name).to_owned(),
                    prompt: order.prompt.clone(),
                    conversation: order.conversation.clone(),
                    deadline: order.deadline,
                    delivery: Delivery::Buffered,
                };
                let failed = RunResult::empty(&order.run_id, "agent", name, "");
                running.push(async move {
                    let result = match self.run_with(settings, one, events, cancel).await {
                        Ok(done) => done.result,
                        Err(error) => RunResult {
                            error: Some(error.into()),
                            ..failed
                        },
                    };
                    (index, result)
                });
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
        Ok(whole)
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
