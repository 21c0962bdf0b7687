//! What happens during a run, told to whoever watches: one bounded channel.
//!
//! Events are for eyes. Dropping every one of them changes no answer, ledger row, session or exit
//! code: whatever matters is in return values.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::usage::{Usage, Usd};

/// How many events may wait for a slow watcher before the producer waits too.
const CAPACITY: usize = 1024;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// The run it belongs to.
    pub run_id: Arc<str>,
    /// The agent it belongs to; empty for the run as a whole.
    pub agent: Arc<str>,
    /// The step of a task, where there is one.
    pub step: Option<Arc<str>>,
    /// Whether the agent was called by another one: what it says is no part of the answer.
    pub is_delegate: bool,
    /// What.
    pub kind: EventKind,
    /// Dropped with the event: whoever told it may wait for it to be shown.
    pub shown: Option<Shown>,
}

/// Held by an event until it was shown, or until nobody can show it any more.
#[derive(Clone, Debug)]
pub struct Shown(
    #[expect(dead_code, reason = "it is there to be dropped")] Arc<oneshot::Sender<()>>,
);

/// The kinds of events, serialised as the interface names them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum EventKind {
    /// A run began.
    #[serde(rename = "run.started")]
    RunStarted {
        /// `agent`, `all` or `task`.
        kind: &'static str,
        /// The model asked for, where there is one agent.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    /// A model turn began.
    #[serde(rename = "turn.started")]
    TurnStarted {
        /// Counted from 1.
        turn: u32,
    },
    /// A piece of the answer.
    #[serde(rename = "text.delta")]
    TextDelta {
        /// The piece.
        text: String,
    },
    /// A piece of the reasoning.
    #[serde(rename = "reasoning.delta")]
    ReasoningDelta {
        /// The piece.
        text: String,
    },
    /// A tool call begins.
    #[serde(rename = "tool.started")]
    ToolStarted {
        /// The call's id.
        call_id: String,
        /// The tool's name.
        tool: String,
        /// Its arguments, secrets masked.
        arguments: Value,
    },
    /// A tool call ended.
    #[serde(rename = "tool.finished")]
    ToolFinished {
        /// The call's id.
        call_id: String,
        /// The tool's name.
        tool: String,
        /// Whether it did what was asked.
        ok: bool,
        /// How long it took, milliseconds.
        ms: u64,
        /// The first line of what came back, for one line on a screen.
        summary: String,
    },
    /// An attempt failed and will be tried again.
    #[serde(rename = "retry")]
    Retry {
        /// The attempt that failed, counted from 1.
        attempt: u32,
        /// How many attempts there may be.
        of: u32,
        /// The class of the failure, such as `rate_limited`.
        class: String,
        /// HTTP status, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The vendor's error code, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// The wait before the next attempt, milliseconds.
        delay_ms: u64,
        /// Who told the wait: `header`, `body` or `backoff`.
        told_by: &'static str,
        /// The vendor's id of the failed request.
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        /// The endpoint's name.
        endpoint: String,
    },
    /// A call waits for a rate limit, a concurrency permit or a cool-down.
    #[serde(rename = "throttled")]
    Throttled {
        /// What is waited for, in words.
        reason: String,
        /// How long, milliseconds, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
        /// The endpoint's name.
        endpoint: String,
    },
    /// Another model answers instead.
    #[serde(rename = "fallback")]
    Fallback {
        /// The model that failed.
        from: String,
        /// The model that is asked now.
        to: String,
        /// The class of the failure.
        class: String,
    },
    /// A circuit breaker changed its state.
    #[serde(rename = "breaker")]
    Breaker {
        /// The endpoint's name.
        endpoint: String,
        /// `closed`, `open` or `half_open`.
        state: &'static str,
        /// When a call may be tried again, milliseconds from now.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// The text of this turn so far is void: the turn is asked again.
    #[serde(rename = "stream.reset")]
    StreamReset,
    /// A tool call waits for a person's yes.
    #[serde(rename = "approval")]
    Approval {
        /// The tool.
        tool: String,
        /// Exactly what it would do.
        action: String,
        /// The answer, once given.
        #[serde(skip_serializing_if = "Option::is_none")]
        granted: Option<bool>,
    },
    /// An attempt was settled.
    #[serde(rename = "usage")]
    Usage {
        /// Its tokens.
        usage: Usage,
        /// Its cost.
        cost_usd: Usd,
    },
    /// A budget is nearly used up.
    #[serde(rename = "budget.warning")]
    BudgetWarning {
        /// Which budget, such as `day`.
        budget: String,
        /// What is spent and held.
        used_usd: Usd,
        /// The cap.
        limit_usd: Usd,
    },
    /// Older turns were summarised to fit the window.
    #[serde(rename = "compacted")]
    Compacted {
        /// How many messages the summary replaces.
        messages: usize,
    },
    /// A step of a task began.
    #[serde(rename = "step.started")]
    StepStarted {},
    /// A step of a task ended.
    #[serde(rename = "step.finished")]
    StepFinished {
        /// Whether it succeeded.
        ok: bool,
    },
    /// Something worth knowing that is no failure.
    #[serde(rename = "notice")]
    Notice {
        /// The words, lower case, no full stop.
        text: String,
    },
}

impl EventKind {
    /// Whether it is a part of an answer, or takes parts of one back.
    fn is_words(&self) -> bool {
        matches!(
            self,
            Self::TextDelta { .. } | Self::ReasoningDelta { .. } | Self::StreamReset
        )
    }

    /// The words of a notice or of a budget that is nearly used up, as the result's warnings have them.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Notice { text } => Some(text.clone()),
            Self::BudgetWarning {
                budget,
                used_usd,
                limit_usd,
            } => Some(format!(
                "{used_usd} of the {budget} budget of {limit_usd} USD is used"
            )),
            _ => None,
        }
    }
}

/// The sending side of the event channel, with the names of whom it speaks for.
#[derive(Clone, Debug)]
pub struct Events {
    sender: Option<mpsc::Sender<Event>>,
    run_id: Arc<str>,
    agent: Arc<str>,
    step: Option<Arc<str>>,
    is_delegate: bool,
    is_mute: bool,
    said: Option<Said>,
}

/// What a turn has said so far. Its owner keeps it when the turn is cancelled in the middle, whether
/// anybody watches or not.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<(String, String)>>);

impl Said {
    /// The text and the reasoning so far; empties both.
    pub fn take(&self) -> (String, String) {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, kind: &EventKind) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            EventKind::TextDelta { text } => said.0.push_str(text),
            EventKind::ReasoningDelta { text } => said.1.push_str(text),
            EventKind::StreamReset => *said = Default::default(),
            _ => {}
        }
    }
}

impl Events {
    /// A channel for one run.
    pub fn channel(run_id: &str) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let events = Self {
            sender: Some(sender),
            run_id: run_id.into(),
            agent: "".into(),
            step: None,
            is_delegate: false,
            is_mute: false,
            said: None,
        };
        (events, receiver)
    }

    /// Events that nobody watches.
    pub fn nobody() -> Self {
        Self {
            sender: None,
            run_id: "".into(),
            agent: "".into(),
            step: None,
            is_delegate: false,
            is_mute: false,
            said: None,
        }
    }

    /// The same channel, speaking for an agent.
    #[must_use]
    pub fn for_agent(&self, agent: &str) -> Self {
        Self {
            agent: agent.into(),
            ..self.clone()
        }
    }

    /// The same channel, speaking for an agent that another one calls.
    #[must_use]
    pub fn for_delegate(&self, agent: &str) -> Self {
        Self {
            is_delegate: true,
            said: None,
            ..self.for_agent(agent)
        }
    }

    /// The same channel, for a call whose answer is for the program alone: it passes no words on.
    #[must_use]
    pub fn without_words(&self) -> Self {
        Self {
            is_mute: true,
            said: None,
            ..self.clone()
        }
    }

    /// The same channel, speaking for a step of a task.
    #[must_use]
    pub fn for_step(&self, step: &str) -> Self {
        Self {
            step: Some(step.into()),
            ..self.clone()
        }
    }

    /// The same channel, keeping what is said through it in `said` as well.
    #[must_use]
    pub fn keeping(&self, said: &Said) -> Self {
        Self {
            said: Some(said.clone()),
            ..self.clone()
        }
    }

    /// The run that these events belong to.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Whether anybody watches: work only done for eyes may be left out otherwise.
    pub fn is_watched(&self) -> bool {
        self.sender
            .as_ref()
            .is_some_and(|sender| !sender.is_closed())
    }

    /// Tells an event; waits while the watcher is behind.
    pub async fn emit(&self, kind: EventKind) {
        if let Some(said) = &self.said {
            said.note(&kind);
        }
        if self.is_mute && kind.is_words() {
            return;
        }
        if let Some(sender) = &self.sender {
            // A watcher that is gone is no fault: events are for eyes.
            drop(sender.send(self.event(kind)).await);
        }
    }

    /// Tells an event and waits until it was shown, or until nobody shows it any more: what comes next on
    /// the same screen, on a way of its own, does not overtake it.
    pub async fn emit_shown(&self, kind: EventKind) {
        let Some(sender) = &self.sender else { return };
        let (shown, seen) = oneshot::channel::<()>();
        let mut event = self.event(kind);
        event.shown = Some(Shown(Arc::new(shown)));
        drop(sender.send(event).await);
        // Nothing is ever sent: the other end is dropped.
        drop(seen.await);
    }

    /// Tells an event from where waiting is impossible, such as `Drop`; lost when the watcher is behind.
    pub fn try_emit(&self, kind: EventKind) {
        if let Some(said) = &self.said {
            said.note(&kind);
        }
        if self.is_mute && kind.is_words() {
            return;
        }
        if let Some(sender) = &self.sender {
            drop(sender.try_send(self.event(kind)));
        }
    }

    /// Tells a notice.
    pub async fn notice(&self, text: impl Into<String>) {
        self.emit(EventKind::Notice { text: text.into() }).await;
    }

    fn event(&self, kind: EventKind) -> Event {
        Event {
            at: SystemTime::now(),
            run_id: Arc::clone(&self.run_id),
            agent: Arc::clone(&self.agent),
            step: self.step.clone(),
            is_delegate: self.is_delegate,
            kind,
            shown: None,
        }
    }
}
