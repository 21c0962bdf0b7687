use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;
use crate::usage::Usage;

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn price(model: &str) -> Price {
    let provider = model.split('/').next().unwrap();
    match Prices::built_in().price(asked(model, provider)) {
        Pricing::Known(price) => Price::clone(&price),
        other => panic!("{model}: {other:?}"),
    }
}

fn asked<'a>(model: &'a str, provider: &'a str) -> Asked<'a> {
    Asked {
        model,
        provider,
        local: false,
        configured: None,
    }
}

/// Input, output, cache read, cache write, of which for one hour, reasoning.
fn usage(tokens: [u64; 6]) -> Usage {
    Usage {
        input_tokens: tokens[0],
        output_tokens: tokens[1],
        cache_read_tokens: tokens[2],
        cache_write_tokens: tokens[3],
        cache_write_1h_tokens: tokens[4],
        reasoning_tokens: tokens[5],
    }
}

/// 2026-11-24, a Tuesday, 09:00 UTC: an ordinary hour everywhere.
const TUESDAY: Duration = Duration::from_hours(498_753);

fn cost(model: &str, tokens: [u64; 6]) -> String {
    let noon = UNIX_EPOCH + TUESDAY;
    price(model).cost(&usage(tokens), noon, noon).to_string()
}

#[test]
fn costs_are_exact_to_the_picodollar() {
    for (model, tokens, expected, why) in [
        // 1000 × 2.5 + 100 × 10 USD per million.
        ("openai/gpt-4o", [1000, 100, 0, 0, 0, 0], "0.0035", "plain"),
        (
            "openai/gpt-4o",
            [1000, 100, 400, 0, 0, 0],
            "0.003000",
            "600 × 2.5 + 400 × 1.25 + 100 × 10",
        ),
        (
            "openai/gpt-4o-mini",
            [1, 1, 0, 0, 0, 0],
            "0.00000075",
            "0.15 + 0.6 millionths",
        ),
        ("openai/gpt-4o", [0, 0, 0, 0, 0, 0], "0.000000", "nothing"),
        // Reasoning is part of the output and not counted twice.
        (
            "openai/o3",
            [1000, 900, 0, 0, 0, 800],
            "0.0092",
            "1000 × 2 + 900 × 8",
        ),
        // Cache writes of five minutes and of one hour: 5 and 8 USD per million.
        (
            "anthropic/claude-opus-5-5",
            [10_000, 1_000, 2_000, 3_000, 1_000, 0],
            "0.058400",
            "5000 × 4 + 2000 × 0.2 + 2000 × 5 + 1000 × 8 + 1000 × 20",
        ),
        // Tiers: above the threshold the whole request costs more.
        (
            "gemini/gemini-2.5-pro",
            [200_000, 1000, 0, 0, 0, 0],
            "0.260000",
            "200,000 is not above it",
        ),
        (
            "gemini/gemini-2.5-pro",
            [200_001, 1000, 0, 0, 0, 0],
            "0.5150025",
            "all at 2.5 and 15",
        ),
        (
            "gemini/gemini-2.5-pro",
            [200_001, 1000, 200_000, 0, 0, 0],
            "0.0650025",
            "cached tokens count towards the threshold and cost 0.25 above it",
        ),
        (
            "openai/gpt-6.1-sol",
            [272_000, 10, 0, 0, 0, 0],
            "0.5441",
            "272,000 is not above it",
        ),
        (
            "openai/gpt-6.1-sol",
            [272_001, 10, 0, 0, 0, 0],
            "1.088154",
            "all at 4 and 15",
        ),
        (
            "anthropic/claude-haiku-5-5",
            [100_001, 1, 0, 0, 0, 0],
            "0.050003",
            "all at 0.5 and 2.5",
        ),
        (
            "anthropic/claude-haiku-5-5",
            [100_001, 0, 0, 100_001, 100_001, 0],
            "0.100001",
            "one hour writes at 1",
        ),
    ] {
        assert_eq!(
            cost(model, tokens),
            usd(expected).to_string(),
            "{model}: {why}"
        );
    }
}

#[test]
fn a_tier_keeps_the_base_prices_that_it_does_not_name() {
    let row: Row = serde_json::from_str(
        r#"{"input_per_mtok": "1", "output_per_mtok": "2", "cache_read_per_mtok": "0.1",
            "tiers": [{"above_input_tokens": 20, "output_per_mtok": "5"},
                      {"above_input_tokens": 10, "input_per_mtok": "3"}]}"#,
    )
    .unwrap();
    let price = row.price(PriceSource::User, "").unwrap();
    let at = |tokens| {
        let usage = usage([tokens, 10, 5, 0, 0, 0]);
        price.cost(&usage, UNIX_EPOCH, UNIX_EPOCH).pico()
    };
    assert_eq!(at(10), 5_000_000 + 500_000 + 20_000_000);
    assert_eq!(at(11), 18_000_000 + 500_000 + 20_000_000);
    assert_eq!(at(21), 16_000_000 + 500_000 + 50_000_000);
}

#[test]
fn xai_tiers_begin_at_their_threshold() {
    let grok = price("xai/grok-4.7");
    let tier = grok.tiers[0];
    let at = |tokens| {
        let usage = usage([tokens, 0, 0, 0, 0, 0]);
        grok.cost(&usage, UNIX_EPOCH, UNIX_EPOCH)
    };
    assert_eq!(
        at(tier.above_input_tokens),
        tier.rates
            .cost(&usage([tier.above_input_tokens, 0, 0, 0, 0, 0]))
    );
    assert!(at(tier.above_input_tokens).pico() > 3 * at(tier.above_input_tokens - 1).pico() / 2);
}

#[test]
fn off_peak_prices_need_both_ends_of_the_call_in_the_window() {
    let deepseek = price("deepseek/deepseek-v4-pro");
    let million = usage([1_000_000, 1_000_000, 0, 0, 0, 0]);
    let at = |hours: u64, minutes: u64| {
        UNIX_EPOCH + TUESDAY + Duration::from_hours(hours) + Duration::from_mins(minutes)
    };
    let full = usd("5.28");
    let half = usd("2.64");
    let cost = |from: SystemTime, to: SystemTime| deepseek.cost(&million, from, to);
    // Tuesday from 09:00: windows are 00-01, 04-06 and 10-24.
    assert_eq!(cost(at(0, 0), at(0, 59)), full);
    assert_eq!(cost(at(0, 59), at(1, 1)), full);
    assert_eq!(cost(at(1, 0), at(1, 1)), half);
    assert_eq!(cost(at(14, 59), at(15, 0)), half, "over midnight");
    assert_eq!(cost(at(15, 59), at(16, 0)), full, "01:00 is outside");
    assert_eq!(cost(at(19, 0), at(20, 59)), half, "04:00 to 05:59");
    // Saturday and Sunday are wholly cheap, Monday at 01:00 is not.
    assert_eq!(cost(at(4 * 24, 0), at(5 * 24 + 14, 59)), half);
    assert_eq!(cost(at(5 * 24 + 16, 0), at(5 * 24 + 16, 0)), full);
    // What is held is never the cheap price.
    let worst = WorstCase {
        input_tokens: 1_000_000,
        output_tokens: 1_000_000,
        one_hour_cache: false,
    };
    assert_eq!(deepseek.worst_case(worst), full);
}

#[test]
fn off_peak_windows_go_over_midnight() {
    let row: Row = serde_json::from_str(
        r#"{"input_per_mtok": "2", "output_per_mtok": "2", "off_peak": {"input_per_mtok": "1",
            "windows_utc": [{"hours_utc": "22:30-06:00", "weekdays": [2]}]}}"#,
    )
    .unwrap();
    let price = row.price(PriceSource::User, "").unwrap();
    let million = usage([1_000_000, 0, 0, 0, 0, 0]);
    let midnight = UNIX_EPOCH + TUESDAY - Duration::from_hours(9);
    for (hour, minute, cost) in [
        (0, 0, "1"),
        (5, 59, "1"),
        (6, 0, "2"),
        (22, 29, "2"),
        (22, 30, "1"),
        (24, 0, "2"),
    ] {
        let time = midnight + Duration::from_hours(hour) + Duration::from_mins(minute);
        let cost = usd(cost);
        assert_eq!(price.cost(&million, time, time), cost, "{hour}:{minute}");
    }
}

#[test]
fn no_price_stays_no_price() {
    let prices = Prices::built_in();
    let unpriced = |model, provider| prices.price(asked(model, provider)) == Pricing::Unpriced;
    assert!(
        unpriced("cohere/command-a-plus-05-2026", "cohere"),
        "a doubtful price"
    );
    assert!(unpriced("openai/gpt-17", "openai"));
    assert!(unpriced("lab/gpt-4o", "lab"), "somebody's own gateway");
    assert!(unpriced("ollama/gemma4", "ollama"), "somewhere else");
    assert!(
        unpriced("openai/gpt-4o", "together_ai"),
        "not what its maker takes"
    );
    assert!(unpriced("", ""));
    let local = Asked {
        local: true,
        ..asked("ollama/gemma4", "ollama")
    };
    assert_eq!(prices.price(local), Pricing::Local);
    let configured = PriceOverride {
        input: usd("1"),
        output: usd("2"),
        cache_read: Some(usd("0.1")),
        cache_write: None,
    };
    let Pricing::Known(price) = prices.price(Asked {
        configured: Some(&configured),
        ..local
    }) else {
        panic!("a configured price goes over everything");
    };
    let tokens = usage([1_000_000, 1_000_000, 500_000, 250_000, 0, 0]);
    assert_eq!(price.cost(&tokens, UNIX_EPOCH, UNIX_EPOCH), usd("2.55"));
    assert_eq!(price.source, PriceSource::Config);
}

#[test]
fn names_find_their_rows() {
    let prices = Prices::built_in();
    for (model, provider, listed) in [
        ("gpt-4o", "openai", "openai/gpt-4o"),
        ("openai/gpt-4o", "openai", "openai/gpt-4o"),
        (
            "openai/gpt-4o-2024-05-13",
            "openai",
            "openai/gpt-4o-2024-05-13",
        ),
        ("openai/gpt-4o-2031-01-02", "openai", "openai/gpt-4o"),
        (
            "openai/ft:gpt-4o-2024-08-06:team:name:id",
            "openai",
            "openai/ft:gpt-4o-2024-08-06",
        ),
        (
            "openai/ft:gpt-4o-2024-08-06",
            "openai",
            "openai/ft:gpt-4o-2024-08-06",
        ),
        (
            "claude-sonnet-5-5-20310102",
            "anthropic",
            "anthropic/claude-sonnet-5-5",
        ),
        (
            "claude-sonnet-5-5[1m]",
            "claude",
            "anthropic/claude-sonnet-5-5",
        ),
        (
            "openai/gpt-oss-120b",
            "together_ai",
            "together_ai/openai/gpt-oss-120b",
        ),
        (
            "groq/openai/gpt-oss-120b",
            "groq",
            "groq/openai/gpt-oss-120b",
        ),
        (
            "anthropic/claude-sonnet-5.5",
            "openrouter",
            "openrouter/anthropic/claude-sonnet-5.5",
        ),
        ("openai/gpt-4o", "work", "openai/gpt-4o"),
    ] {
        let facts = prices.facts(model, provider);
        assert_eq!(
            facts.map(|facts| facts.name).as_deref(),
            Some(listed),
            "{model}"
        );
    }
    // Whatever else looks like one of them is none.
    for (model, provider) in [
        ("openai/gpt-4o-latest", "openai"),
        ("openai/gpt-4o-2031", "openai"),
        ("openai/gpt-4o-2031-1-2", "openai"),
        ("openai/gpt-4o2031-01-02", "openai"),
        ("openai/gpt-4o-mini-20310102x", "openai"),
        ("openai/GPT-4o", "openai"),
        ("openai/ft:gpt-9:team::id", "openai"),
        ("claude-sonnet-5-5-latest", "anthropic"),
        ("openai/gpt-4o:free", "openrouter"),
    ] {
        assert_eq!(
            prices.price(asked(model, provider)),
            Pricing::Unpriced,
            "{model}"
        );
    }
    assert_ne!(
        price("openai/gpt-4o-2024-05-13").base,
        price("openai/gpt-4o").base
    );
}

#[test]
fn facts_are_told_beside_the_price() {
    let prices = Prices::built_in();
    let facts = prices
        .facts("anthropic/claude-opus-5-5", "anthropic")
        .unwrap();
    let expected = ListedModel {
        name: "anthropic/claude-opus-5-5".to_owned(),
        max_input_tokens: Some(1_000_000),
        max_output_tokens: Some(128_000),
        function_calling: Some(true),
        vision: Some(true),
        reasoning: Some(true),
        sampling_params: false,
        parallel_tools: true,
        tool_choice: true,
        forced_tool_choice: false,
        system_messages: true,
        responses_only: false,
        deprecation_date: None,
    };
    assert_eq!(facts, expected);
    assert_eq!(prices.facts("nobody/knows", "nobody"), None);
}

#[test]
fn the_worst_case_covers_whatever_the_call_becomes() {
    let prices = Prices::built_in();
    let noon = UNIX_EPOCH + TUESDAY;
    let mut priced = 0;
    for name in prices.names() {
        let provider = name.split('/').next().unwrap();
        let Pricing::Known(price) = prices.price(asked(name, provider)) else {
            continue;
        };
        priced += 1;
        for most in [1_000, 128_001, 200_000, 200_001, 300_000] {
            let worst = WorstCase {
                input_tokens: most,
                output_tokens: 1_000,
                one_hour_cache: true,
            };
            let held = price.worst_case(worst);
            for input in [0, 100_000, 128_000, 200_000, most] {
                let input = input.min(most);
                for tokens in [
                    [input, 1_000, 0, 0, 0, 0],
                    [input, 1_000, input, 0, 0, 0],
                    [input, 1_000, 0, input, 0, 0],
                    [input, 1_000, 0, input, input, 0],
                ] {
                    let cost = price.cost(&usage(tokens), noon, noon);
                    assert!(
                        cost <= held,
                        "{name} {tokens:?} of {most}: {cost} above {held}"
                    );
                }
            }
            // What an amount affords is within it, and one token more is not.
            for amount in [held, Usd::from_pico(held.pico() / 2)] {
                let Some(output_tokens) = price.affordable_output(amount, worst) else {
                    continue;
                };
                let with = |output_tokens| {
                    price.worst_case(WorstCase {
                        output_tokens,
                        ..worst
                    })
                };
                if with(0) <= amount {
                    assert!(with(output_tokens) <= amount, "{name}");
                    assert!(with(output_tokens + 1) > amount, "{name}");
                } else {
                    assert_eq!(output_tokens, 0, "{name}");
                }
            }
        }
    }
    assert_eq!(priced, 688);
}

#[test]
fn sums_do_not_wrap() {
    let dear = price("openai/gpt-4o");
    let all = usage([u64::MAX; 6]);
    assert_eq!(dear.cost(&all, UNIX_EPOCH, UNIX_EPOCH), Usd::MAX);
}

/// The table is what its source says, so that a new source needs no hand.
#[test]
fn the_built_in_table_is_its_source_line_by_line() {
    let source =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model-prices.json");
    let text = std::fs::read_to_string(&source).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["updated"], TABLE_VERSION);
    let mut lines: Vec<String> = document["models"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, row)| format!("{name}\t{row}\n"))
        .collect();
    lines.sort_by(|a, b| a.split('\t').next().cmp(&b.split('\t').next()));
    assert!(
        lines.concat() == TABLE,
        "write the lines of the source to model-prices.jsonl"
    );
    for line in TABLE.lines() {
        let (name, text) = line.split_once('\t').unwrap();
        let row: Row = serde_json::from_str(text).unwrap();
        assert_eq!(row.fault(), None, "{name}");
        assert_eq!(built_in(name), Some(text));
        let provider = row.provider.as_deref().unwrap();
        assert!(
            VENDORS.contains(&provider) && name.starts_with(&format!("{provider}/")),
            "{name}"
        );
    }
    assert_eq!(built_in("a"), None);
    assert_eq!(built_in("zz"), None);
    assert_eq!(built_in("openai/gpt-4p"), None);
    assert_eq!(Prices::built_in().names().len(), 691);
}

#[test]
fn a_user_file_goes_over_the_table_and_is_checked_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let installed = directory.path().join("state/prices.json");
    assert_eq!(
        Prices::with_user_file(&installed).unwrap().names().len(),
        691
    );

    let file = directory.path().join("new.json");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(
        r#"{"schema": 1, "updated": "2027-01-01", "source": "me", "models": {
        "openai/gpt-4o": {"input_per_mtok": "1.5", "output_per_mtok": 3},
        "lab/model": {"input_per_mtok": "0.1", "output_per_mtok": "0.2", "max_input_tokens": 5}}}"#,
    );
    let updated = update(&file, &installed).unwrap();
    assert_eq!(
        updated,
        Updated {
            path: installed.clone(),
            models: 2,
            version: "2027-01-01".to_owned()
        }
    );
    let prices = Prices::with_user_file(&installed).unwrap();
    assert_eq!(prices.names().len(), 692);
    let Pricing::Known(price) = prices.price(asked("gpt-4o", "openai")) else {
        panic!("listed");
    };
    assert_eq!(
        (price.base.input, price.base.output),
        (usd("1.5"), usd("3"))
    );
    assert_eq!(
        (price.source, price.version.as_str()),
        (PriceSource::User, "2027-01-01")
    );
    assert_eq!(
        prices.facts("lab/model", "lab").unwrap().max_input_tokens,
        Some(5)
    );

    write(
        r#"{"gpt-x": {"litellm_provider": "openai", "mode": "chat",
            "input_cost_per_token": 2e-06, "output_cost_per_token": 1e-05}}"#,
    );
    assert_eq!(update(&file, &installed).unwrap().models, 1);
    let prices = Prices::with_user_file(&installed).unwrap();
    let Pricing::Known(price) = prices.price(asked("gpt-x", "openai")) else {
        panic!("listed by LiteLLM");
    };
    assert_eq!((price.base.input, price.base.output), (usd("2"), usd("10")));

    let before = std::fs::read(&installed).unwrap();
    for (text, fault) in [
        (
            r#"{"schema": 1}"#,
            "is no price file: missing field `models` at line 1 column 13",
        ),
        (
            r#"{"schema": 2, "models": {}}"#,
            "has schema 2, only 1 is known",
        ),
        (
            r#"{"schema": 1, "models": {"gpt-4o": {"input_per_mtok": "1", "output_per_mtok": "1"}}}"#,
            "is wrong: `gpt-4o` is no `vendor/model`",
        ),
        (
            r#"{"schema": 1, "models": {"a/b": {"input_per_mtok": "-1", "output_per_mtok": "1"},
             "c/d": {"input_per_mtok": "1"},
             "e/f": {"input_per_mtok": "200000", "output_per_mtok": "1"},
             "g/h": {"input_per_mtok": "1", "output_per_mtok": "1", "off_peak": {"windows_utc":
                [{"hours_utc": "25:00-26:00", "weekdays": [1]}]}}}}"#,
            "is wrong: `a/b` has a negative price; `c/d`: missing field `output_per_mtok` at line 1 column 23; \
             `e/f` costs more than 100000 USD per million tokens; \
             `g/h` has off-peak hours that are not HH:MM-HH:MM on weekdays 1 to 7",
        ),
    ] {
        write(text);
        assert_eq!(update(&file, &installed).unwrap_err().fault, fault);
    }
    assert_eq!(std::fs::read(&installed).unwrap(), before);
    assert_eq!(
        std::fs::read_dir(installed.parent().unwrap())
            .unwrap()
            .count(),
        1
    );
    assert!(
        update(&directory.path().join("none"), &installed)
            .unwrap_err()
            .fault
            .starts_with("cannot be read")
    );
    // Rows written by hand are not checked until they are needed, and a wrong one is no price.
    let wrong = r#"{"schema": 1, "models": {"openai/gpt-4o-2031-01-02": {"input_per_mtok": "1"}}}"#;
    std::fs::write(&installed, wrong).unwrap();
    let prices = Prices::with_user_file(&installed).unwrap();
    let dated = asked("gpt-4o-2031-01-02", "openai");
    assert_eq!(prices.price(dated), Pricing::Unpriced);
    std::fs::write(&installed, "{").unwrap();
    assert!(Prices::with_user_file(&installed).is_err());
}
