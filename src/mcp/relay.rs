//! The relay: the MCP server that an agent CLI starts. It passes bytes between its standard streams
//! and the socket of the `orch` that runs the CLI, and understands none of them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

/// The hidden subcommand that runs the relay; the socket's path follows.
pub const SUBCOMMAND: &str = "__relay";

/// Runs the relay when the arguments of the program ask for it.
pub fn is_asked(args: &[OsString]) -> Option<ExitCode> {
    match args {
        [_, word, socket] if word == SUBCOMMAND => Some(match run(Path::new(socket)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        }),
        _ => None,
    }
}

/// Passes bytes both ways until either side ends. Plain threads: it starts in a moment and needs no
/// runtime.
///
/// # Errors
/// When the socket cannot be reached, or breaks.
fn run(socket: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    relay(stream, input, output)
}

pub(super) fn relay(stream: UnixStream, mut input: File, mut output: File) -> io::Result<()> {
    let mut to_orch = stream.try_clone()?;
    // Ends with the process when the other direction is done first.
    std::thread::Builder::new()
        .name("relay".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            let copied = pass(&mut input, &mut to_orch);
            let ended = to_orch.shutdown(Shutdown::Write);
            copied.and(ended)
        })?;
    let mut from_orch = stream;
    pass(&mut from_orch, &mut output)
}

/// Copies until the end. Not `io::copy`: that splices, and a splice from a quiet socket holds the
/// lock of the pipe, so that what it had written before cannot be read.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}
