use std::sync::Arc;

use serde_json::json;

use super::super::StepOut;
use super::super::scope::Board;
use super::*;
use crate::agents::RunResult;

fn scope() -> Scope {
    let board = Arc::new(Board::default());
    let mut result = RunResult::empty("r", "agent", "coder", "m");
    result.ok = true;
    result.output = "2 failed {{ inputs.secret }}".to_owned();
    result.structured = Some(json!({"failed": ["a", "b c"], "n": 2}));
    board.put(
        "test",
        Arc::new(StepOut {
            skipped: false,
            result,
        }),
    );
    let mut skipped = RunResult::empty("r", "run", "", "");
    skipped.exit_code = Some(3);
    board.put(
        "lint-it",
        Arc::new(StepOut {
            skipped: true,
            result: skipped,
        }),
    );
    let inputs = json!({"version": "1.0; rm -rf /", "secret": "s", "none": null, "n": 4});
    Scope {
        run_id: "r1".into(),
        task: "deploy".into(),
        inputs: Arc::new(inputs.as_object().unwrap().clone()),
        board,
        item: Some(Arc::new(json!({"file": "x.rs"}))),
        pending: Arc::new(vec!["later".to_owned()]),
        also: None,
    }
}

#[test]
fn prompts_are_rendered_strictly_and_once() {
    let scope = scope();
    for (source, expected) in [
        ("plain } text", Ok("plain } text")),
        ("v{{ inputs.version }}!", Ok("v1.0; rm -rf /!")),
        // What a model said is no template.
        (
            "{{ steps.test.output }}",
            Ok("2 failed {{ inputs.secret }}"),
        ),
        ("{{ steps.test.structured.failed }}", Ok(r#"["a","b c"]"#)),
        (
            "{% for f in steps.test.structured.failed %}[{{ f }}]{% endfor %}",
            Ok("[a][b c]"),
        ),
        (
            r#"{{ steps["lint-it"].skipped }} {{ steps["lint-it"].ok }}"#,
            Ok("true false"),
        ),
        ("{{ steps[\"lint-it\"].exit_code }}", Ok("3")),
        ("<{{ inputs.none }}>", Ok("<>")),
        (
            "{{ item.file }} {{ run.id }} {{ run.task }}",
            Ok("x.rs r1 deploy"),
        ),
        ("<{{ steps.later.output }}>", Ok("<>")),
        (
            "{{ inputs.missing }}",
            Err("the template cannot be used at `inputs.missing`: it names what is not there"),
        ),
        (
            "{{ steps.nothing.output }}",
            Err(
                "the template cannot be used at `steps.nothing.output`: it names what is not there",
            ),
        ),
        (
            "{{ x | nofilter }}",
            Err(
                "the template cannot be used at `nofilter`: unknown filter: filter nofilter is unknown",
            ),
        ),
        (
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            Err(""),
        ),
        ("{% include '/etc/passwd' %}", Err("")),
        ("{{ unclosed", Err("")),
    ] {
        let result = text(source, &scope).map_err(|error| error.to_string());
        match (&result, expected) {
            (Ok(text), Ok(expected)) => assert_eq!(text, expected),
            (Err(error), Err(expected)) => {
                assert!(
                    error == expected || expected.is_empty(),
                    "{source}: {error}"
                );
            }
            _ => panic!("{source}: {result:?}"),
        }
    }
}

#[test]
fn values_in_commands_are_single_words() {
    let scope = scope();
    for (source, expected) in [
        ("git tag {{ inputs.n }}", "git tag 4"),
        ("git tag {{ inputs.version }}", "git tag '1.0; rm -rf /'"),
        // Nothing makes more of a value.
        (
            "git tag {{ inputs.version | safe }}",
            "git tag '1.0; rm -rf /'",
        ),
        (
            "git tag {{ inputs.version | tojson }}x",
            "git tag '\"1.0; rm -rf /\"'x",
        ),
        (
            "git tag {% autoescape false %}{{ inputs.version }}{% endautoescape %}",
            "git tag '1.0; rm -rf /'",
        ),
        (
            "{% set tag %}v{{ inputs.version }}{% endset %}git tag {{ tag }}",
            "git tag 'v1.0; rm -rf /'",
        ),
        (
            "git tag {% filter upper %}{{ inputs.version }}{% endfilter %}",
            "git tag '1.0; RM -RF /'",
        ),
        ("echo {{ '\u{fdd0}a\u{fdd1};b' }}\u{fdd0}.", "echo 'a;b'."),
        (
            "echo {{ steps.test.structured.failed }}",
            r#"echo '["a","b c"]'"#,
        ),
        ("echo {{ inputs.none }}.", "echo ''."),
        ("echo {{ \"it's\" }}", r"echo 'it'\''s'"),
        (
            "rm {% for f in steps.test.structured.failed %} {{ f }}{% endfor %}",
            "rm  a 'b c'",
        ),
    ] {
        assert_eq!(command(source, &scope).unwrap(), expected, "{source}");
    }
}

#[test]
fn values_are_no_commands_wherever_they_stand() {
    let scope = scope();
    for source in [
        "echo '{{ inputs.version }}'",
        "echo \"{{ inputs.version }}\"",
        "git log --grep=\"{{ inputs.version }}\"",
        "cat <<E\n{{ inputs.version | tojson }}\nE",
        "echo {% for f in steps.test.structured.failed %}'{{ f }}{% endfor %}",
        "{{ inputs.version }}",
    ] {
        let error = command(source, &scope).unwrap_err().to_string();
        assert!(error.starts_with("a value stands "), "{source}: {error}");
    }
    assert_eq!(
        command("echo '{{ inputs.n }}'", &scope)
            .unwrap_err()
            .to_string(),
        "a value stands inside quotes; leave out the quotes: the value is quoted already"
    );
}

#[test]
fn expressions_give_values_and_truth() {
    let scope = scope();
    for (source, expected) in [
        ("{{ steps.test.structured.failed }}", json!(["a", "b c"])),
        ("{{ inputs.n }}", json!(4)),
        ("{{- inputs.n -}}", json!(4)),
        ("n={{ inputs.n }}", json!("n=4")),
        ("{{ inputs.n }}{{ inputs.n }}", json!("44")),
        ("{{ item }}", json!({"file": "x.rs"})),
    ] {
        assert_eq!(value(source, &scope).unwrap(), expected, "{source}");
    }
    assert_eq!(
        value("{{ inputs.x }}", &scope).unwrap_err().to_string(),
        "`inputs.x` is not there"
    );
    for (source, expected) in [
        ("steps.test.ok", Some(true)),
        ("{{ steps.test.ok }}", Some(true)),
        ("not steps.test.ok", Some(false)),
        ("steps.test.structured.n > 1 and inputs.n == 4", Some(true)),
        ("'failed' in steps.test.output", Some(true)),
        ("inputs.none", Some(false)),
        ("steps.nothing.ok", None),
        ("inputs.missing", None),
        ("steps.test.ok and", None),
    ] {
        assert_eq!(condition(source, &scope).ok(), expected, "{source}");
    }
}
