//! The ledger: one row an attempt, held against every budget before it is made, settled after it.

mod attempt;
mod budget;
mod clearance;
mod earlier;
mod hold;
pub(super) mod holder;
mod lost;
mod prompt_size;
pub(super) mod rows;
mod settlement;
mod spent;
#[cfg(test)]
mod tests;

pub use attempt::{Attempt, Purpose, estimate_tokens};
pub use budget::{Budget, BudgetLeft, BudgetWarning, Caps, OverBudget, Refused, Scope};
pub use clearance::Clearance;
pub use earlier::Earlier;
pub use hold::{Hold, Settled};
pub use lost::LostAttempt;
pub use prompt_size::{PromptSize, Weight};
pub use settlement::{Ended, Outcome};
pub use spent::{Charges, Spent};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use super::OnUnpriced;
use super::calendar::Day;
use super::prices::{Asked, Price, Prices, Pricing};
use crate::store::{Durability, Store, StoreError, StoreErrorKind, Transaction};
use crate::usage::{Meter, Usd};
use budget::{Ask, Share, Standing};
use holder::Holder;
use settlement::Basis;

/// The ledger of a process; clones are the same one.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Store,
    /// Behind a lock: a session rereads them while its runs may hold.
    prices: Arc<RwLock<Arc<Prices>>>,
    holder: Arc<OnceLock<Holder>>,
    /// What was told once in this process: budgets nearly used up, models without a price.
    told: Arc<Mutex<BTreeSet<String>>>,
    /// The most that a call has been charged for which nothing was held, by provider and model: its server told a
    /// cost that no price list has.
    unheld: Arc<Mutex<BTreeMap<String, Usd>>>,
}

/// What a run, or all of it, costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spending {
    /// What is settled.
    pub spent: Usd,
    /// What is held: attempts under way, and those of which nobody knows what became of them.
    pub held: Usd,
}

impl Ledger {
    /// A ledger in a store. [`Store::in_memory`] gives one that is forgotten.
    pub fn new(store: Store, prices: Arc<Prices>) -> Self {
        Self {
            store,
            prices: Arc::new(RwLock::new(prices)),
            holder: Arc::default(),
            told: Arc::default(),
            unheld: Arc::default(),
        }
    }

    /// The prices that it charges.
    pub fn prices(&self) -> Arc<Prices> {
        Arc::clone(&self.prices.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Charges other prices from now on; what is under way is charged those that it began with.
    pub fn set_prices(&self, prices: Arc<Prices>) {
        *self.prices.write().unwrap_or_else(PoisonError::into_inner) = prices;
    }

    /// The store it is kept in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Holds the most that an attempt can cost against every budget that covers it: all of them or
    /// none, in one transaction over all processes. The attempt is made while the hold lives, and sent once its
    /// [`Hold::clearance`] is given.
    ///
    /// Dropping the future before it is done leaves nothing held. `meter` is what the provider
    /// writes while the attempt runs; it decides what a hold that is dropped is charged.
    ///
    /// # Errors
    /// When a budget would be exceeded, the price is unknown and that is not allowed, or the store
    /// cannot be written.
    pub async fn start_attempt(
        &self,
        attempt: &Attempt,
        caps: &Caps,
        meter: Arc<Meter>,
    ) -> Result<Hold, Refused> {
        self.start_attempt_at(attempt, caps, meter, SystemTime::now())
            .await
    }

    pub(super) async fn start_attempt_at(
        &self,
        attempt: &Attempt,
        caps: &Caps,
        meter: Arc<Meter>,
        now: SystemTime,
    ) -> Result<Hold, Refused> {
        let day = Day::of(now);
        let pricing = self.pricing(attempt);
        let capped = capped(attempt, caps, day);
        let on_unpriced = caps.on_unpriced(!capped.is_empty());
        let (ask, warning) = self.ask(attempt, on_unpriced, &pricing, !capped.is_empty())?;
        let (among, of_run) = (attempt.among, format!("run/{}", attempt.run_id));
        let scopes: Arc<[String]> = budget::charged_scopes(attempt, day).into();
        let row = rows::NewRow::new(attempt, &pricing, self.holder(), now);
        let basis = Basis {
            pricing,
            listed_at: attempt.price.is_none().then(|| attempt.provider.clone()),
            answered_price: None,
            subscription: attempt.subscription,
            doubts_cost: attempt.doubts_cost,
            hold: Usd::ZERO,
            priced_as: priced_as(attempt),
            most_unanswered: attempt.most_unanswered,
            prompt_tokens: attempt.prompt.likely_tokens(),
            max_output_tokens: attempt.max_output_tokens,
            hides_output: attempt.hides_output,
            began: now,
        };
        let mut hold = Hold::pending(
            self,
            basis,
            Arc::clone(&scopes),
            (capped.clone(), caps.warn_at),
            (meter, Arc::clone(&attempt.spent)),
        );
        let holds_nothing = ask.amount() == Usd::ZERO;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (slot, written) = (hold.slot(), hold.slot());
        let job = move |transaction: &Transaction<'_>| {
            let standings = rows::standings(transaction, capped)?;
            let held = match among {
                0 | 1 => Usd::ZERO,
                _ => rows::total(transaction, &of_run)?.held,
            };
            match budget::admit(&ask, &standings, Share { among, held }, day) {
                Ok(granted) => {
                    let id = rows::insert(transaction, &row, &scopes, granted.amount)?;
                    slot.set(Some(id));
                    Ok(Ok(granted))
                }
                Err(over) => Ok(Err(over)),
            }
        };
        let tell = move |result: Result<_, StoreError>| {
            if result.is_err() {
                written.set(None);
            }
            // Who is gone has left word in the queue to release the row.
            drop(sender.send(result));
        };
        // What holds nothing is worth no sync of the disk.
        let clearance = if holds_nothing {
            self.store.submit(Durability::Normal, job, tell);
            Clearance::default()
        } else {
            Clearance::when(self.store.submit_ahead(job, tell))
        };
        match self.store.answer(receiver).await {
            Ok(Ok(granted)) => {
                let output_tokens = granted.output_tokens.unwrap_or(attempt.max_output_tokens);
                hold.open(granted.amount, output_tokens, warning, clearance);
                Ok(hold)
            }
            Ok(Err(over)) => {
                hold.abandon();
                Err(Refused::Budget(over))
            }
            Err(error) => {
                // One that may still be written is released behind it.
                if error.kind != StoreErrorKind::Stuck {
                    hold.abandon();
                }
                Err(Refused::Store(error))
            }
        }
    }

    /// Why an attempt would be refused if it were made now; nothing is held for it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn refusal(&self, attempt: &Attempt, caps: &Caps) -> Result<Option<Refused>, StoreError> {
        let day = Day::of(SystemTime::now());
        let capped = capped(attempt, caps, day);
        let on_unpriced = caps.on_unpriced(!capped.is_empty());
        let is_capped = !capped.is_empty();
        let ask = match self.ask(attempt, on_unpriced, &self.pricing(attempt), is_capped) {
            Ok((ask, _)) => ask,
            Err(refused) => return Ok(Some(refused)),
        };
        let standings = self
            .store
            .read(|connection| rows::standings(connection, capped))?;
        let admitted = budget::admit(&ask, &standings, Share::default(), day);
        Ok(admitted.err().map(Refused::Budget))
    }

    /// How many output tokens the tightest budget affords an attempt; `None` when no budget limits
    /// them. Others may take it in the meantime: [`Attempt::least_output_tokens`] asks for the same
    /// at the moment of the hold.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn affordable_output_tokens(
        &self,
        attempt: &Attempt,
        caps: &Caps,
    ) -> Result<Option<u64>, StoreError> {
        let Pricing::Known(price) = self.pricing(attempt) else {
            return Ok(None);
        };
        let left = self.left(attempt, caps)?.filter(|_| !attempt.subscription);
        Ok(left.and_then(|left| price.affordable_output(left, attempt.worst_case())))
    }

    /// What the tightest budget leaves to an attempt; `None` when no budget covers it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn left(&self, attempt: &Attempt, caps: &Caps) -> Result<Option<Usd>, StoreError> {
        let budgets = self.budgets_left(attempt, caps)?;
        Ok(budgets.iter().map(|budget| budget.left).min())
    }

    /// What every budget that covers an attempt leaves to it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn budgets_left(
        &self,
        attempt: &Attempt,
        caps: &Caps,
    ) -> Result<Vec<BudgetLeft>, StoreError> {
        let capped = capped(attempt, caps, Day::of(SystemTime::now()));
        if capped.is_empty() {
            return Ok(Vec::new());
        }
        let standings = self
            .store
            .read(|connection| rows::standings(connection, capped))?;
        let left = |standing: Standing| BudgetLeft {
            left: standing.left().at_least_zero(),
            limit: standing.budget.limit,
            scope: standing.budget.scope,
        };
        Ok(standings.into_iter().map(left).collect())
    }

    /// The price of an attempt; `None` where none is known, and where nothing is paid.
    pub fn price_of(&self, attempt: &Attempt) -> Option<Arc<Price>> {
        match self.pricing(attempt) {
            Pricing::Known(price) => Some(price),
            Pricing::Local | Pricing::Unpriced => None,
        }
    }

    /// What a run has cost so far, earlier parts of it included.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn run_cost(&self, run_id: &str) -> Result<Spending, StoreError> {
        let key = format!("run/{run_id}");
        self.store
            .read(move |connection| rows::total(connection, &key))
    }

    fn pricing(&self, attempt: &Attempt) -> Pricing {
        self.prices().price(Asked {
            model: &attempt.model,
            provider: &attempt.provider,
            local: attempt.local,
            configured: attempt.price.as_ref(),
        })
    }

    /// The price of the model that answered, where the list has another than for the one that was asked; says so once
    /// where it is dearer.
    fn dearer(
        &self,
        provider: &str,
        asked: &Pricing,
        answered: &str,
    ) -> Option<(Arc<Price>, Option<String>)> {
        let Pricing::Known(asked) = asked else {
            return None;
        };
        let Pricing::Known(price) = self.prices().price(Asked {
            model: answered,
            provider,
            local: false,
            configured: None,
        }) else {
            return None;
        };
        if price == *asked {
            return None;
        }
        let is_dearer =
            price.base.input > asked.base.input || price.base.output > asked.base.output;
        let told = format!("dearer/{provider}/{answered}");
        let note = (is_dearer && self.tell_once(told)).then(|| {
            format!("`{answered}` answered, which costs more than the model that was asked")
        });
        Some((price, note))
    }

    fn holder(&self) -> Holder {
        *self.holder.get_or_init(Holder::this_process)
    }

    /// What the attempt asks to hold, and what the user should know about it.
    fn ask(
        &self,
        attempt: &Attempt,
        on_unpriced: OnUnpriced,
        pricing: &Pricing,
        is_capped: bool,
    ) -> Result<(Ask, Option<String>), Refused> {
        if attempt.subscription || attempt.recorded {
            return Ok((Ask::Nothing, None));
        }
        if let Some(most) = attempt.most {
            return Ok((Ask::Fixed(most), None));
        }
        match pricing {
            Pricing::Local => Ok((self.unheld(attempt, is_capped)?, None)),
            Pricing::Known(price) => {
                let priced = Ask::Priced {
                    price: Arc::clone(price),
                    worst: attempt.worst_case(),
                    least_output: attempt.least_output_tokens,
                };
                if priced.amount() > Usd::ZERO {
                    return Ok((priced, None));
                }
                Ok((self.unheld(attempt, is_capped)?, None))
            }
            Pricing::Unpriced => match on_unpriced {
                OnUnpriced::Deny => Err(Refused::Unpriced {
                    model: attempt.model.clone(),
                }),
                OnUnpriced::Allow => Ok((self.unheld(attempt, is_capped)?, None)),
                OnUnpriced::Warn => {
                    let model = &attempt.model;
                    let warning = self.tell_once(format!("unpriced/{model}")).then(|| {
                        format!(
                            "the price of `{model}` is not known: its calls count as what its server says \
                             they cost, or as nothing"
                        )
                    });
                    Ok((self.unheld(attempt, is_capped)?, warning))
                }
            },
        }
    }

    /// What a call asks for of which no list has the price: what one like it has cost, it may cost, too.
    fn unheld(&self, attempt: &Attempt, is_capped: bool) -> Result<Ask, StoreError> {
        let key = priced_as(attempt);
        let known = {
            let unheld = self.unheld.lock().unwrap_or_else(PoisonError::into_inner);
            unheld.get(&key).copied()
        };
        let most = match known {
            Some(most) => most,
            None if is_capped => {
                let (provider, model) = (attempt.provider.clone(), attempt.model.clone());
                let most = self
                    .store
                    .read(move |connection| rows::dearest(connection, &provider, &model))?;
                self.charged_unheld(&key, most);
                most
            }
            None => Usd::ZERO,
        };
        Ok(Ask::Fixed(most))
    }

    /// Notes what a call was charged for which nothing was held.
    fn charged_unheld(&self, priced_as: &str, cost: Usd) {
        let mut unheld = self.unheld.lock().unwrap_or_else(PoisonError::into_inner);
        let most = unheld.entry(priced_as.to_owned()).or_default();
        *most = cost.max(*most);
    }

    /// Whether this has not been told yet in this process.
    fn tell_once(&self, what: String) -> bool {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(what)
    }
}

/// Which calls cost about the same: those of one model of one provider.
fn priced_as(attempt: &Attempt) -> String {
    format!("{} {}", attempt.provider, attempt.model)
}

/// The budgets that cover an attempt, each with the key of its running total.
fn capped(attempt: &Attempt, caps: &Caps, day: Day) -> Vec<(String, Budget)> {
    let budgets = caps.budgets.iter();
    budgets
        .filter_map(|budget| Some((budget.scope.key(attempt, day)?, budget.clone())))
        .collect()
}
