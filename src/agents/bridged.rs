//! The tools of an agent for a model that takes its own turns: its calls come over the bridge while
//! the model is asked, and run here, as those of any other model do.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

use super::journal::Journal;
use super::state::Stop;
use super::tool_calls::{self, Asked, Batch};
use super::turns::{Agent, Around};
use crate::mcp::bridge::{Bridge, RunTool};
use crate::message::{ToolCall, ToolResult, ToolSpec};
use crate::providers::ToolBridge;

/// How many calls may wait to be looked at.
const WAITING: usize = 64;

/// A call, and where its result goes.
type Asking = (ToolCall, oneshot::Sender<ToolResult>);

/// A bridge to the agent's tools, and the calls that come over it.
pub(super) struct Bridged {
    bridge: Bridge,
    calls: mpsc::Receiver<Asking>,
}

impl Bridged {
    /// Serves the tools while it lives, where a model of the agent's chain takes its own turns.
    pub(super) fn open(agent: &Agent, tools: &[ToolSpec]) -> Result<Option<Self>, Stop> {
        let wanted = agent
            .chain
            .iter()
            .any(|link| link.provider.runs_own_tools());
        if !wanted || tools.is_empty() {
            return Ok(None);
        }
        let (sender, calls) = mpsc::channel::<Asking>(WAITING);
        let run: RunTool = Arc::new(move |call| {
            let sender = sender.clone();
            Box::pin(async move {
                let (id, tool) = (call.id.clone(), call.name.clone());
                let (answer, result) = oneshot::channel();
                let asked = sender.send((call, answer)).await.is_ok();
                let result = if asked { result.await.ok() } else { None };
                result.unwrap_or_else(|| ToolResult {
                    call_id: id,
                    tool,
                    content: "stopped before it ended".to_owned(),
                    is_error: true,
                })
            })
        });
        let state_dir = agent.tools.workspace.policy().state_dir.clone();
        let parent = state_dir.unwrap_or_else(std::env::temp_dir).join("bridge");
        std::env::current_exe()
            .and_then(|program| Bridge::open(&parent, &program, tools, run))
            .map(|bridge| Some(Self { bridge, calls }))
            .map_err(|error| Stop::Tools(format!("the tools cannot be served: {error}")))
    }

    /// Where the model finds the tools.
    pub(super) fn address(&self) -> ToolBridge {
        self.bridge.address()
    }
}

/// Runs the calls that come over the bridge, side by side, until one of them ends the run; for ever
/// without a bridge. What they gave is in `batch`, whenever this is dropped.
pub(super) async fn serve(
    bridged: &mut Option<Bridged>,
    around: &Around<'_>,
    journal: &Journal,
    batch: &mut Batch,
) -> Stop {
    let Some(bridged) = bridged else {
        return std::future::pending().await;
    };
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            next = bridged.calls.recv() => match next {
                Some((call, answer)) => running.push(run(around, journal, call, answer)),
                None => std::future::pending().await,
            },
            Some((call, answer, ran)) = running.next() => match ran {
                None => batch.take(&call, None),
                Some(Ok(ran)) => {
                    batch.take(&call, Some(ran));
                    if let Some(result) = batch.results.pop() {
                        // Who asked may be gone meanwhile.
                        drop(answer.send(result));
                    }
                }
                Some(Err(stop)) => return stop,
            },
        }
    }
}

/// Runs one call; dropped when nobody waits for its result any more.
async fn run(
    around: &Around<'_>,
    journal: &Journal,
    call: ToolCall,
    mut answer: oneshot::Sender<ToolResult>,
) -> (
    ToolCall,
    oneshot::Sender<ToolResult>,
    Option<Result<tool_calls::Ran, Stop>>,
) {
    // The model decides anew after an interruption: no call of it is known before.
    let journal = journal.under(&call.id);
    let ran = tokio::select! {
        biased;
        ran = tool_calls::one(around, &call, Asked::Now, &journal) => Some(ran),
        () = answer.closed() => None,
    };
    (call, answer, ran)
}
