//! What a run says of its cost that an earlier process began.

use std::process::Stdio;

use serde_json::json;

use super::{money, priced, tells_the_ledger};
use crate::bad_input::kill;
use crate::support::{Context, Stub, ran, stub};

/// Agents with a tool or another agent to call, side by side and in steps.
const MORE: &str = "
  boss: {role: R, provider: stub, model: m, delegates: [a]}
tasks:
  t:
    steps:
      - {id: one, agent: a, prompt: x}
      - {id: two, for_each: [x, slow, y], max_parallel: 2, agent: a, prompt: '{{ item }}'}
      - {id: three, candidates: [a, boss], vote: true, prompt: z}
";

/// The result is that of the whole run, whichever process was charged for what; what is held for calls
/// whose process died stays apart.
#[test]
fn a_resumed_run_tells_what_all_of_it_was_charged() {
    for (arguments, last, signal) in [
        ("--agent a --prompt slow", 2, libc::SIGINT),
        ("--agent boss --prompt slow", 3, libc::SIGTERM),
        ("--all --prompt slow", 5, libc::SIGINT),
        ("--task t", 8, libc::SIGINT),
        ("--agent a --prompt slow", 2, libc::SIGKILL),
        ("--task t", 8, libc::SIGKILL),
    ] {
        let server = Stub::start(move |seen| {
            let tools = seen.body["tools"].as_array();
            let has = |name| {
                let named = |tool: &serde_json::Value| tool["function"]["name"] == name;
                tools.is_some_and(|tools| tools.iter().any(named))
            };
            if seen.number + 1 == last {
                let words = json!({"content": "some words that came"});
                return vec![
                    stub::stream_head(),
                    stub::event(&stub::chunk(&words, None)),
                    stub::Do::Hang,
                ];
            }
            match seen.tool_messages().is_empty() {
                true if has("delegate") => {
                    stub::tool_calls(&[("c", "delegate", json!({"agent": "a", "prompt": "slow"}))])
                }
                true if has("list_dir") => stub::tool_calls(&[("c", "list_dir", json!({}))]),
                _ => stub::text("ok"),
            }
        });
        let context = Context::new();
        let yaml = priced(&server.url(), 10.0, 10.0, "", "tools: [list_dir]") + MORE;
        context.write("orch.yaml", yaml);
        let mut all = vec!["--config", "orch.yaml", "--json"];
        all.extend(arguments.split(' '));
        let child = context
            .command(&all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        server.has_said(last);
        kill(child.id(), signal);
        let first = ran(child.wait_with_output().unwrap());
        let runs = context.orch(&["--runs", "--json"]).exits(0).json();
        let id = runs[0]["run_id"].as_str().unwrap();
        let what = format!("{arguments}, signal {signal}");
        let resumed = context.orch(&["--resume", id, "--json"]).exits(0).json();
        tells_the_ledger(&context, &resumed, &what);
        let warnings = resumed["warnings"].as_array().unwrap().iter();
        let said: Vec<&str> = warnings.filter_map(|words| words.as_str()).collect();
        let said: Vec<&str> = said
            .into_iter()
            .filter(|words| words.contains("is asked again"))
            .collect();
        let step = if arguments == "--task t" {
            " in the step `"
        } else {
            ""
        };
        let counts = if signal == libc::SIGKILL {
            "counts at the most that it can have cost, $0.0"
        } else {
            "counts as $0.0"
        };
        assert_eq!(said.len(), 1, "{what}: {resumed}");
        assert!(
            said[0].contains(step) && said[0].contains(counts),
            "{what}: {said:?}"
        );
        if signal != libc::SIGKILL {
            let before = first.json();
            assert!(
                money(&before["cost_usd"]) < money(&resumed["cost_usd"]),
                "{what}: {before} {resumed}"
            );
        }
        // Its result stays the same.
        let again = context.orch(&["--resume", id, "--json"]).exits(0).json();
        tells_the_ledger(&context, &again, &what);
    }
}
