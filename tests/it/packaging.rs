//! What a package is made of: manual pages, completions, the files that it names.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::{Context, ran};

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
