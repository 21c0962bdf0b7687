//! What attempts came to, for whoever gives up on their call and so hears no answer.

use std::sync::{Mutex, PoisonError};

use super::settlement::Charge;
use crate::usage::{CostSource, Usage, Usd};

/// What the attempts of one call were charged so far; each adds itself when it ends.
#[derive(Debug, Default)]
pub struct Spent(Mutex<Charges>);

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
    /// What it is by now.
    pub fn so_far(&self) -> Charges {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, charge: &Charge) {
        let mut charges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        charges.attempts += 1;
        charges.charge(charge.usage, charge.cost, charge.source);
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
