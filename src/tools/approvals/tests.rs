use super::*;

fn settings(default: Action, rules: &[(&str, Option<&str>, Action)]) -> ApprovalSettings {
    let rule = |(tool, pattern, action): &(&str, Option<&str>, Action)| Rule {
        tool: (*tool).to_owned(),
        pattern: pattern.map(ToOwned::to_owned),
        action: *action,
    };
    ApprovalSettings {
        default,
        rules: rules.iter().map(rule).collect(),
    }
}

#[test]
fn asking_and_denying_match_any_command_of_the_line() {
    let settings = settings(Action::Allow, &[("bash", Some("git push*"), Action::Ask)]);
    for line in [
        "git push",
        "git  'push' --force",
        "ls && git push",
        "ls | git push",
        "(git push)",
        "echo $(git push)",
        "A=1 git push",
        "/usr/bin/git push",
        "sudo git push",
        "env A=1 git push",
        "timeout 5 nohup git push",
        "bash -c 'git push'",
        "sudo bash -lc 'ls; git push origin'",
        "git $what",
        "git pu?h",
        "echo push | xargs git",
        "if true; then git push; fi",
        "g\"i\"t pu\\sh",
        // Not to be read: may be anything.
        "$GIT push",
        "eval git push",
        "A=1 eval 'git  push'",
        "command eval 'git  push'",
        "watch 'git  push'",
        "bash -c \"$line\"",
        "echo 'open",
    ] {
        assert_eq!(
            decide(&settings, "bash", &Asked::Command(line)),
            Action::Ask,
            "{line}"
        );
    }
    for line in [
        "git pull",
        "echo git push",
        "echo 'git push'",
        "ls # git push",
        "git status | grep push",
        "bash -c 'git pull'",
        "bash push.sh",
        "ls $x",
        "for x in a b; do echo $x; done",
    ] {
        assert_eq!(
            decide(&settings, "bash", &Asked::Command(line)),
            Action::Allow,
            "{line}"
        );
    }
    assert_eq!(
        decide(&settings, "ssh", &Asked::Command("git push")),
        Action::Allow
    );
}

#[test]
fn allowing_matches_only_a_line_that_is_one_command() {
    let settings = settings(Action::Deny, &[("bash", Some("ls*"), Action::Allow)]);
    for line in [
        "ls",
        "ls -l src",
        "ls 'a;b'",
        "ls 2>/dev/null",
        "ls $HOME",
        "ls *.rs",
    ] {
        assert_eq!(
            decide(&settings, "bash", &Asked::Command(line)),
            Action::Allow,
            "{line}"
        );
    }
    for line in [
        "ls; rm x",
        "ls && rm x",
        "ls | sh",
        "ls $(rm x)",
        "ls `rm x`",
        "ls <(rm x)",
        "ls > x",
        "(ls)",
        "LD_PRELOAD=x ls",
        "ls\nrm x",
        "ls & rm x",
        "ls 'open",
        "rm x",
    ] {
        assert_eq!(
            decide(&settings, "bash", &Asked::Command(line)),
            Action::Deny,
            "{line}"
        );
    }
}

#[test]
fn the_last_rule_that_matches_wins() {
    let settings = settings(
        Action::Ask,
        &[
            ("*", None, Action::Allow),
            ("write", Some("src/*"), Action::Ask),
            ("write", Some("*.lock"), Action::Deny),
            ("Git__*", None, Action::Deny),
            (
                "http_request",
                Some("https://api.example.com/*"),
                Action::Ask,
            ),
        ],
    );
    let text = |text: &str| Asked::Text(vec![text.to_owned()]);
    for (tool, asked, expected) in [
        ("read", text("src/a"), Action::Allow),
        ("write", text("src/a"), Action::Ask),
        ("write", text("src/a.lock"), Action::Deny),
        ("write", text("doc/a"), Action::Allow),
        (
            "write",
            Asked::Text(vec!["./x/../src/a".into(), "src/a".into()]),
            Action::Ask,
        ),
        ("git__log", Asked::Nothing, Action::Deny),
        (
            "http_request",
            text("https://api.example.com/v1?a=b"),
            Action::Ask,
        ),
        ("write", Asked::Nothing, Action::Deny),
    ] {
        assert_eq!(
            decide(&settings, tool, &asked),
            expected,
            "{tool} {asked:?}"
        );
    }
    assert_eq!(
        decide(&ApprovalSettings::default(), "x", &Asked::Nothing),
        Action::Allow
    );
}
