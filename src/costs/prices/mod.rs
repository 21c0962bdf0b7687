//! What models cost: the configuration's prices, over the user's price file, over the built-in table.
//!
//! The built-in table is `model-prices.jsonl`: one model a line, sorted by name, the name and its
//! row in JSON parted by a tab; only the line looked up is ever parsed. Prices are USD per million
//! tokens as decimal strings. Its rows are those of `tests/fixtures/model-prices.json`, which tells
//! where they come from (LiteLLM's price list, MIT licence, checked against models.dev).

mod entries;
#[cfg(test)]
mod file_tests;
mod litellm;
#[cfg(test)]
mod peer_tests;
mod price;
mod row;
#[cfg(test)]
mod tests;
mod update;

pub use price::{Growth, OffPeak, Price, PriceSource, Rates, Tier, Window, WorstCase};
pub use row::ListedModel;
pub use update::{PriceFileError, Updated, update};

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::settings::PriceOverride;
use crate::usage::Usd;
use row::Row;

/// The built-in table.
const TABLE: &str = include_str!("model-prices.jsonl");

/// The edition of the built-in table: the day it was made.
pub const TABLE_VERSION: &str = "2026-11-22";

/// The vendors of the built-in table, whose names come first in its models' names.
const VENDORS: &[&str] = &[
    "anthropic",
    "cerebras",
    "cohere",
    "deepseek",
    "fireworks_ai",
    "gemini",
    "groq",
    "mistral",
    "openai",
    "openrouter",
    "together_ai",
    "xai",
];

/// A model whose price is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The model as `vendor/model`, or the vendor's own name.
    pub model: &'a str,
    /// The provider that is called: a vendor, `claude`, or a name from `providers:`.
    pub provider: &'a str,
    /// Whether it is served by this machine; a listed model of a vendor is charged all the same.
    pub local: bool,
    /// Its price in the configuration.
    pub configured: Option<&'a PriceOverride>,
}

/// What is known about a model's price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pricing {
    /// It costs this.
    Known(Arc<Price>),
    /// It runs on this machine and costs nothing.
    Local,
    /// Nobody knows; that is not the same as nothing.
    Unpriced,
}

/// The price table of a process.
#[derive(Debug, Default)]
pub struct Prices {
    user: BTreeMap<String, Box<RawValue>>,
    user_version: String,
}

impl Prices {
    /// The built-in table alone.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// The built-in table under the user's own file, where there is one. A row of it that is wrong,
    /// because it was written by hand, leaves its model without a price, which is never passed over
    /// in silence.
    ///
    /// # Errors
    /// When the file is there and cannot be read or is no price file.
    pub fn with_user_file(path: &Path) -> Result<Self, PriceFileError> {
        let Some(file) = update::read(path)? else {
            return Ok(Self::default());
        };
        Ok(Self {
            user: file.models,
            user_version: file.updated,
        })
    }

    /// Whether these have the same rows.
    pub fn are(&self, other: &Self) -> bool {
        let rows = |prices: &Self| {
            let user = prices.user.iter();
            user.map(|(name, row)| (name.clone(), row.get().to_owned()))
                .collect::<Vec<_>>()
        };
        self.user_version == other.user_version && rows(self) == rows(other)
    }

    /// The price of a model.
    pub fn price(&self, asked: Asked<'_>) -> Pricing {
        if let Some(configured) = asked.configured {
            return Pricing::Known(Arc::new(configured.price()));
        }
        // A vendor that is reached through this machine, by a gateway, still wants its money.
        if asked.local && !VENDORS.contains(&vendor_of(asked.provider)) {
            return Pricing::Local;
        }
        match self.find(asked.provider, asked.model) {
            Listing::Row(found) => found
                .row
                .price(found.source, found.version)
                .map_or(Pricing::Unpriced, |price| Pricing::Known(Arc::new(price))),
            Listing::None if asked.local => Pricing::Local,
            Listing::None | Listing::Faulty => Pricing::Unpriced,
        }
    }

    /// What the tables say about a model beside its price.
    pub fn facts(&self, model: &str, provider: &str) -> Option<ListedModel> {
        match self.find(provider, model) {
            Listing::Row(found) => Some(found.row.listed(&found.name)),
            Listing::None | Listing::Faulty => None,
        }
    }

    /// The names of all models with a price, sorted.
    pub fn names(&self) -> Vec<&str> {
        let built_in = TABLE.lines().filter_map(|line| line.split_once('\t'));
        let mut names: Vec<&str> = built_in
            .map(|(name, _)| name)
            .chain(self.user.keys().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn find(&self, provider: &str, model: &str) -> Listing<'_> {
        // The first that is listed counts, even where its row turns out to be wrong.
        let listed = listed_names(provider, model).into_iter().find_map(|name| {
            if let Some(row) = self.user.get(&name) {
                let version = self.user_version.as_str();
                return Some((name, PriceSource::User, version, row.get()));
            }
            let row = built_in(&name)?;
            Some((name, PriceSource::BuiltIn, TABLE_VERSION, row))
        });
        let Some((name, source, version, text)) = listed else {
            return Listing::None;
        };
        match serde_json::from_str::<Row>(text) {
            Ok(row) if row.fault().is_none() => Listing::Row(Box::new(Found {
                row,
                source,
                version,
                name,
            })),
            _ => Listing::Faulty,
        }
    }
}

/// What the tables say about a model.
enum Listing<'a> {
    /// Nothing.
    None,
    /// A row that is wrong. The model is one that costs something, and nobody knows what.
    Faulty,
    /// A row.
    Row(Box<Found<'a>>),
}

struct Found<'a> {
    row: Row,
    source: PriceSource,
    version: &'a str,
    name: String,
}

/// The names under which a model may be listed, the most exact first.
///
/// A vendor that serves the models of others (`openrouter`, `together_ai`) has prices of its own:
/// the name of the model's maker alone is no answer there. A dated snapshot costs what its undated
/// name costs, unless it is listed itself.
fn listed_names(provider: &str, model: &str) -> Vec<String> {
    let vendor = vendor_of(provider);
    // `sonnet[1m]`: the CLI's way to ask for the long window.
    let model = model.split_once('[').map_or(model, |(name, _)| name);
    let is_prefixed = model
        .split_once('/')
        .is_some_and(|(prefix, _)| prefix == vendor);
    let name = if !is_prefixed && VENDORS.contains(&vendor) {
        format!("{vendor}/{model}")
    } else {
        model.to_owned()
    };
    let others = [tuned(&name), undated(&name)].into_iter().flatten();
    let others: Vec<String> = others.map(str::to_owned).collect();
    std::iter::once(name).chain(others).collect()
}

/// Who is paid for what a provider answers.
fn vendor_of(provider: &str) -> &str {
    if provider == "claude" {
        "anthropic"
    } else {
        provider
    }
}

/// What all models cost that were tuned from the same one: `ft:gpt-4o-2024-08-06` for `ft:gpt-4o-2024-08-06:team::id`.
fn tuned(name: &str) -> Option<&str> {
    let base = name.strip_prefix("openai/ft:")?;
    let end = base.find(':')?;
    name.get(..name.len() - base.len() + end)
}

/// A name without the date of a snapshot (`-2026-09-01`, `-20260901`) at its end.
fn undated(name: &str) -> Option<&str> {
    ["-dddd-dd-dd", "-dddddddd"].into_iter().find_map(|form| {
        let split = name.len().checked_sub(form.len())?;
        let date = name.get(split..)?;
        let matches = date.bytes().zip(form.bytes()).all(|(byte, form)| {
            if form == b'd' {
                byte.is_ascii_digit()
            } else {
                byte == form
            }
        });
        name.get(..split).filter(|_| matches)
    })
}

/// The JSON of a line of the built-in table.
fn built_in(name: &str) -> Option<&'static str> {
    let mut rest = TABLE;
    while !rest.is_empty() {
        let middle = rest.floor_char_boundary(rest.len() / 2);
        let start = rest.get(..middle)?.rfind('\n').map_or(0, |at| at + 1);
        let (line, after) = rest.get(start..)?.split_once('\n')?;
        let (listed, row) = line.split_once('\t')?;
        match name.cmp(listed) {
            std::cmp::Ordering::Equal => return Some(row),
            std::cmp::Ordering::Less => rest = rest.get(..start)?,
            std::cmp::Ordering::Greater => rest = after,
        }
    }
    None
}

/// Whether the built-in table lists a model as one that costs nothing.
fn is_free(name: &str) -> bool {
    let row = built_in(name).and_then(|row| serde_json::from_str::<Row>(row).ok());
    row.and_then(|row| row.price(PriceSource::BuiltIn, TABLE_VERSION))
        .is_some_and(|price| price.base.input == Usd::ZERO && price.base.output == Usd::ZERO)
}

impl PriceOverride {
    fn price(&self) -> Price {
        Price {
            base: Rates {
                input: self.input,
                output: self.output,
                cache_read: self.cache_read,
                cache_write: self.cache_write,
                cache_write_1h: None,
            },
            tiers: Vec::new(),
            tiers_include_threshold: false,
            off_peak: None,
            source: PriceSource::Config,
            version: String::new(),
        }
    }
}
