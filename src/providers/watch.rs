//! The clocks of one attempt.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Clocks;

/// How long a stream may go on after it told why it ends: usage and `[DONE]` come at once or never.
const ENDING: Duration = Duration::from_secs(5);

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// Nothing came at all.
    FirstEvent,
    /// Nothing came for too long.
    Idle,
    /// The answer is there, only its end is not.
    Ending,
    /// The attempt took too long as a whole.
    Total,
}

/// Watches over one attempt: only what shows progress of the model counts, not bytes.
#[derive(Debug)]
pub(super) struct Watch {
    clocks: Clocks,
    started: Instant,
    last: Instant,
    first: Option<Duration>,
    ending: bool,
}

impl Watch {
    /// Starts the clocks.
    pub(super) fn start(clocks: Clocks) -> Self {
        let now = Instant::now();
        Self {
            clocks,
            started: now,
            last: now,
            first: None,
            ending: false,
        }
    }

    /// Something came that shows progress.
    pub(super) fn progress(&mut self) {
        self.last = Instant::now();
        if self.first.is_none() {
            self.first = Some(self.last - self.started);
        }
    }

    /// The answer said why it ended.
    pub(super) fn ending(&mut self) {
        if !self.ending {
            self.ending = true;
            self.last = Instant::now();
        }
    }

    /// From the start to the first progress.
    pub(super) fn first(&self) -> Option<Duration> {
        self.first
    }

    /// The clocks that run.
    pub(super) fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Waits for a future as long as the clocks allow.
    pub(super) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Late> {
        match self.deadline() {
            None => Ok(future.await),
            Some((at, late)) => timeout_at(at, future).await.map_err(|_| late),
        }
    }

    fn deadline(&self) -> Option<(Instant, Late)> {
        let (limit, late) = match (self.ending, self.first) {
            (true, _) => (
                Some(self.clocks.idle.map_or(ENDING, |idle| idle.min(ENDING))),
                Late::Ending,
            ),
            (false, None) => (self.clocks.first_event, Late::FirstEvent),
            (false, Some(_)) => (self.clocks.idle, Late::Idle),
        };
        // A limit beyond all time is none.
        let after = |from: Instant, limit: Option<Duration>| from.checked_add(limit?);
        let part = after(self.last, limit).map(|at| (at, late));
        let total = after(self.started, self.clocks.total).map(|at| (at, Late::Total));
        match (part, total) {
            (Some(part), Some(total)) => Some(if total.0 <= part.0 { total } else { part }),
            (part, total) => part.or(total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn runs_out(watch: &Watch) -> (Late, u64) {
        let late = watch
            .within(std::future::pending::<()>())
            .await
            .expect_err("nothing comes");
        (late, watch.started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_that_runs_is_the_one_of_the_phase() {
        let mut watch = Watch::start(Clocks::default());
        assert_eq!(runs_out(&watch).await, (Late::FirstEvent, 120));
        watch.progress();
        assert_eq!(watch.first(), Some(Duration::from_mins(2)));
        assert_eq!(runs_out(&watch).await, (Late::Idle, 180));
        watch.progress();
        watch.ending();
        assert_eq!(runs_out(&watch).await, (Late::Ending, 185));
    }

    #[tokio::test(start_paused = true)]
    async fn the_total_bounds_every_phase_and_no_clock_waits_for_ever() {
        let total = Some(Duration::from_secs(7));
        let watch = Watch::start(Clocks {
            total,
            ..Clocks::default()
        });
        assert_eq!(runs_out(&watch).await, (Late::Total, 7));
        let mut watch = Watch::start(Clocks {
            connect: None,
            first_event: None,
            idle: None,
            total: None,
        });
        assert_eq!(watch.deadline(), None);
        watch.progress();
        assert_eq!(watch.deadline(), None);
    }
}
