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

/// The sum of a column in SQL, saturating as those of `Usd` do: SQLite's own fails when it is too large.
fn saturating_sum(column: &str) -> String {
    let (high, low) = (
        format!("sum({column} / 1000000)"),
        format!("sum({column} % 1000000)"),
    );
    format!(
        "CASE WHEN {high} + {low} / 1000000 >= 9223372036854 THEN 9223372036854775807
             ELSE {high} * 1000000 + {low} END"
    )
}

pub(crate) use ledger::holder::Holder;

pub use check::{HeldAttempt, StoreCheck, WrongTotal, check_store};
pub use ledger::{
    Attempt, Budget, BudgetLeft, BudgetWarning, Caps, Charges, Clearance, Earlier, Ended, Hold,
    Ledger, LostAttempt, Outcome, OverBudget, PromptSize, Purpose, Refused, Scope, Settled,
    Spending, Spent, Weight, estimate_tokens,
};
pub use prices::{Price, Prices, Pricing};
pub use settings::{BudgetSettings, OnUnpriced, PriceOverride};
