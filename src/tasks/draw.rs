//! Drawings of a plan: for people, and in the language of Mermaid.

use super::{Candidates, ForEach, Join, Step, Work};

/// The steps as an indented list, each with what it does, what it waits for and what else is to be known.
/// `note` says more about a step, such as what it costs.
pub fn text(steps: &[Step], note: &dyn Fn(&Step) -> Option<String>) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    list(steps, 1, note, &mut lines);
    let width = lines
        .iter()
        .map(|(left, _)| left.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (left, right) in lines {
        let line = format!("{left:width$}  {right}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn list(
    steps: &[Step],
    depth: usize,
    note: &dyn Fn(&Step) -> Option<String>,
    lines: &mut Vec<(String, String)>,
) {
    let mut before: Option<&str> = None;
    for step in steps {
        let mut left = format!("{}{}", "  ".repeat(depth), step.id);
        let follows: Vec<&str> = step.needs.iter().map(String::as_str).collect();
        // Steps that follow the one above them need no arrow.
        if follows != before.into_iter().collect::<Vec<_>>() {
            left.push_str(&match follows.as_slice() {
                [] => " ← at once".to_owned(),
                needs => format!(" ← {}", needs.join(", ")),
            });
        }
        let mut right = what(&step.work);
        for more in conditions(step).into_iter().chain(note(step)) {
            right.push_str(&format!("  [{more}]"));
        }
        lines.push((left, right));
        match &step.work {
            Work::Block { steps } | Work::Task { steps, .. } => list(steps, depth + 1, note, lines),
            _ => {}
        }
        before = Some(&step.id);
    }
}

/// What a step does, in a few words.
fn what(work: &Work) -> String {
    match work {
        Work::Agent { agent, .. } => agent.clone(),
        Work::Candidates(Candidates {
            agents,
            check,
            join,
            ..
        }) => {
            let who = agents.join(", ");
            let check = check.as_ref().map_or("", |_| ", checked");
            match join {
                Join::Judge { agent, .. } => format!("{who}{check}, judged by {agent}"),
                Join::Vote => format!("{who}{check}, by vote"),
                Join::Synthesise { agent } => format!("{who}{check}, made one by {agent}"),
            }
        }
        Work::Run { command } => format!("$ {}", one_line(command)),
        Work::Gate { question } => format!("? {}", one_line(question)),
        Work::Block { .. } => "block".to_owned(),
        Work::Task { task, .. } => format!("task {task}"),
    }
}

fn conditions(step: &Step) -> Vec<String> {
    let mut conditions = Vec::new();
    if let Some(when) = &step.when {
        conditions.push(format!("when {}", one_line(when)));
    }
    if let Some(each) = &step.for_each {
        conditions.push(match each {
            ForEach::Template(source) => format!("for each of {}", one_line(source)),
            ForEach::Items(items) => format!("for each of {} items", items.len()),
        });
    }
    if let Some(repeat) = &step.repeat {
        conditions.push(format!(
            "until {}, at most {} times",
            one_line(&repeat.until),
            repeat.max
        ));
    }
    conditions
}

fn one_line(text: &str) -> String {
    const WIDEST: usize = 60;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= WIDEST {
        return line;
    }
    let cut: String = line.chars().take(WIDEST - 1).collect();
    format!("{cut}…")
}

/// The steps as a Mermaid flowchart.
pub fn mermaid(steps: &[Step]) -> String {
    let mut drawing = "flowchart TD\n".to_owned();
    let mut count = 0;
    nodes(steps, 1, &mut count, &mut drawing);
    drawing
}

/// Draws the steps of a block; gives their names in the drawing.
fn nodes(steps: &[Step], depth: usize, count: &mut usize, drawing: &mut String) -> Vec<String> {
    let indent = "  ".repeat(depth);
    let mut names: Vec<String> = Vec::with_capacity(steps.len());
    for step in steps {
        let name = format!("n{count}");
        *count += 1;
        let mut label = format!("{}: {}", step.id, what(&step.work));
        for more in conditions(step) {
            label.push_str(&format!("<br>{more}"));
        }
        let label = quoted(&label);
        match &step.work {
            Work::Block { steps } | Work::Task { steps, .. } => {
                drawing.push_str(&format!("{indent}subgraph {name}[\"{label}\"]\n"));
                nodes(steps, depth + 1, count, drawing);
                drawing.push_str(&format!("{indent}end\n"));
            }
            Work::Gate { .. } => drawing.push_str(&format!("{indent}{name}{{\"{label}\"}}\n")),
            Work::Run { .. } => drawing.push_str(&format!("{indent}{name}[[\"{label}\"]]\n")),
            Work::Candidates(_) => drawing.push_str(&format!("{indent}{name}([\"{label}\"])\n")),
            Work::Agent { .. } => drawing.push_str(&format!("{indent}{name}[\"{label}\"]\n")),
        }
        names.push(name);
    }
    for (step, name) in steps.iter().zip(&names) {
        for need in &step.needs {
            let from = steps.iter().position(|step| step.id == *need);
            if let Some(from) = from.and_then(|index| names.get(index)) {
                drawing.push_str(&format!("{indent}{from} --> {name}\n"));
            }
        }
    }
    names
}

/// A text for between the quotes of a label; `<br>` stays.
fn quoted(text: &str) -> String {
    let parts: Vec<String> = text
        .split("<br>")
        .map(|part| {
            part.replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
        })
        .collect();
    parts.join("<br>")
}

#[cfg(test)]
mod tests {
    use super::super::testing::step;
    use super::*;

    #[test]
    fn plans_are_drawn() {
        let mut test = step("test", &[]);
        test.work = Work::Agent {
            agent: "coder".to_owned(),
            prompt: "x".to_owned(),
            output_schema: None,
        };
        let mut fix = step("fix", &["test"]);
        fix.for_each = Some(ForEach::Template("{{ steps.test.structured }}".to_owned()));
        let mut block = step("loop", &["test", "review"]);
        block.work = Work::Block {
            steps: vec![step("in", &[])],
        };
        let mut gate = step("go", &["loop"]);
        gate.when = Some("a < b".to_owned());
        gate.work = Work::Gate {
            question: "ship \"it\"?".to_owned(),
        };
        let steps = [test, step("review", &[]), fix, block, gate];
        insta::assert_snapshot!(text(&steps, &|step| (step.id == "test").then(|| "$1".to_owned())), @r#"
        test                 coder  [$1]
        review ← at once     $ true
        fix ← test           $ true  [for each of {{ steps.test.structured }}]
        loop ← test, review  block
          in                 $ true
        go                   ? ship "it"?  [when a < b]
        "#);
        insta::assert_snapshot!(mermaid(&steps), @r#"
        flowchart TD
          n0["test: coder"]
          n1[["review: $ true"]]
          n2[["fix: $ true<br>for each of {{ steps.test.structured }}"]]
          subgraph n3["loop: block"]
            n4[["in: $ true"]]
          end
          n5{"go: ? ship &quot;it&quot;?<br>when a &lt; b"}
          n0 --> n2
          n0 --> n3
          n1 --> n3
          n3 --> n5
        "#);
    }
}
