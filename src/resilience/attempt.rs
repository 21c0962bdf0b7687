//! One attempt: held in the ledger, sent, settled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::call::{CallContext, Link};
use super::pass::{BreakerChange, Pass, Tries};
use super::retry::Decision;
use super::tally::{Failure, Tally, report};
use super::words;
use crate::costs::prices::{Growth, WorstCase};
use crate::costs::{self, Ended, Hold, Ledger, Outcome, Price, PromptSize, estimate_tokens};
use crate::event::{EventKind, Events};
use crate::providers::{
    Delivery, FaultKind, Finish, OwnLoop, Provider, ProviderError, Reply, Request,
};
use crate::store::StoreError;
use crate::usage::{Meter, Usage, Usd};

/// What a model can be asked for at most unless configured.
const MAX_OUTPUT_TOKENS: u64 = 8192;

/// Less output than this is not worth asking for.
const LEAST_OUTPUT_TOKENS: u64 = 256;

/// A provider ends its attempt by itself when its time is up, so that what had come by then is not
/// lost. One that does not is cut this much later.
const GRACE: Duration = Duration::from_millis(500);

/// The same for one that takes its own turns: it may be asked to tell what it cost, and to end what it
/// started.
const OWN_GRACE: Duration = Duration::from_secs(7);

/// By how many tokens the prompt of a provider that takes its own turns may be larger than what it is
/// given: its own words, the descriptions of tools and what tools gave.
const OWN_GROWTH: u64 = 20_000;

/// How often such a provider asks by itself once more where an answer was cut, empty or not of its
/// schema; these count as none of its turns.
const OWN_REPEATS: u32 = 5;

/// The most of a tool's result that a model sees, bytes: the cap of every tool.
const RESULT_BYTES: u64 = 64 * 1024;

/// What every attempt of one call shares.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) context: &'a CallContext,
    pub(super) events: &'a Events,
    pub(super) deadline: Option<Instant>,
}

/// How an attempt ended.
pub(super) enum Attempted {
    /// With an answer.
    Answered(Box<Reply>),
    /// It failed, and this is what follows.
    Failed(Box<ProviderError>, Decision),
    /// Other processes have found out something in the last moment: it has to wait again.
    HeldBack,
    /// It was not made.
    NotMade(Box<Failure>),
}

/// What is settled about the attempts on one link.
#[derive(Clone, Copy)]
pub(super) struct OnLink<'a> {
    /// The model that its provider may turn to by itself.
    pub(super) fallback: Option<&'a Link>,
    pub(super) prompt: PromptSize,
    /// The output tokens to ask for.
    pub(super) max_output_tokens: u64,
    /// Whether it may wait for an open breaker.
    pub(super) patient: bool,
    /// Attempts made on this link, this one included.
    pub(super) attempts: u32,
    /// What the last retry took from the retry budget.
    pub(super) last_price: Option<u32>,
}

/// The output tokens to ask a link for.
pub fn max_output_tokens(link: &Link) -> u64 {
    link.max_output_tokens.unwrap_or_else(|| {
        let most = link
            .facts
            .as_ref()
            .and_then(|facts| facts.max_output_tokens);
        most.unwrap_or(MAX_OUTPUT_TOKENS).min(MAX_OUTPUT_TOKENS)
    })
}

/// The output that a call asks for at least, where budgets afford no more; `None` where it is configured.
fn least_output(link: &Link, most: u64) -> Option<u64> {
    let is_free_to_choose = link.max_output_tokens.is_none();
    is_free_to_choose.then_some(LEAST_OUTPUT_TOKENS.min(most))
}

/// The first attempt on a link with such a prompt, as far as money is concerned; who makes it stays open.
pub fn first_attempt(link: &Link, prompt: PromptSize) -> costs::Attempt {
    costs::Attempt {
        // An agent CLI is held to its share of what is left, whatever that is.
        most: link.provider.runs_own_tools().then_some(Usd::ZERO),
        ..attempt_on(link, prompt, max_output_tokens(link))
    }
}

fn attempt_on(link: &Link, prompt: PromptSize, max_output_tokens: u64) -> costs::Attempt {
    costs::Attempt {
        provider: link.provider.name().to_owned(),
        model: link.canonical.clone(),
        price: link.price,
        local: link.is_free,
        recorded: link.provider.is_recorded(),
        prompt,
        max_output_tokens,
        least_output_tokens: least_output(link, max_output_tokens),
        hides_output: link.provider.hides_reasoning()
            && link.facts.as_ref().and_then(|facts| facts.reasoning) == Some(true),
        doubts_cost: !link.provider.tells_cost(),
        ..costs::Attempt::default()
    }
}

/// The most that so many turns on a link can cost, of which the first has this prompt: each adds the
/// longest answer and the longest result of a tool to the next, up to the window of the model.
pub fn worst_of_turns(price: &Price, link: &Link, prompt_tokens: u64, turns: u32) -> Usd {
    let output_tokens = max_output_tokens(link);
    let facts = link.facts.as_ref();
    let window = facts.and_then(|facts| facts.max_input_tokens);
    let first = WorstCase {
        input_tokens: prompt_tokens,
        output_tokens,
        one_hour_cache: false,
    };
    let growth = Growth {
        input_tokens: output_tokens.saturating_add(estimate_tokens(RESULT_BYTES)),
        window: window.unwrap_or(u64::MAX),
    };
    price.worst_turns(first, u64::from(turns), growth)
}

fn ledger_is_late() -> Box<Failure> {
    Box::new(Failure::late(
        "the time was up while the ledger was busy",
        None,
    ))
}

impl Around<'_> {
    /// Makes one attempt. Dropping the future gives everything back: the ledger charges an estimate.
    pub(super) async fn attempt(
        self,
        mut pass: Pass<'_>,
        link: &Link,
        request: &mut Request,
        on_link: &OnLink<'_>,
        tally: &mut Tally,
    ) -> Attempted {
        let meter = Arc::new(Meter::default());
        let mut attempt = self.ledger_attempt(link, on_link, tally.attempts + 1);
        request.own_loop.budget = None;
        request.own_loop.fallback_model = on_link.fallback.map(|link| link.model.clone());
        if link.provider.runs_own_tools()
            && let Err(error) = self.give_all(&mut attempt, link, on_link, &mut request.own_loop)
        {
            let refused = costs::Refused::Store(error);
            return Attempted::NotMade(Box::new(Failure::of_ledger(refused)));
        }
        // On the heap, since it is large and soon over, and ten thousand calls may be under way.
        let (ledger, caps, kept) = (self.ledger, &self.context.caps, Arc::clone(&meter));
        let held = Box::pin(async move { ledger.start_attempt(&attempt, caps, kept).await });
        let mut hold = match self.in_time(held).await {
            Ok(Ok(hold)) => hold,
            Ok(Err(refused)) => {
                return Attempted::NotMade(Box::new(Failure::of_ledger(refused)));
            }
            Err(failure) => return Attempted::NotMade(failure),
        };
        if let Some(warning) = hold.take_warning() {
            tally.warnings.push(warning);
        }
        if hold.max_output_tokens() < on_link.max_output_tokens {
            let most = hold.max_output_tokens();
            tally.warnings.push(format!(
                "the budget leaves room for {most} output tokens of `{}`",
                link.canonical
            ));
        }
        let began = Instant::now();
        if !pass.may_send(began) {
            drop(pass);
            let outcome = Outcome {
                ended: Ended::not_sent(),
                ..Outcome::default()
            };
            Box::pin(self.settle(hold, outcome, tally)).await;
            return Attempted::HeldBack;
        }
        request.clearance = hold.clearance();
        request.max_output_tokens = Some(hold.max_output_tokens());
        request.clocks = link.clocks;
        request.clocks.total = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(began));
        tally.attempts += 1;
        tracing::info!(
            model = %link.canonical,
            attempt = tally.attempts,
            held_usd = %hold.amount(),
            "asking"
        );
        pass.sent();
        // On the heap, too: who waits in a line does not need it yet.
        let asked = Box::pin(self.ask_with_leave(&mut pass, link, request, &meter));
        let result = match asked.await {
            Ok(result) => result,
            Err(failure) => {
                tally.attempts -= 1;
                return Attempted::NotMade(failure);
            }
        };
        let now = Instant::now();
        match result {
            Ok(reply) => {
                let tokens = reply.usage.as_ref().map(Usage::total_tokens);
                let ms = (now - began).as_millis();
                tracing::info!(model = %link.canonical, ms, tokens, "answered");
                let now = (now, fastrand::f64());
                let changes = pass.succeeded(tokens, &reply.limits, on_link.last_price, now);
                let outcome = Outcome {
                    ended: Ended::Answered,
                    usage: reply.usage,
                    reported_cost: reply.reported_cost,
                    model: reply.model.clone(),
                    request_id: reply.request_id.clone(),
                    subscription: reply.subscription,
                    filled: reply.finish == Finish::Length,
                };
                // Before anything else that may take long: a whole answer is charged what it cost.
                Box::pin(self.settle(hold, outcome, tally)).await;
                self.tell(changes).await;
                Attempted::Answered(Box::new(reply))
            }
            Err(mut error) => {
                tally.warnings.append(&mut error.partial.warnings);
                let tries = Tries {
                    attempts: on_link.attempts,
                    max_retries: link.settings.max_retries,
                    base: link.settings.retry_delay,
                    deadline: self.deadline,
                    committed: is_final(&error, request, tally),
                };
                let endpoint = pass.endpoint();
                let (decision, mut changes) = pass.failed(&error, &tries, (now, fastrand::f64()));
                tally
                    .failures
                    .push(report(tally.attempts, &link.canonical, &error, now - began));
                let class = error.kind.class().to_owned();
                let ms = (now - began).as_millis();
                let id = error.request_id.as_deref();
                tracing::warn!(model = %link.canonical, class, status = error.status, id, ms, "failed: {error}");
                let outcome = Outcome {
                    ended: if error.partial.reached_model {
                        Ended::Failed { class }
                    } else {
                        Ended::Refused { class }
                    },
                    usage: error.partial.usage,
                    reported_cost: error.partial.reported_cost,
                    model: error.partial.model.take(),
                    request_id: error.request_id.clone(),
                    subscription: false,
                    filled: false,
                };
                Box::pin(self.settle(hold, outcome, tally)).await;
                // The store has counted it by now, together with what others have met.
                changes.append(&mut endpoint.known().found_out);
                self.tell(changes).await;
                Attempted::Failed(Box::new(error), decision)
            }
        }
    }

    /// Gives a provider that takes its own turns all that the budgets leave, or half of it where others
    /// need some meanwhile; that is held while it runs. It looks at its budget after a reply, so one reply
    /// is kept within half of it, also one of the model that it may turn to. Where no budget covers it,
    /// what is held is the most that its turns can cost.
    fn give_all(
        self,
        attempt: &mut costs::Attempt,
        link: &Link,
        on_link: &OnLink<'_>,
        own: &mut OwnLoop,
    ) -> Result<(), StoreError> {
        let left = self.ledger.left(attempt, &self.context.caps)?;
        // What is held is out of reach for the agents that it calls meanwhile.
        let left = left.map(|left| if own.shares { left.fraction(0.5) } else { left });
        own.budget = left;
        own.worst_reply = Usd::ZERO;
        attempt.most = left;
        let half = left.map_or(Usd::MAX, |left| left.fraction(0.5));
        let turns = own.max_turns.unwrap_or(1).saturating_add(OWN_REPEATS);
        for link in std::iter::once(link).chain(on_link.fallback) {
            let asked = self.ledger_attempt(link, on_link, attempt.attempt);
            let Some(price) = self.ledger.price_of(&asked) else {
                continue;
            };
            let least = LEAST_OUTPUT_TOKENS;
            let (tokens, worst) = price.reply_within(asked.worst_case(), OWN_GROWTH, least, half);
            attempt.max_output_tokens = attempt.max_output_tokens.min(tokens);
            own.worst_reply = own.worst_reply.max(worst);
            if left.is_none() {
                let prompt = asked.worst_case().input_tokens.saturating_add(OWN_GROWTH);
                let run = worst_of_turns(&price, link, prompt, turns);
                attempt.most = attempt.most.max(Some(run));
            }
        }
        // Whatever it may cost, one reply is under way before the first byte of it comes.
        attempt.most_unanswered = Some(own.worst_reply).filter(|worst| *worst > Usd::ZERO);
        Ok(())
    }

    /// Asks the provider, which sends nothing before its hold is on the disk.
    ///
    /// # Errors
    /// When the hold does not get there, at least not in time: nothing was sent.
    async fn ask_with_leave(
        self,
        pass: &mut Pass<'_>,
        link: &Link,
        request: &Request,
        meter: &Meter,
    ) -> Result<Result<Reply, ProviderError>, Box<Failure>> {
        let (provider, clearance) = (link.provider.as_ref(), &request.clearance);
        let of_store = |error| Box::new(Failure::of_ledger(costs::Refused::Store(error)));
        if !provider.waits_for_clearance() {
            let given = self.in_time(clearance.wait()).await?;
            given.map_err(of_store)?;
        }
        let result = tokio::select! {
            biased;
            error = clearance.failure() => return Err(of_store(error)),
            result = self.ask(pass, provider, request, meter) => result,
        };
        match result {
            Err(error) if error.kind == FaultKind::Deadline && clearance.is_behind() => {
                Err(ledger_is_late())
            }
            result => Ok(result),
        }
    }

    /// Waits for the ledger, but not beyond the deadline.
    async fn in_time<T>(self, waited: impl Future<Output = T>) -> Result<T, Box<Failure>> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline, waited)
                .await
                .map_err(|_| ledger_is_late()),
            None => Ok(waited.await),
        }
    }

    /// Asks the provider. Where others wait for what comes of it, they are told of the first byte.
    async fn ask(
        self,
        pass: &mut Pass<'_>,
        provider: &dyn Provider,
        request: &Request,
        meter: &Meter,
    ) -> Result<Reply, ProviderError> {
        let mut answer = provider.complete(request, meter, self.events);
        let asked = async {
            if pass.is_trial() {
                tokio::select! {
                    biased;
                    result = &mut answer => return result,
                    () = meter.first_answer() => {}
                }
                let changes = pass.accepted(Instant::now(), fastrand::f64());
                self.tell(changes).await;
            }
            answer.await
        };
        let Some(deadline) = self.deadline else {
            return asked.await;
        };
        let grace = if provider.runs_own_tools() {
            OWN_GRACE
        } else {
            GRACE
        };
        timeout_at(deadline + grace, asked)
            .await
            .unwrap_or_else(|_| {
                let mut error = ProviderError::new(
                    provider.name(),
                    FaultKind::Deadline,
                    "the time of the call is up",
                );
                error.partial.reached_model = true;
                error.committed = meter.reading().output_bytes > 0;
                Err(error)
            })
    }

    async fn settle(self, hold: Hold, outcome: Outcome, tally: &mut Tally) {
        let held = hold.amount();
        match hold.settle(outcome).await {
            Ok(settled) => {
                tally.settled(&settled);
                tally.warnings.extend(settled.note);
                let usage = EventKind::Usage {
                    usage: settled.usage,
                    cost_usd: settled.cost,
                };
                self.events.emit(usage).await;
                for warning in settled.warnings {
                    let warning = EventKind::BudgetWarning {
                        budget: warning.budget,
                        used_usd: warning.used,
                        limit_usd: warning.limit,
                    };
                    tally.warnings.extend(warning.words());
                    self.events.emit(warning).await;
                }
            }
            Err(error) => {
                tally.unsettled(held);
                tally.warnings.push(format!(
                    "what an attempt cost could not be recorded: {error}"
                ));
            }
        }
    }

    /// Tells of breakers that have changed.
    pub(super) async fn tell(self, changes: Vec<BreakerChange>) {
        if changes.is_empty() {
            return;
        }
        // On the heap, since it is rare and the future of every call has to hold it.
        Box::pin(async {
            for change in changes {
                self.events.emit(words::breaker_event(change)).await;
            }
        })
        .await;
    }

    fn ledger_attempt(self, link: &Link, on_link: &OnLink<'_>, attempt: u32) -> costs::Attempt {
        let context = self.context;
        costs::Attempt {
            run_id: Arc::clone(&context.run_id),
            step: context.step.clone(),
            task: context.task.clone(),
            session: context.session.clone(),
            agent: Arc::clone(&context.agent),
            delegators: context.delegators.clone(),
            spent: Arc::clone(&context.spent),
            turn: context.turn,
            attempt,
            purpose: context.purpose,
            among: context.among,
            ..attempt_on(link, on_link.prompt, on_link.max_output_tokens)
        }
    }
}

/// Whether what was handed out of a failed answer rules another attempt out: a pipe cannot take
/// anything back, a terminal does so once, and who uses only whole answers has not seen it.
pub(super) fn is_final(error: &ProviderError, request: &Request, tally: &Tally) -> bool {
    error.committed
        && match request.delivery {
            Delivery::Buffered => false,
            Delivery::Live => tally.resets > 0,
            Delivery::Raw => true,
        }
}
