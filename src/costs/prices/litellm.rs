//! LiteLLM's price list (`model_prices_and_context_window.json`) as a price file: what users can get
//! where our own table comes from.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::VENDORS;
use super::entries::Entries;

/// A line of their list: every field as it is written, so that no number passes through a float.
type Entry<'a> = BTreeMap<String, &'a RawValue>;

/// Their names of prices, dollars a token, and ours, dollars a million tokens.
const RATES: &[(&str, &str)] = &[
    ("input_cost_per_token", "input_per_mtok"),
    ("output_cost_per_token", "output_per_mtok"),
    ("cache_read_input_token_cost", "cache_read_per_mtok"),
    ("cache_creation_input_token_cost", "cache_write_per_mtok"),
    (
        "cache_creation_input_token_cost_above_1hr",
        "cache_write_1h_per_mtok",
    ),
];

/// Their names of what a model can, and ours; what they do not list is no.
const ABILITIES: &[(&str, &str)] = &[
    ("supports_function_calling", "function_calling"),
    ("supports_vision", "vision"),
    ("supports_reasoning", "reasoning"),
];

/// Their names of what a model may lack, and ours; what they do not list is yes.
const LACKS: &[(&str, &str)] = &[
    ("supports_sampling_params", "sampling_params"),
    ("supports_parallel_function_calling", "parallel_tools"),
    ("supports_tool_choice", "tool_choice"),
    ("supports_forced_tool_use", "forced_tool_choice"),
    ("supports_system_messages", "system_messages"),
];

/// Our price file with the models of their list that talk, of the vendors that are known here; `None`
/// where the text is no such list.
///
/// # Errors
/// The name of a model that stands twice in it.
pub(super) fn convert(text: &str, today: &str) -> Result<Option<String>, String> {
    let Ok(Entries(list)) = serde_json::from_str::<Entries<&RawValue>>(text) else {
        return Ok(None);
    };
    let mut rows = Vec::new();
    for (name, entry) in list {
        let Ok(entry) = serde_json::from_str::<Entry<'_>>(entry.get()) else {
            continue;
        };
        if let Some(row) = row(&name, &entry) {
            rows.push((name, row));
        }
    }
    // In the order of their names: of two of one model, that with the vendor's prefix holds.
    let rows = Entries(rows).each_once()?;
    let models: BTreeMap<String, Value> = rows.into_values().collect();
    // One model a line: a file to look into.
    let lines: Vec<String> = models
        .into_iter()
        .map(|(name, row)| format!("{}: {row}", Value::from(name)))
        .collect();
    Ok((!lines.is_empty()).then(|| {
        format!(
            "{{\"schema\": 1, \"updated\": \"litellm {today}\", \"models\": {{\n{}\n}}}}\n",
            lines.join(",\n")
        )
    }))
}

fn row(name: &str, entry: &Entry<'_>) -> Option<(String, Value)> {
    let provider = text(entry, "litellm_provider")?;
    let vendor = provider.strip_suffix("_chat").unwrap_or(&provider);
    let mode = text(entry, "mode")?;
    if !VENDORS.contains(&vendor) || !matches!(mode.as_str(), "chat" | "responses") {
        return None;
    }
    let mut row = Map::new();
    row.insert("provider".to_owned(), vendor.into());
    rates(entry, "", &mut row);
    // A model without prices by the token is priced by something else.
    let is_zero = |key: &str| row.get(key).map(|price| price == "0.000000");
    let (input, output) = (is_zero("input_per_mtok")?, is_zero("output_per_mtok")?);
    let is_prefixed = name
        .split_once('/')
        .is_some_and(|(prefix, _)| prefix == vendor);
    let name = if is_prefixed {
        name.to_owned()
    } else {
        format!("{vendor}/{name}")
    };
    // Their 0 may mean that nobody looked it up; our table knows which models are free.
    if (input || output) && !super::is_free(&name) {
        row.insert("price_suspect".to_owned(), true.into());
    }
    let tiers = tiers(entry);
    if !tiers.is_empty() {
        row.insert("tiers".to_owned(), tiers.into());
    }
    if let Some(off_peak) = off_peak(entry) {
        row.insert("off_peak".to_owned(), off_peak);
    }
    for key in ["max_input_tokens", "max_output_tokens"] {
        if let Some(tokens) = entry.get(key).and_then(|raw| raw.get().parse::<u64>().ok()) {
            row.insert(key.to_owned(), tokens.into());
        }
    }
    let flag = |key: &str| entry.get(key).map(|raw| raw.get() == "true");
    for (theirs, ours) in ABILITIES {
        row.insert((*ours).to_owned(), flag(theirs).unwrap_or(false).into());
    }
    for (theirs, ours) in LACKS {
        if flag(theirs) == Some(false) {
            row.insert((*ours).to_owned(), false.into());
        }
    }
    if mode == "responses" {
        row.insert("api".to_owned(), mode.into());
    }
    if let Some(date) = text(entry, "deprecation_date") {
        row.insert("deprecation_date".to_owned(), date.into());
    }
    Some((name, row.into()))
}

/// Copies the prices whose names end so.
fn rates(entry: &Entry<'_>, suffix: &str, row: &mut Map<String, Value>) {
    for (theirs, ours) in RATES {
        let price = entry.get(&format!("{theirs}{suffix}"));
        if let Some(price) = price.and_then(|raw| per_million(raw.get())) {
            // Theirs is 0 for caches that cost nothing apart: the input price holds.
            if price != "0.000000" || !ours.starts_with("cache") {
                row.insert((*ours).to_owned(), price.into());
            }
        }
    }
}

/// `input_cost_per_token_above_200k_tokens` and its like, without those of batches and priorities.
fn tiers(entry: &Entry<'_>) -> Vec<Value> {
    let mut thresholds: Vec<u64> = entry
        .keys()
        .filter_map(|key| {
            let thousands = key
                .strip_prefix("input_cost_per_token_above_")?
                .strip_suffix("k_tokens")?;
            thousands.parse().ok()
        })
        .collect();
    thresholds.sort_unstable();
    thresholds
        .into_iter()
        .map(|thousands| {
            let mut tier = Map::new();
            let above = thousands.saturating_mul(1_000);
            tier.insert("above_input_tokens".to_owned(), above.into());
            rates(entry, &format!("_above_{thousands}k_tokens"), &mut tier);
            tier.into()
        })
        .collect()
}

fn off_peak(entry: &Entry<'_>) -> Option<Value> {
    let block: Entry<'_> = serde_json::from_str(entry.get("off_peak_pricing")?.get()).ok()?;
    let mut row = Map::new();
    rates(&block, "", &mut row);
    let windows: Value = serde_json::from_str(block.get("windows")?.get()).ok()?;
    row.insert("windows_utc".to_owned(), windows);
    Some(row.into())
}

fn text(entry: &Entry<'_>, key: &str) -> Option<String> {
    serde_json::from_str(entry.get(key)?.get()).ok()
}

/// Dollars a token, as JSON writes a number (`2.5e-06`), as dollars a million tokens with at least six
/// decimals, exactly; rounded up where more than twelve would be needed.
fn per_million(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: i128 = format!("{whole}{decimals}").parse().ok()?;
    let decimals = i32::try_from(decimals.len()).ok()?;
    // In picodollars a million tokens.
    let shift = exponent.parse::<i32>().ok()? - decimals + 6 + 12;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    let pico = if shift >= 0 {
        digits.checked_mul(power)?
    } else {
        digits.checked_add(power - 1)?.div_euclid(power)
    };
    let pico = i64::try_from(pico).ok().filter(|pico| *pico >= 0)?;
    Some(crate::usage::Usd::from_pico(pico).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_shifted_without_floats() {
        for (number, price) in [
            ("2.5e-06", "2.500000"),
            ("1e-06", "1.000000"),
            ("8.3333e-08", "0.083333"),
            ("0.0", "0.000000"),
            ("0", "0.000000"),
            ("0.00001", "10.000000"),
            ("4.0000000000000003e-07", "0.400000000001"),
        ] {
            assert_eq!(per_million(number).as_deref(), Some(price), "{number}");
        }
        for number in ["-1e-6", "1e99", "x", "\"1\"", ""] {
            assert_eq!(per_million(number), None, "{number}");
        }
    }

    #[test]
    fn their_list_becomes_rows_of_ours() {
        let list = r#"{
            "sample_spec": {"mode": "one of chat, …", "input_cost_per_token": 0.0, "litellm_provider": "one of …"},
            "gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2e-06,
                "input_cost_per_token_batches": 1e-06, "output_cost_per_token": 1e-05,
                "input_cost_per_token_above_272k_tokens": 4e-06,
                "output_cost_per_token_above_272k_tokens": 1.5e-05,
                "input_cost_per_token_above_272k_tokens_batches": 2e-06,
                "cache_read_input_token_cost": 2e-07, "cache_creation_input_token_cost": 0.0,
                "max_input_tokens": 922000, "max_output_tokens": 128000,
                "supports_function_calling": true, "supports_system_messages": false,
                "deprecation_date": "2027-01-14"},
            "cohere/command-z": {"litellm_provider": "cohere_chat", "mode": "chat",
                "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
            "deepseek/night": {"litellm_provider": "deepseek", "mode": "responses",
                "input_cost_per_token": 2e-06, "output_cost_per_token": 2e-06,
                "off_peak_pricing": {"input_cost_per_token": 1e-06,
                    "windows": [{"hours_utc": "16:30-00:30", "weekdays": [1]}]}},
            "text-embedding-x": {"litellm_provider": "openai", "mode": "embedding",
                "input_cost_per_token": 2e-08, "output_cost_per_token": 0.0},
            "gemini/gemma-3-27b-it": {"litellm_provider": "gemini", "mode": "chat",
                "input_cost_per_token": 0, "output_cost_per_token": 0},
            "azure/gpt-x": {"litellm_provider": "azure", "mode": "chat",
                "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05},
            "by-the-second": {"litellm_provider": "openai", "mode": "chat",
                "input_cost_per_second": 2e-06}
        }"#;
        let abilities = |function_calling: bool| json!({"function_calling": function_calling, "vision": false, "reasoning": false});
        let with = |mut row: Value, more: Value| {
            let (Value::Object(row_map), Value::Object(more)) = (&mut row, more) else {
                panic!("objects");
            };
            row_map.extend(more);
            row
        };
        let expected = json!({
            "cohere/command-z": with(json!({"provider": "cohere", "input_per_mtok": "0.000000",
                "output_per_mtok": "0.000000", "price_suspect": true}), abilities(false)),
            "deepseek/night": with(json!({"provider": "deepseek", "input_per_mtok": "2.000000",
                "output_per_mtok": "2.000000", "api": "responses",
                "off_peak": {"input_per_mtok": "1.000000",
                    "windows_utc": [{"hours_utc": "16:30-00:30", "weekdays": [1]}]}}), abilities(false)),
            "gemini/gemma-3-27b-it": with(json!({"provider": "gemini", "input_per_mtok": "0.000000",
                "output_per_mtok": "0.000000"}), abilities(false)),
            "openai/gpt-x": with(json!({"provider": "openai", "input_per_mtok": "2.000000",
                "output_per_mtok": "10.000000", "cache_read_per_mtok": "0.200000",
                "tiers": [{"above_input_tokens": 272_000, "input_per_mtok": "4.000000",
                    "output_per_mtok": "15.000000"}],
                "max_input_tokens": 922_000, "max_output_tokens": 128_000,
                "system_messages": false, "deprecation_date": "2027-01-14"}), abilities(true)),
        });
        let text = convert(list, "2026-11-24").unwrap().unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["models"], expected);
        assert_eq!(document["updated"], "litellm 2026-11-24");
        assert_eq!(text.lines().count(), 6);
        assert_eq!(convert(r#"{"a": 1}"#, ""), Ok(None));
        assert_eq!(convert("[]", ""), Ok(None));
    }
}
