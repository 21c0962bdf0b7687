//! Whole calls against a provider that follows a script, with the clock paused.

mod cancel;
mod delivery;
mod fallback;
mod herd;
mod random;
mod retries;
mod sharing;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::costs::{Ledger, Prices, Spending};
use crate::event::{Event, EventKind, Events};
use crate::message::{Assistant, Message};
use crate::providers::{
    BoxFuture, Clocks, Delivery, Endpoint, FaultKind, Finish, PriceOverride, Provider,
    ProviderError, Reply, Request, Seat, StreamFault, ToolMode,
};
use crate::store::Store;
use crate::usage::{CostSource, Meter, Usage, Usd};

/// What the script does with a request.
enum Act {
    /// Answers after a while.
    Answer(Duration),
    /// Says these pieces, then fails.
    Say(&'static [&'static str], ProviderError),
    /// Fails after a while.
    Fail(Duration, ProviderError),
    /// Never says anything.
    Hang,
    /// Says a piece, then nothing more.
    Stall(&'static str),
}

/// A request as the script saw it.
#[derive(Clone, Debug)]
struct Seen {
    /// Counted from 0.
    n: usize,
    at: Instant,
    agent: Arc<str>,
    request: Request,
}

/// A provider that follows a script.
struct Script {
    endpoint: Endpoint,
    /// Whether it takes its own turns.
    own_turns: bool,
    /// Calls that it then takes at once: one.
    seats: Arc<Semaphore>,
    seen: Mutex<Vec<Seen>>,
    act: Box<dyn Fn(&Seen) -> Act + Send + Sync>,
}

impl Script {
    fn new(name: &str, act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Self::at(name, name, act)
    }

    fn at(name: &str, key: &str, act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            endpoint: Endpoint {
                provider: name.to_owned(),
                base_url: format!("https://{name}.test/v1"),
                key_fingerprint: key.to_owned(),
                loopback: false,
            },
            own_turns: name == "cli",
            seats: Arc::new(Semaphore::new(1)),
            seen: Mutex::default(),
            act: Box::new(act),
        })
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The times between requests, from the one with number `from` on.
    fn gaps(&self, from: usize) -> Vec<Duration> {
        let seen = self.seen();
        let later = seen[from..].windows(2);
        later.map(|pair| pair[1].at - pair[0].at).collect()
    }

    async fn follow(
        &self,
        request: &Request,
        meter: &Meter,
        events: &Events,
    ) -> Result<Reply, ProviderError> {
        let act = {
            let mut all = self.seen.lock().unwrap();
            let mut request = request.clone();
            // Who keeps it would sit there for ever.
            request.own_loop.seat = None;
            let seen = Seen {
                n: all.len(),
                at: Instant::now(),
                agent: Arc::clone(&request.agent),
                request,
            };
            let act = (self.act)(&seen);
            all.push(seen);
            act
        };
        let say = async |text: &str| {
            meter.received(text.len());
            let text = text.to_owned();
            events.emit(EventKind::TextDelta { text }).await;
        };
        match act {
            Act::Answer(after) => {
                sleep(after).await;
                say("yes").await;
                Ok(answer())
            }
            Act::Say(pieces, mut error) => {
                for piece in pieces {
                    say(piece).await;
                }
                error.committed = !pieces.is_empty();
                error.partial.text = pieces.concat();
                error.partial.reached_model = true;
                Err(error)
            }
            Act::Fail(after, error) => {
                sleep(after).await;
                Err(error)
            }
            Act::Hang => {
                sleep(request.clocks.total.unwrap_or(Duration::from_hours(10))).await;
                Err(fault(FaultKind::Deadline))
            }
            Act::Stall(piece) => {
                say(piece).await;
                std::future::pending().await
            }
        }
    }
}

impl Provider for Script {
    fn name(&self) -> &str {
        &self.endpoint.provider
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn complete<'a>(
        &'a self,
        request: &'a Request,
        meter: &'a Meter,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(self.follow(request, meter, events))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }

    fn runs_own_tools(&self) -> bool {
        self.own_turns
    }

    fn seat<'a>(&'a self, _: &'a Request, _: &'a Events) -> BoxFuture<'a, Option<Seat>> {
        let seat = Arc::clone(&self.seats).acquire_owned();
        Box::pin(async { seat.await.ok().map(Seat::from) })
    }
}

const SOON: Duration = Duration::from_millis(10);

fn answer() -> Reply {
    Reply {
        message: Assistant {
            text: "yes".to_owned(),
            ..Assistant::default()
        },
        finish: Finish::Stop,
        usage: Some(Usage {
            input_tokens: 10,
            output_tokens: 1,
            ..Usage::default()
        }),
        ..Reply::default()
    }
}

fn fault(kind: FaultKind) -> ProviderError {
    ProviderError::new("lab", kind, "it failed")
}

/// A failure with a wait that the server told.
fn told(kind: FaultKind, wait: Duration) -> ProviderError {
    ProviderError {
        retry_after: Some(wait),
        told_by: "header",
        status: Some(429),
        ..fault(kind)
    }
}

fn dead_server() -> ProviderError {
    fault(FaultKind::Network { permanent: false })
}

/// No limits, three retries, a breaker.
fn settings() -> EndpointSettings {
    EndpointSettings {
        requests_per_minute: None,
        max_concurrency: None,
        ..EndpointSettings::default()
    }
}

/// One microdollar a token.
const PRICE: PriceOverride = PriceOverride {
    input: Usd::from_pico(1_000_000_000_000),
    output: Usd::from_pico(1_000_000_000_000),
    cache_read: None,
    cache_write: None,
};

fn link(provider: &Arc<Script>, settings: EndpointSettings) -> Link {
    let provider: Arc<dyn Provider> = Arc::clone(provider) as _;
    Link {
        model: "model".to_owned(),
        canonical: format!("{}/model", provider.name()),
        provider,
        settings,
        clocks: Clocks::default(),
        tool_mode: ToolMode::Native,
        facts: None,
        max_output_tokens: Some(100),
        is_free: false,
        price: Some(PRICE),
    }
}

/// An agent of a herd, when its call ended, and how.
type Ended = (usize, Duration, Result<Answer, Box<CallError>>);

/// Everything that a test needs around a call.
struct Lab {
    resilience: Arc<Resilience>,
    ledger: Ledger,
    started: Instant,
}

impl Lab {
    fn new() -> Self {
        let ledger = Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()));
        Self {
            resilience: Arc::new(Resilience::new(ledger.clone())),
            ledger,
            started: Instant::now(),
        }
    }

    async fn call(&self, chain: &[Link]) -> Result<Answer, Box<CallError>> {
        self.call_as(chain, Delivery::Buffered, &Events::nobody())
            .await
    }

    async fn call_as(
        &self,
        chain: &[Link],
        delivery: Delivery,
        events: &Events,
    ) -> Result<Answer, Box<CallError>> {
        let mut request = request("solo", delivery);
        self.resilience
            .call(chain, &mut request, &context("solo"), events)
            .await
    }

    /// Has many agents call at once, in this order; their results in the order in which they ended.
    async fn herd(&self, agents: usize, chain: &[Link], deadline: Option<Duration>) -> Vec<Ended> {
        let mut set = JoinSet::new();
        for agent in 0..agents {
            let resilience = Arc::clone(&self.resilience);
            let chain = chain.to_vec();
            let started = self.started;
            let mut context = context(&format!("agent{agent}"));
            context.deadline = deadline.map(|deadline| started + deadline);
            set.spawn(async move {
                let mut request = request(&format!("agent{agent}"), Delivery::Buffered);
                let result = resilience
                    .call(&chain, &mut request, &context, &Events::nobody())
                    .await;
                (agent, started.elapsed(), result)
            });
        }
        set.join_all().await
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn spending(&self) -> Spending {
        self.ledger.run_cost("run").unwrap()
    }

    /// Whether everything that was taken was given back.
    fn assert_nothing_is_taken(&self) {
        for limits in self.resilience.status().limits {
            assert_eq!((limits.in_flight, limits.waiting), (0, 0), "{limits:?}");
        }
    }
}

fn request(agent: &str, delivery: Delivery) -> Request {
    Request {
        agent: agent.into(),
        messages: vec![Message::User {
            text: "well?".to_owned(),
        }],
        delivery,
        ..Request::default()
    }
}

fn context(agent: &str) -> CallContext {
    CallContext {
        run_id: "run".into(),
        agent: agent.into(),
        turn: 1,
        ..CallContext::default()
    }
}

/// What was told by now.
fn drain(receiver: &mut mpsc::Receiver<Event>) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        kinds.push(event.kind);
    }
    kinds
}

/// The types of events, for a look at their order.
fn types(kinds: &[EventKind]) -> Vec<String> {
    let name = |kind: &EventKind| {
        serde_json::to_value(kind).unwrap()["type"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    kinds.iter().map(name).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A call can move between threads.
#[test]
fn a_call_is_send_and_not_large() {
    fn assert_send<F: Future + Send>(future: &F) -> usize {
        size_of_val(future)
    }
    let lab_ledger = Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()));
    let resilience = Resilience::new(lab_ledger);
    let (mut request, context) = (Request::default(), CallContext::default());
    let size = assert_send(&resilience.call(&[], &mut request, &context, &Events::nobody()));
    assert!(size < 4_500, "{size}");
}
