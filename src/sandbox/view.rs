//! From a policy and a command to the plan of its sandbox.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::command::{Bind, Command, Program};
use super::covers::{Covered, covers};
use super::plan::{Access, Cover, How, Place, Plan, Raw};
use super::policy::Policy;
use super::programs;
use super::scan::{ScanError, external_directory};
use super::settings::Tier;
use super::system;
use super::toolchains::{VARIABLES, directories};

/// Longer scripts do not fit into an argument (128 KiB on Linux).
const LONGEST_ARGUMENT: usize = 100 << 10;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("there is no bash on this machine")]
    NoShell,
    #[error("{0} needs the full sandbox")]
    NeedsMounts(String),
    #[error("the program `{0}` is not installed")]
    NoProgram(String),
}

/// Decides everything about a command. Reads the disk: the list of what must be covered.
pub(super) fn plan(policy: &Policy, command: &Command, is_alone: bool) -> Result<Plan, PlanError> {
    let whole_disk = !policy.confined || policy.workspace == Path::new("/");
    let home = std::fs::canonicalize(&policy.home).unwrap_or_else(|_| policy.home.clone());
    let roots = Roots::new(policy, &home, whole_disk);
    let Covered {
        covers,
        watches,
        kept,
        before,
    } = if command.workspace && policy.tier != Tier::Off {
        covers(policy, &roots, whole_disk, is_alone)?
    } else {
        Covered::default()
    };
    let Executed {
        program,
        arguments,
        script,
    } = executed(policy, &command.program)?;
    let listed = !policy.allowed_commands.is_empty();
    let plan = Plan {
        tier: policy.tier,
        network: policy.network,
        limits: policy.limits,
        places: Vec::new(),
        covers,
        watches,
        kept,
        workspace: (&policy.workspace).into(),
        searched: roots.searched(policy, command),
        before,
        whole_disk,
        writable: roots.writable(policy, command),
        readable: vec!["/".into()],
        temporary: None,
        removed: command.temporary.iter().map(Raw::from).collect(),
        ports: policy.ports.clone(),
        executable: listed.then(|| system::executable(policy).iter().map(Raw::from).collect()),
        listen: command.listen,
        program,
        arguments,
        script,
        environment: environment(policy, &home, command),
        directory: (&command.directory).into(),
    };
    match policy.tier {
        Tier::Full if !whole_disk => Ok(Plan {
            places: roots.places(policy, command),
            ..plan
        }),
        Tier::Full | Tier::Off => Ok(plan),
        Tier::Landlock => roots.without_mounts(policy, command, plan),
    }
}

/// The directories that a command sees besides the system.
#[derive(Debug)]
pub(super) struct Roots {
    /// An empty home directory of the command's own.
    home: Option<PathBuf>,
    /// Where the home directory is also known.
    home_link: Option<PathBuf>,
    toolchains: Vec<PathBuf>,
    pub(super) read: Vec<PathBuf>,
    pub(super) write: Vec<PathBuf>,
    pub(super) workspace: PathBuf,
    /// The repository that the workspace is a worktree of.
    pub(super) repository: Option<PathBuf>,
}

impl Roots {
    fn new(policy: &Policy, home: &Path, whole_disk: bool) -> Self {
        let workspace = policy.workspace.clone();
        // Where the home directory is a link, nothing can be placed or covered behind it.
        let real = |path: PathBuf| match path.strip_prefix(&policy.home) {
            Ok(below) => home.join(below),
            Err(_) => path,
        };
        let outside = |paths: &[PathBuf]| -> Vec<PathBuf> {
            let paths = top_level(paths).into_iter().map(real);
            // A command has a `/proc` of its own.
            let own = [workspace.as_path(), Path::new("/proc")];
            let is_own = |path: &PathBuf| own.iter().any(|own| path.starts_with(own));
            paths.filter(|path| !is_own(path)).collect()
        };
        let (read, write) = (outside(&policy.read), outside(&policy.write));
        let path = system::path_of(policy);
        let variables = VARIABLES
            .iter()
            .filter_map(|name| Some((*name, Path::new(policy.environment.get(OsStr::new(name))?))));
        let seen = |path: &Path| {
            [
                "/usr",
                "/opt",
                "/nix",
                "/gnu",
                "/bin",
                "/sbin",
                "/run/current-system",
            ]
            .iter()
            .any(|system| path.starts_with(system))
                || path.starts_with(&workspace)
        };
        let toolchains = if whole_disk || !policy.allowed_commands.is_empty() {
            Vec::new()
        } else {
            directories(&path, variables, home, seen)
                .into_iter()
                .filter(|directory| directory.exists())
                .map(real)
                .collect()
        };
        let is_own = !home.starts_with(&workspace) && home.parent().is_some();
        Self {
            home: is_own.then(|| home.to_owned()),
            home_link: (is_own && policy.home != home).then(|| policy.home.clone()),
            toolchains,
            read,
            write,
            repository: external_directory(&workspace),
            workspace,
        }
    }

    fn places(&self, policy: &Policy, command: &Command) -> Vec<Place> {
        let execute = policy.allowed_commands.is_empty();
        let bind = |path: &Path, access, optional| Place::Bind {
            source: path.into(),
            target: path.into(),
            access,
            execute: execute || access == Access::Read,
            optional,
        };
        let mut places = system::places(policy);
        if let Some(home) = &self.home {
            places.push(Place::Scratch {
                target: home.into(),
                shared: false,
            });
        }
        if let (Some(link), Some(home)) = (&self.home_link, &self.home) {
            places.push(Place::Link {
                target: link.into(),
                to: home.into(),
            });
        }
        places.extend(
            self.toolchains
                .iter()
                .map(|path| bind(path, Access::Read, true)),
        );
        places.extend(self.read.iter().map(|path| bind(path, Access::Read, true)));
        places.extend(
            self.write
                .iter()
                .map(|path| bind(path, Access::Write, true)),
        );
        let workspace = if command.workspace {
            Access::Write
        } else {
            Access::Read
        };
        if command.workspace {
            places.push(bind(&self.workspace, workspace, false));
            places.extend(
                self.repository
                    .iter()
                    .map(|path| bind(path, Access::Write, false)),
            );
        } else {
            places.push(Place::Scratch {
                target: (&self.workspace).into(),
                shared: false,
            });
        }
        places.extend(command.binds.iter().map(
            |Bind {
                 source,
                 target,
                 write,
             }| Place::Bind {
                source: source.into(),
                target: target.into(),
                access: if *write { Access::Write } else { Access::Read },
                execute: true,
                optional: false,
            },
        ));
        places
    }

    /// What may be written, as the view calls it.
    fn writable(&self, policy: &Policy, command: &Command) -> Vec<Raw> {
        let mut paths: Vec<Raw> = ["/tmp", "/var/tmp", "/dev/shm", "/dev/pts"]
            .map(Raw::from)
            .into();
        paths.extend(system::DEVICES.map(Raw::from));
        paths.extend(
            self.home
                .iter()
                .chain(&self.write)
                .chain([&self.workspace])
                .map(Raw::from),
        );
        paths.extend(
            policy
                .environment
                .get(OsStr::new("CARGO_HOME"))
                .map(Raw::from),
        );
        paths.extend(self.repository.iter().map(Raw::from));
        paths.extend(
            command
                .binds
                .iter()
                .filter(|bind| bind.write)
                .map(|bind| Raw::from(&bind.target)),
        );
        paths
    }

    /// The plan where nothing can be mounted: only rules of Landlock, which can open but not close parts of what
    /// is open.
    fn without_mounts(
        &self,
        policy: &Policy,
        command: &Command,
        plan: Plan,
    ) -> Result<Plan, PlanError> {
        if !policy.allowed_commands.is_empty() {
            return Err(PlanError::NeedsMounts("`allowed_commands`".to_owned()));
        }
        let hidden = |cover: &&Cover| matches!(cover.how, How::Hide | How::HideDirectory);
        if let Some(cover) = plan.covers.iter().find(hidden) {
            let path = cover.root.path().join(cover.path.path());
            return Err(PlanError::NeedsMounts(format!(
                "hiding `{}`",
                path.display()
            )));
        }
        let temporary =
            std::env::temp_dir().join(format!("orch-{}", uuid::Uuid::new_v4().simple()));
        let home = temporary.join("home");
        let mut places = vec![Place::Directory {
            target: (&home).into(),
        }];
        let shown: Vec<&PathBuf> = self
            .toolchains
            .iter()
            .chain(&self.read)
            .chain(&self.write)
            .collect();
        if let Some(real) = &self.home {
            for path in &shown {
                if let Ok(below) = path.strip_prefix(real)
                    && path.exists()
                {
                    places.push(Place::Link {
                        target: home.join(below).into(),
                        to: path.into(),
                    });
                }
            }
        }
        let mut readable = system::readable();
        readable.extend(shown.iter().map(Raw::from));
        readable.extend(command.binds.iter().map(|bind| Raw::from(&bind.source)));
        let mut writable = plan.writable.clone();
        let private = |path: &Raw| {
            ["/tmp", "/var/tmp", "/dev/shm"]
                .iter()
                .any(|shared| path.0 == shared.as_bytes())
        };
        writable.retain(|path| {
            !private(path) && self.home.as_ref().is_none_or(|home| path.path() != home)
        });
        writable.push((&temporary).into());
        let mut environment = plan.environment.clone();
        for (name, value) in [("HOME", &home), ("TMPDIR", &temporary)] {
            environment.retain(|(known, _)| known.0 != name.as_bytes());
            environment.push((name.into(), value.into()));
        }
        Ok(Plan {
            places,
            readable,
            writable,
            environment,
            temporary: Some((&temporary).into()),
            removed: plan
                .removed
                .iter()
                .cloned()
                .chain([(&temporary).into()])
                .collect(),
            ..plan
        })
    }

    /// Whether a command may make repositories in a directory.
    pub(super) fn are_searched(&self, root: &Path) -> bool {
        root == self.workspace || self.write.iter().any(|write| write == root)
    }

    /// The directories in which a command may make repositories.
    fn searched(&self, policy: &Policy, command: &Command) -> Vec<Raw> {
        let all = [&self.workspace].into_iter().chain(&self.write);
        all.filter(|path| command.workspace && policy.tier != Tier::Off && path.is_dir())
            .map(Raw::from)
            .collect()
    }

    /// The directories whose contents are looked at: what lies in them as it lies on the machine.
    pub(super) fn scanned(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.workspace]
            .into_iter()
            .chain(&self.write)
            .chain(&self.read)
            .filter(|path| path.is_dir())
    }
}

/// The paths; instead of the root directory what stands in it, without what is no disk.
fn top_level(paths: &[PathBuf]) -> Vec<PathBuf> {
    const NO_DISK: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
    let mut whole: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.parent().is_some() {
            whole.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir("/").into_iter().flatten().flatten();
        whole.extend(entries.map(|entry| entry.path()).filter(|path| {
            path.is_dir() && !path.is_symlink() && !NO_DISK.iter().any(|name| path.ends_with(name))
        }));
    }
    whole.sort();
    whole.dedup();
    whole
}

/// What is executed.
struct Executed {
    program: Raw,
    arguments: Vec<Raw>,
    script: Option<Raw>,
}

/// A script is executed by bash, as an argument where it fits.
fn executed(policy: &Policy, program: &Program) -> Result<Executed, PlanError> {
    match program {
        Program::Script(script) => {
            let shell = programs::shell().ok_or(PlanError::NoShell)?;
            // Its real name: links may not be in the view.
            let shell = std::fs::canonicalize(shell).map_err(|_| PlanError::NoShell)?;
            let is_long = script.len() > LONGEST_ARGUMENT;
            let arguments = if is_long {
                vec!["bash".into()]
            } else {
                vec!["bash".into(), "-c".into(), script.into()]
            };
            Ok(Executed {
                program: shell.into(),
                arguments,
                script: is_long.then(|| script.into()),
            })
        }
        Program::Arguments(arguments) => {
            let name = arguments.first().cloned().unwrap_or_default();
            let name = name.to_string_lossy();
            let found = programs::find(&name, &system::path_of(policy))
                .ok_or_else(|| PlanError::NoProgram(name.clone().into_owned()))?;
            let rest = arguments.iter().skip(1).map(Raw::from);
            Ok(Executed {
                program: (&found).into(),
                arguments: std::iter::once(found.into()).chain(rest).collect(),
                script: None,
            })
        }
    }
}

/// The whole environment of a command.
fn environment(policy: &Policy, home: &Path, command: &Command) -> Vec<(Raw, Raw)> {
    let mut all: BTreeMap<OsString, OsString> = policy.environment.clone();
    // Signing needs keys that no command can see.
    let fixed = [
        ("GIT_CONFIG_COUNT", "2"),
        ("GIT_CONFIG_KEY_0", "commit.gpgSign"),
        ("GIT_CONFIG_VALUE_0", "false"),
        ("GIT_CONFIG_KEY_1", "tag.gpgSign"),
        ("GIT_CONFIG_VALUE_1", "false"),
    ];
    all.extend(fixed.map(|(name, value)| (name.into(), value.into())));
    if policy.tier != Tier::Off
        && let Some(above) = policy.workspace.parent()
    {
        // What lies above is closed, which git would take for an error.
        all.insert("GIT_CEILING_DIRECTORIES".into(), above.into());
    }
    if policy.tier == Tier::Full {
        all.insert("TMPDIR".into(), "/tmp".into());
        all.insert("HOME".into(), home.into());
    }
    all.entry("PATH".into())
        .or_insert_with(|| system::path_of(policy).into());
    all.extend(command.environment.clone());
    all.into_iter()
        .map(|(name, value)| (Raw(name.into_vec()), Raw(value.as_bytes().to_vec())))
        .collect()
}
