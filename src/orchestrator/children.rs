//! The children of programs that share a store: what one that was killed has left is ended by the next one.

use rusqlite::params;

use crate::process::{Fate, Program, after_last_child, before_first_child};
use crate::store::{Durability, Store, Transaction};

/// Ends what programs that were killed have left, and has this one noted before it starts its first child.
///
/// Costs one query where nothing is left. What cannot be written is no fault: the marks stay, and the next
/// program looks again.
pub(super) fn watch(store: &Store) {
    let known = store.clone();
    store.submit(Durability::Normal, read, move |programs| {
        for program in programs.unwrap_or_default() {
            let is_over = match program.fate() {
                Fate::MayRun => false,
                Fate::Ended => program.end_leftovers(),
                Fate::LongGone => true,
            };
            if is_over {
                remove(&known, program);
            }
        }
    });
    let store = store.clone();
    before_first_child(move |program| add(&store, program));
}

/// Forgets this program, all of whose children have ended.
pub(super) fn unwatch(store: &Store) {
    if let Some(program) = after_last_child() {
        remove(store, program);
    }
}

fn read(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<Program>> {
    transaction
        .prepare_cached("SELECT mark, process_id, started, boot, namespace FROM parents")?
        .query_map([], |row| {
            Ok(Program {
                mark: row.get(0)?,
                pid: row.get(1)?,
                started: row.get(2)?,
                boot: row.get(3)?,
                namespace: row.get(4)?,
            })
        })?
        .collect()
}

fn add(store: &Store, program: Program) {
    // Nobody waits for it: a child that nobody remembers is better than none that starts.
    drop(store.write(Durability::Normal, move |transaction| {
        let Program {
            mark,
            pid,
            started,
            boot,
            namespace,
        } = program;
        transaction.execute(
            "INSERT OR REPLACE INTO parents (mark, process_id, started, boot, namespace)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![mark, pid, started, boot, namespace],
        )
    }));
}

fn remove(store: &Store, program: Program) {
    drop(store.write(Durability::Normal, move |transaction| {
        transaction.execute("DELETE FROM parents WHERE mark = ?1", [program.mark])
    }));
}
