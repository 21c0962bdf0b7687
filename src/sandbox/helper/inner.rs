//! The first process of the new namespaces: builds the view, gives up its rights, starts the program and
//! stays until it ends.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};

use super::super::plan::{Plan, Report};
use super::super::seccomp::Sockets;
use super::super::settings::Tier;
use super::channel::send;
use super::exec::Program;
use super::failure::{Done, Failure, at};
use super::identity::{Identity, clone, leave, write_maps};
use super::sources::Sources;
use super::{confine, reap, root, signals};

/// What the outer process prepared.
pub(super) struct Prepared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) identity: Identity,
    pub(super) sources: Option<Sources>,
    /// To the outer process.
    pub(super) up: OwnedFd,
}

/// Runs in the new namespaces; never comes back.
pub(super) fn run(prepared: Prepared<'_>) -> ! {
    let Prepared {
        plan,
        identity,
        sources,
        up,
    } = prepared;
    match set_up(plan, identity, sources, &up) {
        Ok(ready) => reap::stay(plan, ready.child, &up),
        Err(failure) => {
            // With nobody left to hear it, there is nobody to tell.
            drop(send(&up, &failure.report(), &[]));
            leave(1)
        }
    }
}

struct Ready {
    child: rustix::process::Pid,
}

fn set_up(plan: &Plan, identity: Identity, sources: Option<Sources>, up: &OwnedFd) -> Done<Ready> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("watch the parent"))?;
    if plan.tier == Tier::Full {
        // For root the maps were written from outside.
        if identity.owner.is_some() {
            identity.assume()?;
        } else {
            std::fs::write("/proc/self/setgroups", "deny").map_err(at("close groups"))?;
            let both = |inside, outside| (inside, outside);
            write_maps(
                "self",
                both(identity.inside.0, identity.outside.0),
                both(identity.inside.1, identity.outside.1),
            )
            .map_err(at("map the user"))?;
        }
        root::enter(plan, identity, sources)?;
        super::network::loopback_up().map_err(at("start the loopback"))?;
        // A change of user clears it.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("watch the parent"))?;
    }
    let tcp = match plan.listen {
        Some(port) => Some(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(at("listen for the caller"))?,
        ),
        None => None,
    };
    let sockets = match plan.tier {
        Tier::Full => Sockets::in_namespace(plan.network),
        Tier::Landlock | Tier::Off => Sockets::without_namespace(plan.network),
    };
    let program = Program::new(plan, sockets)?;
    if plan.tier != Tier::Off {
        confine::limit(&plan.limits)?;
        confine::drop_capabilities()?;
        confine::landlock(plan)?;
    }
    // Before there are any: they are read from a file.
    signals::hold(libc::SIGCHLD).map_err(at("hold signals"))?;
    if !program.listens() {
        // For both processes: the kernel takes a third of a millisecond to translate it.
        program.install_filter(false)?;
    }
    match clone(0).map_err(at("start a process"))? {
        None => {
            let failure = start(&program, tcp.as_ref().map(|tcp| tcp.as_fd()), up);
            drop(send(up, &failure.report(), &[]));
            leave(127)
        }
        Some(child) => {
            set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("close the memory"))?;
            if program.listens() {
                program.install_filter(false)?;
            }
            Ok(Ready { child })
        }
    }
}

/// Becomes the program; returns why it could not.
fn start(program: &Program, tcp: Option<BorrowedFd<'_>>, up: &OwnedFd) -> Failure {
    let ready = || -> Done<()> {
        program.prepare()?;
        let asks = if program.listens() {
            program.install_filter(true)?
        } else {
            None
        };
        let report = Report::Running {
            tcp: tcp.is_some(),
            asks: asks.is_some(),
        };
        let files: Vec<BorrowedFd<'_>> = tcp
            .into_iter()
            .chain(asks.as_ref().map(|asks| asks.as_fd()))
            .collect();
        send(up, &report, &files).map_err(at("tell that everything is ready"))
    };
    match ready() {
        Ok(()) => program.start(),
        Err(failure) => failure,
    }
}
