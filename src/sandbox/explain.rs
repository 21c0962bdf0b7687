//! A policy in words: every right, and the rule behind it.

use std::collections::BTreeSet;
use std::path::Path;

use super::policy::Policy;
use super::settings::{Network, Tier};

impl Policy {
    /// The rights of tools under this policy, one line each: `right — rule behind it`.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |right: String, rule: &str| lines.push(format!("{right} — {rule}"));
        match self.tier {
            Tier::Full => line(
                "commands run in namespaces, a root of their own, Landlock and seccomp".into(),
                "sandbox.tier: full",
            ),
            Tier::Landlock => line(
                "commands run under Landlock and seccomp, without namespaces".into(),
                "sandbox.tier: landlock",
            ),
            Tier::Off => line(
                "commands run with all rights of this user".into(),
                "sandbox.tier: off",
            ),
        }
        if self.confined {
            line(
                format!("read and write {}", self.workspace.display()),
                "working_dir",
            );
            for path in &self.write {
                line(
                    format!("read and write {}", path.display()),
                    "sandbox.write",
                );
            }
            for path in &self.read {
                line(format!("read {}", path.display()), "sandbox.read");
            }
        } else {
            line(
                "read and write the whole disk but for what is protected".into(),
                "sandbox_paths: false",
            );
        }
        line(
            "neither read nor write .env files, private keys and credentials".into(),
            "built in",
        );
        for pattern in self.read_deny() {
            line(
                format!("neither read nor write {pattern}"),
                "sandbox.read_deny",
            );
        }
        for path in &self.private {
            line(
                format!("neither read nor write {}", path.display()),
                "state directory",
            );
        }
        for path in &self.protected {
            line(
                format!("not write {}", path.display()),
                "configuration in use",
            );
        }
        for path in &self.started {
            line(
                format!("not write {}", path.display()),
                "git, a shell or the session would start it",
            );
        }
        for dir in self.configuration_dirs.iter().collect::<BTreeSet<_>>() {
            line(
                format!(
                    "not write orch.yaml, config.yaml, config.yml in {}",
                    dir.display()
                ),
                "orch would read them",
            );
        }
        line(
            "not write .git/config and .git/hooks".into(),
            "git would run what they name",
        );
        line(
            match self.network {
                Network::Deny => "no network but a loopback of the command's own".into(),
                Network::Loopback => "network: the loopback of this machine".into(),
                Network::Allow => "network: all of it".into(),
            },
            &format!("sandbox.network: {}", self.network.name()),
        );
        if self.allowed_commands.is_empty() {
            line("start any program".into(), "allowed_commands: []");
        } else {
            line(
                format!(
                    "start only bash and its builtins, {}",
                    self.allowed_commands.join(", ")
                ),
                "allowed_commands",
            );
        }
        let limits = &self.limits;
        line(
            format!(
                "a command may use {} of memory, {} processes, {} of disk, {} a file",
                size(limits.memory),
                limits.processes,
                size(limits.disk),
                size(limits.file)
            ),
            "built in",
        );
        lines
    }

    /// What must be said on every run because it loosens the usual rules.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.tier {
            Tier::Full => {}
            Tier::Landlock => lines.push(
                "the sandbox is at the weaker tier `landlock`: commands see the machine's processes, and can change \
                 the modes and times of files outside the workspace"
                    .to_owned(),
            ),
            Tier::Off => lines
                .push("the sandbox is off: commands may do whatever you may do".to_owned()),
        }
        if !self.confined {
            lines
                .push("`sandbox_paths: false`: tools may read and write the whole disk".to_owned());
        }
        if self.confined && self.workspace == Path::new("/") {
            lines.push("the workspace is `/`".to_owned());
        }
        lines
    }
}

impl Network {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Loopback => "loopback",
            Self::Allow => "allow",
        }
    }
}

impl Tier {
    /// The word of the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Landlock => "landlock",
            Self::Off => "off",
        }
    }
}

/// Bytes in the largest unit that divides them well, such as `4 GiB`.
fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >> shift > 0 {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::sandbox::SandboxSettings;

    #[test]
    fn every_right_names_its_rule() {
        let settings = SandboxSettings {
            read_deny: vec!["secrets/**".into()],
            write: vec!["/srv/cache".into()],
            ..SandboxSettings::default()
        };
        let mut policy = Policy::new(Path::new("/usr"), Path::new("/home/u"), &settings).unwrap();
        policy.private.push(PathBuf::from("/home/u/state"));
        policy.protected.push(PathBuf::from("/usr/team.yaml"));
        policy.allowed_commands = vec!["ls".into(), "git".into()];
        assert_eq!(
            policy.explain(),
            [
                "commands run in namespaces, a root of their own, Landlock and seccomp — sandbox.tier: full",
                "read and write /usr — working_dir",
                "read and write /srv/cache — sandbox.write",
                "read /home/u/.gitconfig — sandbox.read",
                "neither read nor write .env files, private keys and credentials — built in",
                "neither read nor write secrets/** — sandbox.read_deny",
                "neither read nor write /home/u/state — state directory",
                "not write /usr/team.yaml — configuration in use",
                "not write orch.yaml, config.yaml, config.yml in /usr — orch would read them",
                "not write .git/config and .git/hooks — git would run what they name",
                "no network but a loopback of the command's own — sandbox.network: deny",
                "start only bash and its builtins, ls, git — allowed_commands",
                "a command may use 4 GiB of memory, 512 processes, 4 GiB of disk, 2 GiB a file — built in",
            ]
        );
        assert!(policy.warnings().is_empty());
        policy.confined = false;
        policy.tier = Tier::Off;
        assert_eq!(policy.warnings().len(), 2);
        policy.tier = Tier::Landlock;
        assert!(policy.warnings().concat().contains("weaker tier"));
    }
}
