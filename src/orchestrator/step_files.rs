//! The results of a task as files: one a step, and `result.json`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::task::JoinHandle;

use super::write_whole;

/// The files of one run. They are written beside the run, which does not wait for them.
pub(super) struct StepFiles {
    sender: mpsc::Sender<(String, String)>,
    writer: JoinHandle<io::Result<()>>,
}

impl StepFiles {
    /// Begins to write below a directory, which is made with the first file.
    pub(super) fn begin(directory: &Path) -> Self {
        let (sender, receiver) = mpsc::channel();
        let directory = directory.to_owned();
        let writer = tokio::task::spawn_blocking(move || write_all(&directory, &receiver));
        Self { sender, writer }
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

fn write_all(directory: &Path, receiver: &mpsc::Receiver<(String, String)>) -> io::Result<()> {
    let mut made = false;
    while let Ok((name, text)) = receiver.recv() {
        if !made {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
            made = true;
        }
        let path: PathBuf = directory.join(name);
        write_whole(&path, text.as_bytes())?;
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
        let files = StepFiles::begin(&below);
        assert!(!below.exists());
        files.step("test", "fine");
        files.step("fix[2]/test", "mended\n");
        files.end("{}".to_owned()).await.unwrap();
        let read = |name: &str| std::fs::read_to_string(below.join(name)).unwrap();
        assert_eq!(read("test.md"), "fine\n");
        assert_eq!(read("fix.2.test.md"), "mended\n");
        assert_eq!(read("result.json"), "{}\n");

        std::fs::write(directory.path().join("file"), "").unwrap();
        let files = StepFiles::begin(&directory.path().join("file/r2"));
        files.step("test", "fine");
        assert!(files.end(String::new()).await.is_err());
    }
}
