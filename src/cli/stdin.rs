//! The prompt of a call: from the flags, from files, from standard input.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use super::args::PromptArgs;
use super::signals::{Signals, stopped};
use crate::agents::prompt;
use crate::error::{ErrorClass, OrchError};
use crate::render;

/// After this long it is said that standard input is waited for.
const SILENT_WAIT: Duration = Duration::from_secs(3);

/// More than this is no prompt: the largest windows of models hold a tenth of it.
const LARGEST: u64 = 64 << 20;

/// The whole prompt of a call; `None` when none was given at all.
///
/// # Errors
/// When a file or standard input cannot be read as text, or there is nothing to ask.
pub(super) async fn prompt(args: &PromptArgs) -> Result<Option<String>, OrchError> {
    let from_stdin = args.stdin.is_some() || args.prompt.as_deref() == Some("-");
    let written = match (&args.prompt, &args.prompt_file) {
        (Some(text), _) if !from_stdin => Some(text.clone()),
        (_, Some(path)) => Some(read_file(path).await?),
        _ => None,
    };
    if written.is_none() && !from_stdin {
        return Ok(None);
    }
    let context = match &args.context {
        Some(path) => Some(read_file(path).await?),
        None => None,
    };
    let piped = if from_stdin || !args.no_stdin {
        read_stdin(from_stdin).await?
    } else {
        None
    };
    let text = match &written {
        Some(written) => prompt::user(context.as_deref(), written, piped.as_deref()),
        None => prompt::user(
            context.as_deref(),
            piped.as_deref().unwrap_or_default().trim_end(),
            None,
        ),
    };
    let asked = written.as_deref().unwrap_or_default().trim().is_empty()
        && piped.as_deref().unwrap_or_default().trim().is_empty();
    if asked {
        return Err(
            OrchError::new(ErrorClass::Usage, "the prompt is empty").with_hint(
                "give one with `--prompt TEXT`, `--prompt-file FILE` or on standard input",
            ),
        );
    }
    Ok(Some(text))
}

async fn read_file(path: &Path) -> Result<String, OrchError> {
    let read = if path.is_file() {
        read_all(path)
    } else {
        // A pipe, say, whose end may never come.
        let path = path.to_owned();
        on_a_thread("prompt", move || read_all(&path)).await?
    };
    let bytes = read.map_err(|error| {
        OrchError::new(
            ErrorClass::Usage,
            format!("cannot read `{}`", path.display()),
        )
        .caused_by(&error)
        .with_hint("name a text file that is there and that you may read")
    })?;
    text(bytes, &format!("`{}`", path.display()))
}

fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    bounded(std::fs::File::open(path)?)
}

/// All of it, or so much that it is seen to be too large.
fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Does what may take for ever on a thread of its own, which a run that is stopped leaves behind.
async fn on_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OrchError> {
    let failed = || OrchError::new(ErrorClass::Failed, format!("cannot read the {name}"));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread
        .spawn(move || drop(sender.send(work())))
        .map_err(|error| failed().caused_by(&error))?;
    receiver.await.map_err(|_| failed())
}

/// The same, unless a signal comes first.
///
/// # Errors
/// When a signal came, or there is no thread.
pub(super) async fn beside<T: Send + 'static>(
    signals: &Signals,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OrchError> {
    tokio::select! {
        biased;
        cause = signals.cancel.cancelled() => Err(stopped(cause)),
        done = on_a_thread("configuration", work) => done,
    }
}

fn text(bytes: Vec<u8>, what: &str) -> Result<String, OrchError> {
    if bytes.len() as u64 > LARGEST {
        let words = format!("{what} is larger than {} MiB", LARGEST >> 20);
        return Err(OrchError::new(ErrorClass::Usage, words).with_hint(
            "put it into a file of the workspace: an agent with the tool `read` reads it in parts",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        OrchError::new(
            ErrorClass::Usage,
            format!("{what} is not UTF-8 text: byte {} is wrong", at + 1),
        )
        .with_hint("convert it first, for example with `iconv -f latin1 -t utf-8`")
    })
}

/// Standard input to its end; `None` when it is a terminal that nobody asked to read.
async fn read_stdin(wanted: bool) -> Result<Option<String>, OrchError> {
    let stdin = std::io::stdin();
    if (stdin.is_terminal() && !wanted) || is_null(&stdin) {
        return Ok(None);
    }
    let read = on_a_thread("standard input", || bounded(std::io::stdin().lock()));
    tokio::pin!(read);
    let quick = tokio::time::timeout(SILENT_WAIT, &mut read).await;
    let received = if let Ok(received) = quick {
        received
    } else {
        render::stderr_line("waiting for standard input (use --no-stdin to leave it alone)");
        read.await
    };
    match received? {
        Ok(bytes) => text(bytes, "standard input").map(Some),
        // A closed standard input is an empty one.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
        Err(error) => {
            Err(OrchError::new(ErrorClass::Usage, "cannot read standard input").caused_by(&error))
        }
    }
}

/// Whether it is `/dev/null`, which most scripts and services have: nothing to wait for.
fn is_null(stdin: &std::io::Stdin) -> bool {
    let (Ok(stdin), Ok(null)) = (rustix::fs::fstat(stdin), rustix::fs::stat("/dev/null")) else {
        return false;
    };
    stdin.st_rdev == null.st_rdev && stdin.st_rdev != 0
}
