//! Files: which is found, where everything lies, what the environment adds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::TOOLS;
use crate::config::{Config, ConfigError, Env, Origin, Source, load, problem_at};

/// A home, a current directory beside it, and an environment.
pub(super) struct Machine {
    root: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["home", "work"] {
            fs::create_dir(root.path().join(directory)).unwrap();
        }
        let home = root.path().join("home").display().to_string();
        Self {
            root,
            variables: vec![("HOME".to_owned(), home)],
        }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        fs::canonicalize(self.root.path()).unwrap().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn load_named(&self, named: Option<&str>) -> Result<Config, ConfigError> {
        self.load_from(named, &self.path("work"))
    }

    /// What is found in another directory than `work`.
    pub(super) fn load_in(&self, current_dir: &Path) -> Config {
        self.load_from(None, current_dir).unwrap()
    }

    pub(super) fn load_from(
        &self,
        named: Option<&str>,
        current_dir: &Path,
    ) -> Result<Config, ConfigError> {
        let source = Source {
            named: named.map(Path::new),
            current_dir,
            tools: &TOOLS,
        };
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        load(source, Env::new(variables))
    }

    pub(super) fn load(&self) -> Config {
        self.load_named(None).unwrap()
    }

    fn complaint(&self, named: Option<&str>) -> String {
        self.load_named(named).map(|_| ()).unwrap_err().to_string()
    }
}

const AGENTS: &str = "agents: {a: {role: x}}\n";

#[test]
fn a_program_with_a_slash_starts_at_the_file() {
    let machine = Machine::new();
    let program = |config: &Config, written: &str| PathBuf::from(config.program(written));
    machine.write("home/.config/orch/config.yaml", AGENTS);
    let users = machine.load();
    machine.write("work/conf/team.yaml", AGENTS);
    let named = machine.load_named(Some("conf/team.yaml")).unwrap();
    for (written, expected, of_users) in [
        ("uvx", "uvx", "uvx"),
        ("/a/./b", "/a/b", "/a/b"),
        ("./srv.py", "work/conf/srv.py", "home/.config/orch/srv.py"),
        (
            "bin/srv.py",
            "work/conf/bin/srv.py",
            "home/.config/orch/bin/srv.py",
        ),
        (
            "../srv.py",
            "work/conf/../srv.py",
            "home/.config/orch/../srv.py",
        ),
        ("~/srv.py", "home/srv.py", "home/srv.py"),
    ] {
        for (config, expected) in [(&named, expected), (&users, of_users)] {
            let whole = if expected.contains('/') {
                machine.path(expected)
            } else {
                PathBuf::from(expected)
            };
            assert_eq!(program(config, written), whole, "{written}");
        }
    }
}

#[test]
fn the_first_place_that_has_one_wins() {
    let mut machine = Machine::new();
    let found = |machine: &Machine| {
        let config = machine.load();
        (config.path, config.origin)
    };
    assert_eq!(found(&machine), (None, Origin::Nowhere));
    machine.write("home/.config/orch/config.yaml", AGENTS);
    assert_eq!(
        found(&machine),
        (
            Some(machine.path("home/.config/orch/config.yaml")),
            Origin::User
        )
    );
    machine.write("work/config.yml", "# ours\n'agents' : {a: {role: x}}\n");
    assert_eq!(
        found(&machine),
        (Some(machine.path("work/config.yml")), Origin::Found)
    );
    machine.write(
        "work/config.yml",
        "{\n  \"agents\": {\"a\": {\"role\": \"x\"}}\n}\n",
    );
    assert_eq!(
        found(&machine),
        (Some(machine.path("work/config.yml")), Origin::Found)
    );
    // Somebody else's file of the same name, which need not even be YAML.
    machine.write("work/config.yaml", "other:\n  agents: x\nmore: [\n");
    assert_eq!(
        found(&machine),
        (Some(machine.path("work/config.yml")), Origin::Found)
    );
    machine.write("work/config.yaml", AGENTS);
    assert_eq!(
        found(&machine),
        (Some(machine.path("work/config.yaml")), Origin::Found)
    );
    machine.write("work/orch.yaml", "settings:\n");
    assert_eq!(
        found(&machine),
        (Some(machine.path("work/orch.yaml")), Origin::Found)
    );
    machine
        .write("work/sub/by-variable.yaml", AGENTS)
        .write("named.yaml", AGENTS);
    machine.set("ORCH_CONFIG", "sub/by-variable.yaml");
    assert_eq!(
        found(&machine),
        (
            Some(machine.path("work/sub/by-variable.yaml")),
            Origin::Named
        )
    );
    let named = machine.load_named(Some("../named.yaml")).unwrap();
    assert_eq!(named.origin, Origin::Named);
    assert_eq!(named.path, Some(machine.path("work/../named.yaml")));
    machine.set(
        "XDG_CONFIG_HOME",
        &machine.path("xdg").display().to_string(),
    );
    machine.write("xdg/orch/config.yaml", AGENTS);
    machine.set("ORCH_CONFIG", "");
    for name in ["orch.yaml", "config.yaml", "config.yml"] {
        fs::remove_file(machine.path("work").join(name)).unwrap();
    }
    assert_eq!(
        found(&machine),
        (Some(machine.path("xdg/orch/config.yaml")), Origin::User)
    );
}

#[test]
fn everything_has_its_place() {
    let mut machine = Machine::new();
    machine
        .write("work/orch.yaml", "settings: {working_dir: sub}\n")
        .write("work/sub/x", "");
    let config = machine.load();
    assert_eq!(config.working_dir, machine.path("work/sub"));
    assert_eq!(config.logs_dir, machine.path("work/logs"));
    assert_eq!(config.outputs_dir, machine.path("work/outputs"));
    assert_eq!(config.state_dir, machine.path("home/.local/state/orch"));
    assert_eq!(config.resolve("~/x"), machine.path("home/x"));
    assert_eq!(config.resolve("x"), machine.path("work/x"));
    assert_eq!(config.file, "orch.yaml");

    machine.write(
        "elsewhere/my.yaml",
        "settings: {state_dir: ~/state, working_dir: ..}\n",
    );
    let config = machine.load_named(Some("../elsewhere/my.yaml")).unwrap();
    assert_eq!(config.working_dir, machine.path("").canonicalize().unwrap());
    assert_eq!(config.state_dir, machine.path("home/state"));
    assert_eq!(config.logs_dir, machine.path("work/../elsewhere/logs"));

    fs::remove_file(machine.path("work/orch.yaml")).unwrap();
    machine.write(
        "home/.config/orch/config.yaml",
        "settings: {working_dir: .}\n",
    );
    let xdg = machine.path("xdg").display().to_string();
    machine.set("XDG_STATE_HOME", &xdg);
    let config = machine.load();
    assert_eq!(config.working_dir, machine.path("work"));
    assert_eq!(config.state_dir, machine.path("xdg/orch"));
    assert_eq!(config.logs_dir, machine.path("xdg/orch/logs"));
    assert_eq!(config.outputs_dir, machine.path("xdg/orch/outputs"));
    machine.set("ORCH_STATE_DIR", "mine");
    assert_eq!(machine.load().state_dir, machine.path("work/mine"));

    // Nothing of all this was made.
    for path in [
        "work/logs",
        "work/outputs",
        "home/.local",
        "home/state",
        "xdg",
        "work/mine",
    ] {
        assert!(!machine.path(path).exists(), "{path}");
    }
}

#[test]
fn what_is_no_configuration_is_one_clear_problem() {
    let machine = Machine::new();
    machine
        .write("work/latin1.yaml", "")
        .write("work/dir/x", "")
        .write("work/secret.yaml", AGENTS);
    fs::write(
        machine.path("work/latin1.yaml"),
        b"agents:\n  a: {role: caf\xe9}\n",
    )
    .unwrap();
    for (named, expected) in [
        (
            "absent.yaml",
            "absent.yaml: there is no such file\n  `orch init` writes a configuration",
        ),
        (
            ".",
            ".: is a directory\n  name the file in it, such as `orch.yaml`",
        ),
        (
            "dir",
            "dir: is a directory\n  name the file in it, such as `orch.yaml`",
        ),
        (
            "latin1.yaml",
            "latin1.yaml:2:16: is not UTF-8 from here on\n  save the file as UTF-8",
        ),
        (
            "secret.yaml/x",
            "secret.yaml/x: cannot be read: not a directory",
        ),
    ] {
        assert_eq!(machine.complaint(Some(named)), expected);
    }
    machine.write("work/orch.yaml", "settings:\n  working_dir: nowhere\n");
    assert_eq!(
        machine.complaint(None),
        format!(
            "orch.yaml:2:16: the working directory `nowhere` does not exist\n  2 |   working_dir: nowhere\n    |                ^\n  it is `{}`",
            machine.path("work/nowhere").display()
        )
    );
    machine.write("work/huge.yaml", &"#".repeat(17 << 20));
    assert_eq!(
        machine.complaint(Some("huge.yaml")),
        "huge.yaml: is larger than 16 MiB"
    );
    // Without rights a file cannot be read, except by root.
    fs::set_permissions(
        machine.path("work/secret.yaml"),
        fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    if fs::read(machine.path("work/secret.yaml")).is_err() {
        assert_eq!(
            machine.complaint(Some("secret.yaml")),
            "secret.yaml: cannot be read: permission denied"
        );
    }
}

#[test]
fn an_empty_file_has_everything_at_its_default() {
    let machine = Machine::new();
    for text in ["", "\u{feff}", "# nothing\n", "---\n"] {
        machine.write("work/orch.yaml", text);
        assert_eq!(machine.load().document, crate::config::Document::default());
    }
    machine.write(
        "work/orch.yaml",
        "\u{feff}agents:\r\n  a:\r\n    role: x\r\n    modle: y\r\n",
    );
    assert_eq!(
        machine.complaint(None),
        "orch.yaml:4:5: unknown key `modle`\n  4 |     modle: y\n    |     ^\n  did you mean `model`?"
    );
}

#[test]
fn without_a_home_the_state_needs_a_place() {
    let mut machine = Machine::new();
    machine.variables.clear();
    assert_eq!(
        machine.complaint(None),
        "no configuration: there is no place for the ledger: `$HOME` is not set\n  set `$HOME` or `$ORCH_STATE_DIR`"
    );
    machine.set("ORCH_STATE_DIR", "/var/lib/orch");
    assert_eq!(machine.load().state_dir, Path::new("/var/lib/orch"));
}

#[test]
fn dotenv_files_add_to_the_environment() {
    let mut machine = Machine::new();
    machine
        .set("FROM_PROCESS", "process")
        .write(
            "work/.env",
            "FROM_PROCESS=no\nBOTH=current\nOPENAI_BASE_URL=http://evil\n",
        )
        .write("elsewhere/.env", "BOTH=beside\nBESIDE='x y'\n")
        .write("elsewhere/orch.yaml", AGENTS);
    let config = machine.load_named(Some("../elsewhere/orch.yaml")).unwrap();
    let get = |name| config.env.get(name);
    assert_eq!(get("FROM_PROCESS"), Some("process"));
    assert_eq!(get("BOTH"), Some("current"));
    assert_eq!(get("BESIDE"), Some("x y"));
    assert_eq!(get("OPENAI_BASE_URL"), None);
    assert_eq!(
        config.notices,
        [format!(
            "`OPENAI_BASE_URL` of `{}` is ignored: set it in the environment",
            machine.path("work/.env").display()
        )]
    );
    fs::remove_file(machine.path("work/.env")).unwrap();
    fs::create_dir(machine.path("work/.env")).unwrap();
    assert_eq!(
        machine.load().notices,
        [format!(
            "`{}` is ignored: it is a directory",
            machine.path("work/.env").display()
        )]
    );
}

#[test]
fn an_empty_line_of_one_env_file_hides_no_key_of_the_next() {
    let machine = Machine::new();
    machine
        .write("work/.env", "LAB_KEY=\nQUOTED=''\nOWN=here\n")
        .write("elsewhere/.env", "LAB_KEY=beside\nQUOTED=too\nOWN=\n")
        .write("elsewhere/orch.yaml", AGENTS);
    let config = machine.load_named(Some("../elsewhere/orch.yaml")).unwrap();
    for (name, expected) in [("LAB_KEY", "beside"), ("QUOTED", "too"), ("OWN", "here")] {
        assert_eq!(config.env.get(name), Some(expected), "{name}");
    }
}

#[test]
fn ssh_variables_count_where_the_file_says_nothing() {
    let servers = "servers: {a: {host: h}, b: {host: h, key: /own}}\n";
    for (settings, variable, expected) in [
        ("", "false", false),
        ("", "No", false),
        ("", "0", false),
        ("", "true", true),
        ("", "perhaps", true),
        (
            "settings: {ssh_strict_host_checking: true}\n",
            "false",
            true,
        ),
        (
            "settings: {ssh_strict_host_checking: false}\n",
            "true",
            false,
        ),
        ("settings: {ssh_strict_host_checking: }\n", "false", false),
    ] {
        let mut machine = Machine::new();
        machine
            .set("SSH_KNOWN_HOSTS_CHECK", variable)
            .set("SSH_KEY_PATH", "~/.ssh/team");
        machine.write("work/orch.yaml", &format!("{settings}{servers}"));
        let document = machine.load().document;
        assert_eq!(
            document.settings.ssh_strict_host_checking, expected,
            "{settings}{variable}"
        );
        let key = |name| {
            document
                .servers
                .get(name)
                .and_then(|server| server.key.clone())
        };
        assert_eq!(key("a").as_deref(), Some("~/.ssh/team"));
        assert_eq!(key("b").as_deref(), Some("/own"));
    }
}

#[test]
fn later_checks_point_into_the_file_too() {
    let machine = Machine::new();
    machine.write(
        "work/orch.yaml",
        "agents: {a: {role: x}}\ntasks:\n  t:\n    steps:\n      - {agent: a, prompt: \"{{ run.id }}\"}\n",
    );
    let path = ["tasks", "t", "steps", "0", "prompt"];
    let error = problem_at(
        &machine.load(),
        &path,
        "`nothing` is not known".to_owned(),
        None,
    );
    assert_eq!(
        error.to_string(),
        "orch.yaml:5:28: `nothing` is not known\n  5 |       - {agent: a, prompt: \"{{ run.id }}\"}\n    |                            ^"
    );
    let path = ["tasks", "t", "absent"];
    let error = problem_at(&machine.load(), &path, "x".to_owned(), None);
    assert_eq!(
        error.to_string(),
        "orch.yaml:4:5: x\n  4 |     steps:\n    |     ^"
    );
}

#[test]
fn every_secret_is_known_to_those_who_mask() {
    let mut machine = Machine::new();
    machine
        .set("OPENAI_API_KEY", "from-process")
        .set("LAB", "named")
        .set("EDITOR", "vi")
        .write("work/.env", "GROQ_API_KEY=from-file\nCOLOUR=blue\n")
        .write(
            "work/orch.yaml",
            "providers: {lab: {base_url: \"http://x\", api_key_env: LAB, headers: {Authorization: header, X-Team: blue}}}\n\
             mcp_servers: {m: {command: [x], env: {DB_PASSWORD: written, DEBUG: \"1\"}}}\n",
        );
    let config = machine.load();
    let mut secrets: Vec<String> = config
        .secrets()
        .iter()
        .map(|secret| secrecy::ExposeSecret::expose_secret(secret).to_owned())
        .collect();
    secrets.sort();
    assert_eq!(
        secrets,
        ["from-file", "from-process", "header", "named", "written"]
    );
}

#[test]
fn notices_tell_the_place() {
    let machine = Machine::new();
    machine.write(
        "work/orch.yaml",
        "agents:\n  a: {tools: [read, TodoWrite]}\n",
    );
    let config = machine.load();
    assert_eq!(
        config.notices,
        ["orch.yaml:2:21: the tool `TodoWrite` is accepted and does nothing"]
    );
    assert_eq!(config.document.agents.get("a").unwrap().tools, ["read"]);
}
