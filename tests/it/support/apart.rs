//! Keeps programs on terminals and what drives the Claude CLI in this process apart. The driver ends what it takes for
//! orphans of its own, and a program on a terminal is a child of this process in a session of its own, as they are.

use std::sync::{Condvar, Mutex, PoisonError};

/// How many of one kind are there: terminals above zero, drivers below.
static THERE: Mutex<i32> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

/// One of them, from when none of the other kind is there; drop it when it is over.
pub struct Apart(i32);

impl Apart {
    /// A program on a terminal.
    pub fn terminal() -> Self {
        Self::enter(1)
    }

    /// A driver in this process.
    pub fn driver() -> Self {
        Self::enter(-1)
    }

    fn enter(kind: i32) -> Self {
        let there = THERE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = CHANGED
            .wait_while(there, |there| *there * kind < 0)
            .unwrap_or_else(PoisonError::into_inner);
        *there += kind;
        Self(kind)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        *THERE.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        CHANGED.notify_all();
    }
}
