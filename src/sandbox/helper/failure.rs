//! What went wrong in the helper, with the step that was being done.

use std::fmt::Display;
use std::io;

use super::super::plan::Report;

/// Why the helper gives up.
#[derive(Debug)]
pub(super) enum Failure {
    /// The sandbox could not be built.
    Step { step: String, errno: i32 },
    /// What was to be covered is not what was looked at.
    Changed,
    /// The program cannot be started.
    Program { errno: i32 },
}

/// A result of the helper.
pub(super) type Done<T> = Result<T, Failure>;

/// Names the step in which an error came: `.map_err(at("mount /proc"))`.
pub(super) fn at<E: Into<io::Error>>(step: impl Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::Step {
        step: step.to_string(),
        errno: error.into().raw_os_error().unwrap_or(0),
    }
}

impl Failure {
    pub(super) fn report(self) -> Report {
        match self {
            Self::Step { step, errno } => Report::Failed { step, errno },
            Self::Changed => Report::Changed,
            Self::Program { errno } => Report::NotStarted { errno },
        }
    }
}
