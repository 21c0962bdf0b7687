//! Work that several threads share and that makes more work.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The last piece that was added is taken first, which keeps few directories open.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: Vec<T>,
    /// Pieces that are being worked on and may add others.
    busy: usize,
}

/// Ends a piece when dropped, so that one that panics leaves nobody waiting.
struct Piece<'q, T> {
    queue: &'q Queue<T>,
    more: Vec<T>,
}

impl<T> Queue<T> {
    /// A queue with one piece.
    pub(super) fn new(first: T) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: vec![first],
                busy: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Works until nothing is left, here and with the others; `work` gives the pieces that a piece made.
    pub(super) fn run(&self, mut work: impl FnMut(T) -> Vec<T>) {
        while let Some(next) = self.next() {
            let mut piece = Piece {
                queue: self,
                more: Vec::new(),
            };
            piece.more = work(next);
        }
    }

    /// The next piece, waiting for one while others may still add some; `None` when all is done.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.waiting.pop() {
                state.busy += 1;
                return Some(work);
            }
            if state.busy == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Piece<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.busy -= 1;
        state.waiting.append(&mut self.more);
        drop(state);
        self.queue.changed.notify_all();
    }
}
