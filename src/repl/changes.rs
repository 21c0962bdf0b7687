//! What the turns of a session did to files: shown, and taken back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Repl;
use crate::error::{ErrorClass, OrchError};
use crate::render;
use crate::tools::{self, Before, KeptChange, Program};

/// Bytes of former contents that a session keeps; the oldest turn is forgotten first.
const MOST: usize = 128 * 1024 * 1024;

/// Names of files that are listed.
const LISTED: usize = 20;

/// Programs that are named.
const NAMED: usize = 3;

/// A line of the session that changed files, or ran programs that may have.
pub(super) struct Changed {
    /// The line, as it was typed.
    line: String,
    changes: Vec<KeptChange>,
    programs: Vec<Program>,
    /// The files that were gone when they had run.
    removed: BTreeSet<PathBuf>,
    /// It was said already why what is left of it cannot be taken back.
    refused: bool,
}

impl Repl<'_> {
    /// Keeps what was changed since the last time, as the work of a line.
    pub(super) fn keep_changes(&mut self, line: &str) {
        let mut changes = self.changes.take();
        // Calls run side by side; the order of one file stays.
        changes.sort_by(|one, other| one.name().cmp(other.name()));
        let mut programs = self.changes.take_programs();
        if changes.is_empty() && programs.is_empty() {
            return;
        }
        self.changed.push(Changed {
            line: line.to_owned(),
            changes,
            removed: tools::removed(&mut programs),
            programs,
            refused: false,
        });
        let size = |turn: &Changed| turn.changes.iter().map(KeptChange::size).sum::<usize>();
        while self.changed.len() > 1 && self.changed.iter().map(size).sum::<usize>() > MOST {
            self.changed.remove(0);
        }
    }

    /// `/undo`: makes files what they were before the last turn that changed any.
    pub(super) fn undo(&mut self) -> Result<(), OrchError> {
        loop {
            self.forget_what_changed_nothing();
            let turn = self.changed.pop().ok_or_else(nothing)?;
            if self.undo_turn(turn)? {
                return Ok(());
            }
        }
    }

    /// Takes a turn back; whether there was anything to do. What was refused before is tried once more and passed over
    /// then, so that it does not stand before everything that was changed earlier.
    fn undo_turn(&mut self, mut turn: Changed) -> Result<bool, OrchError> {
        let unknown = self.unknown(&turn);
        if turn.changes.is_empty() {
            let words = format!(
                "`{}` {}",
                first_line(&turn.line),
                unknown.unwrap_or_default()
            );
            return Err(OrchError::new(ErrorClass::Failed, words)
                .with_hint("`/undo` once more takes back what was changed before it"));
        }
        if let Some(words) = unknown.filter(|_| !turn.refused) {
            self.aside(&format!("note: the turn {words}"));
        }
        let mut is_done = false;
        let mut refused = Vec::new();
        let mut undone = Vec::new();
        for change in turn.changes.drain(..).rev() {
            let name = render::in_line(&change.name().to_string_lossy());
            match change.undo() {
                Ok(is_changed) => {
                    let is_new = *change.before() == Before::Absent;
                    self.say(&match (is_changed, is_new) {
                        (true, true) => format!("removed {name}"),
                        (true, false) => format!("restored {name}"),
                        (false, _) => format!("{name} is as it was before"),
                    });
                    is_done = true;
                    undone.push(change);
                }
                Err(error) => refused.push((error.to_string(), change)),
            }
        }
        let made = |change| {
            KeptChange::made(change)
                .iter()
                .map(move |path| (path, change))
        };
        let mut made: Vec<_> = undone.iter().flat_map(made).collect();
        // What lies in a directory stands behind it.
        made.sort_by_key(|(path, _)| std::cmp::Reverse(*path));
        for (path, change) in made {
            change.remove_empty(path);
        }
        if refused.is_empty() || turn.refused {
            return Ok(is_done);
        }
        let words: Vec<&str> = refused.iter().map(|(words, _)| words.as_str()).collect();
        let error = OrchError::new(ErrorClass::Failed, words.join("\n  "))
            .with_hint("`/diff` shows what is different from before the turn; `/undo` once more passes over it");
        // What could not be taken back stays to be looked at, and to be tried again.
        turn.changes = refused
            .into_iter()
            .rev()
            .map(|(_, change)| change)
            .collect();
        turn.refused = true;
        self.changed.push(turn);
        Err(error)
    }

    /// Drops the last turns that ran programs and left every file as it was.
    fn forget_what_changed_nothing(&mut self) {
        let nothing = |turn: &Changed| turn.changes.is_empty() && self.touched(turn).is_empty();
        let kept = self.changed.iter().rposition(|turn| !nothing(turn));
        self.changed.truncate(kept.map_or(0, |last| last + 1));
    }

    /// Files that were changed while programs of a turn ran, but for those that are written by the session itself.
    fn touched(&self, turn: &Changed) -> BTreeSet<PathBuf> {
        let config = self.orchestrator.config();
        let own = [&config.logs_dir, &config.outputs_dir, &config.state_dir];
        tools::touched(&turn.programs, &own.map(PathBuf::as_path))
    }

    /// What programs of a turn changed, as far as that can be told.
    fn unknown(&self, turn: &Changed) -> Option<String> {
        if turn.programs.is_empty() {
            return None;
        }
        let config = self.orchestrator.config();
        let workspace = &config.working_dir;
        let by_tools = |name: &Path| turn.changes.iter().any(|change| change.name() == name);
        let is_gone = |path: &&PathBuf| path.symlink_metadata().is_err();
        let gone: Vec<&PathBuf> = turn.removed.iter().filter(is_gone).collect();
        let mut touched = self.touched(turn);
        // The mark of a removal on its directory says less than the name.
        touched.retain(|path| !gone.iter().any(|gone| gone.parent() == Some(path)));
        let named = |path: &Path| {
            let path = path.strip_prefix(workspace).unwrap_or(path);
            let name = (!by_tools(path)).then(|| render::in_line(&path.to_string_lossy()))?;
            Some(if name.is_empty() {
                "./".to_owned()
            } else {
                name
            })
        };
        let removed = gone
            .iter()
            .filter_map(|path| Some(format!("{} (removed)", named(path)?)));
        let files: Vec<String> = removed
            .chain(touched.iter().filter_map(|path| named(path)))
            .collect();
        if files.is_empty() {
            return None;
        }
        let programs: Vec<String> = turn
            .programs
            .iter()
            .map(|program| format!("`{}`", first_line(program.words())))
            .collect();
        Some(format!(
            "ran {}: what commands change is not kept and stays as it is; changed meanwhile: {}",
            listed(&programs, NAMED),
            listed(&files, LISTED)
        ))
    }

    /// `/diff`: what files were before the last turn that changed any, and what they are now.
    pub(super) fn diff(&mut self) -> Result<(), OrchError> {
        self.forget_what_changed_nothing();
        let turn = self.changed.last().ok_or_else(nothing)?;
        let style = self.call.screen.out;
        let mut text = style.dim(&format!("since: {}\n", first_line(&turn.line)));
        if let Some(words) = self.unknown(turn) {
            text.push_str(&style.yellow(&self.call.screen.wrapped(&format!("it {words}\n"))));
        }
        for change in &turn.changes {
            let name = render::in_line(&change.name().to_string_lossy());
            let now = match change.now() {
                Ok(now) => now,
                Err(error) => {
                    text.push_str(&format!(
                        "{name}: {}\n",
                        render::in_line(&error.to_string())
                    ));
                    continue;
                }
            };
            if !change.is_as_left(&now) {
                text.push_str(&style.yellow(&format!("{name} was changed since\n")));
            }
            let large = Before::TooLarge;
            if *change.before() == large || now == large {
                text.push_str(&format!("{name} is too large to be compared\n"));
                continue;
            }
            text.push_str(&render::diff(
                &name,
                content(change.before()),
                content(&now),
                style,
            ));
        }
        self.print_styled(self.orchestrator.redactor().mask(&text).trim_end());
        Ok(())
    }
}

fn content(held: &Before) -> Option<&[u8]> {
    match held {
        Before::Content(bytes) => Some(bytes),
        Before::Absent | Before::TooLarge => None,
    }
}

/// The first of some names, and how many more there are.
fn listed(names: &[String], most: usize) -> String {
    let shown = names.get(..most).unwrap_or(names).join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn first_line(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn nothing() -> OrchError {
    OrchError::new(
        ErrorClass::Usage,
        "there is no change of a file to show or take back",
    )
    .with_hint("`!command` is your own and not looked at")
}
