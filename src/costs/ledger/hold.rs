//! A hold lives as long as its attempt. It is settled once, whatever happens to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use tokio::time::Instant;

use super::Ledger;
use super::budget::{Budget, BudgetWarning, Standing};
use super::clearance::Clearance;
use super::rows::{self, Settlement};
use super::settlement::{Basis, Charge, Ended, NOT_SENT, Outcome, Way, charge, is_count_of};
use super::spent::Spent;
use crate::store::{Durability, StoreError};
use crate::usage::{CostSource, Meter, Usd};

/// Money set aside for one attempt.
///
/// Dropping it means that the attempt was cancelled: what was not sent is released, else it is charged an estimate of
/// what had come by then, or, where nothing had come at all, stays at its hold.
#[derive(Debug)]
#[must_use = "dropping a hold cancels its attempt"]
pub struct Hold {
    ledger: Ledger,
    state: State,
    slot: Slot,
    basis: Basis,
    scopes: Arc<[String]>,
    /// The budgets that cover it, each with the key of its running total.
    capped: Vec<(String, Budget)>,
    warn_at: f64,
    meter: Arc<Meter>,
    spent: Arc<Spent>,
    warning: Option<String>,
    clearance: Clearance,
    began: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The row may or may not be written; no request was sent.
    Pending,
    /// The row is written; the attempt runs.
    Open,
    /// Settled, or never held.
    Done,
}

/// The id of the row, from when it is written; none again when its transaction was undone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot(Arc<AtomicI64>);

impl Slot {
    pub(super) fn set(&self, id: Option<i64>) {
        self.0.store(id.unwrap_or(0), Ordering::Release);
    }

    fn id(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Acquire)).filter(|id| *id != 0)
    }
}

/// What an attempt cost in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What it is charged.
    pub cost: Usd,
    /// Where that comes from.
    pub source: CostSource,
    /// Its tokens, estimated where the vendor told none.
    pub usage: crate::usage::Usage,
    /// What the price list says, where a subscription pays.
    pub list_price: Option<Usd>,
    /// What stays held, because nobody knows what became of the attempt.
    pub held: Usd,
    /// The tokens of the prompt as the vendor counted them; `None` where it did not, or cannot have.
    pub prompt_tokens: Option<u64>,
    /// What the user should know about the charge; told once a process.
    pub note: Option<String>,
    /// Budgets that are nearly used up; each is told once a process.
    pub warnings: Vec<BudgetWarning>,
}

impl Hold {
    pub(super) fn pending(
        ledger: &Ledger,
        basis: Basis,
        scopes: Arc<[String]>,
        capped: (Vec<(String, Budget)>, f64),
        (meter, spent): (Arc<Meter>, Arc<Spent>),
    ) -> Self {
        Self {
            ledger: ledger.clone(),
            state: State::Pending,
            slot: Slot::default(),
            basis,
            scopes,
            capped: capped.0,
            warn_at: capped.1,
            meter,
            spent,
            warning: None,
            clearance: Clearance::default(),
            began: Instant::now(),
        }
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot.clone()
    }

    pub(super) fn open(
        &mut self,
        amount: Usd,
        max_output_tokens: u64,
        warning: Option<String>,
        clearance: Clearance,
    ) {
        self.state = State::Open;
        self.basis.hold = amount;
        self.basis.max_output_tokens = max_output_tokens;
        self.warning = warning;
        self.clearance = clearance;
    }

    /// Nothing was held.
    pub(super) fn abandon(&mut self) {
        self.state = State::Done;
    }

    /// What is held.
    pub fn amount(&self) -> Usd {
        self.basis.hold
    }

    /// The output tokens that the hold covers: no more may be asked for.
    pub fn max_output_tokens(&self) -> u64 {
        self.basis.max_output_tokens
    }

    /// Something the user should know before the call, such as an unknown price; told once.
    pub fn take_warning(&mut self) -> Option<String> {
        self.warning.take()
    }

    /// The leave to send the attempt.
    pub fn clearance(&self) -> Clearance {
        self.clearance.clone()
    }

    /// Settles the attempt at what it was. Once this was polled, dropping it changes nothing.
    ///
    /// # Errors
    /// When the store cannot be written: the attempt then counts at its hold.
    pub async fn settle(mut self, outcome: Outcome) -> Result<Settled, StoreError> {
        let never_left = self.clearance.revoke();
        let way = match &outcome.ended {
            Ended::Answered if outcome.filled => Way::Filled,
            Ended::Answered => Way::Whole,
            Ended::Failed { .. } if never_left => Way::Never,
            Ended::Failed { .. } => Way::Cut,
            Ended::Refused { .. } => Way::Never,
        };
        self.basis.subscription |= outcome.subscription || self.meter.is_on_subscription();
        let mut reading = self.meter.reading();
        reading.reported = outcome.usage.or(reading.reported);
        reading.reported_cost = outcome.reported_cost.or(reading.reported_cost);
        let now = SystemTime::now();
        let note = self.price_answer(outcome.model.as_deref());
        let charge = charge(&self.basis, way, reading, now);
        self.charged(outcome.ended.name(), &charge);
        let settlement = self.settlement(charge, outcome.ended.name(), now, &outcome);
        let capped = std::mem::take(&mut self.capped);
        let ledger = self.ledger.clone();
        let written = ledger.store.write(Durability::Normal, move |transaction| {
            rows::settle(transaction, &settlement)?;
            rows::standings(transaction, capped)
        });
        self.state = State::Done;
        let prompt_tokens = self.basis.prompt_tokens;
        let (warn_at, hold, spent) = (self.warn_at, self.basis.hold, Arc::clone(&self.spent));
        drop(self);
        let standings = written
            .await
            .inspect_err(|_| spent.stays_held(&charge, hold))?;
        let on_subscription = charge.source == CostSource::Subscription;
        Ok(Settled {
            cost: charge.cost,
            source: charge.source,
            usage: charge.usage,
            list_price: charge.computed.filter(|_| on_subscription),
            held: charge.held,
            prompt_tokens: reading
                .reported
                .map(|told| told.input_tokens)
                .filter(|told| is_count_of(*told, prompt_tokens)),
            note,
            warnings: ledger.warnings(standings, warn_at),
        })
    }

    /// Sees to it that another model than the one asked is not charged less than it costs; says where it costs more.
    fn price_answer(&mut self, told: Option<&str>) -> Option<String> {
        let provider = self.basis.listed_at.as_deref()?;
        let answered = told.map(str::to_owned).or_else(|| self.meter.model())?;
        let (price, note) = self
            .ledger
            .dearer(provider, &self.basis.pricing, &answered)?;
        self.basis.answered_price = Some(price);
        note
    }

    /// Tells those who count what it is charged.
    fn charged(&self, ended: &str, charge: &Charge) {
        if ended != NOT_SENT {
            self.spent.add(charge);
        }
        if self.basis.hold == Usd::ZERO && charge.cost > Usd::ZERO {
            self.ledger
                .charged_unheld(&self.basis.priced_as, charge.cost);
        }
    }

    fn settlement(
        &self,
        charge: Charge,
        ended: &str,
        now: SystemTime,
        outcome: &Outcome,
    ) -> Settlement {
        Settlement {
            id: self.slot.id(),
            charge,
            outcome: ended.to_owned(),
            model: outcome.model.clone(),
            request_id: outcome.request_id.clone(),
            ended: now,
            duration: self.began.elapsed(),
            scopes: Arc::clone(&self.scopes),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let now = SystemTime::now();
        let (way, ended) = match self.state {
            State::Done => return,
            State::Pending => (Way::Never, NOT_SENT),
            State::Open if self.clearance.revoke() => (Way::Never, NOT_SENT),
            State::Open => (Way::Cut, "cancelled"),
        };
        self.state = State::Done;
        self.basis.subscription |= self.meter.is_on_subscription();
        drop(self.price_answer(None));
        let charge = charge(&self.basis, way, self.meter.reading(), now);
        self.charged(ended, &charge);
        let mut settlement = self.settlement(charge, ended, now, &Outcome::default());
        let slot = self.slot.clone();
        // The queue is in order: by the time this runs, the row was written or never will be.
        self.ledger
            .store
            .write_detached(Durability::Normal, move |transaction| {
                settlement.id = slot.id();
                rows::settle(transaction, &settlement)
            });
    }
}

impl Ledger {
    /// The budgets of which so much is used that the user should know, each once a process.
    fn warnings(&self, standings: Vec<Standing>, warn_at: f64) -> Vec<BudgetWarning> {
        standings
            .into_iter()
            .filter_map(|standing| {
                let used = standing.spent + standing.held;
                let limit = standing.budget.limit;
                let is_near = used > Usd::ZERO && used >= limit.fraction(warn_at);
                let told = format!("near/{}/{}", standing.budget.scope, standing.key);
                (is_near && self.tell_once(told)).then(|| BudgetWarning {
                    budget: standing.budget.scope.to_string(),
                    used,
                    limit,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::{Attempt, Caps, Refused, Spending};
    use super::*;
    use crate::costs::prices::Prices;
    use crate::store::{Store, StoreErrorKind};

    fn seven_pico() -> Attempt {
        Attempt {
            run_id: "r".into(),
            agent: "a".into(),
            most: Some(Usd::from_pico(7)),
            ..Attempt::default()
        }
    }

    #[tokio::test]
    async fn what_did_not_leave_yet_costs_nothing_and_never_leaves() {
        let ledger = Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()));
        let (attempt, caps) = (seven_pico(), Caps::default());
        let start = || ledger.start_attempt(&attempt, &caps, Arc::default());
        let failed = Outcome {
            ended: Ended::Failed {
                class: "timeout".to_owned(),
            },
            ..Outcome::default()
        };
        let hold = start().await.unwrap();
        let clearance = hold.clearance();
        assert_eq!(ledger.run_cost("r").unwrap().held, Usd::from_pico(7));
        drop(hold);
        assert!(clearance.wait().await.is_err());
        let hold = start().await.unwrap();
        let clearance = hold.clearance();
        let settled = hold.settle(failed.clone()).await.unwrap();
        assert_eq!((settled.cost, settled.held), (Usd::ZERO, Usd::ZERO));
        assert!(clearance.wait().await.is_err());
        assert_eq!(ledger.run_cost("r"), Ok(Spending::default()));
        // What has left may have cost it all.
        let hold = start().await.unwrap();
        hold.clearance().wait().await.unwrap();
        let settled = hold.settle(failed).await.unwrap();
        assert_eq!(settled.held, Usd::from_pico(7));
        let hold = start().await.unwrap();
        hold.clearance().wait().await.unwrap();
        drop(hold);
        assert_eq!(ledger.run_cost("r").unwrap().held, Usd::from_pico(14));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_is_written_after_nobody_waits_for_it_is_released() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let ledger = Ledger::new(store.clone(), Arc::new(Prices::built_in()));
        let (disk_answers, disk) = mpsc::channel::<()>();
        store.write_detached(Durability::Normal, move |_| {
            let _is_sent = disk.recv().is_ok();
            Ok(())
        });
        let (attempt, caps) = (seven_pico(), Caps::default());
        let refused = ledger.start_attempt(&attempt, &caps, Arc::default()).await;
        let Err(Refused::Store(error)) = refused else {
            panic!("the disk has not answered");
        };
        assert_eq!(error.kind, StoreErrorKind::Stuck);
        tokio::time::resume();
        drop(disk_answers);
        store.write(Durability::Full, |_| Ok(())).await.unwrap();
        assert_eq!(ledger.run_cost("r"), Ok(Spending::default()));
        let count = "SELECT count(*) FROM attempts WHERE outcome = 'not_sent'";
        let released: Result<i64, _> =
            store.read(move |connection| connection.query_row(count, [], |row| row.get(0)));
        assert_eq!(released, Ok(1));
    }
}
