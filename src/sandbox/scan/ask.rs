//! Asks for the change times of all directories of a remembered tree, on several threads where there are many:
//! one call takes the kernel a microsecond.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;

use super::seen::Seen;
use super::tree::{Node, push};

/// So many directories are worth a thread.
const WORTH_A_THREAD: usize = 300;

/// More threads than this wait for one another in the kernel.
const MOST_THREADS: usize = 4;

/// Notes for each directory whether it is unchanged; nothing in a small tree.
pub(super) fn ask(workspace: BorrowedFd<'_>, root: &mut Node, directories: usize) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let shares = (directories / WORTH_A_THREAD)
        .min(processors)
        .min(MOST_THREADS);
    if shares < 2 {
        return;
    }
    let tree = &*root;
    let share = move |own: usize| {
        let mut share = Share {
            workspace,
            next: shares - own,
            shares,
            path: Vec::new(),
            answers: Vec::with_capacity(directories / shares + 1),
        };
        share.visit(tree);
        share.answers
    };
    let answers: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..shares)
            .map(|own| scope.spawn(move || share(own)))
            .collect();
        let first = share(0);
        let others = others.into_iter().map(std::thread::ScopedJoinHandle::join);
        // Whatever was not answered is asked again.
        std::iter::once(first)
            .chain(others.map(Result::unwrap_or_default))
            .collect()
    });
    tell(root, &mut 0, &answers);
}

/// The part of one thread: every so many directories, in the order of the tree.
struct Share<'w> {
    workspace: BorrowedFd<'w>,
    /// How many directories until the next one that is asked for.
    next: usize,
    shares: usize,
    path: Vec<u8>,
    answers: Vec<bool>,
}

impl Share<'_> {
    fn visit(&mut self, node: &Node) {
        if self.next == self.shares {
            self.next = 0;
            self.answers.push(is_same(self.workspace, &self.path, node));
        }
        self.next += 1;
        let length = self.path.len();
        for child in &node.children {
            push(&mut self.path, &child.name);
            self.visit(child);
            self.path.truncate(length);
        }
    }
}

/// Whether a directory is the one that was read, and unchanged.
pub(super) fn is_same(workspace: BorrowedFd<'_>, path: &[u8], node: &Node) -> bool {
    let path = if path.is_empty() { b"." } else { path };
    Seen::at(workspace, OsStr::from_bytes(path)).is_ok_and(|seen| seen == node.seen)
}

fn tell(node: &mut Node, at: &mut usize, answers: &[Vec<bool>]) {
    node.is_same = at
        .checked_rem(answers.len())
        .and_then(|share| answers.get(share)?.get(*at / answers.len()).copied());
    *at += 1;
    for child in &mut node.children {
        tell(child, at, answers);
    }
}
