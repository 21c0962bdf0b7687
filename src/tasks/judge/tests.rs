use proptest::prelude::*;

use super::*;

fn candidates<'a>(answers: &[&'a str]) -> Vec<Candidate<'a>> {
    let numbered = answers.iter().enumerate();
    numbered
        .map(|(place, answer)| Candidate { place, answer })
        .collect()
}

/// What a judge says who gives these marks whatever the letters.
fn judged(shown: &Shown<'_>, mark: impl Fn(&str) -> u64) -> Value {
    let marks: Map<String, Value> = shown
        .entries
        .iter()
        .map(|(letter, candidate)| (letter.clone(), json!(mark(candidate.answer))))
        .collect();
    json!({"reason": "because", "marks": marks})
}

#[test]
fn answers_are_shown_under_letters_in_the_order_of_the_seed() {
    let answers = ["one", "two", "three"];
    let order = |seed| -> Vec<usize> {
        let shown = shown(candidates(&answers), seed);
        shown
            .entries
            .iter()
            .map(|(_, candidate)| candidate.place)
            .collect()
    };
    assert_eq!(
        [order(1), order(2), order(3)],
        [[0, 1, 2], [2, 0, 1], [2, 1, 0]]
    );
    assert_eq!(SplitMix(0).next(), 0xe220_a839_7b1d_cdaf);
    let shown = shown(candidates(&answers), 2);
    let prompt = shown.judge_prompt("which?", Some("short"));
    let fence = &shown.fence;
    assert!(prompt.contains(&format!(
        "[answer A {fence}]\nthree\n[end of answer A {fence}]"
    )));
    assert!(prompt.contains(&format!("[question {fence}]\nwhich?\n[end")));
    assert!(prompt.contains("by these criteria: short\n"));
    assert_eq!(seed_of("a"), seed_of("a"));
    assert_ne!(seed_of("a"), seed_of("b"));
    assert_eq!(
        [
            letters(0),
            letters(25),
            letters(26),
            letters(27),
            letters(702)
        ],
        ["A", "Z", "AA", "AB", "AAA"]
    );
}

#[test]
fn only_a_verdict_on_every_answer_counts() {
    let shown = shown(candidates(&["x", "y"]), 7);
    for (said, expected) in [
        (json!({"marks": {"A": 1, "B": 2}, "reason": "r"}), Ok(())),
        (
            json!({"marks": {"A": 1}}),
            Err("answer B has no mark from 0 to 100"),
        ),
        (
            json!({"marks": {"A": 1, "B": 101}}),
            Err("answer B has no mark from 0 to 100"),
        ),
        (
            json!({"marks": {"A": 1, "B": -1}}),
            Err("answer B has no mark from 0 to 100"),
        ),
        (
            json!({"marks": {"A": 1, "B": "2"}}),
            Err("answer B has no mark from 0 to 100"),
        ),
        (
            json!({"marks": {"A": 1, "B": 2, "C": 3}}),
            Err("there is no answer C"),
        ),
        (json!({"winner": "A"}), Err("it has no `marks`")),
        (json!("A"), Err("it has no `marks`")),
        (Value::Null, Err("it has no `marks`")),
    ] {
        let verdict = shown.verdict(&said).map(drop);
        assert_eq!(verdict, expected.map_err(ToOwned::to_owned), "{said}");
    }
    let schema = jsonschema::validator_for(&shown.verdict_schema()).unwrap();
    assert!(schema.is_valid(&json!({"marks": {"A": 1, "B": 2}, "reason": "r"})));
    assert!(!schema.is_valid(&json!({"marks": {"A": 1}, "reason": "r"})));
}

proptest! {
    #[test]
    fn the_winner_does_not_hang_on_the_order(
        marks in proptest::collection::vec(0_u64..4, 1..30),
        one in any::<u64>(),
        other in any::<u64>(),
    ) {
        let answers: Vec<String> = (0..marks.len()).map(|place| place.to_string()).collect();
        let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
        let mark = |answer: &str| marks[answer.parse::<usize>().unwrap()];
        let verdicts = [one, other].map(|seed| {
            let shown = shown(candidates(&answers), seed);
            shown.verdict(&judged(&shown, mark)).unwrap()
        });
        prop_assert_eq!(&verdicts[0], &verdicts[1]);
        let best = *marks.iter().max().unwrap();
        let first = marks.iter().position(|mark| *mark == best).unwrap();
        prop_assert_eq!(verdicts[0].winner, first);
    }

    #[test]
    fn no_answer_can_end_its_own_block(text in "[a-f0-9 \\[\\]]{0,200}", seed in any::<u64>()) {
        let shown = shown(candidates(&[&text, "x"]), seed);
        prop_assert!(!text.contains(&shown.fence));
    }
}

#[test]
fn votes_are_counted_by_what_was_meant() {
    let yes = json!({"ship": true, "why": 1});
    let yes_too = json!({"why": 1, "ship": true});
    let no = json!({"ship": false, "why": 1});
    for (answers, expected) in [
        (&[][..], None),
        (&[(0, "Yes", None)], Some((0, 1))),
        (
            &[(0, "no", None), (1, "Yes.", None), (2, " yes ", None)],
            Some((1, 2)),
        ),
        (&[(0, "no", None), (1, "yes", None)], Some((0, 1))),
        (&[(3, "no", None), (1, "yes", None)], Some((1, 1))),
        (
            &[
                (0, "", Some(&no)),
                (1, "", Some(&yes)),
                (2, "", Some(&yes_too)),
            ],
            Some((1, 2)),
        ),
    ] {
        assert_eq!(vote(answers), expected, "{answers:?}");
    }
}
