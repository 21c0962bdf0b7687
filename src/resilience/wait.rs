//! Waiting for one's turn at an endpoint: a timer for the head of a line, wakers for the others.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

use super::endpoint::{EndpointState, Look, Reason, Refusal, Wait, Wish};
use super::limiter::{Cause, LaneId, Ticket};
use super::pass::Pass;
use super::shared::Echo;
use super::words;
use crate::event::{EventKind, Events};

/// Waits shorter than this are told to nobody.
const WORTH_TELLING: std::time::Duration = std::time::Duration::from_millis(250);

/// A call's place in the lines of an endpoint; it is kept from attempt to attempt.
#[derive(Debug)]
pub(super) struct Place<'a> {
    state: &'a Arc<EndpointState>,
    model: usize,
    lane: LaneId,
    ticket: Ticket,
    /// It has stood here before.
    known: bool,
}

impl<'a> Place<'a> {
    /// A place behind everybody who is there.
    pub(super) fn new(state: &'a Arc<EndpointState>, model: usize) -> Option<Self> {
        let mut known = state.known();
        Some(Self {
            state,
            model,
            lane: known.models.get(model)?.lane,
            ticket: known.limiter.ticket(),
            known: false,
        })
    }

    /// Waits for its turn and takes everything that an attempt needs. Dropping the future leaves the
    /// line as if it had never been entered.
    pub(super) async fn pass(&mut self, wish: &Wish, events: &Events) -> Result<Pass<'a>, Refusal> {
        let mut told = None;
        let line = InLine { place: self };
        loop {
            let place = &*line.place;
            let now = Instant::now();
            let look = place
                .state
                .known()
                .look(wish, place.ticket, !place.known, now);
            line.place.known = true;
            let mut wait = match look {
                Look::Go(grant) => {
                    let state = line.place.state;
                    return Ok(Pass::new(state, wish.model, wish.ask.tokens, grant));
                }
                Look::No(refusal) => return Err(refusal),
                Look::Wait(wait) => wait,
            };
            if let Some(wanted) = wait.ask.take() {
                line.place.state.ask_others(wish.model, wanted);
            }
            if is_worth_telling(&wait, now) && told != Some(wait.reason) {
                told = Some(wait.reason);
                Box::pin(line.place.tell(&wait, now, events)).await;
            }
            let until = match (wait.until, wish.deadline) {
                (Some(until), Some(deadline)) => Some(until.min(deadline)),
                (until, deadline) => until.or(deadline),
            };
            line.place.changed(until).await;
            if wish
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
            {
                return Err(Refusal::Deadline {
                    reason: wait.reason,
                });
            }
        }
    }

    /// Until something changed that this place waits for, or this instant.
    async fn changed(&self, until: Option<Instant>) {
        let woken = poll_fn(|context| {
            let mut known = self.state.known();
            if known
                .limiter
                .listen(self.lane, self.ticket, context.waker())
            {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        match until {
            // Both ends mean the same: look again.
            Some(until) => drop(timeout_at(until, woken).await),
            None => woken.await,
        }
    }

    async fn tell(&self, wait: &Wait, now: Instant, events: &Events) {
        let provider = &self.state.endpoint.provider;
        tracing::info!(%provider, reason = ?wait.reason, "waiting");
        if !events.is_watched() {
            return;
        }
        let reason = words::waiting_for(wait.reason, &self.state.known(), self.model);
        let wait_ms = wait
            .bound
            .map(|at| u64::try_from((at - now).as_millis()).unwrap_or(u64::MAX));
        events
            .emit(EventKind::Throttled {
                reason,
                wait_ms,
                endpoint: self.state.endpoint.provider.clone(),
            })
            .await;
    }
}

/// Leaves the line when the wait ends, however it ends.
struct InLine<'b, 'a> {
    place: &'b mut Place<'a>,
}

impl Drop for InLine<'_, '_> {
    fn drop(&mut self) {
        let Place {
            state,
            model,
            lane,
            ticket,
            ..
        } = *self.place;
        let unused = {
            let mut known = state.known();
            known.limiter.leave(lane, ticket, Instant::now());
            known.limiter.unused(lane)
        };
        state.tell_others(model, &Echo::give_back(unused));
    }
}

fn is_worth_telling(wait: &Wait, now: Instant) -> bool {
    match wait.reason {
        Reason::Limiter(Cause::OtherProcesses) if wait.until.is_none() => false,
        Reason::Limiter(_) | Reason::Breaker => {
            wait.bound.is_none_or(|at| at >= now + WORTH_TELLING)
        }
    }
}
