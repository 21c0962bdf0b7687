//! Prices, the ledger and budgets: every attempt happens between `start_attempt` and `settle`.
//!
//! May use the vocabulary and `store`.

mod calendar;
mod check;
mod ledger;
pub mod prices;
pub mod report;
mod settings;
#[cfg(test)]
mod tests;

pub use check::{HeldAttempt, StoreCheck, WrongTotal, check_store};
pub use ledger::{
    Attempt, Budget, BudgetWarning, Caps, Ended, Hold, Ledger, LostAttempt, Outcome, OverBudget,
    PromptSize, Purpose, Refused, Scope, Settled, Spending, estimate_tokens,
};
pub use prices::{Price, Prices, Pricing};
pub use settings::{BudgetSettings, OnUnpriced, PriceOverride};
