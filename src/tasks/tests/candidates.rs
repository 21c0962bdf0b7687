//! Several answers to one question, and the one that is made of them.

use serde_json::{Value, json};

use super::*;
use crate::agents::testing::{last_text, text};
use crate::providers::{FaultKind, ProviderError, Request};

/// Answers by name; `d` judges by the length of the answers.
fn team() -> Arc<Model> {
    Model::new(|request| async move {
        Ok(text(&match &*request.agent {
            "a" => "short".to_owned(),
            "b" => "the longest answer".to_owned(),
            "d" => verdict(&request),
            _ => return Err(ProviderError::new("stub", FaultKind::Server, "broken")),
        }))
    })
}

fn verdict(request: &Request) -> String {
    let prompt = last_text(request);
    let mut marks = serde_json::Map::new();
    for part in prompt.split("[answer ").skip(1) {
        let letter = part.split(' ').next().unwrap();
        let answer = part
            .split_once('\n')
            .unwrap()
            .1
            .split("\n[end")
            .next()
            .unwrap();
        marks.insert(letter.to_owned(), json!(answer.len()));
    }
    json!({"reason": "long is good", "marks": marks}).to_string()
}

const JUDGED: &str =
    "t: {steps: [{id: best, candidates: [a, c, b], judge: d, seed: SEED, prompt: 'which?'}]}";

#[tokio::test(start_paused = true)]
async fn the_judge_finds_the_same_winner_in_any_order() {
    for seed in 0..12 {
        let bench = Bench::new(&JUDGED.replace("SEED", &seed.to_string()), &team());
        let ended = bench.run().await;
        assert!(ended.result.ok, "{:?}", ended.result.error);
        assert_eq!(ended.result.output, "the longest answer");
        let best = &ended.result.results.as_ref().unwrap()[0];
        assert_eq!(best.agent, "b");
        // Every candidate is kept, the one that failed too, and the verdict without its letters.
        assert_eq!(
            outputs(best)[..3],
            [
                ("best.1", "short"),
                ("best.2", ""),
                ("best.3", "the longest answer")
            ]
        );
        let said = &best.results.as_ref().unwrap()[3];
        assert_eq!(
            said.structured,
            Some(
                json!({"winner": "best.3", "marks": {"best.1": 5, "best.3": 18}, "reason": "long is good"})
            )
        );
        assert_eq!(ended.result.attempts, 4);
        // The judge is told nobody's name.
        let asked = bench.model.asked();
        let prompt = last_text(asked.iter().find(|request| &*request.agent == "d").unwrap());
        assert!(
            !prompt.contains("best.") && !prompt.contains("stub"),
            "{prompt}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_talks_nonsense_never_passes_silently() {
    for nonsense in [
        "B is best",
        "{}",
        r#"{"reason": "", "marks": {"A": 1}}"#,
        "",
    ] {
        let model = Model::says(move |request| match &*request.agent {
            "d" => text(nonsense),
            agent => text(agent),
        });
        let tasks = JUDGED.replace("SEED", "1");
        let ended = Bench::new(&tasks, &model).run().await;
        let (class, message) = error_of(&ended);
        assert_eq!(class, "failed");
        assert!(
            message.starts_with(
                "the step `best` failed: the judge `d` gave no verdict that can be used: "
            ),
            "{message}"
        );
        assert_eq!(ended.result.output, "");
        let allowed = tasks.replace("judge: d,", "judge: d, on_bad_verdict: first,");
        let ended = Bench::new(&allowed, &model).run().await;
        assert!(ended.result.ok);
        assert_eq!(ended.result.output, "a");
        assert!(ended.result.warnings[0].ends_with("; the first answer was taken"));
    }
}

#[tokio::test(start_paused = true)]
async fn one_answer_that_holds_needs_no_judge_and_none_is_a_failure() {
    let model = Model::new(|request| async move {
        match (&*request.agent, last_text(&request).as_str()) {
            ("a", "some") => Ok(text("mine")),
            _ => Err(ProviderError::new("stub", FaultKind::Server, "broken")),
        }
    });
    let tasks = "t: {steps: [{candidates: [a, b], judge: d, prompt: some}]}";
    let bench = Bench::new(tasks, &model);
    assert_eq!(bench.run().await.result.output, "mine");
    assert!(!bench.model.askers().contains(&"d".to_owned()));
    let ended = Bench::new(&tasks.replace("some", "none"), &model)
        .run()
        .await;
    assert_eq!(
        error_of(&ended),
        (
            "provider",
            "the step `step1` failed: no candidate gave an answer that holds: a: broken; b: broken"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn votes_and_schemas_choose_without_a_judge() {
    let model = Model::says(|request| match &*request.agent {
        "a" => text("No."),
        "b" => text("yes"),
        "c" => text("Yes!"),
        _ => text(r#"{"ship": true}"#),
    });
    let tasks = "t: {steps: [{candidates: [a, b, c], vote: true, prompt: 'ship?'}]}";
    let ended = Bench::new(tasks, &model).run().await;
    assert_eq!(
        (ended.result.output.as_str(), ended.result.warnings.len()),
        ("yes", 0)
    );
    let split = tasks.replace("[a, b, c]", "[a, b]");
    let ended = Bench::new(&split, &model).run().await;
    assert_eq!(ended.result.output, "No.");
    assert_eq!(
        ended.result.warnings,
        ["step1: no answer has most of the votes: the winner has 1 of 2"]
    );
    // Whoever does not fit the schema does not vote.
    let fitting = tasks.replace("c]", "d]").replace(
        "vote: true",
        "vote: true, output_schema: {type: object, required: [ship]}",
    );
    let ended = Bench::new(&fitting, &model).run().await;
    assert_eq!(
        ended.result.results.unwrap()[0].structured,
        Some(json!({"ship": true}))
    );
}

#[tokio::test(start_paused = true)]
async fn answers_are_made_into_one() {
    let model = Model::says(|request| {
        let prompt = last_text(request);
        match &*request.agent {
            "d" => {
                let parts = ["mine: a\n", "mine: b\n", "[question "];
                assert!(parts.iter().all(|part| prompt.contains(part)), "{prompt}");
                text("both")
            }
            agent => text(&format!("mine: {agent}")),
        }
    });
    let bench = Bench::new(
        "t: {steps: [{candidates: [a, b], synthesise: d, prompt: 'well?'}]}",
        &model,
    );
    let ended = bench.run().await;
    assert_eq!(ended.result.output, "both");
    assert_eq!(ended.result.attempts, 3);
    assert_eq!(ended.result.usage.output_tokens, 15);
    let parts = outputs(&ended.result.results.as_ref().unwrap()[0])
        .into_iter()
        .map(|(step, _)| step.to_owned())
        .collect::<Vec<_>>();
    assert_eq!(parts, ["step1.1", "step1.2", "step1.synthesis"]);
    assert_eq!(ended.result.structured, None::<Value>);
}
