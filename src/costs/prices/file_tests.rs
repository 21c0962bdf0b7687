//! What a price file of the user's own may say, and what comes of one that is wrong.

use super::*;

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
