//! The tool calls of one turn: run side by side, answered in order.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::ToolReport;
use super::state::Stop;
use crate::cancel::Cancel;
use crate::event::Events;
use crate::message::{ToolCall, ToolResult};
use crate::tools::{self, Change, ToolContext, ToolStatus};

/// What a batch of calls gave: a result for every call, whatever happened.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) results: Vec<ToolResult>,
    pub(super) reports: Vec<ToolReport>,
    pub(super) changes: Vec<Change>,
    pub(super) stop: Option<Stop>,
}

/// Runs the calls in parallel until all have ended, the run is stopped or its deadline has come.
/// Those that had not ended by then are dropped and answered with the reason.
pub(super) async fn run(
    context: &ToolContext,
    calls: &[ToolCall],
    events: &Events,
    cancel: &Cancel,
    deadline: Option<Instant>,
) -> Batch {
    let mut running: FuturesUnordered<_> = calls
        .iter()
        .enumerate()
        .map(|(index, call)| async move { (index, tools::execute(context, call, events).await) })
        .collect();
    let mut outcomes: Vec<Option<tools::ToolOutcome>> = calls.iter().map(|_| None).collect();
    let mut batch = Batch::default();
    let over = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            cause = cancel.cancelled() => {
                batch.stop = Some(Stop::Cancelled(cause));
                break;
            }
            () = &mut over => {
                batch.stop = Some(Stop::Deadline);
                break;
            }
            ended = running.next() => match ended {
                None => break,
                Some((index, Ok(outcome))) => {
                    if let Some(slot) = outcomes.get_mut(index) {
                        *slot = Some(outcome);
                    }
                }
                Some((_, Err(error))) => {
                    batch.stop = Some(Stop::Tools(format!("the tools cannot go on: {error}")));
                    break;
                }
            },
        }
    }
    drop(running);
    for (call, outcome) in calls.iter().zip(outcomes) {
        let result = |content, is_error| ToolResult {
            call_id: call.id.clone(),
            tool: call.name.clone(),
            content,
            is_error,
        };
        match outcome {
            Some(outcome) => {
                let ok = outcome.status == ToolStatus::Ok;
                batch.reports.push(ToolReport {
                    tool: call.name.clone(),
                    ok,
                    ms: outcome.ms,
                });
                batch.changes.extend(outcome.change);
                batch.results.push(result(outcome.content, !ok));
            }
            None => {
                batch.reports.push(ToolReport {
                    tool: call.name.clone(),
                    ok: false,
                    ms: 0,
                });
                batch
                    .results
                    .push(result("stopped before it ended".to_owned(), true));
            }
        }
    }
    batch
}
