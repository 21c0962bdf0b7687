//! What a price file of the user's own may say, and what comes of one that is wrong.

use std::time::{Duration, SystemTime};

use super::*;
use crate::usage::Usage;

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

/// The prices of a file that lists one model.
fn with_row(row: &str) -> Prices {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prices.json");
    let text = format!(r#"{{"schema": 1, "models": {{"openai/gpt-4o": {row}}}}}"#);
    std::fs::write(&file, text).unwrap();
    Prices::with_user_file(&file).unwrap()
}

/// Some vendors raise their prices at some hours: nothing says that off-peak is cheaper.
#[test]
fn the_worst_case_is_that_of_the_dearest_hour() {
    let always =
        r#""windows_utc": [{"hours_utc": "00:00-00:00", "weekdays": [1, 2, 3, 4, 5, 6, 7]}]"#;
    for (off_peak, dearest) in [
        // 1000 × 2 + 100 × 3 USD per million at ordinary hours.
        (r#""input_per_mtok": 500, "output_per_mtok": 700"#, "0.57"),
        (r#""input_per_mtok": 500"#, "0.5003"),
        (r#""output_per_mtok": 700"#, "0.072"),
        (r#""cache_read_per_mtok": 50"#, "0.0503"),
        (r#""input_per_mtok": 1, "output_per_mtok": 1"#, "0.0023"),
    ] {
        let row = format!(
            r#"{{"input_per_mtok": 2, "output_per_mtok": 3, "off_peak": {{{off_peak}, {always}}}}}"#
        );
        let prices = with_row(&row);
        let Pricing::Known(price) = prices.price(Asked {
            model: "openai/gpt-4o",
            provider: "openai",
            local: false,
            configured: None,
        }) else {
            panic!("a price: {row}");
        };
        let worst = WorstCase {
            input_tokens: 1_000,
            output_tokens: 100,
            one_hour_cache: false,
        };
        assert_eq!(price.worst_case(worst), usd(dearest), "{off_peak}");
        let now = SystemTime::now();
        for cache_read_tokens in [0, 1_000] {
            let usage = Usage {
                input_tokens: 1_000,
                output_tokens: 100,
                cache_read_tokens,
                ..Usage::default()
            };
            assert!(price.cost(&usage, now, now) <= usd(dearest), "{off_peak}");
        }
        let affordable = price.affordable_output(usd(dearest), worst).unwrap();
        let with = |output_tokens| WorstCase {
            output_tokens,
            ..worst
        };
        assert!(price.worst_case(with(affordable)) <= usd(dearest));
    }
}

/// Of a call that began in dear hours and ended out of them nobody knows which prices its vendor takes.
#[test]
fn the_dearer_end_of_a_call_counts() {
    let row = r#"{"input_per_mtok": 2, "output_per_mtok": 2, "off_peak": {"input_per_mtok": 5,
        "windows_utc": [{"hours_utc": "01:00-02:00", "weekdays": [1, 2, 3, 4, 5, 6, 7]}]}}"#;
    let row: Row = serde_json::from_str(row).unwrap();
    let price = row.price(PriceSource::User, "").unwrap();
    let million = Usage {
        input_tokens: 1_000_000,
        ..Usage::default()
    };
    let at = |minute| SystemTime::UNIX_EPOCH + Duration::from_mins(minute);
    for (began, ended, dollars) in [
        (0, 59, "2"),
        (59, 60, "5"),
        (119, 120, "5"),
        (120, 121, "2"),
    ] {
        let cost = price.cost(&million, at(began), at(ended));
        assert_eq!(cost, usd(dollars), "{began} to {ended}");
    }
}

/// A vendor's model behind a gateway of this machine is paid for; a row that cannot be read says nothing of what.
#[test]
fn a_faulty_row_is_no_price_wherever_the_model_is_served() {
    for (row, priced) in [
        (r#"{"input_per_mtok": 3, "output_per_mtok": 3}"#, true),
        (r#"{"input_per_mtok": -3, "output_per_mtok": 3}"#, false),
        (
            r#"{"input_per_mtok": 3, "output_per_mtok": 3, "note": "x"}"#,
            false,
        ),
        (r#"{"input_per_mtok": 3}"#, false),
        (r#""free""#, false),
        (
            r#"{"input_per_mtok": 3, "output_per_mtok": 3, "price_suspect": true}"#,
            false,
        ),
    ] {
        let prices = with_row(row);
        for local in [true, false] {
            for model in ["gpt-4o", "openai/gpt-4o", "openai/gpt-4o-2031-01-02"] {
                let pricing = prices.price(Asked {
                    model,
                    provider: "openai",
                    local,
                    configured: None,
                });
                match pricing {
                    Pricing::Known(_) if priced => {}
                    Pricing::Unpriced if !priced => {}
                    other => panic!("{row} {model} local {local}: {other:?}"),
                }
            }
            // Nor is the Claude CLI free where it is sent to a gateway.
            let of_cli = prices.price(Asked {
                model: "anthropic/claude-sonnet-5-5",
                provider: "claude",
                local,
                configured: None,
            });
            assert!(matches!(of_cli, Pricing::Known(_)), "{of_cli:?}");
            // What no table lists is the gateway's own.
            let own = prices.price(Asked {
                model: "my-model",
                provider: "openai",
                local,
                configured: None,
            });
            let expected = if local {
                Pricing::Local
            } else {
                Pricing::Unpriced
            };
            assert_eq!(own, expected);
        }
    }
}

#[test]
fn a_model_that_is_listed_twice_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new.json");
    let installed = directory.path().join("prices.json");
    let row = r#"{"input_per_mtok": 1, "output_per_mtok": 1}"#;
    let theirs = r#"{"litellm_provider": "openai", "mode": "chat",
        "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}"#;
    for text in [
        format!(r#"{{"schema": 1, "models": {{"a/b": {row}, "c/d": {row}, "a/b": {row}}}}}"#),
        format!(r#"{{"a/b": {theirs}, "c/d": {theirs}, "a/b": {theirs}}}"#),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = update(&file, &installed).unwrap_err();
        assert_eq!(error.fault, "lists the model `a/b` twice");
        assert!(!installed.exists());
    }
}

#[test]
fn a_file_without_an_end_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let installed = directory.path().join("prices.json");
    let error = update(Path::new("/dev/zero"), &installed).unwrap_err();
    assert_eq!(error.fault, "cannot be read: it is larger than 64 MiB");
    assert!(!installed.exists());
}

/// A run may have four thousand million turns; what they cost is told at once, and never too little.
#[test]
fn any_number_of_turns_is_priced_at_once() {
    let Pricing::Known(price) = Prices::built_in().price(Asked {
        model: "openai/gpt-4o",
        provider: "openai",
        local: false,
        configured: None,
    }) else {
        panic!("listed");
    };
    let first = WorstCase {
        input_tokens: 1_000,
        output_tokens: 100,
        one_hour_cache: false,
    };
    let one_by_one = |turns: u64, growth: Growth| -> Usd {
        let turn = |turn: u64| WorstCase {
            input_tokens: (1_000 + growth.input_tokens * turn).min(growth.window.max(1_000)),
            ..first
        };
        (0..turns).map(|at| price.worst_case(turn(at))).sum()
    };
    for (input_tokens, window) in [(500, 128_000), (500, u64::MAX), (0, u64::MAX), (7, 10)] {
        let growth = Growth {
            input_tokens,
            window,
        };
        for turns in [0, 1, 2, 255, 256, 1_000] {
            let told = price.worst_turns(first, turns, growth);
            assert_eq!(told, one_by_one(turns, growth), "{turns} of {growth:?}");
        }
        let many = price.worst_turns(first, 100_000, growth);
        assert!(many >= one_by_one(100_000, growth), "{growth:?}");
        if window < u64::MAX {
            assert_eq!(many, one_by_one(100_000, growth), "{growth:?}");
        }
        for turns in [u64::from(u32::MAX), u64::MAX] {
            assert!(price.worst_turns(first, turns, growth) >= many, "{turns}");
        }
    }
}
