use super::*;
use crate::costs::PriceOverride;
use crate::costs::prices::{Asked, Prices};

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn price(input: &str, output: &str) -> Arc<Price> {
    let configured = PriceOverride {
        input: usd(input),
        output: usd(output),
        cache_read: None,
        cache_write: None,
    };
    let asked = Asked {
        model: "lab/model",
        provider: "lab",
        local: false,
        configured: Some(&configured),
    };
    match Prices::built_in().price(asked) {
        Pricing::Known(price) => price,
        Pricing::Local | Pricing::Unpriced => panic!("it is configured"),
    }
}

/// 10,000 tokens of prompt at 1 USD a million and up to 8,000 of answer at 10 USD.
fn basis() -> Basis {
    Basis {
        pricing: Pricing::Known(price("1", "10")),
        listed_at: None,
        answered_price: None,
        subscription: false,
        doubts_cost: false,
        hold: usd("0.1"),
        priced_as: String::new(),
        most_unanswered: None,
        prompt_tokens: 10_000,
        max_output_tokens: 8_000,
        hides_output: false,
        began: SystemTime::UNIX_EPOCH,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside None")]
fn told(input_tokens: u64, output_tokens: u64) -> Option<Usage> {
    Some(Usage {
        input_tokens,
        output_tokens,
        ..Usage::default()
    })
}

fn reading(reported: Option<Usage>, output_bytes: u64) -> Reading {
    Reading {
        answered: true,
        output_bytes,
        reported,
        reported_cost: None,
    }
}

/// The cost, what stays held, and where the cost comes from.
fn charged(basis: &Basis, way: Way, reading: Reading) -> (Usd, Usd, CostSource) {
    let charge = charge(basis, way, reading, SystemTime::UNIX_EPOCH);
    (charge.cost, charge.held, charge.source)
}

fn hides_output() -> Basis {
    Basis {
        hides_output: true,
        ..basis()
    }
}

#[test]
fn a_count_that_no_prompt_of_its_size_can_have_is_none() {
    let whole = |told| charged(&basis(), Way::Whole, reading(told, 30));
    let computed = |cost| (usd(cost), Usd::ZERO, CostSource::Computed);
    let estimated = |cost| (usd(cost), Usd::ZERO, CostSource::Estimated);
    assert_eq!(whole(told(9_000, 10)), computed("0.0091"));
    assert_eq!(whole(told(1_250, 10)), computed("0.00135"));
    for input in [0, 1, 1_249] {
        assert_eq!(whole(told(input, 10)), estimated("0.0101"), "{input}");
    }
    let long = |output| charged(&basis(), Way::Whole, reading(told(9_000, output), 3_000));
    assert_eq!(long(94), computed("0.00994"));
    assert_eq!(long(93), estimated("0.021"));
    // Nor is one that leaves out what came: 30 bytes are 12 tokens.
    assert_eq!(whole(told(9_000, 0)), estimated("0.00912"));
    assert_eq!(whole(None), estimated("0.01012"));
}

#[test]
fn what_was_cut_before_anything_was_seen_stays_at_its_hold() {
    let cut = |basis: &Basis, told, bytes| charged(basis, Way::Cut, reading(told, bytes));
    let stays = (Usd::ZERO, usd("0.1"), CostSource::Estimated);
    assert_eq!(cut(&basis(), None, 0), stays);
    // The head of an answer tells the prompt, and nothing of what is thought out before the text.
    assert_eq!(cut(&basis(), told(9_000, 0), 0), stays);
    assert_eq!(cut(&hides_output(), told(9_000, 0), 300), stays);
    assert_eq!(cut(&hides_output(), None, 300), stays);
    let estimated = |cost| (usd(cost), Usd::ZERO, CostSource::Estimated);
    assert_eq!(cut(&basis(), None, 300), estimated("0.0112"));
    assert_eq!(cut(&basis(), told(9_000, 0), 300), estimated("0.0102"));
    assert_eq!(
        cut(&hides_output(), told(9_000, 500), 300),
        estimated("0.014")
    );
    // A cost that is told in passing is none yet, and nothing is no cost.
    for (cost, doubts_cost) in [("0", false), ("0", true), ("0.00001", true)] {
        let basis = Basis {
            doubts_cost,
            ..basis()
        };
        let told = Reading {
            reported_cost: Some(usd(cost)),
            ..reading(None, 0)
        };
        assert_eq!(
            charged(&basis, Way::Cut, told),
            stays,
            "{cost} {doubts_cost}"
        );
    }
    let subscribed = Basis {
        subscription: true,
        ..basis()
    };
    let nothing = (Usd::ZERO, Usd::ZERO, CostSource::Subscription);
    assert_eq!(cut(&subscribed, None, 0), nothing);
    // One reply of several was under way.
    let turns = Basis {
        most_unanswered: Some(usd("0.04")),
        ..basis()
    };
    let reply = (Usd::ZERO, usd("0.04"), CostSource::Estimated);
    assert_eq!(cut(&turns, None, 0), reply);
    assert_eq!(cut(&turns, None, 300), reply);
    // What the replies before it cost is told.
    let before = (usd("0.014"), usd("0.04"), CostSource::Estimated);
    assert_eq!(cut(&turns, told(9_000, 500), 300), before);
    let nearly_all = (usd("0.089"), usd("0.011"), CostSource::Estimated);
    assert_eq!(cut(&turns, told(9_000, 8_000), 300), nearly_all);
}

#[test]
fn an_answer_that_took_all_of_its_tokens_is_charged_them() {
    let ended = |basis: &Basis, way, told| charged(basis, way, reading(told, 30));
    let estimated = |cost| (usd(cost), Usd::ZERO, CostSource::Estimated);
    assert_eq!(ended(&basis(), Way::Filled, None), estimated("0.09"));
    assert_eq!(
        ended(&basis(), Way::Filled, told(9_000, 0)),
        estimated("0.089")
    );
    assert_eq!(
        ended(&basis(), Way::Filled, told(9_000, 70)),
        (usd("0.0097"), Usd::ZERO, CostSource::Computed)
    );
    // So may have done one that reasoned out of sight.
    assert_eq!(ended(&hides_output(), Way::Whole, None), estimated("0.09"));
    assert_eq!(
        ended(&hides_output(), Way::Whole, told(9_000, 70)),
        (usd("0.0097"), Usd::ZERO, CostSource::Computed)
    );
}

#[test]
fn the_dearer_of_the_models_asked_and_answered_counts() {
    let whole = |answered| {
        let basis = Basis {
            answered_price: Some(answered),
            ..basis()
        };
        charged(&basis, Way::Whole, reading(told(9_000, 100), 30)).0
    };
    assert_eq!(whole(price("5", "25")), usd("0.0475"));
    assert_eq!(whole(price("0.5", "2")), usd("0.01"));
}
