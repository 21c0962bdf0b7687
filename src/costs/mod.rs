//! Prices, the ledger and budgets: every attempt happens between `start_attempt` and `settle`.
//!
//! May use the vocabulary and `store`.

mod settings;

pub use settings::{BudgetSettings, OnUnpriced};
