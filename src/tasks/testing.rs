//! Small plans for the tests of this module.

use super::{OnFailure, Step, Work};

/// A step that runs a command.
pub(super) fn step(id: &str, needs: &[&str]) -> Step {
    Step {
        id: id.to_owned(),
        needs: needs.iter().map(ToString::to_string).collect(),
        when: None,
        for_each: None,
        max_parallel: None,
        repeat: None,
        timeout: None,
        retries: 0,
        on_failure: OnFailure::Stop,
        work: Work::Run {
            command: "true".to_owned(),
        },
        is_masked: false,
    }
}
