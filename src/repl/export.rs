//! `/export`: the conversation as a file of its own.

use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Repl;
use super::commands::{unreadable, usage};
use crate::error::{ErrorClass, OrchError};
use crate::sessions;

/// How a conversation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Markdown,
    Json,
}

impl Repl<'_> {
    pub(super) fn export(&self, file: &str) -> Result<(), OrchError> {
        if file.is_empty() {
            return Err(usage(
                "`/export` needs a file",
                "its ending says the form: .md or .json",
            ));
        }
        let path = self.call.env.expand(file);
        let form = form(&path).ok_or_else(|| {
            usage(
                format!("`/export` cannot write `{file}`"),
                "the ending of the file says the form: .md or .json",
            )
        })?;
        let (session, messages) = self.said("there is nothing to export")?;
        // The whole of it, also where older turns have given way to a summary.
        let whole = self
            .orchestrator
            .store()
            .map(|store| sessions::transcript(store, session));
        let whole = whole.transpose().map_err(|error| unreadable(&error))?;
        let messages = whole.as_ref().unwrap_or(messages);
        let text = match form {
            Form::Json => format!("{:#}\n", sessions::json(session, messages)),
            Form::Markdown => sessions::markdown(session, messages),
        };
        write_new(&path, text.as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => OrchError::new(
                ErrorClass::Failed,
                format!("`{file}` is there already and stays as it is"),
            )
            .with_hint("give another name, or remove it first"),
            _ => OrchError::new(ErrorClass::Failed, format!("cannot write `{file}`"))
                .caused_by(&error),
        })?;
        self.say(&format!("wrote {file}"));
        Ok(())
    }
}

fn form(path: &Path) -> Option<Form> {
    match path.extension()?.to_str()? {
        "md" => Some(Form::Markdown),
        "json" => Some(Form::Json),
        _ => None,
    }
}

/// Writes a file that was not there. Whatever has its name, a link or a pipe too, is left as it is: a slip in a name
/// costs nobody a file.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a conversation helps nobody; what went wrong is told.
        drop(std::fs::remove_file(path));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_form() {
        for (path, expected) in [
            ("a.md", Some(Form::Markdown)),
            ("dir.json/a.md", Some(Form::Markdown)),
            ("a.json", Some(Form::Json)),
            ("a.yaml", None),
            ("a", None),
            (".md", None),
            ("a.md/", Some(Form::Markdown)),
        ] {
            assert_eq!(form(Path::new(path)), expected, "{path}");
        }
    }
}
