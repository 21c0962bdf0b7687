//! Takes what the new root is made of from the machine, before anything of it can change.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::Pid;

use super::super::plan::{Access, Place, Plan, Raw};
use super::failure::{Done, at};
use super::identity::{Identity, owner_namespace, reap};
use super::mounts::{Restrictions, map_owners, restrict, take};

/// How steps begin that fail where owners cannot be mapped.
pub(super) const MAPPING: &str = "map the owner";

/// A detached mount and where it goes.
pub(super) struct Source {
    pub(super) mount: OwnedFd,
    pub(super) target: Raw,
}

/// The mounts of a plan; for root, files of the workspace's owner appear as the command's own.
pub(super) struct Sources {
    /// For every place of the plan its mount, where it has one.
    pub(super) mounts: Vec<Option<Source>>,
    /// A child to be reaped when there is time.
    pub(super) maker: Option<Pid>,
}

/// Takes the mounts of a plan.
pub(super) fn take_all(plan: &Plan, identity: Identity) -> Done<Sources> {
    let namespace = match identity.owner {
        Some(owner) => Some(
            owner_namespace(owner, identity.outside)
                .map_err(at(format!("{MAPPING} of the workspace")))?,
        ),
        None => None,
    };
    let (namespace, maker) = namespace.unzip();
    let namespace = namespace.as_ref().map(|namespace| namespace.as_fd());
    let mounts = plan.places.iter().map(|place| source(place, namespace));
    match mounts.collect() {
        Ok(mounts) => Ok(Sources { mounts, maker }),
        Err(failure) => {
            if let Some(maker) = maker {
                reap(maker);
            }
            Err(failure)
        }
    }
}

fn source(place: &Place, namespace: Option<BorrowedFd<'_>>) -> Done<Option<Source>> {
    let Place::Bind {
        source,
        target,
        access,
        execute,
        optional,
    } = place
    else {
        return Ok(None);
    };
    let mount = match take(source.path()) {
        Ok(mount) => mount,
        Err(error) if *optional && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(format!("take {source:?}"))(error)),
    };
    // Devices are named one by one, everywhere else they are no devices.
    let no_devices = !source.path().starts_with("/dev");
    let restrictions = Restrictions {
        read_only: *access == Access::Read,
        no_execute: !execute,
        no_devices,
    };
    restrict(&mount, restrictions).map_err(at(format!("restrict {source:?}")))?;
    // Of the system's own directories everything that matters can be read by anybody.
    if let Some(namespace) = namespace
        && !source.path().starts_with("/usr")
        && no_devices
    {
        map_owners(&mount, namespace).map_err(at(format!("{MAPPING} of {source:?}")))?;
    }
    Ok(Some(Source {
        mount,
        target: target.clone(),
    }))
}
