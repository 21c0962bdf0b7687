//! What types cannot say: names that lead nowhere, values that make no sense.
//!
//! Everything is looked up in the tree, which knows the places and what was really written.

mod agents;
mod circle;
mod names;
mod providers;
mod settings;
mod tasks;
mod templates;

use std::collections::BTreeMap;

use super::findings::Findings;
use super::node::Node;
use crate::tasks::check::UnsureNames;
use names::Names;

/// Checks one configuration.
pub(super) struct Checker<'c> {
    pub(super) findings: &'c mut Findings,
    root: &'c Node<'c>,
    tools: &'c [&'c str],
    providers: Names<'c>,
    servers: Names<'c>,
    mcp_servers: Names<'c>,
    agents: Names<'c>,
    tasks: Names<'c>,
    /// By task, names that lead to no one step, for faults that have been reported.
    unsure_steps: BTreeMap<String, UnsureNames>,
}

impl<'c> Checker<'c> {
    /// A checker of the document under `root`; `tools` are the names of all tools.
    pub(super) fn new(
        root: &'c Node<'c>,
        tools: &'c [&'c str],
        findings: &'c mut Findings,
    ) -> Self {
        let section = |key| Names::of(root, key, findings);
        Self {
            providers: section("providers"),
            servers: section("servers"),
            mcp_servers: section("mcp_servers"),
            agents: section("agents"),
            tasks: section("tasks"),
            unsure_steps: BTreeMap::new(),
            findings,
            root,
            tools,
        }
    }
}
