//! The process of the helper that stays on the machine's side.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getpid, getrlimit, pidfd_open,
    pidfd_send_signal, set_child_subreaper, setrlimit, setsid, waitpid,
};

use super::super::plan::{Place, Plan, Report, Request};
use super::super::repository::disarm_new;
use super::super::scan::{Rules, Scan};
use super::super::settings::{Network, Tier};
use super::again::View;
use super::answer::Answerer;
use super::channel::{pair, receive, send};
use super::failure::{Done, Failure, at};
use super::guard::Guard;
use super::identity::{Identity, clone, reap, write_maps};
use super::inner::{self, Prepared};
use super::keep::{Kept, put_back, remember};
use super::notices::Notices;
use super::sources::{Sources, take_all};
use crate::process;

/// The whole life of the helper. The caller's socket is the standard input.
pub(super) fn run() -> u8 {
    let Ok(caller) = set_up() else {
        return 1;
    };
    let told = receive::<()>(&caller);
    let Ok(Some(((), files))) = told else {
        // The caller is gone, or it is none.
        return 1;
    };
    match serve(&caller, files) {
        Ok(()) => 0,
        Err(failure) => {
            // With nobody left to hear it, there is nobody to tell.
            drop(send(&caller, &failure.report(), &[]));
            1
        }
    }
}

/// A session of its own, no files but the standard ones; gives the caller's socket.
fn set_up() -> std::io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "the library does not know this call")]
    // SAFETY: nothing is open yet that this process knows of, but for the standard streams.
    unsafe {
        // Not every C library has a function for it.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
    // Whoever called may be a leader already.
    _ = setsid();
    Ok(fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?)
}

fn serve(caller: &OwnedFd, files: Vec<OwnedFd>) -> Done<()> {
    let mut files = files.into_iter();
    let plan = read_plan(files.next())?;
    // Others see by it that this command runs.
    let _mark = files.next();
    let input = match files.next() {
        Some(input) => input,
        None => open("/dev/null", OFlags::RDONLY, Mode::empty()).map_err(at("open /dev/null"))?,
    };
    rustix::stdio::dup2_stdin(&input).map_err(at("set the standard input"))?;
    drop(input);
    open_files_as_allowed();
    let guard = Guard::new(&plan)?;
    let without_mounts = WithoutMounts::new(&plan)?;
    let (up, down) = pair().map_err(at("make a socket"))?;
    let (child, view) = start(&plan, down, &up)?;
    forget_streams().map_err(at("let go of the streams"))?;
    let ended = watch(caller, &up, (&guard, view.as_ref()), child, plan.network)?;
    // What still runs without a namespace could plant something after the last look.
    for report in without_mounts.finish().into_iter().chain(guard.finish()) {
        tell(caller, &report);
    }
    tell(caller, &ended);
    // The caller knows the workspace, and looks for what was left behind; with nobody there it is done here.
    let seen_to = matches!(receive::<Request>(caller), Ok(Some((Request::Done, _))));
    if !seen_to {
        let denied = |_: &Path| false;
        let rules = Rules { denied: &denied };
        let look = |root: &Path| Scan::default().refresh(root, &rules);
        drop(disarm_new(&plan.searched, &plan.before, look));
    }
    Ok(())
}

/// A workspace may have more repositories to watch over than a process may usually have files open.
fn open_files_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it stays as it was, opening too much is an error.
    _ = setrlimit(Resource::Nofile, raised);
}

fn read_plan(file: Option<OwnedFd>) -> Done<Plan> {
    let broken = || Failure::Step {
        step: "read the plan".to_owned(),
        errno: libc::EINVAL,
    };
    let mut file = File::from(file.ok_or_else(broken)?);
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(at("read the plan"))?;
    serde_json::from_slice(&text).map_err(|_| broken())
}

/// What stands in for the namespaces in the tiers that have none.
struct WithoutMounts<'a> {
    plan: &'a Plan,
    kept: Vec<Kept>,
}

impl<'a> WithoutMounts<'a> {
    fn new(plan: &'a Plan) -> Done<Self> {
        let mut kept = Vec::new();
        if plan.tier != Tier::Full {
            set_child_subreaper(Some(getpid())).map_err(at("adopt orphans"))?;
            kept = remember(plan)?;
            if let Some(temporary) = &plan.temporary {
                make_temporary(plan, temporary.path()).map_err(at("make a temporary directory"))?;
            }
        }
        Ok(Self { plan, kept })
    }

    /// Ends everything that was started and puts everything back.
    fn finish(&self) -> Vec<Report> {
        if self.plan.tier != Tier::Full {
            process::end_descendants();
        }
        for directory in &self.plan.removed {
            // What cannot be removed is of nobody's interest.
            drop(std::fs::remove_dir_all(directory.path()));
        }
        put_back(&self.kept)
    }
}

/// A directory for temporary files, and in it a home with links to what may be read of the real one.
fn make_temporary(plan: &Plan, temporary: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, symlink};
    std::fs::DirBuilder::new().mode(0o700).create(temporary)?;
    for place in &plan.places {
        match place {
            Place::Directory { target } => std::fs::create_dir_all(target.path())?,
            Place::Link { target, to } => {
                std::fs::create_dir_all(target.path().parent().unwrap_or(temporary))?;
                symlink(to.path(), target.path())?;
            }
            Place::Bind { .. } | Place::Copy { .. } | Place::Scratch { .. } => {}
        }
    }
    Ok(())
}

/// Starts the first process of the new namespaces; gives its view, where it has one of its own.
fn start(plan: &Plan, down: OwnedFd, up: &OwnedFd) -> Done<(Pid, Option<View>)> {
    let (identity, sources) = prepare(plan)?;
    let namespaces = match plan.tier {
        Tier::Full => {
            libc::CLONE_NEWUSER
                | libc::CLONE_NEWNS
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWUTS
                | libc::CLONE_NEWCGROUP
        }
        Tier::Landlock | Tier::Off => 0,
    };
    let has_view = namespaces != 0;
    match clone(namespaces).map_err(at("make namespaces"))? {
        None => {
            // The maps must be written before anything else, and the view opened.
            if has_view && !matches!(receive::<()>(&down), Ok(Some(_))) {
                super::identity::leave(1);
            }
            inner::run(Prepared {
                plan,
                identity,
                sources,
                up: down,
            })
        }
        Some(child) => {
            drop(down);
            // Without it what is replaced is only told.
            let view = has_view.then(|| View::of(child).ok()).flatten();
            if identity.owner.is_some() {
                let both = |inside, outside| (inside, outside);
                write_maps(
                    &child.as_raw_nonzero().to_string(),
                    both(identity.inside.0, identity.outside.0),
                    both(identity.inside.1, identity.outside.1),
                )
                .map_err(at("map the user"))?;
            }
            if has_view {
                send(up, &(), &[]).map_err(at("start the first process"))?;
            }
            if let Some(maker) = sources.and_then(|sources| sources.maker) {
                reap(maker);
            }
            Ok((child, view))
        }
    }
}

/// Root becomes nobody where that is possible, which needs the mounts to be taken while it is root.
fn prepare(plan: &Plan) -> Done<(Identity, Option<Sources>)> {
    let other = if plan.tier == Tier::Full && !plan.whole_disk {
        Identity::for_root(plan.workspace.path())
    } else {
        None
    };
    let Some(identity) = other else {
        return Ok((Identity::own(), None));
    };
    match take_all(plan, identity) {
        Ok(sources) => Ok((identity, Some(sources))),
        // Some file systems cannot map owners, and in some containers root may not: then a command runs under
        // root's number, with none of root's rights.
        Err(Failure::Step { step, .. }) if step.starts_with(super::sources::MAPPING) => {
            Ok((Identity::own(), None))
        }
        Err(failure) => Err(failure),
    }
}

/// The command's output ends when the command does, not when the helper does.
fn forget_streams() -> std::io::Result<()> {
    let nowhere = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nowhere)?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    rustix::stdio::dup2_stderr(&nowhere)?;
    Ok(())
}

/// Stays until the first process has ended; passes on what is told and asked.
fn watch(
    caller: &OwnedFd,
    up: &OwnedFd,
    (guard, view): (&Guard<'_>, Option<&View>),
    child: Pid,
    network: Network,
) -> Done<Report> {
    let handle = pidfd_open(child, PidfdFlags::empty()).map_err(at("watch the first process"))?;
    let mut ended = None;
    let mut lifeline = true;
    let mut inside = true;
    let mut answerer: Option<Answerer> = None;
    loop {
        let wanted = [
            Some(handle.as_fd()),
            lifeline.then(|| caller.as_fd()),
            inside.then(|| up.as_fd()),
            guard.notices().map(Notices::file),
            answerer.as_ref().map(|answerer| answerer.asks().as_fd()),
        ];
        let told = readable(wanted).map_err(at("wait for the command"))?;
        let [over, of_caller, of_inside, of_guard, asked] = told.map(|told| !told.is_empty());
        // With nobody left to ask, reading would wait for ever.
        let asks = told.last().is_some_and(|told| told.contains(PollFlags::IN));
        if asked && !(asks && answerer.as_ref().is_some_and(Answerer::answer)) {
            answerer = None;
        }
        if of_guard {
            guard.notices().inspect(|notices| notices.drain());
            guard.sweep().iter().for_each(|report| tell(caller, report));
            view.inspect(|view| guard.cover_again(view));
        }
        if of_inside {
            match receive::<Report>(up) {
                Ok(Some((report, files))) => match report {
                    Report::Running { asks, .. } => {
                        let mut files = files;
                        if asks {
                            let loopback_only = network == Network::Loopback;
                            answerer = files.pop().map(|asks| Answerer::new(asks, loopback_only));
                        }
                        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
                        drop(send(caller, &report, &files));
                    }
                    Report::Ended { .. } => ended = Some(report),
                    report => tell(caller, &report),
                },
                _ => inside = false,
            }
            continue;
        }
        if over {
            waitpid(Some(child), WaitOptions::empty()).map_err(at("reap the first process"))?;
            return Ok(ended.unwrap_or(Report::Ended {
                status: None,
                limit: None,
            }));
        }
        if of_caller {
            match receive::<Request>(caller) {
                Ok(Some((request @ Request::Signal(_), _))) => drop(send(up, &request, &[])),
                Ok(Some((Request::Done, _))) => {}
                // Asked to end everything, or the caller is gone.
                asked => {
                    lifeline = matches!(asked, Ok(Some(_)));
                    // Ended by itself meanwhile is as good.
                    _ = pidfd_send_signal(&handle, Signal::KILL);
                }
            }
        }
    }
}

/// Waits until one of the files can be read, and tells which can.
fn readable<const N: usize>(
    wanted: [Option<BorrowedFd<'_>>; N],
) -> std::io::Result<[PollFlags; N]> {
    let mut files: Vec<PollFd<'_>> = wanted
        .iter()
        .flatten()
        .map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN))
        .collect();
    while let Err(error) = poll(&mut files, None) {
        if error != rustix::io::Errno::INTR {
            return Err(error.into());
        }
    }
    let mut polled = files.iter();
    Ok(wanted.map(|file| {
        let ready = file.and_then(|_| polled.next()).map(PollFd::revents);
        ready.unwrap_or_else(PollFlags::empty)
    }))
}

fn tell(caller: &OwnedFd, report: &Report) {
    // Nobody may be left to hear it.
    drop(send(caller, report, &[]));
}
