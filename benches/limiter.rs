//! What waiting for one's turn costs: `cargo bench --bench limiter`.
//!
//! The limiter by itself with 10,000 waiters, beside `governor`; then whole calls of a provider that
//! answers at once, with and without limits that are shared with other processes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring script: it reads the clock and prints"
)]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use governor::{Quota, RateLimiter};
use orch::costs::{Ledger, Prices};
use orch::event::Events;
use orch::providers::{
    BoxFuture, Clocks, Endpoint, Provider, ProviderError, Reply, Request, ToolMode,
};
use orch::resilience::{
    Ask, CallContext, EndpointSettings, LaneId, Limiter, Link, Resilience, Turn,
};
use orch::store::Store;
use orch::usage::{Meter, Usage};

const WAITERS: u64 = 10_000;
const ROUNDS: usize = 51;

fn main() {
    println!("{:<66} {:>12}  aim", "what", "measured");
    alone();
    with_waiters();
    beside_governor();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(calls());
}

fn line(what: &str, measured: Duration, aim: &str) {
    let nanos = measured.as_nanos();
    let text = match nanos {
        0..10_000 => format!("{nanos} ns"),
        10_000..10_000_000 => format!("{:.1} us", nanos as f64 / 1e3),
        _ => format!("{:.1} ms", nanos as f64 / 1e6),
    };
    println!("{what:<66} {text:>12}  {aim}");
}

/// The median time of one of `count` steps that a round makes.
fn median(count: u64, mut round: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(ROUNDS / 2).copied().unwrap_or_default() / u32::try_from(count).unwrap()
}

fn settings(per_minute: Option<u32>, max_concurrency: Option<u32>) -> EndpointSettings {
    EndpointSettings {
        requests_per_minute: per_minute,
        max_concurrency,
        ..EndpointSettings::default()
    }
}

const ASK: Ask = Ask {
    tokens: 1_000,
    retry: false,
};

/// Has everything that is let go end at once.
fn advance(limiter: &mut Limiter, lane: LaneId, ticket: u64, now: tokio::time::Instant) -> bool {
    match limiter.advance(lane, ticket, ASK, now) {
        Turn::Admitted(admission) => {
            limiter.settle(admission, 900, now);
            true
        }
        Turn::Behind | Turn::Until(..) | Turn::Blocked(_) | Turn::Ask => false,
    }
}

fn alone() {
    let mut limiter = Limiter::default();
    let lane = limiter.add_lane(&settings(Some(u32::MAX), Some(16)));
    let now = tokio::time::Instant::now();
    let time = median(10_000, || {
        for _ in 0..10_000 {
            let ticket = limiter.ticket();
            assert!(advance(&mut limiter, lane, ticket, now));
        }
    });
    line("nobody waits: let one go, and its end", time, "");
}

fn with_waiters() {
    let mut limiter = Limiter::default();
    let lane = limiter.add_lane(&settings(Some(1), None));
    let start = tokio::time::Instant::now();
    let first = limiter.ticket();
    assert!(advance(&mut limiter, lane, first, start));
    for _ in 0..WAITERS {
        let ticket = limiter.ticket();
        assert!(!advance(&mut limiter, lane, ticket, start));
        limiter.listen(lane, ticket, Waker::noop());
    }
    let time = median(1_000, || {
        for _ in 0..1_000 {
            let ticket = limiter.ticket();
            black_box(limiter.bound(lane, ASK, start));
            assert!(!advance(&mut limiter, lane, ticket, start));
            limiter.listen(lane, ticket, Waker::noop());
            limiter.leave(lane, ticket, start);
        }
    });
    line(
        "10,000 wait: one comes, looks, listens and gives up",
        time,
        "< 2 us",
    );
    // Each round a minute and a bit later, so that the window has room for one.
    let mut minutes = 0;
    let mut head = first;
    let time = median(100, || {
        for _ in 0..100 {
            minutes += 1;
            head += 1;
            let now = start + Duration::from_secs(61) * minutes;
            assert!(advance(&mut limiter, lane, head, now));
            let last = limiter.ticket();
            assert!(!advance(&mut limiter, lane, last, now));
        }
    });
    line(
        "10,000 wait: the head goes, the next is woken, one more comes",
        time,
        "< 2 us",
    );
}

fn beside_governor() {
    let quota = Quota::per_second(NonZeroU32::MAX);
    let limiter = RateLimiter::direct(quota);
    let time = median(10_000, || {
        for _ in 0..10_000 {
            assert!(limiter.check().is_ok());
        }
    });
    line(
        "governor, nobody waits: let one go (no order, no refund)",
        time,
        "",
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let limiter = RateLimiter::direct(Quota::per_minute(NonZeroU32::MIN));
    limiter.check().unwrap();
    let time = median(1_000, || {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..1_000 {
            let waiting = pin!(limiter.until_ready());
            assert!(waiting.poll(&mut context).is_pending());
        }
    });
    line(
        "governor: one comes, looks, sets its timer and gives up",
        time,
        "",
    );
}

/// A provider that answers at once.
struct Instantly(Endpoint);

impl Provider for Instantly {
    fn name(&self) -> &str {
        &self.0.provider
    }

    fn endpoint(&self) -> &Endpoint {
        &self.0
    }

    fn complete<'a>(
        &'a self,
        _: &'a Request,
        _: &'a Meter,
        _: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(async {
            Ok(Reply {
                usage: Some(Usage {
                    input_tokens: 100,
                    output_tokens: 10,
                    ..Usage::default()
                }),
                ..Reply::default()
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }
}

fn link(settings: EndpointSettings) -> Link {
    let endpoint = Endpoint {
        provider: "lab".to_owned(),
        base_url: "http://127.0.0.1:9".to_owned(),
        key_fingerprint: String::new(),
        loopback: true,
    };
    Link {
        provider: Arc::new(Instantly(endpoint)),
        model: "model".to_owned(),
        canonical: "lab/model".to_owned(),
        settings,
        clocks: Clocks::default(),
        tool_mode: ToolMode::Native,
        facts: None,
        max_output_tokens: Some(100),
        is_free: true,
        price: None,
    }
}

/// The median time of a call, one after another.
async fn one_by_one(resilience: &Resilience, link: &Link) -> Duration {
    let chain = std::slice::from_ref(link);
    let (mut request, context) = (Request::default(), CallContext::default());
    let events = Events::nobody();
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let start = Instant::now();
        let answer = resilience
            .call(chain, &mut request, &context, &events)
            .await;
        times.push(start.elapsed());
        black_box(answer.unwrap());
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The time of one of many calls that wait for each other.
async fn all_at_once(resilience: Resilience, link: Link) -> Duration {
    let resilience = Arc::new(resilience);
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..WAITERS {
        let (resilience, link) = (Arc::clone(&resilience), link.clone());
        calls.spawn(async move {
            let (mut request, context) = (Request::default(), CallContext::default());
            let chain = std::slice::from_ref(&link);
            let events = Events::nobody();
            resilience
                .call(chain, &mut request, &context, &events)
                .await
                .unwrap();
        });
    }
    calls.join_all().await;
    start.elapsed() / u32::try_from(WAITERS).unwrap()
}

async fn calls() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let prices = Arc::new(Prices::built_in());
    let resilience = |store: Store| Resilience::new(Ledger::new(store, Arc::clone(&prices)));
    let state = |name: &str| directory.path().join(name);
    let free = || link(settings(None, None));
    let limited = || link(settings(Some(u32::MAX), None));

    let memory = resilience(Store::in_memory().unwrap());
    let time = one_by_one(&memory, &free()).await;
    line("a call, ledger in memory, no limits", time, "");
    let file = resilience(Store::open(&state("a")).unwrap());
    let plain = one_by_one(&file, &free()).await;
    line("a call, ledger in a file, no limits", plain, "");
    let shared = one_by_one(&file, &limited()).await;
    line(
        "a call, ledger in a file, a limit shared with all processes",
        shared,
        "",
    );
    let added = shared.saturating_sub(plain);
    line("  so sharing adds", added, "< 1 ms");
    let direct = resilience(Store::open_direct(&state("b")).unwrap());
    let plain = one_by_one(&direct, &free()).await;
    line("a call, written at once, no limits", plain, "");
    let shared = one_by_one(&direct, &limited()).await;
    let added = shared.saturating_sub(plain);
    line("  so sharing adds", added, "< 1 ms");

    let many = |max_concurrency| link(settings(None, max_concurrency));
    let memory = || resilience(Store::in_memory().unwrap());
    let time = all_at_once(memory(), many(None)).await;
    line("10,000 calls at once, ledger in memory: each", time, "");
    let time = all_at_once(memory(), many(Some(16))).await;
    line(
        "10,000 calls at once, 16 in flight, the others in line: each",
        time,
        "",
    );
    let file = resilience(Store::open(&state("c")).unwrap());
    let time = all_at_once(file, limited()).await;
    line(
        "10,000 calls at once, a limit shared with all processes: each",
        time,
        "",
    );
}
