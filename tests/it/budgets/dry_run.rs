//! `--dry-run`: the least and the most that a run can cost, against what the budgets have left.

use serde_json::Value;

use super::{money, priced};
use crate::support::{Context, Stub, stub};

const PLAN: [&str; 6] = ["--agent", "a", "--prompt", "x", "--dry-run", "--json"];

fn plan(context: &Context) -> Value {
    context.orch(&PLAN).exits(0).json()["plan"].clone()
}

/// Output at a tenth of a cent a token, input free.
fn place(server: &Stub, settings: &str, agent: &str) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        priced(&server.url(), 0.0, 1000.0, settings, agent),
    );
    context
}

#[test]
fn the_most_counts_every_turn_retry_model_and_called_agent() {
    let server = Stub::start(|_| stub::text("ok"));
    // One turn of five tokens.
    let context = place(&server, "", "max_output_tokens: 5");
    let alone = plan(&context);
    assert_eq!(alone["highest_usd"], "0.005000");
    assert_eq!(alone["lowest_usd"], "0.001000");
    // Three tries of each of two models.
    let yaml = context
        .read("orch.yaml")
        .replace("max_retries: 0", "max_retries: 2")
        .replace(
            "max_output_tokens: 5",
            "max_output_tokens: 5, fallback: [stub/m]",
        );
    context.write("orch.yaml", &yaml);
    assert_eq!(plan(&context)["highest_usd"], "0.030000");
    // Ten turns with a tool, and eight calls of an agent that has one turn with three tries.
    let yaml = yaml.replace(", fallback: [stub/m]", ", delegates: [b], max_turns: 10")
        + "  b: {role: R, provider: stub, model: m, max_output_tokens: 5}\n";
    context.write("orch.yaml", &yaml);
    assert_eq!(plan(&context)["highest_usd"], "0.270000");
    let capped = yaml.replace("delegates: [b]", "delegates: [b], budget_usd: 0.1");
    context.write("orch.yaml", &capped);
    assert_eq!(plan(&context)["highest_usd"], "0.100000");
    // What one agent may spend is no cap of what all of them spend.
    let all = context
        .orch(&["--all", "--prompt", "x", "--dry-run", "--json"])
        .exits(0)
        .json();
    assert_eq!(all["highest_usd"], "0.115000");
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn a_plan_says_no_where_the_first_call_would_not_be_admitted() {
    let server = Stub::start(|_| stub::text("ok"));
    // 256 tokens are the least that a call asks for; a cap of one's own is asked for whole.
    for (agent, least) in [
        ("max_turns: 1", "0.256"),
        ("max_output_tokens: 100", "0.100"),
    ] {
        let context = place(&server, "", agent);
        let task = "tasks:\n  t: {steps: [{agent: a, prompt: x}]}\n";
        context.write("orch.yaml", context.read("orch.yaml") + task);
        let asked = server.seen().len();
        for (budget, code) in [(least, 0), ("0.099", 7)] {
            let args = ["--agent", "a", "--prompt", "x", "--budget", budget];
            context
                .orch(&[&args[..], &["--dry-run"]].concat())
                .exits(code);
            context.orch(&args).exits(code);
            let task = ["--task", "t", "--budget", budget];
            let planned = context.orch(&[&task[..], &["--dry-run"]].concat());
            planned.exits(code);
            context.orch(&task).exits(code);
        }
        assert_eq!(server.seen().len(), asked + 2);
    }
}

#[test]
fn the_least_is_compared_with_what_is_left() {
    let server = Stub::start(|_| stub::text_with_usage("ok", 10, 300));
    let context = place(&server, "budget: {day_usd: 0.3}", "max_output_tokens: 300");
    let before = plan(&context);
    assert_eq!(
        (&before["budget_usd"], &before["left_usd"]),
        (&"0.300000".into(), &"0.300000".into())
    );
    context.orch(&["--agent", "a", "--prompt", "x"]).exits(0);
    let refused = context.orch(&PLAN).exits(7);
    assert!(
        refused
            .stderr
            .contains("the budget `day` of 0.300000 USD would be exceeded: 0.300000 spent"),
        "{refused:#?}"
    );
    for more in [vec!["--all", "--prompt", "x"], vec!["--task", "t"]] {
        let yaml = priced(
            &server.url(),
            0.0,
            1000.0,
            "budget: {day_usd: 0.3}",
            "max_output_tokens: 300",
        ) + "tasks:\n  t: {steps: [{agent: a, prompt: x}]}\n";
        context.write("orch.yaml", yaml);
        context.orch(&[&more[..], &["--dry-run"]].concat()).exits(7);
    }
    assert_eq!(server.chats().len(), 1);
    // The sum of what was spent is beneath the highest that was told before.
    assert!(money(&before["highest_usd"]) >= 300_000_000_000);
}

/// The cap of a conversation holds what was spent in it, and what was said in it is sent again.
#[test]
fn a_conversation_goes_on_with_what_it_has_spent_and_said() {
    let server = Stub::start(|_| stub::text_with_usage("ok", 10, 300));
    let settings = "budget: {session_usd: 0.5, day_usd: 10}";
    let context = place(&server, settings, "max_output_tokens: 300");
    let in_talk = [&PLAN[..], &["--session", "talk"]].concat();
    let planned = |args: &[&str]| context.orch(args).exits(0).json()["plan"].clone();
    let budget = |plan: &Value, name: &str| {
        let budgets = plan["budgets"].as_array().unwrap();
        let found = budgets.iter().find(|budget| budget["budget"] == name);
        found.unwrap_or_else(|| panic!("{name}: {plan}")).clone()
    };
    let before = planned(&in_talk);
    assert_eq!(before["left_usd"], "0.500000");
    let prompt = "y".repeat(4000);
    let ask = ["--agent", "a", "--prompt", &prompt, "--session", "talk"];
    context.orch(&ask).exits(0);
    // What is left does not admit another answer of that length.
    let refused = |args: &[&str]| context.orch(args).exits(7).json()["plan"].clone();
    let after = refused(&in_talk);
    assert_eq!(after["left_usd"], "0.200000");
    assert_eq!(after["highest_usd"], "0.200000");
    let session =
        serde_json::json!({"budget": "session", "limit_usd": "0.500000", "left_usd": "0.200000"});
    assert_eq!(budget(&after, "session"), session);
    assert_eq!(budget(&after, "day")["left_usd"], "9.700000");
    let tokens = |plan: &Value| plan["prompt_tokens"].as_u64().unwrap();
    assert!(tokens(&after) >= tokens(&before) + 1000, "{after}");
    // The same with the last conversation, whatever its name; another one begins with its whole cap.
    let last = [&PLAN[..], &["--continue"]].concat();
    assert_eq!(refused(&last)["left_usd"], "0.200000");
    let other = [&PLAN[..], &["--session", "other"]].concat();
    assert_eq!(planned(&other)["left_usd"], "0.500000");
    assert_eq!(planned(&PLAN)["left_usd"], "0.500000");
    let all = ["--all", "--prompt", "x", "--session", "talk", "--dry-run"];
    let told = context.orch(&all).exits(7).stdout;
    assert!(
        told.contains("budget: $0.200000 left of $0.500000 (session)"),
        "{told}"
    );
    // What is left does not pay for what was said before: no run would begin.
    let dear = context.read("orch.yaml").replace("input: 0", "input: 500");
    context.write("orch.yaml", dear);
    for args in [&in_talk[..], &all[..]] {
        let refused = context.orch(args).exits(7);
        let words = "the budget `session` of 0.500000 USD would be exceeded";
        assert!(refused.stderr.contains(words), "{refused:#?}");
    }
    context.orch(&ask).exits(7);
    assert_eq!(server.chats().len(), 1);
}

/// A model without a price is refused where a budget covers it: the plan ends as the run does.
#[test]
fn a_model_that_no_budget_can_cover_is_refused_as_by_the_run() {
    let context = Context::new();
    let yaml = |step: &str| {
        format!(
            "settings: {{max_retries: 0}}\n\
             providers:\n  lab: {{kind: openai, base_url: \"http://192.0.2.1:9/v1\"}}\n\
             agents:\n  a: {{role: R, provider: lab, model: secret-model}}\n\
             tasks:\n  t: {{steps: [{{agent: a, prompt: x{step}}}]}}\n"
        )
    };
    context.write("orch.yaml", yaml(""));
    let words = "the price of `lab/secret-model` is not known";
    for args in [
        &["--agent", "a", "--prompt", "x"][..],
        &["--all", "--prompt", "x"],
        &["--task", "t"],
    ] {
        let plan = |more: &[&str]| context.orch(&[args, &["--dry-run"], more].concat());
        let ran = context.orch(&[args, &["--budget", "1"]].concat()).exits(7);
        let planned = plan(&["--budget", "1"]).exits(7);
        for stderr in [&ran.stderr, &planned.stderr] {
            assert!(stderr.contains(words), "{args:?}: {stderr}");
            assert!(stderr.contains("hint: set its price"), "{args:?}: {stderr}");
        }
        let told = plan(&["--budget", "1", "--json"]).exits(7).json();
        assert_eq!(told["ok"], false, "{told}");
        plan(&[]).exits(0);
    }
    // A step that may be left out, or whose failure ends nothing.
    for step in [", when: \"false\"", ", on_failure: continue"] {
        context.write("orch.yaml", yaml(step));
        let args = ["--task", "t", "--dry-run", "--budget", "1"];
        context.orch(&args).exits(0);
    }
}

/// What an agent may spend in a run covers all its steps, and a task whose step would be refused fails.
#[test]
fn the_budget_of_an_agent_is_held_against_the_steps_of_a_task() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    let (cheap, small) = (
        "max_output_tokens: 5",
        "max_output_tokens: 5, budget_usd: 0.0049",
    );
    let agent = |name: &str, more: &str| {
        format!("  {name}: {{role: R, provider: stub, model: m, {more}}}\n")
    };
    let yaml = priced(&server.url(), 0.0, 1000.0, "", cheap)
        + &agent("b", cheap)
        + &agent("small", small)
        + &agent("twice", "max_output_tokens: 5, budget_usd: 0.006")
        + "tasks:\n";
    let with =
        |steps: &str| context.write("orch.yaml", format!("{yaml}  t: {{steps: [{steps}]}}\n"));
    for (steps, code) in [
        // Five tokens at a tenth of a cent are what a call holds.
        ("{agent: a, prompt: x}", 0),
        ("{agent: small, prompt: x}", 7),
        ("{agent: a, prompt: x}, {agent: small, prompt: x}", 8),
        ("{steps: [{agent: small, prompt: x}]}", 7),
        ("{agent: small, prompt: x, for_each: [1]}", 7),
        ("{agent: small, prompt: x, when: \"false\"}", 0),
        (
            "{agent: small, prompt: x, on_failure: continue}, {agent: a, prompt: x}",
            8,
        ),
        ("{candidates: [small, a], vote: true, prompt: x}", 0),
        ("{candidates: [a, b], synthesise: small, prompt: x}", 7),
        // Each call holds what is left; together they are too much.
        ("{agent: twice, prompt: x}", 0),
    ] {
        with(steps);
        let task = ["--task", "t"];
        let ran = context.orch(&task).exits(code);
        let planned = context.orch(&[&task[..], &["--dry-run"]].concat());
        // What may go on with other steps is no reason to refuse it.
        let may_fail = steps.contains("continue");
        let expected = if code == 0 || may_fail { 0 } else { 7 };
        assert_eq!(planned.code, expected, "{steps}: {planned:#?} {ran:#?}");
        if expected == 7 {
            let words = "the budget `agent small` of 0.004900 USD would be exceeded";
            assert!(planned.stderr.contains(words), "{planned:#?}");
        }
    }
    // The least of several steps of one agent, of one token each.
    for (count, code) in [(6, 0), (7, 7)] {
        let steps = vec!["{agent: twice, prompt: x}"; count].join(", ");
        with(&steps);
        context.orch(&["--task", "t", "--dry-run"]).exits(code);
        with(&format!(
            "{{agent: twice, prompt: x, for_each: [{}]}}",
            vec!["1"; count].join(", ")
        ));
        context.orch(&["--task", "t", "--dry-run"]).exits(code);
    }
}

#[test]
fn any_number_of_turns_is_planned_at_once() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server, "", "max_turns: 4000000000, tools: [glob]");
    let told = plan(&context);
    assert_eq!(told["max_turns"], 4_000_000_000_u64);
    assert!(money(&told["highest_usd"]) > 4_000_000_000, "{told}");
}

/// A plan that says no says it in the words of the run, with the figures that it printed, whatever it prints.
#[test]
fn the_plan_and_the_run_refuse_alike() {
    let server = Stub::start(|_| stub::text_with_usage("ok", 10, 600));
    let context = place(&server, "budget: {day_usd: 0.3}", "max_output_tokens: 300");
    let yaml = context.read("orch.yaml").replace(
        "m: {input: 0, output: 1000}",
        "m: {input: 0, output: 1000}, free: {input: 0, output: 0}, cheap: {input: 0, output: 1}",
    );
    let tasks = "tasks:\n  t: {steps: [{agent: a, prompt: x}]}\n";
    context.write("orch.yaml", yaml.clone() + tasks);
    let first_line = |stderr: &str| stderr.lines().next().unwrap().to_owned();
    let alike = |args: &[&str], code: i32| {
        let planned = context.orch(&[args, &["--dry-run"]].concat()).exits(code);
        let ran = context.orch(args).exits(code);
        (planned, ran)
    };
    let all = [
        &["--agent", "a", "--prompt", "x"][..],
        &["--all", "--prompt", "x"],
        &["--task", "t"],
    ];
    let refuses = |more: &[&str], words: &str| {
        for args in all {
            let args = [args, more].concat();
            let (planned, ran) = alike(&args, 7);
            assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
            let told = first_line(&planned.stderr);
            assert!(
                told.starts_with("error: ") && told.contains(words),
                "{told}"
            );
            assert!(
                ran.stderr.contains(&told["error: ".len()..]),
                "{told}: {}",
                ran.stderr
            );
            assert_eq!(
                planned.stderr.matches("cheapest").count(),
                0,
                "{planned:#?}"
            );
        }
        let drawn = ["--task", "t", "--dry-run", "--output", "mermaid"];
        let drawn = context.orch(&[&drawn, more].concat()).exits(7);
        assert!(drawn.stdout.starts_with("flowchart"), "{drawn:#?}");
        assert!(drawn.stderr.contains(words), "{drawn:#?}");
    };
    let calls = || server.chats().len();
    refuses(
        &["--budget", "0.2"],
        "the budget `--budget` of 0.200000 USD would be exceeded",
    );
    assert_eq!(calls(), 0);
    // A budget refuses the whole chain: nobody behind the first model is asked.
    let fallback = "max_output_tokens: 300, fallback: [stub/cheap]";
    let chained = yaml.replace("max_output_tokens: 300", fallback);
    context.write("orch.yaml", chained + tasks);
    refuses(
        &["--budget", "0.2"],
        "the budget `--budget` of 0.200000 USD would be exceeded",
    );
    assert_eq!(calls(), 0);
    context.write("orch.yaml", yaml + tasks);
    // The server counts more than was asked for: the budget is exceeded, and pays for nothing, not even for what is free.
    context.orch(all[0]).exits(0);
    let exceeded = "the budget `day` of 0.300000 USD is exceeded: 0.600000 spent";
    refuses(&["--model", "stub/free"], exceeded);
    assert_eq!(calls(), 1);
}
