//! What a process gives up for good: limits, capabilities, rights over files.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits,
    set_no_new_privs,
};

use super::super::limits::Limits;
use super::super::plan::{Plan, Raw};
use super::super::settings::{Network, Tier};
use super::failure::{Done, Failure, at};

/// The newest rules that are asked for; what the kernel does not know is left out.
const NEWEST: ABI = ABI::V6;

/// Limits of every process of the command.
pub(super) fn limit(limits: &Limits) -> Done<()> {
    for (resource, value) in [
        (Resource::Data, limits.memory),
        (Resource::Fsize, limits.file),
        (Resource::Nofile, limits.open_files),
        (Resource::Nproc, limits.processes),
        (Resource::Core, 0),
    ] {
        let value = rustix::process::getrlimit(resource)
            .maximum
            .map_or(value, |maximum| maximum.min(value));
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        setrlimit(resource, limit).map_err(at(format!("set the limit {resource:?}")))?;
    }
    // When memory runs out, a command goes first; without this right nothing is lost but that.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    Ok(())
}

/// Gives up all capabilities and every way to get them back.
pub(super) fn drop_capabilities() -> Done<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if remove_capability_from_bounding_set(capability).is_err() {
            // The first that the kernel does not know.
            break;
        }
    }
    clear_ambient_capability_set().map_err(at("clear the ambient capabilities"))?;
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    // Only who has the capability may set them, and only who has it needs to.
    _ = set_capabilities_secure_bits(locked);
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).map_err(at("drop the capabilities"))?;
    set_no_new_privs(true).map_err(at("set no_new_privs"))
}

/// Restricts files, signals and abstract sockets by Landlock.
pub(super) fn landlock(plan: &Plan) -> Done<()> {
    let status = restrict(plan).map_err(|error| Failure::Step {
        step: format!("set up Landlock: {error}"),
        errno: 0,
    })?;
    if status == RulesetStatus::NotEnforced {
        return Err(Failure::Step {
            step: "set up Landlock".to_owned(),
            errno: libc::EOPNOTSUPP,
        });
    }
    Ok(())
}

fn restrict(plan: &Plan) -> Result<RulesetStatus, landlock::RulesetError> {
    let everything = AccessFs::from_all(NEWEST);
    let files = AccessFs::from_file(NEWEST);
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    if !plan.whole_disk {
        ruleset = ruleset.handle_access(everything)?;
    }
    if plan.tier == Tier::Landlock && plan.network == Network::Deny {
        ruleset = ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    } else if plan.ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    for port in plan.ports.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    if plan.whole_disk {
        return Ok(ruleset.restrict_self()?.ruleset);
    }
    let execute = if plan.executable.is_none() {
        AccessFs::Execute.into()
    } else {
        BitFlags::<AccessFs>::empty()
    };
    let mut rights: Vec<(&Raw, BitFlags<AccessFs>)> = Vec::new();
    rights.extend(plan.readable.iter().map(|path| (path, reading | execute)));
    rights.extend(
        plan.writable
            .iter()
            .map(|path| (path, (everything & !AccessFs::Execute) | execute)),
    );
    rights.extend(
        plan.executable
            .iter()
            .flatten()
            .map(|path| (path, reading | AccessFs::Execute)),
    );
    for (path, right) in rights {
        // What is not there needs no rule.
        let Ok(open) = PathFd::new(path.path()) else {
            continue;
        };
        let right = if path.path().is_dir() {
            right
        } else {
            right & files
        };
        ruleset = ruleset.add_rule(PathBeneath::new(open, right))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}
