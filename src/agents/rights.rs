//! What an agent may do when another one calls it: pure.

use super::AgentSettings;
use crate::sandbox::{AgentSandbox, Network, SandboxSettings, Tier};

/// The tool that reaches servers: whoever is granted it keeps its servers.
const SSH: &str = "ssh";

/// A called agent with the rights that it has then, and the rule behind each that it has not.
#[derive(Clone, Debug, PartialEq)]
pub struct Called {
    /// Its settings with nothing left in them that it may not do.
    pub settings: AgentSettings,
    /// What was taken from it, one line each.
    pub taken: Vec<String>,
    /// What it keeps although its caller has it not, one line each.
    pub granted: Vec<String>,
}

/// The rights of an agent that is called by `caller`, whose settings are those of this run: what both
/// have, and what the caller grants it of its own. The sandbox is the tighter of both in every respect.
pub fn of_called(
    caller_name: &str,
    caller: &AgentSettings,
    name: &str,
    agent: &AgentSettings,
    general: &SandboxSettings,
) -> Called {
    let none = Vec::new();
    let grants = caller.grant.get(name).unwrap_or(&none);
    let mut settings = agent.clone();
    let mut taken = Vec::new();
    let mut granted = Vec::new();
    settings.tools.retain(|tool| {
        let shared = caller.tools.contains(tool);
        let is_granted = grants.contains(tool);
        if !shared && is_granted {
            granted.push(format!("tool {tool}: `grant` of {caller_name}"));
        } else if !shared {
            taken.push(format!(
                "tool {tool}: {caller_name} has it not and grants it not"
            ));
        }
        shared || is_granted
    });
    let keeps_servers = grants.iter().any(|tool| tool == SSH);
    settings.servers.retain(|server| {
        let shared = caller.servers.contains(server);
        if !shared && keeps_servers {
            granted.push(format!(
                "server {server}: `grant` of {SSH} by {caller_name}"
            ));
        } else if !shared {
            taken.push(format!("server {server}: {caller_name} has it not"));
        }
        shared || keeps_servers
    });
    settings.mcp_servers.retain(|server| {
        let shared = caller.mcp_servers.contains(server);
        if !shared {
            taken.push(format!("MCP server {server}: {caller_name} has it not"));
        }
        shared
    });
    let (of_caller, of_agent) = (
        general.for_agent(&caller.sandbox),
        general.for_agent(&agent.sandbox),
    );
    let both = tighter(&of_caller, &of_agent);
    if both != of_agent {
        taken.push(format!("sandbox: no wider than that of {caller_name}"));
    }
    settings.sandbox = AgentSandbox {
        tier: Some(both.tier),
        network: Some(both.network),
        read: Some(both.read),
        read_deny: Some(both.read_deny),
        write: Some(both.write),
    };
    Called {
        settings,
        taken,
        granted,
    }
}

/// What both sandboxes allow.
pub fn tighter(one: &SandboxSettings, other: &SandboxSettings) -> SandboxSettings {
    let mut read_deny = one.read_deny.clone();
    for pattern in &other.read_deny {
        if !read_deny.contains(pattern) {
            read_deny.push(pattern.clone());
        }
    }
    SandboxSettings {
        tier: if looseness(one.tier) <= looseness(other.tier) {
            one.tier
        } else {
            other.tier
        },
        network: if reach(one.network) <= reach(other.network) {
            one.network
        } else {
            other.network
        },
        read: shared_paths(&one.read, &other.read),
        read_deny,
        write: shared_paths(&one.write, &other.write),
    }
}

fn looseness(tier: Tier) -> u8 {
    match tier {
        Tier::Full => 0,
        Tier::Landlock => 1,
        Tier::Off => 2,
    }
}

fn reach(network: Network) -> u8 {
    match network {
        Network::Deny => 0,
        Network::Loopback => 1,
        Network::Allow => 2,
    }
}

/// The paths of either list that lie in one of the other.
fn shared_paths(one: &[String], other: &[String]) -> Vec<String> {
    let mut shared = Vec::new();
    for (paths, roots) in [(one, other), (other, one)] {
        for path in paths {
            if roots.iter().any(|root| lies_in(path, root)) && !shared.contains(path) {
                shared.push(path.clone());
            }
        }
    }
    shared
}

/// Whether a path as it is written lies in another one; one that goes up never does.
fn lies_in(path: &str, root: &str) -> bool {
    let goes_up = |path: &str| path.split('/').any(|part| part == "..");
    let root = root.trim_end_matches('/');
    path.trim_end_matches('/') == root
        || (!goes_up(path)
            && !goes_up(root)
            && path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/')))
}

#[cfg(test)]
mod tests;
