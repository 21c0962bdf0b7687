//! A terminal with a screen: what a program shows is what a person would see.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;

use super::apart::Apart;

/// Longer nothing is waited for: it is a bound against hangs, not a measure.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A program on a terminal.
pub struct Terminal {
    session: OsSession,
    keyboard: File,
    seen: Arc<Seen>,
    _apart: Apart,
}

struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    /// Everything that was written to it.
    written: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Starts a program on a terminal of so many columns and rows.
    ///
    /// The command has an environment of its own: what it names and nothing else.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a command is made to be started"
    )]
    pub fn start(command: Command, columns: u16, rows: u16) -> Self {
        let apart = Apart::terminal();
        // The terminal is as it should be before the program looks at it. The size is given to it from here, after
        // whoever made the terminal gave it one of its own, which may be later than the shell begins.
        let mut prepared = Command::new("/bin/sh");
        prepared
            .arg("-c")
            .arg("read -r go; stty echo; exec \"$@\"")
            .arg("sh")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::inherit());
        if let Some(directory) = command.get_current_dir() {
            prepared.current_dir(directory);
        }
        let mut session = OsSession::spawn(prepared).expect("the program starts");
        let process = session.get_process_mut();
        process.set_window_size(columns, rows).expect("a window");
        let mut output = process.get_raw_handle().expect("the terminal");
        let mut keyboard = process.get_raw_handle().expect("the terminal");
        keyboard.write_all(b"\n").expect("a keyboard");
        let seen = Arc::new(Seen {
            state: Mutex::new(State {
                parser: parser(columns, rows),
                written: Vec::new(),
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let shown = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of a terminal is an error on Linux.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut state = shown.state();
                state.parser.process(&bytes[..count]);
                state.written.extend_from_slice(&bytes[..count]);
                drop(state);
                shown.changed.notify_all();
            }
            shown.state().ended = true;
            shown.changed.notify_all();
        });
        Self {
            session,
            keyboard,
            seen,
            _apart: apart,
        }
    }

    /// Presses keys.
    pub fn keys(&mut self, keys: &str) {
        self.bytes(keys.as_bytes());
    }

    /// Sends what a terminal sends that knows no UTF-8.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.keyboard.write_all(bytes).expect("a keyboard");
    }

    /// Types a line at a prompt, sees it there and presses Enter.
    #[track_caller]
    pub fn line(&mut self, text: &str) {
        self.keys(text);
        let tail: String = text
            .chars()
            .skip(text.chars().count().saturating_sub(10))
            .collect();
        self.wait(&format!("`{text}` typed"), |screen| {
            before_cursor(screen).ends_with(tail.trim_end())
        });
        let typed = row_at_cursor(self.seen.state().parser.screen());
        self.keys("\r");
        self.wait(&format!("`{text}` taken"), |screen| {
            row_at_cursor(screen) != typed
        });
    }

    /// Waits for an empty prompt, the cursor behind it.
    #[track_caller]
    pub fn prompt(&self, prompt: &str) {
        self.wait(&format!("the prompt `{prompt}`"), |screen| {
            row_at_cursor(screen).trim_end() == prompt
                && usize::from(screen.cursor_position().1) == prompt.len() + 1
        });
    }

    /// Waits until this, and nothing more, stands between the beginning of the row and the cursor.
    #[track_caller]
    pub fn typed(&self, text: &str) {
        self.wait(&format!("`{text}` before the cursor"), |screen| {
            before_cursor(screen) == text.trim_end()
        });
    }

    /// Waits until a text stands on the screen.
    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.wait(&format!("`{text}`"), |screen| {
            screen.contents().contains(text)
        });
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    pub fn wait(&self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.seen.state();
        while !is_so(state.parser.screen()) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !state.ended,
                "no {what} on the screen{}:\n{}",
                if state.ended {
                    " (the program ended)"
                } else {
                    ""
                },
                state.parser.screen().contents()
            );
            state = self
                .seen
                .changed
                .wait_timeout(state, left)
                .expect("no panic")
                .0;
        }
    }

    /// What stands on the screen, without blanks at the ends of lines.
    pub fn screen(&self) -> String {
        let state = self.seen.state();
        let screen = state.parser.screen();
        let (_, columns) = screen.size();
        let rows: Vec<String> = screen
            .rows(0, columns.get())
            .map(|row| row.trim_end().to_owned())
            .collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Everything that was written to the terminal, escape sequences included.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.seen.state().written).into_owned()
    }

    /// Whether the program has asked to be told what is pasted.
    pub fn bracketed_paste(&self) -> bool {
        self.seen.state().parser.screen().bracketed_paste()
    }

    /// Gives the window another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        let process = self.session.get_process_mut();
        process.set_window_size(columns, rows).expect("a window");
        self.seen
            .state()
            .parser
            .screen_mut()
            .set_size(size(rows), size(columns));
    }

    /// The process.
    pub fn id(&self) -> i32 {
        self.session.get_process().pid().as_raw()
    }

    /// Waits for the end of the program, which is with this exit code.
    #[track_caller]
    pub fn ends(self, code: i32) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.seen.state();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            let contents = state.parser.screen().contents();
            assert!(!left.is_zero(), "the program goes on:\n{contents}");
            state = self
                .seen
                .changed
                .wait_timeout(state, left)
                .expect("no panic")
                .0;
        }
        drop(state);
        let status = self.session.get_process().wait().expect("its end");
        assert!(
            matches!(status, WaitStatus::Exited(_, exit) if exit == code),
            "{status:?}:\n{}",
            self.screen()
        );
    }
}

impl Seen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

fn parser(columns: u16, rows: u16) -> vt100::Parser {
    vt100::Parser::new(size(rows), size(columns), 0)
}

fn size(cells: u16) -> std::num::NonZeroU16 {
    cells.try_into().expect("more than none")
}

fn before_cursor(screen: &vt100::Screen) -> String {
    let (row, column) = screen.cursor_position();
    let mut rows = screen.rows(0, column);
    rows.nth(usize::from(row))
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}

fn row_at_cursor(screen: &vt100::Screen) -> String {
    let (_, columns) = screen.size();
    let row = usize::from(screen.cursor_position().0);
    screen.rows(0, columns.get()).nth(row).unwrap_or_default()
}
