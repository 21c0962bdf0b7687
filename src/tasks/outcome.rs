//! What a step gave.

use serde::{Deserialize, Serialize};

use crate::agents::RunResult;

/// What a step gave, as later steps, the journal and the result file see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StepOut {
    /// Whether it was left out because its `when` was false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Its result; the parts of it (items, candidates, steps of a block) are in `results`.
    pub result: RunResult,
}

impl StepOut {
    /// Whether it did what it should.
    pub fn is_ok(&self) -> bool {
        !self.skipped && self.result.ok
    }

    /// Whether it failed; a step that was left out did not.
    pub fn is_failed(&self) -> bool {
        !self.skipped && !self.result.ok
    }
}
