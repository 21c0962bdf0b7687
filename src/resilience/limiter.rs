//! Rate limits and concurrency of one endpoint: a line per model, first come, first served. Pure,
//! with the clock passed in; wakers are kept for those who wait, so that only the head of a line
//! needs a timer.

mod lane;
mod pace;
#[cfg(test)]
mod tests;
mod turn;
mod window;

use std::collections::BTreeSet;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

pub use turn::{Admission, Ask, Cause, Grants, LaneId, LaneStatistics, Ticket, Turn, Wanted};

use lane::Lane;

use super::EndpointSettings;
use crate::providers::LimitNews;

/// The lines of one endpoint.
#[derive(Debug, Default)]
pub struct Limiter {
    lanes: Vec<Lane>,
    max_concurrency: Option<u32>,
    in_flight: u32,
    /// Heads of lanes that wait for a call in flight to end, over all lanes first come, first served.
    crowd: BTreeSet<(Ticket, LaneId)>,
    next_ticket: Ticket,
}

impl Limiter {
    /// Adds a lane. The calls in flight are limited for the endpoint as a whole, by the settings
    /// given last.
    pub fn add_lane(&mut self, settings: &EndpointSettings) -> LaneId {
        self.lanes.push(Lane::new(settings));
        self.max_concurrency = settings.max_concurrency;
        LaneId(self.lanes.len() - 1)
    }

    /// Gives a lane other settings.
    pub fn configure(&mut self, id: LaneId, settings: &EndpointSettings) {
        self.max_concurrency = settings.max_concurrency;
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.configure(settings);
        }
        self.wake_all(id);
        self.wake_crowd();
    }

    /// Says whether a lane's limits are shared with other processes.
    pub fn share(&mut self, id: LaneId, shared: bool) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.shared = lane::Shared {
                on: shared,
                ..lane::Shared::default()
            };
        }
        self.wake_head(id);
    }

    /// A ticket behind all others.
    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// The limit of tokens a minute, where a request is above it and can never go.
    pub fn never_fits(&self, id: LaneId, ask: Ask) -> Option<u64> {
        self.lanes.get(id.0)?.never_fits(ask)
    }

    /// The earliest instant at which a request that comes now may go, and what it waits for then: a
    /// lower bound.
    pub fn bound(&mut self, id: LaneId, ask: Ask, now: Instant) -> Option<(Instant, Cause)> {
        Some(self.lanes.get_mut(id.0)?.bound(ask, now))
    }

    /// Looks whether a request may go, and lets it go if so. One that may not stands in the line
    /// from now on, until it is admitted or leaves.
    pub fn advance(&mut self, id: LaneId, ticket: Ticket, ask: Ask, now: Instant) -> Turn {
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return Turn::Behind;
        };
        let turn = if !lane.is_head(ticket) {
            Turn::Behind
        } else if let (opens, cause) = lane.opens_at(ask, now)
            && opens > now
        {
            Turn::Until(opens, cause)
        } else if self.is_crowded((ticket, id)) {
            Turn::Blocked(Cause::Concurrency)
        } else {
            self.advance_shared(id, ask, now)
        };
        if let Turn::Admitted(_) = turn {
            self.in_flight += 1;
            self.part(id, ticket, now);
            self.wake_crowd();
            return turn;
        }
        if turn != Turn::Blocked(Cause::Concurrency) {
            self.leave_crowd((ticket, id));
        }
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.join(ticket, ask, now);
        }
        turn
    }

    /// Has a request stand in the line without looking at its limits; tells whether it is at the head.
    pub fn stand(&mut self, id: LaneId, ticket: Ticket, ask: Ask, now: Instant) -> bool {
        self.leave_crowd((ticket, id));
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return false;
        };
        lane.join(ticket, ask, now);
        lane.is_head(ticket)
    }

    /// Has a request that stands in the line woken through `waker`; `true` when something has
    /// changed already since it last advanced.
    pub fn listen(&mut self, id: LaneId, ticket: Ticket, waker: &Waker) -> bool {
        let waiter = self
            .lanes
            .get_mut(id.0)
            .and_then(|lane| lane.queue.get_mut(&ticket));
        match waiter {
            Some(waiter) if !waiter.woken => {
                match &mut waiter.waker {
                    Some(ours) => ours.clone_from(waker),
                    none => *none = Some(waker.clone()),
                }
                false
            }
            Some(waiter) => {
                waiter.woken = false;
                true
            }
            None => true,
        }
    }

    /// A request leaves the line without having gone: nothing of it is left.
    pub fn leave(&mut self, id: LaneId, ticket: Ticket, now: Instant) {
        self.part(id, ticket, now);
        self.leave_crowd((ticket, id));
    }

    /// Counts a request that was turned away.
    pub fn rejected(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.statistics.rejected += 1;
        }
    }

    /// An admitted request was never made: everything is as before it was admitted. Tells what has
    /// to be given back to a shared limit.
    pub fn cancel(&mut self, admission: Admission, now: Instant) -> Option<Grants> {
        let mut back = None;
        if let Some(lane) = self.lanes.get_mut(admission.lane.0) {
            lane.refund(admission.taken);
            back = admission.taken.shared();
            if admission.trial {
                lane.pace.trial_lost(now);
            }
        }
        self.release();
        self.wake_head(admission.lane);
        back
    }

    /// An admitted request is over. The request stays counted; its tokens are corrected to what was
    /// used. Tells what was counted of it in a shared limit, where its tokens count.
    pub fn settle(&mut self, admission: Admission, tokens: u64, now: Instant) -> Option<Grants> {
        let mut counted = None;
        if let Some(lane) = self.lanes.get_mut(admission.lane.0) {
            counted = lane.settle_tokens(admission.taken, tokens);
            if admission.trial {
                lane.pace.tried(now);
            }
        }
        self.release();
        if admission.trial || counted.is_some_and(|before| tokens < before) {
            self.wake_head(admission.lane);
        }
        let shared = admission.taken.shared()?;
        (shared.tokens > 0).then_some(shared)
    }

    /// The server has begun to answer a request: it was not one too many.
    pub fn accepted(&mut self, admission: &Admission, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(admission.lane.0) {
            lane.strikes = 0;
            if admission.trial {
                lane.pace.tried(now);
                self.wake_head(admission.lane);
            }
        }
    }

    /// The server has refused a request as one too many, or told that the next one would be:
    /// nobody goes for a while. Everybody in the line is woken, since some cannot wait that long.
    pub fn cool(&mut self, id: LaneId, now: Instant, wait: Duration, refused: bool) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            if refused {
                lane.statistics.rate_limited += 1;
                if lane.pace.cooling(now).is_none() {
                    lane.strikes = lane.strikes.saturating_add(1);
                }
            }
            lane.pace.cool(now, wait);
        }
        self.wake_all(id);
    }

    /// Rate limits that were met in a row, by whomever.
    pub fn strikes(&self, id: LaneId) -> u32 {
        self.lanes.get(id.0).map_or(0, |lane| lane.strikes)
    }

    /// Lets the requests of every lane go one by one for a while, as after an outage.
    pub fn slow_down(&mut self, now: Instant) {
        for lane in &mut self.lanes {
            lane.pace.slow_down(now);
        }
    }

    /// Takes what response headers told about limits.
    pub fn learn(&mut self, id: LaneId, news: &LimitNews, loopback: bool) {
        if let Some(lane) = self.lanes.get_mut(id.0) {
            lane.learn(news, loopback);
        }
    }

    /// What to ask of a shared limit after [`Turn::Ask`].
    pub fn wanted(&mut self, id: LaneId) -> Wanted {
        self.lanes
            .get_mut(id.0)
            .map_or_else(Wanted::default, |lane| {
                std::mem::take(&mut lane.shared.wanted)
            })
    }

    /// A shared limit has answered [`Turn::Ask`]: this much was granted; when that is not enough,
    /// there may be more at `full_until`. Tells what has to be given back because nobody wants it
    /// any more.
    pub fn granted(
        &mut self,
        id: LaneId,
        grants: Grants,
        full_until: Option<Instant>,
        now: Instant,
    ) -> Option<Grants> {
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return grants.some();
        };
        lane.shared.asking = false;
        lane.shared.full_until = full_until;
        if lane.queue.is_empty() {
            return grants.some();
        }
        lane.shared.grants = grants;
        lane.shared.at = Some(now);
        self.wake_head(id);
        None
    }

    /// What is left of a shared limit's grants when nobody stands in the line any more.
    pub fn unused(&mut self, id: LaneId) -> Option<Grants> {
        let lane = self.lanes.get_mut(id.0)?;
        if !lane.queue.is_empty() {
            return None;
        }
        std::mem::take(&mut lane.shared.grants).some()
    }

    /// Wakes everybody in the lines: what they wait for may be out of reach now.
    pub fn wake_everybody(&mut self) {
        for id in 0..self.lanes.len() {
            self.wake_all(LaneId(id));
        }
    }

    /// Wakes the head of each line.
    pub fn wake_heads(&mut self) {
        for id in 0..self.lanes.len() {
            self.wake_head(LaneId(id));
        }
    }

    /// Forgets what was used, cool-downs and counts of every lane. Requests in flight and in the
    /// lines stay.
    pub fn reset(&mut self) {
        for lane in &mut self.lanes {
            lane.reset();
        }
        self.wake_heads();
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The limit of calls in flight.
    pub fn max_concurrency(&self) -> Option<u32> {
        self.max_concurrency
    }

    /// Requests that stand in a line.
    pub fn waiting(&self, id: LaneId) -> usize {
        self.lanes.get(id.0).map_or(0, |lane| lane.queue.len())
    }

    /// The limits that hold for a lane: requests a minute and an hour, tokens a minute.
    pub fn limits(&self, id: LaneId) -> [Option<u64>; 3] {
        self.lanes.get(id.0).map_or([None; 3], Lane::limits)
    }

    /// What is used of them.
    pub fn used(&mut self, id: LaneId, now: Instant) -> [Option<u64>; 3] {
        self.lanes
            .get_mut(id.0)
            .map_or([None; 3], |lane| lane.used(now))
    }

    /// What is left of a lane's cool-down.
    pub fn cooling(&self, id: LaneId, now: Instant) -> Option<Duration> {
        self.lanes.get(id.0)?.pace.cooling(now)
    }

    /// The counts of a lane.
    pub fn statistics(&self, id: LaneId) -> LaneStatistics {
        self.lanes
            .get(id.0)
            .map_or_else(LaneStatistics::default, |lane| lane.statistics)
    }

    /// The last step of an admission: the limit that is shared with other processes.
    fn advance_shared(&mut self, id: LaneId, ask: Ask, now: Instant) -> Turn {
        let room = self.max_concurrency.map_or(u64::MAX, |most| {
            u64::from(most.saturating_sub(self.in_flight)).max(1)
        });
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return Turn::Behind;
        };
        if lane.shared.on && !lane.is_granted(ask, now) {
            if lane.shared.asking {
                return Turn::Blocked(Cause::OtherProcesses);
            }
            lane.ask_for(ask, now, room);
            return Turn::Ask;
        }
        let (taken, trial) = lane.take(ask, now);
        Turn::Admitted(Admission {
            lane: id,
            taken,
            trial,
        })
    }

    /// Whether the calls in flight leave no room for this head; it stands in the crowd then.
    fn is_crowded(&mut self, head: (Ticket, LaneId)) -> bool {
        let most = self.max_concurrency.unwrap_or(u32::MAX);
        let others = self.crowd.first().is_some_and(|first| *first < head);
        if self.in_flight < most && !others {
            self.crowd.remove(&head);
            return false;
        }
        self.crowd.insert(head);
        true
    }

    fn leave_crowd(&mut self, member: (Ticket, LaneId)) {
        if self.crowd.remove(&member) {
            self.wake_crowd();
        }
    }

    /// Wakes the first of the crowd if there is room.
    fn wake_crowd(&mut self) {
        if self
            .max_concurrency
            .is_none_or(|most| self.in_flight < most)
            && let Some((ticket, id)) = self.crowd.first().copied()
        {
            self.wake(id, ticket);
        }
    }

    fn release(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.wake_crowd();
    }

    /// Takes somebody out of a line and wakes the next if he stood at its head.
    fn part(&mut self, id: LaneId, ticket: Ticket, now: Instant) {
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return;
        };
        if let Some((waited, head)) = lane.part(ticket, now) {
            lane.statistics.waited += 1;
            lane.statistics.waited_for += waited;
            if head {
                self.wake_head(id);
            }
        }
    }

    fn wake_head(&mut self, id: LaneId) {
        let head = self
            .lanes
            .get(id.0)
            .and_then(|lane| lane.queue.first_key_value())
            .map(|(ticket, _)| *ticket);
        if let Some(ticket) = head {
            self.wake(id, ticket);
        }
    }

    fn wake(&mut self, id: LaneId, ticket: Ticket) {
        let waiter = self
            .lanes
            .get_mut(id.0)
            .and_then(|lane| lane.queue.get_mut(&ticket));
        if let Some(waiter) = waiter {
            waiter.woken = true;
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake_all(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return;
        };
        for waiter in lane.queue.values_mut() {
            waiter.woken = true;
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }
}
