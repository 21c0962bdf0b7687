//! Which steps may start. Pure: the same plan and the same done steps give the same answer, on any
//! machine and at any time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{OnFailure, Step, StepOut};

/// The steps of a block that are done, by id.
pub type Done = BTreeMap<String, Arc<StepOut>>;

/// The steps of a block that may start now, in its order: all that they need is done, and they are
/// not. A failed step ends the block unless it says `on_failure: continue`: then those behind it go
/// on and see that it failed. A step that was left out holds up nobody.
pub fn ready<'p>(block: &'p [Step], done: &Done) -> Vec<&'p Step> {
    if is_stopped(block, done) {
        return Vec::new();
    }
    block
        .iter()
        .filter(|step| !done.contains_key(&step.id))
        .filter(|step| step.needs.iter().all(|need| done.contains_key(need)))
        .collect()
}

/// Whether a failure ended the block.
pub fn is_stopped(block: &[Step], done: &Done) -> bool {
    block.iter().any(|step| {
        step.on_failure == OnFailure::Stop && done.get(&step.id).is_some_and(|out| out.is_failed())
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::step;
    use super::*;
    use crate::agents::RunResult;

    fn out(ok: bool, skipped: bool) -> Arc<StepOut> {
        let mut result = RunResult::empty("r", "agent", "a", "m");
        result.ok = ok;
        Arc::new(StepOut { skipped, result })
    }

    #[test]
    fn steps_are_ready_when_all_they_need_is_done() {
        let mut block = [
            step("a", &[]),
            step("b", &[]),
            step("c", &["a", "b"]),
            step("d", &["c"]),
        ];
        for (done, expected) in [
            (&[][..], &["a", "b"][..]),
            (&[("a", true, false)], &["b"]),
            (&[("a", true, false), ("b", true, false)], &["c"]),
            (&[("a", true, false), ("b", false, true)], &["c"]),
            (&[("a", true, false), ("b", false, false)], &[]),
            (&[("b", false, false)], &[]),
            (
                &[
                    ("a", true, false),
                    ("b", true, false),
                    ("c", true, false),
                    ("d", true, false),
                ],
                &[],
            ),
        ] {
            let done: Done = done
                .iter()
                .map(|(id, ok, skipped)| ((*id).to_owned(), out(*ok, *skipped)))
                .collect();
            let ids: Vec<&str> = ready(&block, &done).iter().map(|s| s.id.as_str()).collect();
            assert_eq!(ids, expected, "{done:?}");
        }
        block[1].on_failure = OnFailure::Continue;
        let done = BTreeMap::from([
            ("a".to_owned(), out(true, false)),
            ("b".to_owned(), out(false, false)),
        ]);
        assert_eq!(ready(&block, &done)[0].id, "c");
    }
}
