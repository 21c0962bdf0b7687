//! From the tree to the document, section by section and entry by entry.

use serde::de::DeserializeOwned;

use super::check::Checker;
use super::de::{Name, read, report_unknown_keys};
use super::findings::Findings;
use super::node::{Data, Key, Node, Tree};
use super::problem::{At, Problem};
use super::{Document, Engine, Entries};

/// The top-level keys of a configuration.
pub(super) const SECTIONS: [&str; 7] = [
    "settings",
    "providers",
    "servers",
    "mcp_servers",
    "agents",
    "tasks",
    "engine",
];

/// Reads and checks the whole document. Only when nothing was found does it mean anything.
pub(super) fn document(tree: &Tree<'_>, tools: &[&str], findings: &mut Findings) -> Document {
    let root = &tree.root;
    for problem in &tree.problems {
        findings.add(problem.clone());
    }
    for place in &tree.unquoted {
        findings.add_wrong(
            *place,
            Problem::new(*place, "`{` begins a mapping, and this is none")
                .with_hint("put a text such as `{{ item }}` in quotes".to_owned()),
        );
    }
    for (mapping, key) in &tree.repeated {
        findings.add_meant(*mapping, key);
    }
    if !matches!(root.data(), Data::Mapping(_) | Data::Null) {
        findings.add(
            Problem::new(root.at, "a configuration is a mapping")
                .with_hint("it begins with sections such as `settings:` and `agents:`".to_owned()),
        );
        return Document::default();
    }
    report_unknown_keys(root, &SECTIONS, findings);
    let mut checker = Checker::new(root, tools, findings);
    let settings = match section(root, "settings") {
        Some((key, node)) => {
            let mut settings = read(node, Name::of(key), checker.findings).unwrap_or_default();
            checker.settings(&mut settings, node);
            settings
        }
        None => super::Settings::default(),
    };
    let mut document = Document {
        settings,
        providers: entries(root, "providers", &mut checker, Checker::provider),
        servers: entries(root, "servers", &mut checker, Checker::server),
        mcp_servers: entries(root, "mcp_servers", &mut checker, Checker::mcp_server),
        agents: entries(root, "agents", &mut checker, Checker::agent),
        tasks: Entries::default(),
        engine: section(root, "engine")
            .and_then(|(key, node)| read(node, Name::of(key), checker.findings))
            .unwrap_or_default(),
    };
    document.tasks = entries(root, "tasks", &mut checker, |checker, name, _, node| {
        checker.task(name, node);
    });
    checker.task_calls();
    checker.templates(&document);
    if let (Engine::Restate, Some(node)) = (document.engine, root.get("engine")) {
        checker.findings.add_about(
            node.place(),
            Problem::new(node.place(), "the engine `restate` is not built yet")
                .with_hint("use `local`, which is the default".to_owned()),
        );
    }
    document
}

fn section<'n, 't>(root: &'n Node<'t>, key: &str) -> Option<(&'n Key<'t>, &'n Node<'t>)> {
    root.entry(key).filter(|(_, node)| !node.is_null())
}

/// Reads the entries of a section, those without a body left out, and has each one checked.
fn entries<'n, 't, 'c, T: DeserializeOwned>(
    root: &'n Node<'t>,
    key: &str,
    checker: &mut Checker<'c>,
    check: impl Fn(&mut Checker<'c>, &'n Key<'t>, &mut T, &'n Node<'t>),
) -> Entries<T> {
    let Some((section, node)) = section(root, key) else {
        return Entries::default();
    };
    if !matches!(node.data(), Data::Mapping(_)) {
        let problem = Problem::new(
            node.place(),
            format!("`{}` must be a mapping of names", section.text),
        );
        checker.findings.add_wrong(node.place(), problem);
        return Entries::default();
    }
    let mut entries = Vec::with_capacity(node.entries().len());
    for (name, node) in node.entries() {
        if node.is_null() {
            continue;
        }
        if let Some(mut value) = read(node, Name::of(name), checker.findings) {
            check(checker, name, &mut value, node);
            entries.push((name.text.to_string(), value));
        }
    }
    entries.into_iter().collect()
}

/// What a path of keys and list positions leads to.
pub(super) fn node_at<'n, 't>(root: &'n Node<'t>, path: &[String]) -> Option<&'n Node<'t>> {
    path.iter().try_fold(root, |node, step| {
        let item = || node.items().get(step.parse::<usize>().ok()?);
        node.get(step).or_else(item)
    })
}

/// The place of what a path of keys and list positions leads to: that of the value, or of the last
/// key on the way that is there.
pub(super) fn locate(root: &Node<'_>, path: &[&str]) -> At {
    let mut node = root;
    let mut at = root.at;
    for step in path {
        if let Some((key, value)) = node.entry(step) {
            at = if value.is_null() {
                key.at
            } else {
                value.place()
            };
            node = value;
        } else if let Some(item) = step.parse().ok().and_then(|i: usize| node.items().get(i)) {
            at = item.place();
            node = item;
        } else {
            return at;
        }
    }
    at
}
