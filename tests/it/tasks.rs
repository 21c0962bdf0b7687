//! Tasks from the command line: run, parked, continued, drawn, refused.

mod again;
mod agents;
mod all;
mod elsewhere;
mod kill;
mod wide;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Context, Stub, stub};

/// A configuration with agents `a` to `d` of a server and these tasks.
fn config(url: &str, tasks: &str) -> String {
    let agent = |name: &str, more: &str| {
        format!("  {name}: {{role: You are {name}., provider: stub, model: stub-model{more}}}\n")
    };
    format!(
        "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{url}\"}}\nagents:\n{}{}{}{}tasks:\n{tasks}",
        agent("a", ", tools: [read, write]"),
        agent("b", ""),
        agent("c", ""),
        agent("d", "")
    )
}

/// A server that repeats the last thing it was told.
fn echo() -> Stub {
    Stub::start(|seen| stub::text(&format!("<{}>", seen.last_text())))
}

fn run_id(context: &Context) -> String {
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    runs[0]["run_id"].as_str().unwrap().to_owned()
}

fn files(context: &Context, task: &str, run_id: &str) -> Vec<String> {
    let directory: PathBuf = context.work().join("outputs").join(task).join(run_id);
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const TASK: &str = "  t:
    description: Shows what there is
    inputs: {who: {required: true}, list: {default: [x, y]}}
    steps:
      - {id: hello, agent: a, prompt: 'greet {{ inputs.who }}'}
      - {id: build, run: 'echo built {{ inputs.who }}; echo warning >&2; exit 3', needs: [], on_failure: continue}
      - {id: fix, needs: [hello, build], for_each: '{{ inputs.list }}', agent: b, prompt: 'fix {{ item }} {{ steps.build.exit_code }}'}
      - {id: none, when: steps.build.ok, agent: c, prompt: never}
      - {id: end, agent: c, prompt: '{{ steps.hello.output }} {{ steps.build.output }} {{ steps.fix.items[1].output }}'}
";

#[test]
fn a_task_runs_to_its_last_answer() {
    let server = echo();
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), TASK));
    let ran = context
        .orch(&["--task", "t", "--input", "who=it's"])
        .exits(8);
    let last = "<<greet it's> built it's\nwarning <fix y 3>>\n";
    assert_eq!(ran.stdout, last);
    for line in [
        "[hello] started",
        "[build] failed",
        "[fix[1]] done",
        "[none] note: skipped",
        "[end] done",
    ] {
        assert!(
            ran.stderr.lines().any(|known| known == line),
            "{line}\n{}",
            ran.stderr
        );
    }
    assert!(
        ran.stderr
            .contains("error: the step `build` failed: the command failed with exit code 3\n")
    );

    let id = run_id(&context);
    assert_eq!(
        files(&context, "t", &id),
        ["build.md", "end.md", "fix.md", "hello.md", "result.json"]
    );
    assert_eq!(context.read(&format!("outputs/t/{id}/end.md")), last);
    let kept: Value =
        serde_json::from_str(&context.read(&format!("outputs/t/{id}/result.json"))).unwrap();
    assert_eq!(kept["run_id"], id);
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    assert_eq!(runs.as_array().unwrap().len(), 1);
    let keys: Vec<&String> = runs[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "run_id", "kind", "name", "state", "started", "cost_usd", "held_usd"
        ]
    );
    assert_eq!(
        (&runs[0]["kind"], &runs[0]["name"], &runs[0]["state"]),
        (&json!("task"), &json!("t"), &json!("failed"))
    );
}

#[test]
fn the_result_is_one_object_and_the_events_name_their_step() {
    let server = echo();
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), TASK));
    let result = context
        .orch(&["--task", "t", "--input", "who=me", "--json"])
        .exits(8)
        .json();
    assert_eq!(result["kind"], "task");
    assert_eq!(result["agent"], "t");
    assert_eq!(result["ok"], false);
    assert_eq!(result["error"]["class"], "partial");
    assert_eq!(result["usage"]["input_tokens"], 40);
    let steps: Vec<(&str, &str)> = result["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            (
                step["step"].as_str().unwrap(),
                step["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        steps,
        [
            ("hello", "agent"),
            ("build", "run"),
            ("fix", "all"),
            ("end", "agent")
        ]
    );
    assert_eq!(result["results"][1]["exit_code"], 3);
    assert_eq!(
        result["results"][2]["structured"],
        json!(["<fix x 3>", "<fix y 3>"])
    );

    let events = context
        .orch(&[
            "--task",
            "t",
            "--input",
            "who=me",
            "--output",
            "stream-json",
        ])
        .exits(8)
        .json_lines();
    let of = |kind: &str| -> Vec<String> {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .map(|event| event["step"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    assert_eq!(of("run.started"), [""]);
    let mut started = of("step.started");
    started.sort();
    assert_eq!(
        started,
        ["build", "end", "fix", "fix[0]", "fix[1]", "hello"]
    );
    assert_eq!(of("step.finished").len(), 6);
    assert_eq!(events.last().unwrap()["type"], "result");
}

#[test]
fn wrong_inputs_are_told_before_anything_is_spent() {
    let server = echo();
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), TASK));
    for (arguments, expected) in [
        (&["--task", "t"][..], "the task `t` needs the input `who`"),
        (
            &["--task", "t", "--input", "who=x", "--input", "hwo=y"],
            "the task `t` has no input `hwo`",
        ),
        (
            &["--task", "t", "--input", "who"],
            "`who` is no input: write `name=value`",
        ),
        (&["--task", "u"], "there is no task `u`"),
        (&["--task", "t", "--prompt", "x"], "a task takes no prompt"),
        (&["--resume", "0192-none"], "there is no run `0192-none`"),
    ] {
        let ran = context.orch(arguments).exits(2);
        assert!(
            ran.stderr.starts_with(&format!("error: {expected}")),
            "{}",
            ran.stderr
        );
    }
    assert_eq!(server.seen().len(), 0);
    assert_eq!(
        context.orch(&["--runs", "--json"]).exits(0).json(),
        json!([])
    );
}

#[test]
fn wrong_graphs_are_found_by_the_check() {
    let context = Context::new();
    for (steps, expected) in [
        (
            "- {agent: a, prompt: '{{ inputs.x }}'}",
            "orch.yaml:12:28: the task has no input `x`",
        ),
        (
            "- {agent: a, prompt: x, needs: [y]}",
            "orch.yaml:12:39: unknown step `y`",
        ),
        (
            "- {id: p, run: x, needs: [q]}\n      - {id: q, run: y}",
            "orch.yaml:12:25: the steps `p`, `q` wait for each other",
        ),
        (
            "- {task: t}",
            "orch.yaml:10:3: the tasks `t` call each other for ever",
        ),
        (
            "- {run: 'x {{ steps.later.output }}'}\n      - {id: later, run: y}",
            "orch.yaml:12:15: the step `later` may not have ended",
        ),
    ] {
        let text = config(
            "http://127.0.0.1:9",
            &format!("  t:\n    steps:\n      {steps}\n"),
        );
        context.write("orch.yaml", text);
        let ran = context.orch(&["check"]).exits(3);
        assert!(ran.stderr.contains(expected), "{expected}\n{}", ran.stderr);
        context.orch(&["--task", "t"]).exits(3);
    }
}

#[test]
fn a_gate_parks_the_run_until_somebody_says_yes() {
    let server = echo();
    let context = Context::new();
    let tasks = "  deploy:
    inputs: {v: {default: '2'}}
    steps:
      - {id: test, agent: a, prompt: test}
      - {id: go, gate: 'Deploy {{ inputs.v }}?'}
      - {id: ship, agent: b, prompt: 'ship {{ inputs.v }}'}
";
    context.write("orch.yaml", config(&server.url(), tasks));
    let parked = context.orch(&["--task", "deploy"]).exits(9);
    assert!(
        parked
            .stderr
            .contains("error: the run waits for a yes: Deploy 2?\n"),
        "{}",
        parked.stderr
    );
    let id = run_id(&context);
    assert!(parked.stderr.contains(&format!(
        "hint: say yes with `orch --config orch.yaml --resume {id} --yes`"
    )));
    let runs = context.orch(&["--runs"]).exits(0);
    assert!(
        runs.stdout.contains(&format!("{id}  parked")),
        "{}",
        runs.stdout
    );
    // Whoever goes on without a yes costs nothing.
    context.orch(&["--resume", &id]).exits(9);
    assert_eq!(server.chats().len(), 1);

    // The configuration may change meanwhile; the run goes on with what it began with.
    let changed = config(&server.url(), tasks).replace("You are b.", "You are another.");
    context.write("orch.yaml", changed);
    let done = context.orch(&["--resume", &id[..13], "--yes"]).exits(0);
    assert_eq!(done.stdout, "<ship 2>\n");
    assert!(
        done.stderr
            .contains("note: the configuration of `b` has changed"),
        "{}",
        done.stderr
    );
    let chats = server.chats();
    assert_eq!(chats.len(), 2);
    assert!(
        chats[1].body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains("You are b.")
    );
    // A run that is done gives its result again.
    let again = context.orch(&["--resume", &id, "--json"]).exits(0).json();
    assert_eq!(
        (again["run_id"].as_str(), again["output"].as_str()),
        (Some(id.as_str()), Some("<ship 2>"))
    );
    assert_eq!(server.chats().len(), 2);
}

#[test]
fn what_a_model_said_never_becomes_a_command() {
    let server = Stub::replies([stub::text(
        "x; touch owned; echo $(touch owned) `touch owned` 'q'",
    )]);
    let context = Context::new();
    let tasks = "  t:
    steps:
      - {id: say, agent: a, prompt: x}
      - {id: show, run: 'printf %s {{ steps.say.output }}'}
";
    context.write("orch.yaml", config(&server.url(), tasks));
    let ran = context.orch(&["--task", "t"]).exits(0);
    assert_eq!(
        ran.stdout,
        "x; touch owned; echo $(touch owned) `touch owned` 'q'\n"
    );
    assert!(!context.work().join("owned").exists());
    // Where it would not be an argument it is refused before anything is asked.
    for command in [
        "run: \"echo '{{ steps.say.output }}'\"",
        "run: 'echo \"{{ steps.say.output | tojson }}\"'",
        "run: \"cat <<E\\n{{ steps.say.output }}\\nE\"",
        "run: '{{ steps.say.output }}'",
        "candidates: [a, b], vote: true, prompt: x, check: 'echo \"{{ answer }}\"'",
    ] {
        let tasks = format!(
            "  t: {{steps: [{{id: say, agent: a, prompt: x}}, {{id: show, {command}}}]}}\n"
        );
        context.write("orch.yaml", config(&server.url(), &tasks));
        let refused = context.orch(&["--task", "t"]).exits(3);
        assert!(
            refused.stderr.contains("a value stands "),
            "{}",
            refused.stderr
        );
        context.orch(&["check"]).exits(3);
    }
    assert_eq!(server.chats().len(), 1);
}

#[test]
fn candidates_must_pass_the_check_before_they_are_judged() {
    let server = Stub::start(|seen| {
        let system = seen.body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        let who = system
            .split("You are ")
            .nth(1)
            .unwrap()
            .split('.')
            .next()
            .unwrap()
            .to_owned();
        match who.as_str() {
            "d" => stub::text(r#"{"reason": "r", "marks": {"A": 5, "B": 5}}"#),
            "b" => stub::text("bad"),
            who => stub::text(&format!("good {who}")),
        }
    });
    let context = Context::new();
    let tasks = "  t:
    steps:
      - {id: best, candidates: [b, c, a], judge: d, check: 'grep -q good && test {{ answer }} != x', prompt: x}
";
    context.write("orch.yaml", config(&server.url(), tasks));
    let result = context.orch(&["--task", "t", "--json"]).exits(0).json();
    // Equal marks: the one that is written first wins.
    assert_eq!(result["output"], "good c");
    let best = &result["results"][0];
    assert_eq!(best["agent"], "c");
    let parts: Vec<(&str, bool)> = best["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            (
                part["step"].as_str().unwrap(),
                part["ok"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        parts,
        [
            ("best.1", false),
            ("best.2", true),
            ("best.3", true),
            ("best.judge", true)
        ]
    );
    assert_eq!(
        best["results"][0]["error"]["message"],
        "the check refused the answer: the command failed with exit code 1"
    );
    assert_eq!(best["results"][3]["structured"]["winner"], "best.2");
}

#[test]
fn a_dry_run_draws_and_spends_nothing() {
    let server = echo();
    let context = Context::new();
    let text = config(&server.url(), TASK).replace("stub-model", "gpt-4o");
    context.write("orch.yaml", text);
    let drawn = context
        .orch(&["--task", "t", "--input", "who=x", "--dry-run"])
        .exits(0);
    insta::assert_snapshot!(drawn.stdout, @r#"
    t
      list = ["x","y"]
      who = "x"
      hello               a
      build ← at once     $ echo built {{ inputs.who }}; echo warning >&2; exit 3
      fix ← hello, build  b  [for each of {{ inputs.list }}]  [from $0.000000]
      none                c  [when steps.build.ok]
      end                 c
    cost: at least $0.000000, the most is not known
    "#);
    let mermaid = context
        .orch(&[
            "--task",
            "t",
            "--input",
            "who=x",
            "--dry-run",
            "--output",
            "mermaid",
        ])
        .exits(0);
    assert!(
        mermaid
            .stdout
            .starts_with("flowchart TD\n  n0[\"hello: a\"]\n"),
        "{}",
        mermaid.stdout
    );
    let priced = context
        .orch(&["--task", "t", "--input", "who=x", "--dry-run", "--json"])
        .exits(0)
        .json();
    assert_eq!(
        (&priced["kind"], &priced["dry_run"]),
        (&json!("task"), &json!(true))
    );
    assert_eq!(priced["plan"]["steps"].as_array().unwrap().len(), 5);
    assert_eq!(server.seen().len(), 0);
    assert!(!context.work().join("outputs").exists());
    context
        .orch(&["--task", "t", "--input", "who=x", "--output", "mermaid"])
        .exits(2);
}

#[test]
fn an_agent_calls_others_with_no_more_rights_than_both_have() {
    let server = Stub::start(|seen| {
        let system = seen.body["messages"][0]["content"].as_str().unwrap();
        match (system.contains("You lead."), seen.last_text().as_str()) {
            (true, "go") => stub::tool_calls(&[
                (
                    "1",
                    "delegate",
                    json!({"agent": "helper", "prompt": "help"}),
                ),
                (
                    "2",
                    "delegate",
                    json!({"agent": "nobody", "prompt": "help"}),
                ),
            ]),
            (true, _) => stub::text(
                &seen
                    .tool_messages()
                    .iter()
                    .map(|m| m["content"].to_string())
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            (false, _) => {
                let tools: Vec<String> = seen.body["tools"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|tool| tool["function"]["name"].as_str().unwrap().to_owned())
                    .collect();
                stub::text(&format!("I have {}", tools.join("+")))
            }
        }
    });
    let context = Context::new();
    context.write("orch.yaml", format!(
        "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{}\"}}\nagents:\n  \
         lead: {{role: You lead., provider: stub, model: stub-model, tools: [read, grep], delegates: [helper], grant: {{helper: [write]}}}}\n  \
         helper: {{role: You help., provider: stub, model: stub-model, tools: [read, write, edit]}}\n",
        server.url()
    ));
    let result = context
        .orch(&["--agent", "lead", "--prompt", "go", "--json"])
        .exits(0)
        .json();
    let output = result["output"].as_str().unwrap();
    assert!(output.contains("I have read+write"), "{output}");
    assert!(
        output.contains("you may not call `nobody`: you may call `helper`"),
        "{output}"
    );
    assert_eq!(result["attempts"], 3);
    assert_eq!(result["usage"]["input_tokens"], 30);
    let text = context
        .orch(&["--agent", "lead", "--prompt", "go"])
        .exits(0);
    assert!(!text.stdout.starts_with("I have"), "{}", text.stdout);

    let explained = context
        .orch(&["check", "--explain", "lead"])
        .exits(0)
        .stdout;
    for line in [
        "call helper, which then may use read, write — delegates, what both have",
        "keeps tool write: `grant` of lead",
        "loses tool edit: lead has it not and grants it not",
        "call at most 8 agents in a run, 3 deep — settings.delegation",
    ] {
        assert!(explained.contains(line), "{line}\n{explained}");
    }
}

/// A run that did not end well is listed so, whatever its failure stopped.
#[test]
fn what_is_listed_agrees_with_the_exit_code() {
    let server = Stub::start(|seen| match seen.last_text().as_str() {
        "fail" => stub::status(500, &[], "{}"),
        text => stub::text(text),
    });
    let context = Context::new();
    let steps = "[{agent: a, prompt: fail, on_failure: continue}, {agent: b, prompt: y}]";
    let tasks = format!("  t: {{steps: {steps}}}\n  ok: {{steps: [{{agent: b, prompt: y}}]}}\n");
    context.write("orch.yaml", config(&server.url(), &tasks));
    let state = || context.orch(&["--runs", "--json"]).exits(0).json()[0]["state"].clone();
    context.orch(&["--task", "ok"]).exits(0);
    assert_eq!(state(), "done");
    let partial = context.orch(&["--task", "t"]).exits(8);
    assert_eq!(state(), "failed");
    assert_eq!(partial.stdout, "y\n");
    assert!(
        partial.stderr.contains("is at its end: start it anew"),
        "{}",
        partial.stderr
    );
    // Nothing of it is done again: what came behind has seen the failure.
    let asked = server.chats().len();
    let again = context.orch(&["--resume", &run_id(&context)]).exits(8);
    assert_eq!(
        (again.stdout.as_str(), server.chats().len()),
        ("y\n", asked)
    );
}

/// A screen is shown the newest runs and told of the others; a program gets every one.
#[test]
fn no_run_is_left_out_without_a_word() {
    let server = echo();
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), " {}\n"));
    context.orch(&["--agent", "b", "--prompt", "x"]).exits(0);
    let lines = || context.orch(&["--runs"]).exits(0).stdout;
    assert_eq!(lines().lines().count(), 1);
    let database = rusqlite::Connection::open(context.state().join("orch.db")).unwrap();
    let copy = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 249)
        INSERT INTO runs (id, kind, name, state, plan, started_ms, updated_ms)
        SELECT 'copy-' || i, kind, name, state, plan, started_ms - i, updated_ms FROM runs, n";
    assert_eq!(database.execute(copy, []).unwrap(), 249);
    let shown = lines();
    assert_eq!(shown.lines().count(), 201);
    assert!(
        shown.ends_with("50 older ones are left out; `orch --runs --json` lists every run\n"),
        "{shown}"
    );
    let all = context.orch(&["--runs", "--json"]).exits(0).json();
    assert_eq!(all.as_array().unwrap().len(), 250);
}
