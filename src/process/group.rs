//! Whether somebody would let this process go on that was stopped.

use super::table::{Process, process};

/// Whether this process has a shell above it: an ancestor in the same session that put it into a group of its own.
/// Without one nobody lets it go on, and the kernel stops no such program for Ctrl-Z.
///
/// Source: POSIX, "Orphaned Process Group".
pub(crate) fn can_be_resumed() -> bool {
    i32::try_from(std::process::id()).is_ok_and(|own| has_shell(own, process))
}

/// Asks `/proc`, not the kernel's calls: what stands outside of a container has the number 0 there.
fn has_shell(own: i32, process: impl Fn(i32) -> Option<Process>) -> bool {
    let Some(own) = process(own) else {
        return false;
    };
    let mut above = process(own.parent);
    while let Some(ancestor) = above {
        if ancestor.group != own.group {
            return ancestor.session == own.session;
        }
        above = process(ancestor.parent);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the last of these processes has a shell, each told by its number, parent, group and session.
    fn answer(table: &[(i32, i32, i32, i32)]) -> bool {
        has_shell(table.last().unwrap().0, |pid| {
            let (pid, parent, group, session) = *table.iter().find(|row| row.0 == pid)?;
            Some(Process {
                pid,
                parent,
                group,
                session,
                zombie: false,
                started: 0,
                marker: None,
            })
        })
    }

    #[test]
    fn shells_above() {
        let terminal = (1, 0, 1, 1);
        let shell = (5, 1, 5, 5);
        for (table, expected) in [
            // Started by a shell with job control, itself or by a script.
            (&[terminal, shell, (9, 5, 9, 5)][..], true),
            (&[terminal, shell, (8, 5, 8, 5), (9, 8, 8, 5)], true),
            // The first of its terminal, started from another session.
            (&[terminal, (9, 1, 9, 9)], false),
            (&[terminal, shell, (9, 5, 5, 5)], false),
            // The parent ended, or stands outside of the container.
            (&[(9, 7, 9, 9)], false),
            (&[(9, 0, 0, 0)], false),
            (&[(1, 0, 1, 1)], false),
            // Started by what another session outside of the container has started.
            (&[(1, 0, 0, 0), (9, 1, 9, 9)], false),
            (&[(1, 0, 0, 0), shell, (9, 5, 9, 5)], true),
        ] {
            assert_eq!(answer(table), expected, "{table:?}");
        }
    }
}
