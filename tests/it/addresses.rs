//! A key in the address of a server is on no surface.

use crate::support::{Context, Ran, Stub, agent_config, stub};

const KEY: &str = "QuerySecret88xyz";

#[track_caller]
fn shows_no_key(ran: &Ran) {
    assert!(!ran.stdout.contains(KEY), "{ran:#?}");
    assert!(!ran.stderr.contains(KEY), "{ran:#?}");
}

#[test]
fn a_key_in_the_query_of_an_address_is_shown_and_kept_nowhere() {
    // No model server: the hint says which address was asked.
    let server = Stub::start(|_| {
        let head = [("content-type", "text/html")];
        stub::status(200, &head, "<html><body>It works!</body></html>")
    });
    let context = Context::new();
    let config = |key: &str| {
        let url = format!("{}?apikey={key}", server.url());
        let config = agent_config(&url, "");
        config.replace("base_url", "api_key_env: LAB_KEY, base_url")
    };
    for key in [KEY, "short12"] {
        context.write("orch.yaml", config(key));
        let found = context.run(&["--agent", "a", "--prompt", "x"]).exits(3);
        assert!(
            found.stderr.contains("sends the key of `stub` to"),
            "{found:#?}"
        );
        shows_no_key(&found);
        assert!(!found.stderr.contains("short12"), "{found:#?}");
        let asked = context.orch(&["--agent", "a", "--prompt", "x"]).exits(5);
        assert!(
            asked.stderr.contains("`base_url` must point at"),
            "{asked:#?}"
        );
        shows_no_key(&asked);
        assert!(!asked.stderr.contains("short12"), "{asked:#?}");
    }
    assert!(
        server
            .chats()
            .iter()
            .all(|seen| seen.path.contains("apikey="))
    );
    context.write("orch.yaml", config(KEY));
    for args in [
        &["--agent", "a", "--prompt", "x", "--json", "-vv"][..],
        &["--health"],
        &["--status"],
        &["--runs", "--json"],
        &["--logs", "a"],
        &["check", "--json"],
    ] {
        shows_no_key(&context.orch(args));
    }
    for entry in std::fs::read_dir(context.state()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let held = std::fs::read(&path).unwrap();
            let held = String::from_utf8_lossy(&held);
            assert!(!held.contains(KEY), "{}", path.display());
        }
    }
}
