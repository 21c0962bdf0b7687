//! The most that a plan tells is never less than what the worst of runs costs.

use serde_json::Value;

use super::money;
use crate::support::{Context, Stub, stub};

/// A server whose answers are as long as they may be, and whose prompts are counted at a token for four bytes.
fn wordy(answer: impl Fn(&stub::Seen) -> String + Send + Sync + 'static) -> Stub {
    Stub::start(move |seen| {
        let body = &seen.body;
        let most = ["max_tokens", "max_completion_tokens"];
        let most = most.iter().find_map(|key| body[key].as_u64());
        let asked = body["messages"].to_string().len() + body["tools"].to_string().len();
        let asked = u64::try_from(asked).unwrap() / 4;
        stub::text_with_usage(&answer(seen), asked, most.unwrap_or(8192))
    })
}

/// One dollar a million tokens in, ten out; agents `a`, `b` and `j` that answer with 100 tokens.
fn place(server: &Stub, agent: &str, tasks: &str) -> Context {
    let context = Context::new();
    let mut yaml = format!(
        "settings: {{max_retries: 0}}\n\
         providers:\n  stub: {{kind: openai, base_url: \"{}\", prices: {{m: {{input: 1, output: 10}}}}}}\nagents:\n",
        server.url()
    );
    for name in ["a", "b", "j"] {
        yaml.push_str(&format!(
            "  {name}: {{role: R, provider: stub, model: m, max_output_tokens: 100{agent}}}\n"
        ));
    }
    context.write("orch.yaml", yaml + tasks);
    context
}

/// What a plan tells as the most, and what the run then costs.
fn told_and_spent(context: &Context, args: &[&str]) -> (Value, i64) {
    let plan = context.orch(&[args, &["--dry-run", "--json"]].concat());
    let plan = plan.exits(0).json()["plan"].clone();
    let ran = context.orch(&[args, &["--json"]].concat()).json();
    (plan, money(&ran["cost_usd"]))
}

const SCHEMA: &str =
    "output_schema: {type: object, required: [x], properties: {x: {type: integer}}}";

#[test]
fn an_answer_that_misses_its_schema_is_asked_for_again() {
    let server = wordy(|_| "no json".to_owned());
    let ask = ["--agent", "a", "--prompt", "x"];
    for (agent, calls) in [
        (format!(", {SCHEMA}"), 2),
        (format!(", max_turns: 1, {SCHEMA}"), 1),
    ] {
        let before = server.chats().len();
        let context = place(&server, &agent, "");
        let (plan, spent) = told_and_spent(&context, &ask);
        assert_eq!(server.chats().len() - before, calls, "{agent}");
        assert!(
            money(&plan["highest_usd"]) >= spent,
            "{agent}: {plan} {spent}"
        );
    }
    // The schema of a step, of candidates, of a verdict.
    for step in [
        format!("{{agent: a, prompt: x, {SCHEMA}}}"),
        format!("{{candidates: [a, b], vote: true, prompt: x, {SCHEMA}}}"),
        "{candidates: [a, b], judge: j, criteria: c, prompt: x}".to_owned(),
    ] {
        let tasks = format!("tasks:\n  t: {{steps: [{step}]}}\n");
        let context = place(&server, "", &tasks);
        let (plan, spent) = told_and_spent(&context, &["--task", "t"]);
        assert!(
            money(&plan["highest_usd"]) >= spent,
            "{step}: {plan} {spent}"
        );
    }
}

#[test]
fn what_earlier_steps_say_is_counted_in_the_prompts_behind_them() {
    // As many bytes as a hundred tokens may have.
    let server = wordy(|_| "words ".repeat(66));
    let first = "{id: x, agent: a, prompt: p}";
    let many = "Look: {{ steps.x.output }}".repeat(20);
    let said = "what earlier steps say is counted with the longest answers";
    for step in [
        format!("{{agent: b, prompt: \"{many}\"}}"),
        format!("{{agent: b, prompt: \"{many}\", for_each: [1, 2]}}"),
        format!("{{candidates: [a, b], judge: j, criteria: \"{many}\", prompt: \"{many}\"}}"),
        format!("{{candidates: [a, b], synthesise: j, prompt: \"{many}\"}}"),
        format!("{{id: y, agent: b, prompt: \"{many}\", repeat: {{until: \"false\", max: 3}}}}"),
        format!("{{steps: [{{agent: b, prompt: \"{many}\"}}]}}"),
        format!("{{task: u, inputs: {{v: \"{many}\"}}}}"),
    ] {
        let tasks = format!(
            "tasks:\n  t: {{steps: [{first}, {step}]}}\n  \
             u: {{inputs: {{v: {{required: true}}}}, steps: [{{agent: b, prompt: \"{{{{ inputs.v }}}}\"}}]}}\n"
        );
        let context = place(&server, "", &tasks);
        let (plan, spent) = told_and_spent(&context, &["--task", "t"]);
        assert!(
            money(&plan["highest_usd"]) >= spent,
            "{step}: {plan} {spent}"
        );
        let notices = plan["notices"].to_string();
        assert!(
            notices.contains(said) || step.contains("task: u"),
            "{step}: {notices}"
        );
    }
    // Inputs are known.
    let tasks = "tasks:\n  t: {inputs: {v: {required: true}}, steps: [{agent: a, prompt: \"{{ inputs.v }}\"}]}\n";
    let context = place(&server, "", tasks);
    let value = format!("v={}", "0123456789".repeat(1_000));
    let (plan, spent) = told_and_spent(&context, &["--task", "t", "--input", &value]);
    assert!(money(&plan["highest_usd"]) >= spent, "{plan} {spent}");
    assert_eq!(plan["notices"].as_array().unwrap().len(), 0, "{plan}");
}

#[test]
fn what_may_be_of_any_size_leaves_the_most_unknown() {
    let server = wordy(|_| "x".to_owned());
    let tasks = "tasks:\n  t:\n    steps:\n      - {id: x, agent: a, prompt: p}\n      \
        - {agent: b, prompt: \"{{ steps.x.output * 9 }}\"}\n";
    let context = place(&server, "", tasks);
    let args = ["--task", "t", "--dry-run"];
    let plan = context
        .orch(&[&args[..], &["--json"]].concat())
        .exits(0)
        .json()["plan"]
        .clone();
    assert_eq!(plan["highest_usd"], Value::Null, "{plan}");
    let told = context.orch(&args).exits(0).stdout;
    assert!(told.contains("the most is not known"), "{told}");
}

/// A step of a task is in no conversation: what one may cost caps nothing there.
#[test]
fn the_budget_of_a_conversation_is_none_of_a_step() {
    let server = wordy(|_| "x".to_owned());
    let tasks = "tasks:\n  t: {steps: [{agent: a, prompt: p}]}\n";
    let context = place(&server, "", tasks);
    let capped = context.read("orch.yaml");
    let capped = capped.replace(
        "max_retries: 0",
        "max_retries: 0, budget: {session_usd: 0.0001}",
    );
    context.write("orch.yaml", capped);
    let (plan, spent) = told_and_spent(&context, &["--task", "t"]);
    assert!(spent > 100_000_000, "{spent}");
    assert!(money(&plan["highest_usd"]) >= spent, "{plan} {spent}");
}
