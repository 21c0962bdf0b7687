//! What a call has come to so far: attempts, money, changes of model; and the answer or the error that
//! is made of it.

use std::time::Duration;

use super::call::{Answer, AttemptReport, CallError, CallErrorKind, FallbackReport, Link};
use super::endpoint::{Reason, Refusal};
use super::retry::GiveUp;
use super::words;
use crate::costs::{Charges, Refused, Settled};
use crate::providers::{FaultKind, Partial, ProviderError, Reply};
use crate::usage::{CostSource, Usage, Usd};

/// What a call has come to so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) attempts: u32,
    pub(super) failures: Vec<AttemptReport>,
    pub(super) fallbacks: Vec<FallbackReport>,
    pub(super) warnings: Vec<String>,
    /// How often what was shown had to be struck.
    pub(super) resets: u32,
    charges: Charges,
    /// The tokens of the last prompt, as counted by who answered it.
    prompt_tokens: Option<u64>,
}

/// Why a link gave no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: CallErrorKind,
    pub(super) message: String,
    hint: Option<String>,
    retryable: bool,
    retry_after: Option<Duration>,
    status: Option<u16>,
    partial: Partial,
    /// Text is out that cannot be taken back: nobody else may answer.
    pub(super) committed: bool,
    /// Text was shown that has to be struck before somebody else answers.
    pub(super) shown: bool,
}

impl Tally {
    /// Counts what an attempt cost.
    pub(super) fn settled(&mut self, settled: &Settled) {
        self.prompt_tokens = settled.prompt_tokens;
        self.charges
            .charge(settled.usage, settled.cost, settled.source);
    }

    /// Counts an attempt of which the ledger could not be told: it stands there at its hold.
    pub(super) fn unsettled(&mut self, hold: Usd) {
        self.charges
            .charge(Usage::default(), hold, CostSource::Estimated);
    }

    pub(super) fn answer(self, chain: &[Link], link: &Link, mut reply: Reply) -> Answer {
        let mut warnings = self.warnings;
        warnings.append(&mut reply.warnings);
        let own = if reply.subscription {
            CostSource::Subscription
        } else {
            CostSource::default()
        };
        Answer {
            reply,
            usage: self.charges.usage,
            cost: self.charges.cost,
            cost_source: self.charges.source.unwrap_or(own),
            prompt_tokens: self.prompt_tokens,
            requested_model: chain
                .first()
                .map_or_else(String::new, |link| link.canonical.clone()),
            model: link.canonical.clone(),
            attempts: self.attempts,
            failures: self.failures,
            fallbacks: self.fallbacks,
            warnings,
        }
    }

    pub(super) fn error(self, link: Option<&Link>, failure: Failure) -> Box<CallError> {
        let message = match self.attempts {
            0 | 1 => failure.message,
            attempts => format!("{}, after {attempts} attempts", failure.message),
        };
        Box::new(CallError {
            kind: failure.kind,
            message,
            hint: failure.hint,
            retryable: failure.retryable,
            retry_after: failure.retry_after,
            provider: link.map_or_else(String::new, |link| link.provider.name().to_owned()),
            model: link.map_or_else(String::new, |link| link.canonical.clone()),
            status: failure.status,
            attempts: self.failures,
            fallbacks: self.fallbacks,
            usage: self.charges.usage,
            cost: self.charges.cost,
            cost_source: self.charges.source.unwrap_or_default(),
            partial: failure.partial,
            warnings: self.warnings,
        })
    }
}

impl Failure {
    fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            retryable: false,
            retry_after: None,
            status: None,
            partial: Partial::default(),
            committed: false,
            shown: false,
        }
    }

    /// There is nobody to ask.
    pub(super) fn no_model() -> Self {
        Self::new(
            CallErrorKind::Provider(FaultKind::Unavailable),
            "no model is configured",
        )
    }

    /// The provider failed and is not asked again.
    pub(super) fn of_provider(error: ProviderError, why: GiveUp, committed: bool) -> Self {
        let wait = match why {
            GiveUp::TooLong(told) => Some(told),
            GiveUp::Hopeless
            | GiveUp::AttemptsUsed
            | GiveUp::RetryBudget
            | GiveUp::Deadline(_)
            | GiveUp::Committed => error.retry_after,
        };
        let retryable = match &error.kind {
            FaultKind::Network { permanent } => !permanent,
            FaultKind::RateLimited
            | FaultKind::Overloaded
            | FaultKind::Server
            | FaultKind::Stream(_)
            | FaultKind::Deadline => true,
            _ => false,
        };
        let again = wait.filter(|_| retryable).map(words::try_again);
        let hint = match (error.hint, again) {
            (Some(hint), Some(again)) => Some(format!("{again}; {hint}")),
            (hint, again) => hint.or(again),
        };
        Self {
            hint,
            retryable,
            retry_after: wait,
            status: error.status,
            committed,
            shown: error.committed,
            partial: *error.partial,
            ..Self::new(CallErrorKind::Provider(error.kind), error.message)
        }
    }

    /// The ledger does not allow the attempt.
    pub(super) fn of_ledger(refused: Refused) -> Self {
        let (message, hint) = (refused.to_string(), Some(refused.hint()));
        let kind = match refused {
            Refused::Store(_) => CallErrorKind::Ledger,
            Refused::Budget(_) | Refused::Unpriced { .. } => CallErrorKind::Budget(refused),
        };
        Self {
            hint,
            ..Self::new(kind, message)
        }
    }

    /// The time is up before an attempt could be made.
    pub(super) fn late(message: impl Into<String>, setting: Option<&'static str>) -> Self {
        let hint = match setting {
            Some(setting) => format!("raise `--timeout`, `settings.timeout` or `{setting}`"),
            None => "raise `--timeout` or `settings.timeout`".to_owned(),
        };
        Self {
            hint: Some(hint),
            retryable: true,
            ..Self::new(CallErrorKind::Deadline, message)
        }
    }

    /// Resilience does not let the attempt be made.
    pub(super) fn of_refusal(refusal: Refusal, provider: &str, waiting_for: &str) -> Self {
        let left = |until: tokio::time::Instant| {
            until.saturating_duration_since(tokio::time::Instant::now())
        };
        match refusal {
            Refusal::CircuitOpen { until, last } => {
                let wait = until.map(left);
                let mut message =
                    format!("`{provider}` failed too often and is left alone for a while");
                if let Some(last) = last {
                    message.push_str("; the last time: ");
                    message.push_str(&last);
                }
                Self {
                    hint: Some(
                        wait.map_or_else(|| "try again in a moment".to_owned(), words::try_again),
                    ),
                    retryable: true,
                    retry_after: wait,
                    ..Self::new(CallErrorKind::CircuitOpen, message)
                }
            }
            Refusal::CoolingDown { until } => Self {
                hint: Some(words::try_again(left(until))),
                retryable: true,
                retry_after: Some(left(until)),
                ..Self::new(
                    CallErrorKind::Provider(FaultKind::RateLimited),
                    format!(
                        "`{provider}` has told a rate limit that lasts until {}",
                        words::time_after(left(until))
                    ),
                )
            },
            Refusal::Late { until, cause } => {
                let setting = words::setting_of(Reason::Limiter(cause));
                let again = words::try_again(left(until));
                Self {
                    hint: Some(match setting {
                        Some(setting) => {
                            format!(
                                "raise `--timeout`, `settings.timeout` or `{setting}`, or {again}"
                            )
                        }
                        None => again,
                    }),
                    retryable: true,
                    retry_after: Some(left(until)),
                    ..Self::new(
                        CallErrorKind::RateLimit,
                        format!("the call cannot go before its time is up: {waiting_for}"),
                    )
                }
            }
            Refusal::TooLarge { tokens, limit } => Self {
                hint: Some(
                    "shorten the prompt, lower `max_output_tokens` or raise `tokens_per_minute`"
                        .to_owned(),
                ),
                ..Self::new(
                    CallErrorKind::RateLimit,
                    format!("the request needs {tokens} tokens, the limit is {limit} a minute"),
                )
            },
            Refusal::Deadline { reason } => Self::late(
                format!("the time was up while waiting: {waiting_for}"),
                words::setting_of(reason),
            ),
            Refusal::Dead { error, until } => {
                let mut failure = Self::of_provider((*error).clone(), GiveUp::Hopeless, false);
                if let Some(until) = until {
                    let again = words::try_again(left(until));
                    failure.message = format!("{} (not asked again)", failure.message);
                    failure.hint = Some(match failure.hint {
                        Some(hint) => format!("{hint}; then {again}"),
                        None => again,
                    });
                }
                // What that other attempt had said is not this call's.
                failure.partial = Partial::default();
                failure.shown = false;
                failure
            }
        }
    }
}

/// The report of a failed attempt.
pub(super) fn report(n: u32, model: &str, error: &ProviderError, took: Duration) -> AttemptReport {
    AttemptReport {
        n,
        model: model.to_owned(),
        class: error.kind.class().to_owned(),
        status: error.status,
        code: error.code.clone(),
        message: error.message.clone(),
        delay_ms: None,
        note: None,
        request_id: error.request_id.clone(),
        ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Why an attempt was the last one, where that is not plain from its class.
pub(super) fn note(why: GiveUp) -> Option<&'static str> {
    match why {
        GiveUp::Hopeless | GiveUp::AttemptsUsed => None,
        GiveUp::RetryBudget => Some("retry_budget_exhausted"),
        GiveUp::TooLong(_) => Some("wait_too_long"),
        GiveUp::Deadline(_) => Some("deadline"),
        GiveUp::Committed => Some("committed"),
    }
}
