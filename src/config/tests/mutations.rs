//! Every key of a full configuration is misspelt, given twice, and given a value of a wrong type
//! in turn; each time exactly that is reported, at exactly its place.

use super::full::FULL;
use super::{TOOLS, document};
use crate::config::findings::Findings;
use crate::config::node::{self, Data, Node};
use crate::config::{At, Problem, read};

/// A key of the full configuration that has a meaning of its own.
struct Spot {
    key: String,
    key_at: At,
    value_at: At,
    /// How the value was written, when it is on one line.
    value_end: Option<usize>,
    is_text: bool,
    takes_anything: bool,
}

fn spots() -> Vec<Spot> {
    let tree = node::parse(FULL).unwrap();
    let mut spots = Vec::new();
    walk(&tree.root, "", &mut spots);
    spots
}

/// Keys whose entries have names of the user's choice.
const NAMED: [&str; 10] = [
    "providers",
    "servers",
    "mcp_servers",
    "agents",
    "tasks",
    "headers",
    "env",
    "prices",
    "grant",
    "inputs",
];

fn walk(node: &Node<'_>, under: &str, spots: &mut Vec<Spot>) {
    let own_names = NAMED.contains(&under) && !matches!(under, "output_schema");
    for (key, value) in node.entries() {
        if under == "output_schema" {
            continue;
        }
        if !own_names {
            let end = match value.data() {
                Data::Scalar { text, .. } if !text.contains('\n') => {
                    Some(written_length(value.place()))
                }
                _ => None,
            };
            spots.push(Spot {
                key: key.text.to_string(),
                key_at: key.at,
                value_at: value.place(),
                value_end: end,
                is_text: matches!(value.data(), Data::Scalar { .. }),
                takes_anything: key.text == "default" && under == "version",
            });
        }
        walk(value, &key.text, spots);
    }
    for item in node.items() {
        walk(item, "", spots);
    }
}

/// How many bytes the scalar at a place has in the text, quotes included.
fn written_length(at: At) -> usize {
    let rest = &FULL[offset(at)..];
    if let Some(inside) = rest.strip_prefix('"') {
        return inside.find('"').unwrap() + 2;
    }
    let line = rest.lines().next().unwrap();
    let whole = FULL.lines().nth(at.line as usize - 1).unwrap();
    let end = if whole.contains('{') {
        line.find([',', '}', ']'])
    } else {
        None
    };
    end.unwrap_or(line.len())
}

fn offset(at: At) -> usize {
    let line_start: usize = FULL
        .split_inclusive('\n')
        .take(at.line as usize - 1)
        .map(str::len)
        .sum();
    line_start + at.column as usize - 1
}

fn problems(text: &str) -> Vec<Problem> {
    let tree = node::parse(text).unwrap_or_else(|problem| panic!("{problem:?}\n{text}"));
    let mut findings = Findings::default();
    read::document(&tree, &TOOLS, &mut findings);
    findings.problems
}

fn replaced(at: At, length: usize, with: &str) -> String {
    let start = offset(at);
    format!("{}{with}{}", &FULL[..start], &FULL[start + length..])
}

fn assert_one(problems: &[Problem], at: At, words: &str, case: &str) {
    assert_eq!(problems.len(), 1, "{case}: {problems:#?}");
    assert_eq!(problems[0].at, Some(at), "{case}: {problems:#?}");
    assert!(problems[0].message.contains(words), "{case}: {problems:#?}");
}

#[test]
fn the_text_itself_is_right_and_complete() {
    assert!(document(FULL).is_ok() && FULL.is_ascii());
    let spots = spots();
    assert!(spots.len() > 150, "{}", spots.len());
}

#[test]
fn a_misspelt_key_is_found() {
    for spot in spots() {
        let near = format!("{}q", spot.key);
        let found = problems(&replaced(spot.key_at, spot.key.len(), &near));
        let case = format!("{near} at {:?}", spot.key_at);
        assert_one(&found, spot.key_at, &format!("unknown key `{near}`"), &case);
        assert_eq!(
            found[0].hint,
            Some(format!("did you mean `{}`?", spot.key)),
            "{case}"
        );
    }
}

#[test]
fn a_wrong_type_is_found() {
    let mut tried = 0;
    for spot in spots() {
        if !spot.is_text || spot.takes_anything {
            continue;
        }
        // A block text ends where the next key begins; only values on one line are replaced.
        let Some(length) = spot.value_end else {
            continue;
        };
        let wrong = if spot.key == "for_each" {
            "{a: b}"
        } else {
            "[[wrong]]"
        };
        let found = problems(&replaced(spot.value_at, length, wrong));
        let case = format!("{} at {:?}", spot.key, spot.value_at);
        assert_one(&found, spot.value_at, "must be", &case);
        tried += 1;
    }
    assert!(tried > 110, "{tried}");
}

#[test]
fn a_list_or_mapping_of_a_wrong_type_is_found() {
    let mut tried = 0;
    for spot in spots().iter().filter(|spot| !spot.is_text) {
        let rest = &FULL[offset(spot.value_at)..];
        if !rest.starts_with(['[', '{']) {
            continue;
        }
        let length = balanced(rest);
        let found = problems(&replaced(spot.value_at, length, "wrong"));
        let case = format!("{} at {:?}", spot.key, spot.value_at);
        assert_one(&found, spot.value_at, "must be", &case);
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
}

/// The length of the flow collection that a text begins with; no brackets are in its quotes.
fn balanced(text: &str) -> usize {
    let mut depth = 0;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    panic!("unbalanced: {text}");
}

#[test]
fn a_key_given_twice_is_found() {
    for spot in spots() {
        let line = FULL.lines().nth(spot.key_at.line as usize - 1).unwrap();
        let case = format!("{} at {:?}", spot.key, spot.key_at);
        let before: String = line.chars().take(spot.key_at.column as usize - 1).collect();
        let (text, at) = if before.trim_matches([' ', '-']).is_empty() {
            // A key of a block: once more, without a value, on the line above.
            let indent = " ".repeat(before.chars().count());
            let start = offset(spot.key_at);
            let text = format!(
                "{}{}:\n{indent}{}",
                &FULL[..start],
                spot.key,
                &FULL[start..]
            );
            let at = At {
                line: spot.key_at.line + 1,
                column: spot.key_at.column,
            };
            (text, at)
        } else {
            // A key of a flow mapping: once more before itself.
            let extra = format!("{}: , ", spot.key);
            let at = At {
                line: spot.key_at.line,
                column: spot.key_at.column + u32::try_from(extra.len()).unwrap(),
            };
            (replaced(spot.key_at, 0, &extra), at)
        };
        assert_one(
            &problems(&text),
            at,
            &format!("`{}` is given twice", spot.key),
            &case,
        );
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..Default::default()
    })]

    /// Whatever is done to a configuration, it loads or says what is wrong at places that exist.
    #[test]
    fn no_edit_breaks_the_reader(
        start in 0..FULL.len(),
        length in 0_usize..60,
        with in "[\\PC\\n\\t]{0,8}|[-:{}\\[\\],&*!|>'\"%@`#? \\n]{0,6}|&a|\\*a|<<: ",
    ) {
        let end = (start + length).min(FULL.len());
        let text = format!("{}{with}{}", &FULL[..start], &FULL[end..]);
        if let Err(error) = document(&text) {
            assert!(!error.problems.is_empty());
            let lines = text.matches('\n').count() + 1;
            for at in error.problems.iter().filter_map(|problem| problem.at) {
                assert!(at.line >= 1 && at.line as usize <= lines + 1, "{at:?} in {text}");
            }
            assert!(!error.to_string().is_empty());
        }
    }
}
