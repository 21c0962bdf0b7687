//! The only composition: total deadline { fallback chain { retries { breaker, line, breaker again,
//! permit, hold, one attempt, verdict } } }. Nothing else retries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep, timeout_at};

use super::attempt::{Around, Attempted, OnLink, is_final, max_output_tokens};
use super::call::{Answer, CallContext, CallError, CallErrorKind, FallbackReport, Link};
use super::chain::{next_link, own_fallback, without_foreign};
use super::endpoint::{EndpointState, Wish};
use super::limiter::Ask;
use super::prompt::prompt_size;
use super::retry::Decision;
use super::shared::Shared;
use super::status::Status;
use super::tally::{Failure, Tally, note};
use super::wait::Place;
use super::words;
use crate::costs::Ledger;
use crate::event::{EventKind, Events};
use crate::providers::{Endpoint, FaultKind, ProviderError, Reply, Request, Seat};

/// More output than this is not counted before it has come: few answers are that long.
const COUNTED_OUTPUT_TOKENS: u64 = 4096;

/// The state of every endpoint, for the whole process: each is limited, rested and retried as one,
/// whoever calls it.
#[derive(Debug)]
pub struct Resilience {
    ledger: Ledger,
    shared: Option<Arc<Shared>>,
    endpoints: Mutex<BTreeMap<Endpoint, Arc<EndpointState>>>,
}

impl Resilience {
    /// No endpoint is known yet. Every attempt is held and settled in `ledger`; limits, cool-downs and
    /// breakers are shared with the other processes that use its store.
    pub fn new(ledger: Ledger) -> Self {
        // Nobody else can reach a store in memory.
        let is_alone = ledger.store().path().is_none();
        Self::sharing(ledger, !is_alone)
    }

    /// Where every attempt is held and settled.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn sharing(ledger: Ledger, shares: bool) -> Self {
        let shared = shares.then(|| Arc::new(Shared::new(ledger.store().clone())));
        Self {
            ledger,
            shared,
            endpoints: Mutex::default(),
        }
    }

    /// One that shares a store in memory with others of this process, as processes share a file.
    #[cfg(test)]
    pub(super) fn neighbour(ledger: Ledger) -> Self {
        Self::sharing(ledger, true)
    }

    /// Asks the models of a chain, in order, until one answers. Dropping the future cancels the call:
    /// everything that was taken is given back, and the ledger charges an estimate.
    ///
    /// `request` is what does not depend on the model; model, limits and clocks of it are set here
    /// for each attempt.
    ///
    /// # Errors
    /// When no model gave a whole answer in time: with every attempt that was made, and what they
    /// cost.
    pub async fn call(
        &self,
        chain: &[Link],
        request: &mut Request,
        context: &CallContext,
        events: &Events,
    ) -> Result<Answer, Box<CallError>> {
        let Some(first) = chain.first() else {
            return Err(Tally::default().error(None, Failure::no_model()));
        };
        if first.provider.runs_own_tools() {
            let seat = Box::pin(seat(first, request, context, events)).await;
            request.own_loop.seat =
                seat.map_err(|late| Tally::default().error(Some(first), late))?;
        }
        let result = self.call_seated(chain, first, request, context, events);
        let result = result.await;
        request.own_loop.seat = None;
        result
    }

    async fn call_seated(
        &self,
        chain: &[Link],
        first: &Link,
        request: &mut Request,
        context: &CallContext,
        events: &Events,
    ) -> Result<Answer, Box<CallError>> {
        let mut tally = Tally::default();
        let started = Instant::now();
        let total = first.clocks.total.map(|total| started + total);
        let around = Around {
            ledger: &self.ledger,
            context,
            events,
            deadline: match (context.deadline, total) {
                (Some(run), Some(call)) => Some(run.min(call)),
                (run, call) => run.or(call),
            },
        };
        let mut index = 0;
        loop {
            let Some(link) = chain.get(index) else {
                return Err(tally.error(None, Failure::no_model()));
            };
            let mut stripped = without_foreign(request, link.provider.name()).map(Box::new);
            let request = stripped.as_deref_mut().unwrap_or(request);
            let counted = context.counted.filter(|_| index == 0);
            let prompt = prompt_size(request, counted);
            let next = |kind: &CallErrorKind| next_link(chain, index, kind, prompt.likely_tokens());
            let on_link = OnLink {
                fallback: own_fallback(chain, index),
                prompt,
                max_output_tokens: max_output_tokens(link),
                // Whoever has another model to fall back on does not wait for a breaker.
                patient: next(&CallErrorKind::CircuitOpen).is_none(),
                attempts: 0,
                last_price: None,
            };
            let asked = self.ask(around, link, request, on_link, &mut tally).await;
            let shared = self.shared.as_ref();
            tally
                .warnings
                .extend(shared.and_then(|shared| shared.take_trouble()));
            let failure = match asked {
                Ok(reply) => return Ok(tally.answer(chain, link, *reply)),
                Err(failure) => failure,
            };
            let next = next(&failure.kind).filter(|_| !failure.committed);
            let Some((next, to)) = next.and_then(|next| Some((next, chain.get(next)?))) else {
                return Err(tally.error(Some(link), failure));
            };
            Box::pin(self.fall_back(link, to, failure, events, &mut tally)).await;
            index = next;
        }
    }

    /// The limits and breakers of every endpoint that was called, by this process or by another with
    /// the same store.
    pub fn status(&self) -> Status {
        let mut status = Status::default();
        let now = Instant::now();
        for state in self.all_endpoints() {
            status.add(&state, now);
        }
        match self.shared.as_ref().map(|shared| shared.status()) {
            Some(Ok((lanes, breakers))) => status.add_shared(lanes, breakers),
            Some(Err(error)) => tracing::debug!(%error, "what others know is not known"),
            None => {}
        }
        status
    }

    /// Forgets what is used of limits, cool-downs, refused keys and every count, and closes every
    /// breaker. Calls under way are not disturbed.
    pub fn reset(&self) {
        for state in self.all_endpoints() {
            state.known().reset();
        }
        if let Some(shared) = &self.shared {
            shared.reset();
        }
    }

    /// Asks one model until it answers or is given up.
    async fn ask(
        &self,
        around: Around<'_>,
        link: &Link,
        request: &mut Request,
        mut on_link: OnLink<'_>,
        tally: &mut Tally,
    ) -> Result<Box<Reply>, Failure> {
        let endpoint = self.endpoint(link);
        let model = endpoint.model(link);
        let Some(mut place) = Place::new(&endpoint, model) else {
            return Err(Failure::no_model());
        };
        request.model.clone_from(&link.model);
        request.facts.clone_from(&link.facts);
        request.tool_mode = link.tool_mode;
        request.idempotency_key = uuid::Uuid::new_v4().to_string();
        let tokens =
            on_link.prompt.likely_tokens() + on_link.max_output_tokens.min(COUNTED_OUTPUT_TOKENS);
        loop {
            let now = Instant::now();
            if around.deadline.is_some_and(|deadline| now >= deadline) {
                return Err(Failure::late("the time is up", None));
            }
            endpoint.look_around(model, now);
            let wish = Wish {
                model,
                ask: Ask {
                    tokens,
                    retry: on_link.attempts > 0,
                },
                deadline: around.deadline,
                patient: on_link.patient,
            };
            let pass = match place.pass(&wish, around.events).await {
                Ok(pass) => pass,
                Err(refusal) => {
                    let waiting_for = words::refused_by(&refusal, &endpoint.known(), model);
                    let provider = link.provider.name();
                    return Err(Failure::of_refusal(refusal, provider, &waiting_for));
                }
            };
            around.tell(pass.half_opened()).await;
            on_link.attempts += 1;
            let (error, decision) = match around.attempt(pass, link, request, &on_link, tally).await
            {
                Attempted::Answered(reply) => return Ok(reply),
                Attempted::NotMade(failure) => return Err(*failure),
                Attempted::HeldBack => {
                    on_link.attempts -= 1;
                    continue;
                }
                Attempted::Failed(error, decision) => (error, decision),
            };
            match decision {
                Decision::GiveUp(why) => {
                    if let Some(report) = tally.failures.last_mut() {
                        report.note = note(why).map(Into::into);
                    }
                    let committed = is_final(&error, request, tally);
                    return Err(Failure::of_provider(*error, why, committed));
                }
                Decision::Retry {
                    delay,
                    told_by,
                    price,
                } => {
                    on_link.last_price = Some(price);
                    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                    tracing::info!(model = %link.canonical, delay_ms, told_by, "asking again");
                    if let Some(report) = tally.failures.last_mut() {
                        report.delay_ms = Some(delay_ms);
                    }
                    if error.committed {
                        tally.resets += 1;
                        Box::pin(around.events.emit(EventKind::StreamReset)).await;
                    }
                    let of = link
                        .settings
                        .max_retries
                        .saturating_add(1)
                        .max(on_link.attempts + 1);
                    let event = retry_event(&error, (on_link.attempts, of), delay_ms, told_by);
                    Box::pin(around.events.emit(event)).await;
                    // A rate limit holds the whole line for this long, and this call has its old
                    // place in it.
                    if error.kind != FaultKind::RateLimited {
                        sleep(delay).await;
                    }
                }
            }
        }
    }

    async fn fall_back(
        &self,
        from: &Link,
        to: &Link,
        failure: Failure,
        events: &Events,
        tally: &mut Tally,
    ) {
        if failure.shown {
            tally.resets += 1;
            events.emit(EventKind::StreamReset).await;
        }
        let class = failure.kind.class().to_owned();
        tracing::warn!(from = %from.canonical, to = %to.canonical, class, "falling back");
        events
            .emit(EventKind::Fallback {
                from: from.canonical.clone(),
                to: to.canonical.clone(),
                class: class.clone(),
            })
            .await;
        tally.fallbacks.push(FallbackReport {
            from: from.canonical.clone(),
            to: to.canonical.clone(),
            class,
            message: failure.message,
        });
    }

    fn all_endpoints(&self) -> Vec<Arc<EndpointState>> {
        let endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        endpoints.values().cloned().collect()
    }

    fn endpoint(&self, link: &Link) -> Arc<EndpointState> {
        let endpoint = link.provider.endpoint();
        let mut endpoints = self
            .endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(endpoint) {
            return Arc::clone(known);
        }
        let new = Arc::new(EndpointState::new(
            endpoint.clone(),
            &link.settings,
            self.shared.clone(),
        ));
        endpoints.insert(endpoint.clone(), Arc::clone(&new));
        new
    }
}

fn retry_event(
    error: &ProviderError,
    (attempt, of): (u32, u32),
    delay_ms: u64,
    told_by: &'static str,
) -> EventKind {
    EventKind::Retry {
        attempt,
        of,
        class: error.kind.class().to_owned(),
        status: error.status,
        code: error.code.clone(),
        delay_ms,
        told_by,
        request_id: error.request_id.clone(),
        endpoint: error.provider.clone(),
    }
}

/// Waits for a seat at a provider that has only so many. The clock of the call does not run yet, that of the
/// run does.
async fn seat(
    link: &Link,
    request: &Request,
    context: &CallContext,
    events: &Events,
) -> Result<Option<Seat>, Failure> {
    let seat = link.provider.seat(request, events);
    match context.deadline {
        Some(deadline) => timeout_at(deadline, seat).await.map_err(|_| {
            let message = "the time was up while others were served";
            Failure::late(message, Some("max_concurrency"))
        }),
        None => Ok(seat.await),
    }
}
