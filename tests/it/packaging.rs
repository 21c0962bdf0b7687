//! What a package is made of: manual pages, completions, the files that it names.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::{Context, Stub, ran, stub};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands that the help lists.
fn commands(context: &Context) -> BTreeSet<String> {
    let help = context.run(&["--help"]).exits(0).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    list.lines()
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn every_command_has_a_page_and_every_page_is_packed() {
    let context = Context::new();
    let commands = commands(&context);
    assert!(commands.len() > 7, "{commands:?}");
    let main = context.run(&["man"]).exits(0).stdout;
    assert!(main.contains(".TH orch 1"), "{main}");
    for command in &commands {
        let page = context.run(&["man", command]).exits(0).stdout;
        assert!(page.contains(&format!(".TH orch-{command} 1")), "{page}");
        assert!(
            main.contains(&format!("orch\\-{command}(1)")),
            "the main page does not name {command}"
        );
    }
    let unknown = context.run(&["man", "chekc"]).exits(2);
    assert!(
        unknown.stderr.contains("did you mean `check`?"),
        "{}",
        unknown.stderr
    );
    let script = std::fs::read_to_string(root().join("packaging/build.sh")).unwrap();
    let (_, list) = script.split_once("for command in ").unwrap();
    let packed: BTreeSet<String> = list
        .split(';')
        .next()
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(packed, commands);
}

#[test]
fn what_was_built_is_built_on_after_the_sources_have_moved() {
    let context = Context::new();
    let script = context.work().join("build-script");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([&script, &root().join("src/build.rs")])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{compiled:?}");
    let built = context.work().join("built");
    std::fs::create_dir(&built).unwrap();
    let output = Command::new(script)
        .current_dir(root())
        .env("OUT_DIR", &built)
        .env("PROFILE", "release")
        .env("CARGO_MANIFEST_DIR", root())
        .env("CARGO_CFG_TARGET_OS", "linux")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_LINKER")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let order = built.join("startup.ld");
    assert!(
        told.contains(&format!("=-T{}\n", order.display())),
        "{told}"
    );
    assert!(order.is_file());
    // Cargo keeps what a build script has told; where it was built it finds again after a move, other places not.
    let told = told.replace(built.to_str().unwrap(), "");
    assert!(!told.contains(root().to_str().unwrap()), "{told}");
}

#[test]
fn bash_completes_flags_and_commands() {
    let context = Context::new();
    let script = context.run(&["completions", "bash"]).exits(0).stdout;
    context.write("orch.bash", script);
    for (words, expected) in [
        ("orch --agents-", "--agents-only"),
        ("orch ch", "check"),
        ("orch check --exp", "--explain"),
        ("orch --output str", "stream-json"),
        ("orch --sandbox lan", "landlock"),
    ] {
        let (before, last) = words.rsplit_once(' ').unwrap();
        let previous = before.rsplit(' ').next().unwrap();
        let line = format!(
            "source ./orch.bash; COMP_WORDS=({words}); COMP_CWORD={}; \
             _orch orch '{last}' '{previous}'; echo \"${{COMPREPLY[*]}}\"",
            words.split(' ').count() - 1
        );
        let output = Command::new("bash")
            .args(["-c", &line])
            .current_dir(context.work())
            .output()
            .unwrap();
        assert_eq!(ran(output).exits(0).stdout.trim(), expected, "{words}");
    }
    for shell in ["zsh", "fish"] {
        let script = context.run(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("agents-only"), "{shell}");
    }
}

/// What bash completes behind these words, whatever it takes; nothing may be said beside it.
fn bash_offers(context: &Context, words: &[&str]) -> Vec<String> {
    let last = words.len() - 1;
    let line = "source ./orch.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                _orch \"$1\" \"${!#}\" \"${COMP_WORDS[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command
        .args(["-c", line, "bash", env!("CARGO_BIN_EXE_orch")])
        .args(&words[1..=last])
        .current_dir(context.work())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", context.home())
        .env("ORCH_STATE_DIR", context.state());
    let ran = ran(command.output().unwrap()).exits(0);
    assert_eq!(ran.stderr, "", "{words:?}");
    let names = ran.stdout.lines().filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[test]
fn a_shell_completes_names_of_the_configuration() {
    let server = Stub::start(|_| stub::text("So it is."));
    let context = Context::with_agent(
        &server.url(),
        "tasks: {ship: {steps: [{agent: a, prompt: x}]}}\n",
    );
    let more = "  an other: {role: R}\n  coder: {role: R}\ntasks:";
    context.write(
        "orch.yaml",
        context.read("orch.yaml").replace("tasks:", more),
    );
    let script = context.run(&["completions", "bash"]).exits(0).stdout;
    context.write("orch.bash", script);
    context
        .orch(&["--agent", "a", "--prompt", "x", "--session", "first"])
        .exits(0);
    let run = context.orch(&["--runs", "--json"]).exits(0).json()[0]["run_id"].clone();
    let all = ["a", "an\\ other", "coder"];
    for (words, expected) in [
        (&["orch", "--agent", ""][..], &all[..]),
        (&["orch", "--agent", "co"], &["coder"]),
        (&["orch", "--agent", "an\\ "], &["an\\ other"]),
        (&["orch", "check", "--explain", "c"], &["coder"]),
        (&["orch", "--logs", "c"], &["coder"]),
        (&["orch", "--task", ""], &["ship"]),
        (
            &["orch", "--agent", "a", "--model", "gpt4o-"],
            &["gpt4o-mini"],
        ),
        (&["orch", "--agent", "a", "--session", ""], &["first"]),
        (&["orch", "--resume", ""], &[run.as_str().unwrap()]),
    ] {
        assert_eq!(bash_offers(&context, words), expected, "{words:?}");
    }
    // A file that asks for trust first, one that has faults, one that is none, and none.
    let right = context.read("orch.yaml");
    context.write(
        "orch.yaml",
        format!("mcp_servers: {{m: {{command: [x]}}}}\n{right}"),
    );
    assert_eq!(bash_offers(&context, &["orch", "--agent", ""]), all);
    assert!(bash_offers(&context, &["orch", "--session", ""]).is_empty());
    context.write("named.yaml", &right);
    context.write("orch.yaml", right.replace("role: R", "rloe: R"));
    assert_eq!(bash_offers(&context, &["orch", "--agent", ""]), all);
    assert!(bash_offers(&context, &["orch", "--session", ""]).is_empty());
    context.write("orch.yaml", "agents: {");
    assert!(bash_offers(&context, &["orch", "--agent", ""]).is_empty());
    let named = &["orch", "--config", "named.yaml", "--agent", "co"];
    assert_eq!(bash_offers(&context, named), ["coder"]);
    std::fs::remove_file(context.work().join("orch.yaml")).unwrap();
    assert!(bash_offers(&context, &["orch", "--agent", ""]).is_empty());
}

#[test]
fn the_files_of_the_package_are_there() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, assets) = manifest.split_once("\nassets = [\n").unwrap();
    let script = std::fs::read_to_string(root().join("packaging/build.sh")).unwrap();
    let mut looked = 0;
    for line in assets.lines().take_while(|line| *line != "]") {
        let path = line.split('"').nth(1).unwrap();
        if let Some(made) = path.strip_prefix("target/packaging/") {
            let directory = made.split('/').next().unwrap();
            assert!(
                script.contains(&format!("$made/{directory}")),
                "nothing makes {path}"
            );
        } else if !path.starts_with("target/") {
            let path = root().join(path.trim_end_matches('*'));
            assert!(path.exists(), "{}", path.display());
        }
        looked += 1;
    }
    assert!(looked > 8, "{looked}");
}

#[test]
fn scripts_and_pages_have_what_shells_and_readers_trip_over_taken_out() {
    let context = Context::new();
    let script = |shell| context.run(&["completions", shell]).exits(0).stdout;
    // With a word before the command zsh would take the first word for it.
    let zsh = script("zsh");
    for (text, is_in) in [
        (":: :_orch_commands", true),
        ("'::stdin", false),
        ("$line[2]", false),
    ] {
        assert_eq!(zsh.contains(text), is_in, "{text} {zsh}");
    }
    let fish = script("fish");
    assert!(
        fish.contains("-- $cmd[1..-2] 2>/dev/null\n    or return\n"),
        "{fish}"
    );
    assert!(
        fish.contains("using_subcommand completions\" -f -a \"bash"),
        "{fish}"
    );
    for page in [&["man"][..], &["man", "check"]] {
        let text = context.run(page).exits(0).stdout;
        let version = format!(" 1 \"\" \"orch {}\"", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
    }
}
