//! What attempts came to, entered where they end: whoever gives up on a call, and so hears no answer, finds it
//! here all the same.

use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};

use super::settlement::Charge;
use crate::usage::{CostSource, Usage, Usd};

/// The account of a call, an agent's run, a step or a whole run: each attempt enters itself when it ends,
/// also in what this is a part of.
#[derive(Debug, Default)]
pub struct Spent {
    charges: Mutex<Charges>,
    whole: Option<Arc<Self>>,
}

/// Money and tokens of several attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// How many they were.
    pub attempts: u32,
    /// Their tokens.
    pub usage: Usage,
    /// What they are charged.
    pub cost: Usd,
    /// The least certain source of their cost; `None` while they cost nothing.
    pub source: Option<CostSource>,
}

impl Spent {
    /// The account of something for which an earlier process was charged this.
    pub fn after(before: Charges) -> Arc<Self> {
        Arc::new(Self {
            charges: Mutex::new(before),
            whole: None,
        })
    }

    /// The account of a part of something larger. What an earlier process was charged for it stands in the
    /// account of the whole already.
    pub fn part_of(whole: &Arc<Self>, before: Charges) -> Arc<Self> {
        Arc::new(Self {
            charges: Mutex::new(before),
            whole: Some(Arc::clone(whole)),
        })
    }

    /// What it is by now.
    pub fn so_far(&self) -> Charges {
        *self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt that has ended.
    pub(super) fn add(&self, charge: &Charge) {
        self.enter(|charges| {
            charges.attempts = charges.attempts.saturating_add(1);
            charges.charge(charge.usage, charge.cost, charge.source);
        });
    }

    /// Enters that the ledger could not be told of an attempt: it stands there at its hold.
    pub(super) fn stays_held(&self, charge: &Charge, hold: Usd) {
        let more = (hold - charge.cost).at_least_zero();
        self.enter(|charges| charges.charge(Usage::default(), more, CostSource::Estimated));
    }

    fn enter(&self, entry: impl Fn(&mut Charges)) {
        let mut at = Some(self);
        while let Some(spent) = at {
            entry(&mut spent.charges.lock().unwrap_or_else(PoisonError::into_inner));
            at = spent.whole.as_deref();
        }
    }
}

impl Charges {
    /// Counts what an attempt cost. One that cost nothing does not make the others less certain.
    pub fn charge(&mut self, usage: Usage, cost: Usd, source: CostSource) {
        self.usage += usage;
        self.cost += cost;
        if !usage.is_empty() || cost > Usd::ZERO {
            self.source = self.source.max(Some(source));
        }
    }
}

impl AddAssign for Charges {
    fn add_assign(&mut self, other: Self) {
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.usage += other.usage;
        self.cost += other.cost;
        self.source = self.source.max(other.source);
    }
}
