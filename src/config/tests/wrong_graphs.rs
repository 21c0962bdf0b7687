//! What is said about tasks that hang together wrongly, and about files that are no YAML.

use super::wrong::{marked, messages};

#[test]
fn tasks_that_hang_together_wrongly_are_found() {
    let agents = "agents: {a: {role: x}, b: {role: x}, c: {role: x}}\ntasks:\n  t:\n    steps:\n";
    for (steps, expected) in [
        ("- {agent: §d, prompt: x}", "unknown agent `d`"),
        ("- §{agent: a}", "the step `step1` needs a `prompt`"),
        ("- §{prompt: x}", "the step `step1` has nothing to do"),
        ("- §~", "the step `step1` has nothing to do"),
        (
            "- {agent: a, prompt: x, §run: y}",
            "`agent` and `run` exclude each other in a step",
        ),
        (
            "- {run: x, §prompt: y}",
            "`prompt` means nothing in a step with `run`",
        ),
        ("- {run: §\"\"}", "`run` is empty"),
        (
            "- {id: x, run: a}\n      - {id: §x, run: b}",
            "two steps have the id `x`",
        ),
        (
            "- {run: a}\n      - {id: §step1, run: b}",
            "two steps have the id `step1`",
        ),
        ("- {id: §a/b, run: a}", "`a/b` cannot be the id of a step"),
        (
            "- {id: x, run: a, needs: [§x]}",
            "the step `x` waits for itself",
        ),
        ("- {id: x, run: a, needs: [§z]}", "unknown step `z`"),
        (
            "- {id: x, run: a, §needs: [z]}\n      - {id: y, run: b}\n      - {id: z, run: c}",
            "the steps `x`, `z`, `y` wait for each other",
        ),
        (
            "- {run: a, on_failure: §explode}",
            "`on_failure` must be `stop` or `continue`, not `explode`",
        ),
        (
            "- {run: a, repeat: {until: \"true\", max: §0}}",
            "`max` must be at least 1",
        ),
        ("- {run: a, §repeat: {until: x}}", "`repeat` needs `max`"),
        (
            "- {run: a, for_each: §{b: c}}",
            "`for_each` must be a list, or a template that gives one, not a mapping",
        ),
        (
            "- {run: a, max_parallel: §0}",
            "`max_parallel` must be at least 1",
        ),
        (
            "- §{candidates: [a, b], prompt: x}",
            "the step `step1` does not say how one answer is chosen",
        ),
        (
            "- {candidates: §[], vote: true, prompt: x}",
            "`candidates` names nobody",
        ),
        (
            "- {candidates: [a, §d], vote: true, prompt: x}",
            "unknown agent `d`",
        ),
        (
            "- {candidates: [a, b], judge: §a, prompt: x}",
            "`a` cannot judge answers of which one is its own",
        ),
        (
            "- {candidates: [a, b], judge: c, §vote: true, prompt: x}",
            "`judge` and `vote` exclude each other",
        ),
        (
            "- {candidates: [a, b], vote: true, §criteria: y, prompt: x}",
            "`criteria` means nothing without a `judge`",
        ),
        (
            "- {agent: a, prompt: x, §judge: b}",
            "`judge` means nothing in a step with `agent`",
        ),
        ("- {task: §u}", "unknown task `u`"),
        (
            "- {repeat: {until: \"true\", max: 2}, steps: [{agent: §d, prompt: x}]}",
            "unknown agent `d`",
        ),
        ("- §text", "item 1 of `steps` must be a mapping, not `text`"),
    ] {
        let (text, at) = marked(&format!("{agents}      {steps}\n"));
        assert_eq!(messages(&text), [format!("{at}: {expected}")], "{text}");
    }
    let (text, at) = marked("tasks:\n  §t: {steps: [{task: u}]}\n  u: {steps: [{task: t}]}\n");
    assert_eq!(
        messages(&text),
        [format!("{at}: the tasks `t`, `u` call each other for ever")]
    );
    let called = "tasks:\n  u: {inputs: {x: {required: yes}, w: {required: true, default: 1}, y: }, steps: [{run: a}]}\n  t: {steps: [{task: u, inputs: {z: 1}}]}\n";
    assert_eq!(
        messages(called),
        [
            "3:22: the task `u` needs the input `x`",
            "3:34: the task `u` has no input `z`"
        ]
    );
    assert_eq!(
        messages("tasks: {t: {description: x}}"),
        ["1:9: `t` needs `steps`"]
    );
}

#[test]
fn templates_that_name_what_is_not_there_are_found_at_their_place() {
    let agents = "agents: {a: {role: x}}\ntasks:\n  t:\n    inputs: {version: {}}\n    steps:\n";
    for (steps, expected) in [
        (
            "- {agent: a, prompt: §\"{{ inputs.versoin }}\"}",
            "the task has no input `versoin`",
        ),
        (
            "- {run: x}\n      - {run: y, when: §steps.step2.ok}",
            "the step `step2` may not have ended when this is needed",
        ),
        (
            "- {for_each: [1], steps: [{run: §\"ls {{ itm }}\"}]}",
            "`itm` is not known here",
        ),
        (
            "- {task: u, inputs: {x: §\"{{ steps.s.output }}\"}}",
            "unknown step `s`",
        ),
    ] {
        let (text, at) = marked(&format!(
            "{agents}      {steps}\n  u: {{inputs: {{x: {{}}}}, steps: [{{run: z}}]}}\n"
        ));
        assert_eq!(messages(&text), [format!("{at}: {expected}")], "{text}");
    }
}

/// Steps and what is said of them beside what the mark stands at, with the lines of the text after `steps:`.
#[track_caller]
fn steps_say(steps: &str, expected: &[&str]) {
    let text = format!(
        "agents: {{a: {{role: x}}, b: {{role: x, output_shema: {{}}}}}}\ntasks:\n  t:\n    inputs: {{q: {{}}}}\n    steps:\n{steps}"
    );
    let said = messages(&text);
    let of_steps = |message: &&String| !message.contains("`output_shema`");
    let said: Vec<&String> = said.iter().filter(of_steps).collect();
    assert_eq!(said, expected, "{text}");
}

#[test]
fn one_fault_of_a_task_hides_no_other() {
    steps_say(
        "    - {id: one, agent: nobody, prompt: '{{ steps.b.output }}'}\n    \
         - {id: a/b, agent: a, prompt: '{{ inputs.w }}', retries: many, needs: [zz]}\n    \
         - {id: x, run: '{{ open', needs: [y]}\n    - {id: y, run: ls, when: 'steps.x.', needs: [x, a/b]}\n    \
         - {id: two, runn: ls, when: steps.one.oh}\n    - {id: two, agent: a}\n",
        &[
            "6:24: unknown agent `nobody`",
            "6:40: unknown step `b`",
            "7:12: `a/b` cannot be the id of a step",
            "7:35: the task has no input `w`",
            "7:62: `retries` must be a whole number, not `many`",
            "7:76: unknown step `zz`",
            "8:20: the template cannot be used at `open`: syntax error: unexpected end of input, expected end of variable block",
            "8:31: the steps `x`, `y` wait for each other",
            "9:30: the template cannot be used at `steps.x.`: syntax error: unexpected end of input, expected identifier or integer",
            "10:17: unknown key `runn`",
            "10:33: a step has no `oh`",
            "11:7: the step `two` needs a `prompt`",
            "11:12: two steps have the id `two`",
        ],
    );
}

#[test]
fn what_follows_from_a_fault_of_a_task_is_not_told() {
    for (steps, expected) in [
        // What a mistyped key would have said.
        (
            "- {idd: one, run: ls}\n    - {run: 'ls {{ steps.one.output }}', needs: [one]}",
            &["6:8: unknown key `idd`"][..],
        ),
        (
            "- {foreach: [1], run: 'ls {{ item }}'}",
            &["6:8: unknown key `foreach`"],
        ),
        (
            "- {id: one, runn: ls}\n    - {run: 'ls {{ steps.one.exit_code }}'}",
            &["6:17: unknown key `runn`"],
        ),
        (
            "- {id: one, agent: a, prompt: x, output_shcema: {}}\n    - {run: 'ls {{ steps.one.structured.x }}'}",
            &["6:38: unknown key `output_shcema`"],
        ),
        (
            "- {id: one, agent: b, prompt: x}\n    - {run: 'ls {{ steps.one.structured.x }}'}",
            &[],
        ),
        (
            "- {id: one, repeat: {until: steps.one.ok}, run: 'ls {{ steps.one.ok }}'}",
            &["6:17: `repeat` needs `max`"],
        ),
        (
            "- {id: [one], run: ls}\n    - {run: 'ls {{ steps.one.output }}', needs: [one]}",
            &["6:12: `id` must be a text, not a list"],
        ),
        // Whom it waits for is not known.
        (
            "- {id: one, run: ls}\n    - {id: two, run: ls, needs: []}\n    - {run: 'ls {{ steps.one.ok }}', needs: [onne]}",
            &["8:46: unknown step `onne`"],
        ),
        (
            "- {id: one, run: ls}\n    - {id: two, run: ls, needs: one}\n    - {run: 'ls {{ steps.one.ok }}', needs: [two]}",
            &["7:33: `needs` must be a list, not `one`"],
        ),
        // One of two is meant, and nobody knows which.
        (
            "- {id: one, run: ls, needs: [two]}\n    - {id: two, run: ls, needs: []}\n    - {id: one, agent: a, prompt: x}\n    \
             - {run: 'ls {{ steps.one.exit_code }}', needs: [one]}\n    - {id: two, run: ls, needs: [one]}",
            &[
                "8:12: two steps have the id `one`",
                "10:12: two steps have the id `two`",
            ],
        ),
        // Who answers is not known.
        (
            "- {id: one, agent: c, prompt: x}\n    - {run: 'ls {{ steps.one.structured.x }}'}",
            &["6:24: unknown agent `c`"],
        ),
        // A refused value stands for nothing.
        (
            "- {id: one, run: [ls], when: {a: b}}",
            &[
                "6:22: `run` must be a text, not a list",
                "6:34: `when` must be a text, not a mapping",
            ],
        ),
    ] {
        steps_say(&format!("    {steps}\n"), expected);
    }
    let inputs = "tasks: {t: {input: {q: {}}, steps: [{run: 'ls {{ inputs.q }}'}]}}";
    assert_eq!(messages(inputs), ["1:13: unknown key `input`"]);
}

#[test]
fn what_is_no_yaml_is_one_problem_at_its_place() {
    for (text, expected) in [
        ("agents:\n\t§a: b\n", "not YAML: a tab cannot indent"),
        ("agents: §[a\n", "not YAML: `[` is never closed"),
        ("agents: §{a: b\n", "not YAML: `{` is never closed"),
        ("agents: §[a}\n", "not YAML: `[` is closed by `}`"),
        ("a: b§: c\n", "not YAML: a `:` that has no place here"),
        ("a: §'open\n", "not YAML: the quote is never closed"),
        (
            "agents:\n  a: {role: x}\n §b: c\n",
            "not YAML: this line does not fit those above it",
        ),
        (
            "a: §*nothing\n",
            "not YAML: nothing is anchored with this name",
        ),
        ("a: b\n§---\nc: d\n", "a second document begins here"),
        ("a: §@x\n", "not YAML: a text cannot begin with `@`"),
        ("a: §\"\\q\"\n", ""),
    ] {
        let (text, at) = marked(text);
        let messages = messages(&text);
        assert_eq!(messages.len(), 1, "{text}\n{messages:?}");
        if expected.is_empty() {
            assert!(messages[0].contains(": not YAML: "), "{messages:?}");
        } else {
            assert_eq!(messages, [format!("{at}: {expected}")], "{text}");
        }
    }
    for (text, expected) in [
        (
            "a: {description: §{{ x }}, steps: [{run: x}]}\n",
            "`{` begins a mapping, and this is none",
        ),
        (
            "gate: {{ inputs.x }} §to go\n",
            "not YAML: nothing more can stand on this line",
        ),
    ] {
        let (text, at) = marked(&format!("tasks:\n  {text}"));
        let complaint = super::complaint(&text);
        assert!(
            complaint.starts_with(&format!("orch.yaml:{at}: {expected}\n")),
            "{complaint}"
        );
        assert!(
            complaint.ends_with("\n  put a text such as `{{ item }}` in quotes"),
            "{complaint}"
        );
    }
}
