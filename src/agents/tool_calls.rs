//! The tool calls of one turn: run side by side, answered in order, kept as each one ends.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};

use super::delegation;
use super::journal::{Journal, Recorded};
use super::state::Stop;
use super::turns::Around;
use super::{ToolReport, failure};
use crate::message::{ToolCall, ToolResult};
use crate::store::{Durability, StoreError};
use crate::tools::{self, Effect, ToolOutcome, ToolStatus};

/// What a batch of calls gave: a result for every call, whatever happened.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) results: Vec<ToolResult>,
    pub(super) reports: Vec<ToolReport>,
    /// The attempts after a failed one of the agents that were called.
    pub(super) retries: u32,
    /// What the agents that were called warned of.
    pub(super) child_warnings: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) stop: Option<Stop>,
}

/// A call that has ended, as the journal keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ran {
    /// The text for the model.
    pub(super) content: String,
    /// How it ended.
    pub(super) status: ToolStatus,
    /// How long it took, milliseconds.
    pub(super) ms: u64,
    /// The attempts after a failed one of the agent that was called.
    #[serde(default)]
    pub(super) retries: u32,
    /// What the agent that was called warned of, behind its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) child_warnings: Vec<String>,
    /// Its outcome is not known: the process that ran it ended first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unknown: bool,
    /// What the user must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
    /// What it may have changed.
    #[serde(skip)]
    pub(super) effect: Option<Effect>,
}

impl From<ToolOutcome> for Ran {
    fn from(outcome: ToolOutcome) -> Self {
        Self {
            content: outcome.content,
            status: outcome.status,
            ms: outcome.ms,
            retries: 0,
            child_warnings: Vec::new(),
            unknown: false,
            warnings: outcome.warnings,
            effect: outcome.effect,
        }
    }
}

/// Whether the turn that asked for the calls was asked for just now, or by a process before this one,
/// which may have begun to run them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Now,
    Before,
}

/// Runs the calls in parallel until all have ended, the run is stopped or its deadline has come.
/// Those that had not ended by then are dropped and answered with the reason.
pub(super) async fn run(
    around: &Around<'_>,
    calls: &[ToolCall],
    asked: Asked,
    journal: &Journal,
) -> Batch {
    let mut running: FuturesUnordered<_> = calls
        .iter()
        .enumerate()
        .map(|(index, call)| async move {
            let journal = journal.under(&index.to_string());
            (index, one(around, call, asked, &journal).await)
        })
        .collect();
    let mut ended: Vec<Option<Ran>> = calls.iter().map(|_| None).collect();
    let mut batch = Batch::default();
    let over = around.ask.over();
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            cause = around.cancel.cancelled() => {
                batch.stop = Some(Stop::Cancelled(cause));
                break;
            }
            () = &mut over => {
                batch.stop = Some(Stop::Deadline("tools ran"));
                break;
            }
            next = running.next() => match next {
                None => break,
                Some((index, Ok(ran))) => {
                    if let Some(slot) = ended.get_mut(index) {
                        *slot = Some(ran);
                    }
                }
                Some((_, Err(stop))) => {
                    batch.stop = Some(stop);
                    break;
                }
            },
        }
    }
    drop(running);
    for (call, ran) in calls.iter().zip(ended) {
        batch.take(call, ran);
    }
    batch
}

impl Batch {
    /// Takes the end of a call in; `None` when it was stopped before.
    pub(super) fn take(&mut self, call: &ToolCall, ran: Option<Ran>) {
        let mut result = ToolResult {
            call_id: call.id.clone(),
            tool: call.name.clone(),
            content: "stopped before it ended".to_owned(),
            is_error: true,
        };
        let mut report = ToolReport {
            tool: call.name.clone(),
            ok: false,
            ms: 0,
        };
        if let Some(ran) = ran {
            report.ok = ran.status == ToolStatus::Ok;
            report.ms = ran.ms;
            result.is_error = !report.ok;
            result.content = ran.content;
            self.warnings.extend(ran.warnings);
            self.retries += ran.retries;
            self.child_warnings.extend(ran.child_warnings);
            if ran.unknown {
                self.warnings.push(format!(
                    "a call of `{}` was cut off when the run was interrupted; its outcome is not known",
                    call.name
                ));
            }
        }
        self.reports.push(report);
        self.results.push(result);
    }
}

pub(super) async fn one(
    around: &Around<'_>,
    call: &ToolCall,
    asked: Asked,
    journal: &Journal,
) -> Result<Ran, Stop> {
    if let Recorded::Done(ran) = journal.recall().map_err(lost)? {
        return Ok(ran);
    }
    let ran = if asked == Asked::Before && !may_run_again(&call.name) {
        around
            .events
            .notice(format!(
                "a call of `{}` was cut off; its outcome is not known",
                call.name
            ))
            .await;
        cut_off(&call.name)
    } else if call.name == delegation::TOOL && around.may_delegate() {
        delegation::call(around, call, journal)
            .await
            .map_err(|error| failure::tools(&error))?
    } else if around.servers.have(&call.name) {
        around
            .servers
            .execute(&around.agent.tools, call, around.events)
            .await
            .map_err(|error| failure::tools(&error))?
            .into()
    } else {
        tools::execute(&around.agent.tools, call, around.events)
            .await
            .map_err(|error| failure::tools(&error))?
            .into()
    };
    // What only looked may be done again after a power cut.
    let durability = match ran.effect {
        Some(Effect::Read) | None if !ran.unknown => Durability::Normal,
        _ => Durability::Full,
    };
    journal.keep(durability, &ran).await.map_err(lost)?;
    Ok(ran)
}

/// Whether a call that may have run, wholly or in part, is simply run again: when it changes nothing,
/// or when it keeps a journal of its own.
fn may_run_again(tool: &str) -> bool {
    if tool == delegation::TOOL {
        return true;
    }
    let Some(name) = tools::canonical_name(tool) else {
        return false;
    };
    tools::TOOLS
        .iter()
        .any(|tool| tool.name == name && tool.effect == Effect::Read)
}

fn cut_off(tool: &str) -> Ran {
    Ran {
        content: format!(
            "the program was interrupted while this call of `{tool}` ran: it may have done its work, a \
             part of it, or nothing; look at how things stand before you do it again"
        ),
        status: ToolStatus::Failed,
        ms: 0,
        retries: 0,
        child_warnings: Vec::new(),
        unknown: true,
        warnings: Vec::new(),
        effect: None,
    }
}

/// A journal that cannot be written or read ends the run: what is not kept would be done twice.
pub(super) fn lost(error: StoreError) -> Stop {
    Stop::Journal(error)
}
