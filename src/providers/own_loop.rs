//! What is said to, and told by, a provider that takes its own turns and runs its own tools: an
//! agent CLI.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::usage::Usd;

/// What a provider that takes its own turns is given beside the request.
#[derive(Clone, Debug, Default)]
pub struct OwnLoop {
    /// Model turns in this run; its own default without one.
    pub max_turns: Option<u32>,
    /// What the whole run may cost, all of which is held while it runs; no cap without one.
    pub budget: Option<Usd>,
    /// The most that one reply can cost: such a provider checks its budget after a reply, so this is
    /// kept back from `budget`.
    pub worst_reply: Usd,
    /// The model of the same provider that answers when the first has no capacity.
    pub fallback_model: Option<String>,
    /// The workspace: where it works when it runs its own tools.
    pub workspace: PathBuf,
    /// Whether another run waits for this one, as when an agent calls an agent: it must not wait for
    /// a place that the other one holds.
    pub nested: bool,
    /// Whether others make calls out of the same budgets while it runs: agents that it calls, or its
    /// siblings.
    pub shares: bool,
    /// Its seat among the calls that the provider takes at once, where one was waited for.
    pub seat: Option<Seat>,
    /// Where it finds our tools; `None` when it gets none of them.
    pub bridge: Option<ToolBridge>,
}

/// Where a provider that runs its own tools finds ours: a socket that speaks MCP to the relay, which
/// the provider starts as an MCP server over standard streams.
#[derive(Clone, Debug)]
pub struct ToolBridge {
    /// The unix socket that the relay connects to.
    pub socket: PathBuf,
    /// The relay's command; the path of the socket follows as its last argument.
    pub relay: Vec<OsString>,
    /// Calls that run right now: while there are some, the provider's silence is no stall.
    pub running: Running,
}

/// A seat among the calls that a provider takes at once, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Seat {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl From<OwnedSemaphorePermit> for Seat {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: Arc::new(permit),
        }
    }
}

/// How many calls run right now.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<AtomicU32>);

impl Running {
    /// Counts one call until the value that is returned is dropped.
    pub fn start(&self) -> RunningCall {
        self.0.fetch_add(1, Ordering::AcqRel);
        RunningCall(self.clone())
    }

    /// Whether a call runs.
    pub fn any(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// One call that runs; see [`Running::start`].
#[derive(Debug)]
#[must_use]
pub struct RunningCall(Running);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One tool call that a provider ran itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTool {
    /// The tool's name as the provider says it.
    pub tool: String,
    /// Whether it did what was asked.
    pub ok: bool,
    /// From its start to its result as seen from outside, milliseconds.
    pub ms: u64,
}
