//! One line of a price table, as it is written in JSON.

use std::cmp::Ordering;

use serde::Deserialize;

use super::price::{OffPeak, Price, PriceSource, Rates, Tier, Window};
use crate::usage::Usd;

/// What a table says about one model; prices are USD per million tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) provider: Option<String>,
    input_per_mtok: Usd,
    output_per_mtok: Usd,
    cache_read_per_mtok: Option<Usd>,
    cache_write_per_mtok: Option<Usd>,
    cache_write_1h_per_mtok: Option<Usd>,
    #[serde(default)]
    tiers: Vec<TierRow>,
    off_peak: Option<OffPeakRow>,
    /// The price is doubtful; it counts as unknown.
    #[serde(default)]
    price_suspect: bool,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    function_calling: Option<bool>,
    vision: Option<bool>,
    reasoning: Option<bool>,
    sampling_params: Option<bool>,
    parallel_tools: Option<bool>,
    tool_choice: Option<bool>,
    forced_tool_choice: Option<bool>,
    system_messages: Option<bool>,
    api: Option<String>,
    deprecation_date: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierRow {
    above_input_tokens: u64,
    input_per_mtok: Option<Usd>,
    output_per_mtok: Option<Usd>,
    cache_read_per_mtok: Option<Usd>,
    cache_write_per_mtok: Option<Usd>,
    cache_write_1h_per_mtok: Option<Usd>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OffPeakRow {
    input_per_mtok: Option<Usd>,
    output_per_mtok: Option<Usd>,
    cache_read_per_mtok: Option<Usd>,
    windows_utc: Vec<WindowRow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowRow {
    hours_utc: OneOrMany,
    /// 1 is Monday.
    weekdays: Vec<u8>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// What a price table says about a model beside its price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag a property that the vendors document"
)]
pub struct ListedModel {
    /// The name under which the table lists it.
    pub name: String,
    /// Tokens of input that fit, where known.
    pub max_input_tokens: Option<u64>,
    /// Tokens that one answer can have, where known.
    pub max_output_tokens: Option<u64>,
    /// Whether it has function calling, where known.
    pub function_calling: Option<bool>,
    /// Whether it takes images, where known.
    pub vision: Option<bool>,
    /// Whether it reasons before it answers, where known.
    pub reasoning: Option<bool>,
    /// Whether it takes `temperature` and its like.
    pub sampling_params: bool,
    /// Whether it makes several tool calls at once.
    pub parallel_tools: bool,
    /// Whether it takes `tool_choice`.
    pub tool_choice: bool,
    /// Whether it can be made to call a certain tool.
    pub forced_tool_choice: bool,
    /// Whether it takes system messages.
    pub system_messages: bool,
    /// Whether it is served by `/v1/responses` alone.
    pub responses_only: bool,
    /// The day it is retired, `YYYY-MM-DD`, where announced.
    pub deprecation_date: Option<String>,
}

impl Row {
    /// The price, unless it is doubtful or its off-peak hours cannot be read.
    pub(super) fn price(&self, source: PriceSource, version: &str) -> Option<Price> {
        if self.price_suspect {
            return None;
        }
        let base = Rates {
            input: self.input_per_mtok,
            output: self.output_per_mtok,
            cache_read: self.cache_read_per_mtok,
            cache_write: self.cache_write_per_mtok,
            cache_write_1h: self.cache_write_1h_per_mtok,
        };
        let mut tiers: Vec<Tier> = self.tiers.iter().map(|tier| tier.over(base)).collect();
        tiers.sort_by_key(|tier| tier.above_input_tokens);
        let off_peak = match &self.off_peak {
            Some(row) => Some(row.over(base)?),
            None => None,
        };
        Some(Price {
            base,
            tiers,
            tiers_include_threshold: self.provider.as_deref() == Some("xai"),
            off_peak,
            source,
            version: version.to_owned(),
        })
    }

    pub(super) fn listed(&self, name: &str) -> ListedModel {
        ListedModel {
            name: name.to_owned(),
            max_input_tokens: self.max_input_tokens,
            max_output_tokens: self.max_output_tokens,
            function_calling: self.function_calling,
            vision: self.vision,
            reasoning: self.reasoning,
            sampling_params: self.sampling_params.unwrap_or(true),
            parallel_tools: self.parallel_tools.unwrap_or(true),
            tool_choice: self.tool_choice.unwrap_or(true),
            forced_tool_choice: self.forced_tool_choice.unwrap_or(true),
            system_messages: self.system_messages.unwrap_or(true),
            responses_only: self.api.as_deref() == Some("responses"),
            deprecation_date: self.deprecation_date.clone(),
        }
    }

    /// What is wrong with a row that a user brings, in words that follow its name.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let dearest = Usd::from_pico(100_000 * 1_000_000_000_000);
        let prices = [
            Some(self.input_per_mtok),
            Some(self.output_per_mtok),
            self.cache_read_per_mtok,
            self.cache_write_per_mtok,
            self.cache_write_1h_per_mtok,
        ]
        .into_iter()
        .chain(self.tiers.iter().flat_map(TierRow::prices))
        .chain(self.off_peak.iter().flat_map(OffPeakRow::prices))
        .flatten();
        for price in prices {
            if price < Usd::ZERO {
                return Some("has a negative price");
            }
            if price > dearest {
                return Some("costs more than 100000 USD per million tokens");
            }
        }
        if self.off_peak.is_some() && !self.tiers.is_empty() {
            return Some("has tiers and off-peak hours at once");
        }
        let windows = self.off_peak.iter().flat_map(|row| &row.windows_utc);
        windows
            .map(WindowRow::parse)
            .any(|parsed| parsed.is_none())
            .then_some("has off-peak hours that are not HH:MM-HH:MM on weekdays 1 to 7")
    }
}

impl TierRow {
    fn prices(&self) -> [Option<Usd>; 5] {
        [
            self.input_per_mtok,
            self.output_per_mtok,
            self.cache_read_per_mtok,
            self.cache_write_per_mtok,
            self.cache_write_1h_per_mtok,
        ]
    }

    fn over(&self, base: Rates) -> Tier {
        Tier {
            above_input_tokens: self.above_input_tokens,
            rates: Rates {
                input: self.input_per_mtok.unwrap_or(base.input),
                output: self.output_per_mtok.unwrap_or(base.output),
                cache_read: self.cache_read_per_mtok.or(base.cache_read),
                cache_write: self.cache_write_per_mtok.or(base.cache_write),
                cache_write_1h: self.cache_write_1h_per_mtok.or(base.cache_write_1h),
            },
        }
    }
}

impl OffPeakRow {
    fn prices(&self) -> [Option<Usd>; 3] {
        [
            self.input_per_mtok,
            self.output_per_mtok,
            self.cache_read_per_mtok,
        ]
    }

    fn over(&self, base: Rates) -> Option<OffPeak> {
        let windows: Option<Vec<_>> = self.windows_utc.iter().map(WindowRow::parse).collect();
        Some(OffPeak {
            rates: Rates {
                input: self.input_per_mtok.unwrap_or(base.input),
                output: self.output_per_mtok.unwrap_or(base.output),
                cache_read: self.cache_read_per_mtok.or(base.cache_read),
                ..base
            },
            windows: windows?.into_iter().flatten().collect(),
        })
    }
}

impl WindowRow {
    fn parse(&self) -> Option<Vec<Window>> {
        let weekdays = self.weekdays.iter().try_fold(0, |bits, day| match day {
            1..=7 => Some(bits | 1_u8 << day),
            _ => None,
        })?;
        let spans = match &self.hours_utc {
            OneOrMany::One(span) => std::slice::from_ref(span),
            OneOrMany::Many(spans) => spans.as_slice(),
        };
        let mut windows = Vec::new();
        for span in spans {
            let (from, to) = span.split_once('-')?;
            let (from, to) = (minute(from)?, minute(to)?);
            let mut push = |from_minute, to_minute| {
                windows.push(Window {
                    weekdays,
                    from_minute,
                    to_minute,
                });
            };
            // Over midnight it is two windows of the same weekdays; to itself it is the whole day.
            match from.cmp(&to) {
                Ordering::Less => push(from, to),
                Ordering::Equal => push(0, DAY),
                Ordering::Greater => {
                    push(from, DAY);
                    push(0, to);
                }
            }
        }
        Some(windows)
    }
}

/// The minutes of a day.
const DAY: u16 = 24 * 60;

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}
