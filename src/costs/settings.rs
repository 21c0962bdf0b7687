//! What a configuration can say about money.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::usage::Usd;

/// What happens to a call of a model whose price is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnUnpriced {
    /// It is refused.
    Deny,
    /// It is made, with a warning.
    Warn,
    /// It is made.
    Allow,
}

/// `settings.budget`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetSettings {
    /// Cap of one run, USD.
    pub run_usd: Option<Usd>,
    /// Cap of one conversation, USD.
    pub session_usd: Option<Usd>,
    /// Cap of one day (UTC), USD.
    pub day_usd: Option<Usd>,
    /// Cap of one month (UTC), USD.
    pub month_usd: Option<Usd>,
    /// The fraction of a cap at which a warning is told.
    #[schemars(range(min = 0, max = 1))]
    pub warn_at: f64,
    /// What happens to models without a known price; by default `deny` where a cap covers the
    /// call, else `warn`.
    pub on_unpriced: Option<OnUnpriced>,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            run_usd: None,
            session_usd: None,
            day_usd: None,
            month_usd: None,
            warn_at: 0.8,
            on_unpriced: None,
        }
    }
}

/// A price of a configuration, USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceOverride {
    /// Input tokens.
    pub input: Usd,
    /// Output tokens.
    pub output: Usd,
    /// Input tokens read from a cache; the input price when absent.
    #[serde(default)]
    pub cache_read: Option<Usd>,
    /// Input tokens written to a cache; the input price when absent.
    #[serde(default)]
    pub cache_write: Option<Usd>,
}

/// An amount as configurations write it: a number, or the same in quotes, never below zero.
impl JsonSchema for Usd {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["number", "string"],
            "minimum": 0,
            "maximum": Self::MAX.pico() / 10_i64.pow(12),
            "pattern": r"^\$?([0-9]+(\.[0-9]{0,12})?|\.[0-9]{1,12})$",
        })
    }
}
