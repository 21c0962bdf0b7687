//! Room for what many agents need at the same time: open files and memory, made once and not piece by piece.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are needed beside those of the agents.
const SPARE_FILES: usize = 64;

/// The memory of an agent that waits for its answer, bytes.
#[cfg(target_env = "gnu")]
const AGENT: usize = 48 << 10;

/// The most memory for which room is made at once, bytes.
#[cfg(target_env = "gnu")]
const MOST: usize = 512 << 20;

/// The size of a large page, bytes.
#[cfg(target_env = "gnu")]
const LARGE_PAGE: usize = 2 << 20;

/// Many agents at once need many open files: the soft limit goes up to the hard one.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Where it cannot be raised, fewer agents run at once.
        _ = setrlimit(Resource::Nofile, raised);
    }
}

/// How many agents may run at once, by the files that may be open.
pub(crate) fn at_once() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let limit = usize::try_from(limit.unwrap_or(1 << 20)).unwrap_or(usize::MAX);
    limit.saturating_sub(SPARE_FILES).max(1)
}

/// Makes room for so many agents before the first of them begins, while the program has one thread; on a terminal there
/// is a second one already, that asks about approvals.
pub(super) fn reserve(agents: usize) {
    let agents = at_once().min(agents);
    reserve_files(agents);
    #[cfg(target_env = "gnu")]
    reserve_memory(agents.saturating_mul(AGENT).min(MOST));
}

/// Makes room for the open files of so many agents. With more than one thread each growth of the kernel's table waits
/// for all processors, some 10 ms: with a thousand agents twice, or once where it is made here.
///
/// Source: Linux, `fs/file.c`, `expand_fdtable`.
fn reserve_files(agents: usize) {
    let last = i32::try_from(agents + SPARE_FILES - 1).unwrap_or(i32::MAX);
    // Closed at once; where it is refused, the table grows when it must.
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), last));
}

/// Lets the heap grow by so many bytes at a time, and keep as many that are free. By default it does so by 132 KiB,
/// and what a thousand agents need takes hundreds of calls; what is not touched costs nothing.
#[cfg_attr(
    not(target_env = "gnu"),
    expect(unused_variables, reason = "other C libraries have no such setting")
)]
pub(super) fn expect_growth(bytes: usize) {
    #[cfg(target_env = "gnu")]
    set(libc::M_TOP_PAD, bytes);
}

/// Has the heap grow by so many bytes now, of large pages where the system has them: a thousand agents touch 12,000
/// small ones, each of which takes the kernel more than a microsecond.
///
/// Source: Linux, `Documentation/admin-guide/mm/transhuge.rst`; glibc, `sysmalloc`.
#[cfg(target_env = "gnu")]
fn reserve_memory(bytes: usize) {
    /// Below the size from which memory is no part of the heap, 128 KiB.
    const PIECE: usize = 120 << 10;
    /// More of them than reading a configuration leaves free.
    const PIECES: usize = 1_000;
    if bytes < 2 * LARGE_PAGE {
        return;
    }
    // What is given back before it was used would have to grow again.
    set(libc::M_TRIM_THRESHOLD, libc::c_int::MAX as usize);
    set(libc::M_TOP_PAD, bytes);
    #[expect(unsafe_code, reason = "nothing else says where the heap ends")]
    // SAFETY: where the heap ends is only asked; the pieces are not touched and are given back, and null may be. The
    // advice is about whole pages between two ends of the heap, and changes nothing that is in them.
    unsafe {
        let before = libc::sbrk(0);
        let mut pieces = Vec::new();
        // What is free already is used first.
        while libc::sbrk(0) == before && pieces.len() < PIECES {
            pieces.push(libc::malloc(PIECE));
        }
        let after = libc::sbrk(0);
        for piece in pieces {
            libc::free(piece);
        }
        let first = before.addr().next_multiple_of(LARGE_PAGE);
        let length = after.addr().saturating_sub(first) / LARGE_PAGE * LARGE_PAGE;
        if length > 0 {
            let large = before.with_addr(first);
            let advised = libc::madvise(large, length, libc::MADV_HUGEPAGE);
            tracing::debug!(length, advised, "the heap has grown");
        }
    }
    expect_growth(1 << 20);
}

#[cfg(target_env = "gnu")]
fn set(what: libc::c_int, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    #[expect(unsafe_code, reason = "the library does not know this call")]
    // SAFETY: it takes two numbers and changes only what the allocator does from then on.
    let taken = unsafe { libc::mallopt(what, bytes) };
    if taken == 0 {
        tracing::debug!(what, "the heap grows as it does by default");
    }
}
