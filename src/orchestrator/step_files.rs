//! The results of a task as files: one a step, and `result.json`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::task::JoinHandle;

use crate::files::Directory;

/// The files of one run. They are written beside the run, which does not wait for them.
pub(super) struct StepFiles {
    sender: mpsc::Sender<(String, String)>,
    writer: JoinHandle<io::Result<()>>,
    path: PathBuf,
}

impl StepFiles {
    /// Begins to write to `<outputs>/<task>/<run>`, which is made with the first file.
    pub(super) fn begin(outputs: &Path, task: &str, run_id: &str) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (outputs, task, run_id) = (outputs.to_owned(), task.to_owned(), run_id.to_owned());
        let path = outputs.join(&task).join(&run_id);
        let made = move || Directory::make(&outputs)?.within(&task)?.within(&run_id);
        let writer = tokio::task::spawn_blocking(move || write_all(made, &receiver));
        Self {
            sender,
            writer,
            path,
        }
    }

    /// Where they are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The answer of a step.
    pub(super) fn step(&self, label: &str, output: &str) {
        let mut text = output.to_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        // A writer that is gone tells why at the end.
        drop(self.sender.send((file_name(label), text)));
    }

    /// Writes the result of the whole and waits for everything.
    ///
    /// # Errors
    /// The first failure to write any of it.
    pub(super) async fn end(self, result: String) -> io::Result<()> {
        drop(self.sender.send(("result.json".to_owned(), result + "\n")));
        drop(self.sender);
        self.writer.await?
    }
}

fn write_all(
    make: impl Fn() -> io::Result<Directory>,
    receiver: &mpsc::Receiver<(String, String)>,
) -> io::Result<()> {
    let mut directory = None;
    while let Ok((name, text)) = receiver.recv() {
        let directory = match &directory {
            Some(made) => made,
            None => directory.insert(make()?),
        };
        directory.write(&name, text.as_bytes())?;
    }
    Ok(())
}

/// `fix[2]/test` is kept as `fix.2.test.md`.
fn file_name(label: &str) -> String {
    let plain: String = label
        .chars()
        .filter(|character| *character != ']')
        .map(|character| match character {
            '/' | '[' => '.',
            other => other,
        })
        .collect();
    format!("{plain}.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_step_has_a_file_and_the_whole_another() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("deploy/r1");
        let files = StepFiles::begin(directory.path(), "deploy", "r1");
        assert!(!below.exists());
        files.step("test", "fine");
        files.step("fix[2]/test", "mended\n");
        files.end("{}".to_owned()).await.unwrap();
        let read = |name: &str| std::fs::read_to_string(below.join(name)).unwrap();
        assert_eq!(read("test.md"), "fine\n");
        assert_eq!(read("fix.2.test.md"), "mended\n");
        assert_eq!(read("result.json"), "{}\n");

        std::fs::write(directory.path().join("file"), "").unwrap();
        let files = StepFiles::begin(directory.path(), "file", "r2");
        files.step("test", "fine");
        assert!(files.end(String::new()).await.is_err());
    }
}
