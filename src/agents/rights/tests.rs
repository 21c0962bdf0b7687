use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[test]
fn a_called_agent_has_what_both_have_and_what_it_is_granted() {
    let caller = AgentSettings {
        tools: words(&["read", "grep"]),
        servers: words(&["staging"]),
        grant: BTreeMap::from([("tester".to_owned(), words(&["bash", "edit"]))]),
        ..AgentSettings::default()
    };
    let tester = AgentSettings {
        tools: words(&["read", "bash", "write"]),
        servers: words(&["staging", "production"]),
        mcp_servers: words(&["git"]),
        sandbox: AgentSandbox {
            network: Some(Network::Allow),
            write: Some(words(&["/data"])),
            ..AgentSandbox::default()
        },
        ..AgentSettings::default()
    };
    let called = of_called(
        "lead",
        &caller,
        "tester",
        &tester,
        &SandboxSettings::default(),
    );
    // `edit` is granted, but the tester itself does not have it.
    assert_eq!(called.settings.tools, words(&["read", "bash"]));
    assert_eq!(called.settings.servers, words(&["staging"]));
    assert_eq!(called.settings.mcp_servers, Vec::<String>::new());
    assert_eq!(called.settings.sandbox.network, Some(Network::Deny));
    assert_eq!(called.settings.sandbox.write, Some(Vec::new()));
    assert_eq!(called.settings.sandbox.read, Some(words(&["~/.gitconfig"])));
    assert_eq!(
        called.taken,
        words(&[
            "tool write: lead has it not and grants it not",
            "server production: lead has it not",
            "MCP server git: lead has it not",
            "sandbox: no wider than that of lead",
        ])
    );
    assert_eq!(called.granted, words(&["tool bash: `grant` of lead"]));
}

#[test]
fn paths_are_shared_as_far_as_both_reach() {
    for (one, other, expected) in [
        (&["/a"][..], &["/a"][..], &["/a"][..]),
        (&["/a/"], &["/a"], &["/a/", "/a"]),
        (&["/a/b"], &["/a"], &["/a/b"]),
        (&["/a"], &["/a/b", "/c"], &["/a/b"]),
        (&["/ab"], &["/a"], &[]),
        (&["/a/../etc"], &["/a"], &[]),
        (&["~/x"], &["~"], &["~/x"]),
        (&[], &["/a"], &[]),
    ] {
        assert_eq!(
            shared_paths(&words(one), &words(other)),
            words(expected),
            "{one:?} {other:?}"
        );
    }
}

const TOOLS: [&str; 5] = ["read", "write", "bash", "ssh", "http_request"];
const SERVERS: [&str; 3] = ["staging", "production", "lab"];
const PATHS: [&str; 4] = ["/a", "/a/b", "/c", "~/d"];

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(all, 0..=all.len()).prop_map(|words_of| words(&words_of))
}

fn agent(count: usize) -> impl Strategy<Value = AgentSettings> {
    let names: Vec<String> = (0..count).map(|index| index.to_string()).collect();
    let network = proptest::option::of(prop_oneof![
        Just(Network::Deny),
        Just(Network::Loopback),
        Just(Network::Allow)
    ]);
    let tier = proptest::option::of(prop_oneof![
        Just(Tier::Full),
        Just(Tier::Landlock),
        Just(Tier::Off)
    ]);
    let grant =
        proptest::collection::btree_map(proptest::sample::select(names), some_of(&TOOLS), 0..3);
    (
        some_of(&TOOLS),
        some_of(&SERVERS),
        some_of(&SERVERS),
        (
            tier,
            network,
            proptest::option::of(some_of(&PATHS)),
            some_of(&PATHS),
        ),
        grant,
    )
        .prop_map(|(tools, servers, mcp_servers, sandbox, grant)| {
            let (tier, network, read, write) = sandbox;
            AgentSettings {
                tools,
                servers,
                mcp_servers,
                grant,
                sandbox: AgentSandbox {
                    tier,
                    network,
                    read,
                    read_deny: None,
                    write: Some(write),
                },
                ..AgentSettings::default()
            }
        })
}

/// A team, and who calls whom one after the other.
fn path_in_a_team() -> impl Strategy<Value = (Vec<AgentSettings>, Vec<usize>)> {
    (2_usize..6).prop_flat_map(|count| {
        (
            proptest::collection::vec(agent(count), count),
            proptest::collection::vec(0..count, 2..7),
        )
    })
}

fn covers(outer: &[String], inner: &str) -> bool {
    outer.iter().any(|root| lies_in(inner, root))
}

proptest! {
    #[test]
    fn no_path_gains_a_right_without_a_grant((team, path) in path_in_a_team()) {
        let general = SandboxSettings::default();
        let mut caller = (path[0], team[path[0]].clone());
        for next in &path[1..] {
            let own = &team[*next];
            let (from, to) = (caller.0.to_string(), next.to_string());
            let called = of_called(&from, &caller.1, &to, own, &general).settings;
            let grants = caller.1.grant.get(&to).cloned().unwrap_or_default();
            for tool in &called.tools {
                prop_assert!(own.tools.contains(tool));
                prop_assert!(caller.1.tools.contains(tool) || grants.contains(tool));
            }
            for server in &called.servers {
                prop_assert!(own.servers.contains(server));
                prop_assert!(caller.1.servers.contains(server) || grants.contains(&"ssh".to_owned()));
            }
            for server in &called.mcp_servers {
                prop_assert!(own.mcp_servers.contains(server) && caller.1.mcp_servers.contains(server));
            }
            let callers = general.for_agent(&caller.1.sandbox);
            let owns = general.for_agent(&own.sandbox);
            let calleds = general.for_agent(&called.sandbox);
            for both in [&callers, &owns] {
                prop_assert!(reach(calleds.network) <= reach(both.network));
                prop_assert!(looseness(calleds.tier) <= looseness(both.tier));
                prop_assert!(calleds.read.iter().all(|path| covers(&both.read, path)));
                prop_assert!(calleds.write.iter().all(|path| covers(&both.write, path)));
                prop_assert!(both.read_deny.iter().all(|path| calleds.read_deny.contains(path)));
            }
            caller = (*next, called);
        }
    }
}
