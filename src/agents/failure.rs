//! From a failed call to the error that users and scripts read.

use super::ErrorReport;
use super::state::Stop;
use crate::cancel::Cause;
use crate::error::ErrorClass;
use crate::providers::{FaultKind, StreamFault};
use crate::resilience::{CallError, CallErrorKind};

/// The class of the interface for a failed call.
pub fn class(kind: &CallErrorKind) -> ErrorClass {
    match kind {
        CallErrorKind::Provider(fault) => fault_class(fault),
        CallErrorKind::Budget(_) => ErrorClass::Budget,
        CallErrorKind::RateLimit | CallErrorKind::CircuitOpen => ErrorClass::Provider,
        CallErrorKind::Deadline => ErrorClass::Timeout,
        CallErrorKind::Ledger => ErrorClass::Failed,
    }
}

/// The class of the interface for a fault of a provider.
pub fn fault_class(fault: &FaultKind) -> ErrorClass {
    match fault {
        FaultKind::Auth | FaultKind::Quota => ErrorClass::Auth,
        FaultKind::Deadline | FaultKind::Stream(StreamFault::FirstEvent | StreamFault::Idle) => {
            ErrorClass::Timeout
        }
        FaultKind::ContentPolicy | FaultKind::Schema | FaultKind::Stream(StreamFault::Empty) => {
            ErrorClass::Failed
        }
        FaultKind::TurnLimit => ErrorClass::TurnLimit,
        FaultKind::Budget => ErrorClass::Budget,
        FaultKind::Denied => ErrorClass::Denied,
        FaultKind::Recording { by_flag: true } => ErrorClass::Usage,
        FaultKind::Config | FaultKind::Recording { by_flag: false } => ErrorClass::Config,
        FaultKind::ContextLength
        | FaultKind::NotFound
        | FaultKind::BadRequest
        | FaultKind::RateLimited
        | FaultKind::Overloaded
        | FaultKind::Server
        | FaultKind::Network { .. }
        | FaultKind::Stream(StreamFault::Truncated | StreamFault::InvalidJson)
        | FaultKind::Protocol
        | FaultKind::Unavailable
        | FaultKind::NotRecorded => ErrorClass::Provider,
    }
}

/// The error of a run whose model call failed.
pub(super) fn report(error: CallError) -> ErrorReport {
    ErrorReport {
        class: class(&error.kind),
        message: error.message,
        hint: error.hint,
        retryable: error.retryable,
        retry_after_s: error.retry_after.map(|wait| wait.as_secs_f64()),
        provider: Some(error.provider).filter(|provider| !provider.is_empty()),
        status: error.status,
        attempts: error.attempts,
    }
}

/// Tools that cannot go on at all.
pub(super) fn tools(error: &std::io::Error) -> Stop {
    Stop::Tools(format!("the tools cannot go on: {error}"))
}

/// The error of a run that was stopped from outside.
pub fn stopped(cause: Cause) -> ErrorReport {
    let (class, message) = match cause {
        Cause::Interrupt => (ErrorClass::Interrupted, "interrupted"),
        Cause::Terminate => (ErrorClass::Terminated, "terminated by a signal"),
        Cause::Closed => (ErrorClass::Interrupted, "nobody reads the output any more"),
    };
    ErrorReport::new(class, message)
}
