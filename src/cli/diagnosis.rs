//! What the program does, line by line, for whoever asks: `-v`, `-vv`, `RUST_LOG`, `--log-file`. A plain
//! start sets nothing of it up.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::args::Cli;
use super::log_file::LogFile;
use crate::config::Env;
use crate::error::{ErrorClass, OrchError};
use crate::redact::Redactor;
use crate::render;

/// The redactor of everything that is told; it learns when the configuration is read.
pub(super) type SharedRedactor = Arc<Mutex<Redactor>>;

/// Begins to tell what is asked for.
///
/// # Errors
/// When the log file cannot be written.
pub(super) fn begin(cli: &Cli, env: &Env, redactor: &SharedRedactor) -> Result<(), OrchError> {
    let variable = env.process("RUST_LOG");
    let path = cli.common.log_file.as_deref();
    let verbose = cli.common.verbose;
    if verbose == 0 && variable.is_none() && path.is_none() {
        return Ok(());
    }
    let asked = variable.and_then(|text| {
        let parsed = text.to_str().and_then(|text| text.parse::<Targets>().ok());
        if parsed.is_none() {
            render::stderr_line(
                "note: `RUST_LOG` is not understood; it is written like `orch=debug,hyper=info`",
            );
        }
        parsed
    });
    let own = |level| Targets::new().with_target("orch", level);
    let on_stderr = match verbose {
        _ if asked.is_some() => asked.clone(),
        0 => None,
        1 => Some(own(LevelFilter::INFO)),
        _ => Some(own(LevelFilter::DEBUG)),
    };
    let stderr = on_stderr.filter(|_| !cli.output.quiet).map(|filter| {
        fmt::layer()
            .with_ansi(false)
            .with_writer(Lines::new(redactor, Sink::Stderr))
            .with_filter(filter)
    });
    let file = match path {
        None => None,
        Some(path) => {
            let file = LogFile::open(path).map_err(|error| {
                let words = format!("the log `{}` cannot be written", path.display());
                OrchError::new(ErrorClass::Usage, words)
                    .caused_by(&error)
                    .with_hint("name a file in a directory that is there and that you may write to")
            })?;
            let filter = asked.unwrap_or_else(|| own(LevelFilter::DEBUG));
            let layer = fmt::layer()
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_writer(Lines::new(redactor, Sink::File(Mutex::new(file))));
            Some(layer.with_filter(filter))
        }
    };
    let subscriber = Registry::default().with(stderr).with(file);
    // There is one process and one call of this.
    _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Where lines go; each passes the redactor.
struct Lines {
    redactor: SharedRedactor,
    sink: Sink,
}

enum Sink {
    Stderr,
    File(Mutex<LogFile>),
}

impl Lines {
    fn new(redactor: &SharedRedactor, sink: Sink) -> Self {
        Self {
            redactor: Arc::clone(redactor),
            sink,
        }
    }
}

impl Write for &Lines {
    /// Takes a whole line, as the layers write it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let redactor = self.redactor.lock().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |redactor| redactor.clone(),
        );
        let masked = redactor.mask(&text);
        match &self.sink {
            Sink::Stderr => render::stderr_line(masked.trim_end_matches('\n')),
            Sink::File(file) => file
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(masked.as_bytes())?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
