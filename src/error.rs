//! The one error at the edge: its class decides the exit code.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The classes of the interface, each with one exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// Anything without a class of its own.
    Failed,
    /// Wrong flags, unknown names, an empty prompt.
    Usage,
    /// The configuration is missing, wrong or not trusted.
    Config,
    /// A key is missing or refused, or the account is exhausted.
    Auth,
    /// The provider failed after retries.
    Provider,
    /// A deadline was reached.
    Timeout,
    /// A budget would be exceeded.
    Budget,
    /// Some finished, some failed.
    Partial,
    /// Policy, approval or sandbox forbid the run to go on.
    Denied,
    /// `max_turns` was reached before the answer.
    TurnLimit,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl ErrorClass {
    /// Every class; of two with one name the first is meant when it is read.
    const ALL: [Self; 12] = [
        Self::Failed,
        Self::Usage,
        Self::Config,
        Self::Auth,
        Self::Provider,
        Self::Timeout,
        Self::Budget,
        Self::Partial,
        Self::Denied,
        Self::TurnLimit,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The class as the interface names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Config => "config",
            Self::Auth => "auth",
            Self::Provider => "provider",
            Self::Timeout => "timeout",
            Self::Budget => "budget",
            Self::Partial => "partial",
            Self::Denied => "denied",
            Self::TurnLimit => "turn_limit",
            Self::Interrupted | Self::Terminated => "interrupted",
        }
    }

    /// The exit code of the interface.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Config => 3,
            Self::Auth => 4,
            Self::Provider => 5,
            Self::Timeout => 6,
            Self::Budget => 7,
            Self::Partial => 8,
            Self::Denied => 9,
            Self::TurnLimit => 10,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl<'de> Deserialize<'de> for ErrorClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::ALL
            .into_iter()
            .find(|class| class.name() == name)
            .ok_or_else(|| de::Error::custom(format_args!("there is no class `{name}`")))
    }
}

impl Serialize for ErrorClass {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a user reads when something went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OrchError {
    /// The class.
    pub class: ErrorClass,
    /// Lower case, no full stop, backticks round what the user typed.
    pub message: String,
    /// The chain of causes, outermost first.
    pub causes: Vec<String>,
    /// The fix.
    pub hint: Option<String>,
}

impl OrchError {
    /// An error with its class and words.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// The same error with the fix.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with what caused `error`, whose own words are in the message already.
    #[must_use]
    pub fn caused_by_source(self, error: &dyn std::error::Error) -> Self {
        match error.source() {
            Some(source) => self.caused_by(source),
            None => self,
        }
    }

    /// The same error with a cause.
    #[must_use]
    pub fn caused_by(mut self, cause: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(cause);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }
}
