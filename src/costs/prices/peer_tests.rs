//! The same calls as LiteLLM charges them: `tests/peers/litellm_costs.py` wrote the file, on request.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::usage::Usage;

/// The calls of the file's columns, in the form of that script.
const CALLS: [[u64; 6]; 9] = [
    [1_000, 500, 0, 0, 0, 0],
    [1_000, 500, 600, 0, 0, 300],
    [3_000, 10, 500, 1_000, 0, 0],
    [3_000, 10, 500, 1_000, 400, 0],
    [128_000, 10, 0, 0, 0, 0],
    [200_000, 10, 0, 0, 0, 0],
    [300_000, 1_000, 100_000, 0, 0, 0],
    [300_000, 1_000, 100_000, 50_000, 0, 0],
    [150_000, 10, 10_000, 120_000, 60_000, 0],
];

/// The call of the last column, which is made in off-peak hours.
const OFF_PEAK: [u64; 6] = CALLS[2];

/// Why LiteLLM charges something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It takes half the input price for cached input of Fireworks where none is listed; our table's
    /// rule is the whole price, so as never to say too little.
    NoCachedPrice,
    /// Its list has 0 for cache writes of DeepSeek and of GLM on OpenRouter. Neither tells any; if
    /// one did, our table, which leaves the 0 out, takes the input price.
    NoWritePrice,
    /// OpenRouter's price of a twelfth of a dollar stands with six decimals in our table. What
    /// OpenRouter tells as its cost is what counts there.
    SixDecimals,
}

/// What LiteLLM charges where it differs, and why.
fn explained(
    model: &str,
    price: &Price,
    usage: &Usage,
    ours: i64,
    off_peak: bool,
) -> Option<(Why, i64)> {
    let hours = price.off_peak.as_ref().filter(|_| off_peak);
    let rates = hours.map_or(price.base, |hours| hours.rates);
    let input_of = |tokens: u64| {
        let usage = Usage {
            input_tokens: tokens,
            ..Usage::default()
        };
        rates.cost(&usage).pico()
    };
    if model.starts_with("fireworks_ai/") && price.base.cache_read.is_none() {
        let saved = input_of(usage.cache_read_tokens) / 2;
        return Some((Why::NoCachedPrice, ours - saved));
    }
    if model.starts_with("deepseek/") || model == "openrouter/z-ai/glm-4.7" {
        let saved = input_of(usage.cache_write_tokens);
        return Some((Why::NoWritePrice, ours - saved));
    }
    let written = i64::try_from(usage.cache_write_tokens).unwrap();
    let per_token = match price.base.cache_write.map(Usd::pico) {
        Some(83_333_000_000) => 333_333,
        Some(41_667_000_000) => -333_333,
        _ => return None,
    };
    Some((Why::SixDecimals, ours + written * per_token / 1_000_000))
}

#[test]
fn litellm_charges_the_same_but_for_what_is_explained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/litellm-costs.tsv");
    let text = std::fs::read_to_string(file).unwrap();
    let prices = Prices::built_in();
    // A Tuesday, and the Saturday before it.
    let ordinary = UNIX_EPOCH + Duration::from_hours(498_753);
    let off_peak = UNIX_EPOCH + Duration::from_hours(498_684);
    let calls = CALLS.iter().map(|call| (call, ordinary));
    let calls: Vec<_> = calls.chain([(&OFF_PEAK, off_peak)]).collect();
    let mut models = 0;
    let mut same = 0;
    let mut explanations: BTreeMap<Why, usize> = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.split('\t');
        let model = cells.next().unwrap();
        let provider = model.split('/').next().unwrap();
        let Pricing::Known(price) = prices.price(Asked {
            model,
            provider,
            local: false,
            configured: None,
        }) else {
            continue;
        };
        models += 1;
        for ((call, time), theirs) in calls.iter().zip(cells) {
            let usage = Usage {
                input_tokens: call[0],
                output_tokens: call[1],
                cache_read_tokens: call[2],
                cache_write_tokens: call[3],
                cache_write_1h_tokens: call[4],
                reasoning_tokens: call[5],
            };
            let ours = price.cost(&usage, *time, *time).pico();
            let theirs: i64 = theirs.parse().unwrap();
            // Theirs is a float: its last digit is noise.
            let equal = |cost: i64| (theirs - cost).abs() <= 1;
            if equal(ours) {
                same += 1;
            } else if let Some((why, cost)) =
                explained(model, &price, &usage, ours, *time == off_peak)
                && equal(cost)
            {
                *explanations.entry(why).or_default() += 1;
            } else {
                panic!("{model} {call:?}: ours {ours}, theirs {theirs}");
            }
        }
    }
    assert_eq!((models, same), (688, 5329));
    let expected = [
        (Why::NoCachedPrice, 1491),
        (Why::NoWritePrice, 35),
        (Why::SixDecimals, 25),
    ];
    assert_eq!(explanations, BTreeMap::from(expected));
}
