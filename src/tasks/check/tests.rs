use super::*;

/// The problems of a task in YAML, as `path: message`.
fn found(yaml: &str) -> Vec<String> {
    let task: TaskSettings = serde_yaml::from_str(yaml).unwrap();
    let typed = AgentSettings {
        output_schema: Some(serde_json::json!({"properties": {"x": {}}})),
        ..AgentSettings::default()
    };
    let agents = [("typed", typed), ("a", AgentSettings::default())];
    let agent = |name: &str| {
        agents
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, agent)| agent)
    };
    let around = Surroundings {
        agent: &agent,
        is_doubtful: &|_, _| false,
        unsure: &UnsureNames::default(),
    };
    problems("t", &task, around)
        .into_iter()
        .map(|problem| format!("{}: {}", problem.path[2..].join("."), problem.message))
        .collect()
}

#[test]
fn templates_that_name_what_is_there_are_fine() {
    for yaml in [
        "inputs: {v: {}}
steps:
  - {id: test, agent: a, prompt: '{{ inputs.v }} {{ run.id }}', output_schema: {properties: {failed: {}}}}
  - {id: typed, agent: typed, prompt: x, needs: []}
  - {id: ship, agent: b, needs: [test, typed], when: steps.test.ok and steps.typed.structured.x, prompt: '{{ steps.test.output }}'}
  - {id: fix, for_each: '{{ steps.test.structured.failed }}', agent: a, prompt: '{{ item.x }}'}
  - {id: all, run: 'echo {{ steps.fix.structured }} {{ steps.fix.items[0].output }}'}
  - {id: then, gate: '{{ steps.all.exit_code }}?'}
  - {id: best, candidates: [a, b], judge: c, criteria: '{{ inputs.v }}', check: 'grep x {{ answer }}', prompt: x}
  - {id: tell, task: u, inputs: {v: ['{{ inputs.v }}']}}
  - {run: 'echo {{ steps.tell.structured.anything }}'}",
        // Inside a loop every step sees the round before, and `until` what the round gave.
        "steps:
  - id: green
    repeat: {until: 'steps.tests.ok', max: 3}
    steps:
      - {id: write, agent: a, prompt: '{{ steps.tests.output }} {{ steps.green.output }}'}
      - {id: tests, run: x}
  - {run: 'echo {{ steps.tests.exit_code }}'}",
        "steps: [{id: x, agent: a, prompt: '{{ steps.x.output }}', repeat: {until: steps.x.ok, max: 2}}]",
    ] {
        assert_eq!(found(yaml), Vec::<String>::new(), "{yaml}");
    }
}

#[test]
fn templates_that_name_what_is_not_there_are_found() {
    for (steps, expected) in [
        (
            "[{run: 'ls {{ inputs.w }}'}]",
            "steps.0.run: the task has no input `w`",
        ),
        (
            "[{run: 'ls {{ x }}'}]",
            "steps.0.run: `x` is not known here",
        ),
        (
            "[{run: 'echo \"{{ inputs.v }}\"'}]",
            "steps.0.run: a value stands inside quotes",
        ),
        (
            "[{candidates: [a, typed], vote: true, prompt: x, check: 'echo {{ answer }} \"{{ answer | tojson }}\"'}]",
            "steps.0.check: a value stands inside quotes",
        ),
        (
            "[{run: 'ls {{ item }}'}]",
            "steps.0.run: there is no `item` here",
        ),
        (
            "[{run: 'ls {{ answer }}'}]",
            "steps.0.run: `answer` is not known here",
        ),
        (
            "[{run: 'ls {{ run.seed }}'}]",
            "steps.0.run: `run` has no `seed`",
        ),
        (
            "[{run: 'ls {{ inputs.v | uper }}'}]",
            "steps.0.run: there is no filter `uper`",
        ),
        (
            "[{run: 'ls {{ inputs.v'}]",
            "steps.0.run: the template cannot be used at `inputs.v`: syntax error: unexpected end of input, expected end of variable block",
        ),
        (
            "[{id: a, run: x, when: steps.a.ok}]",
            "steps.0.when: the step `a` may not have ended when this is needed",
        ),
        (
            "[{id: a, run: x, needs: []}, {run: y, needs: [], when: steps.a.ok}]",
            "steps.1.when: the step `a` may not have ended when this is needed",
        ),
        (
            "[{run: x}, {run: y, when: steps.step3.ok}]",
            "steps.1.when: unknown step `step3`",
        ),
        (
            "[{run: x}, {run: y, when: steps.step1.okay}]",
            "steps.1.when: a step has no `okay`",
        ),
        (
            "[{agent: a, prompt: x}, {run: y, when: steps.step1.exit_code == 0}]",
            "steps.1.when: the step `step1` is no command: it has no `exit_code`",
        ),
        (
            "[{agent: a, prompt: x}, {run: 'ls {{ steps.step1.structured.x }}'}]",
            "steps.1.run: the step `step1` has no `output_schema`: there is no `structured`",
        ),
        (
            "[{agent: typed, prompt: x}, {run: 'ls {{ steps.step1.structured.y }}'}]",
            "steps.1.run: the `output_schema` of the step `step1` has no `y`",
        ),
        (
            "[{run: x, for_each: some}]",
            "steps.0.for_each: `some` is no list",
        ),
        (
            "[{for_each: [1], steps: [{id: in, run: x}]}, {run: 'ls {{ steps.in.output }}'}]",
            "steps.1.run: the step `in` may not have ended when this is needed",
        ),
        (
            "[{id: b, steps: [{run: x}, {run: 'ls {{ steps.b_3.output }}'}, {run: y}]}]",
            "steps.0.steps.1.run: the step `b_3` may not have ended when this is needed",
        ),
        (
            "[{run: x, repeat: {until: steps.x.ok, max: 2}}]",
            "steps.0.repeat.until: unknown step `x`",
        ),
        (
            "[{task: u, inputs: {a: {b: ['{{ nope }}']}}}]",
            "steps.0.inputs.a.b.0: `nope` is not known here",
        ),
    ] {
        assert_eq!(
            found(&format!("inputs: {{v: {{}}}}\nsteps: {steps}")),
            [expected]
        );
    }
}
