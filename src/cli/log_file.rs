//! A log file that several processes may append to. When it is full it becomes `FILE.1`, what was that
//! becomes `FILE.2`, and the oldest goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes after which a file is full.
const FULL: u64 = 10 * 1024 * 1024;

/// Files that are kept beside the one that is written.
const KEPT: u32 = 4;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    full: u64,
}

impl LogFile {
    /// Opens the file, or makes it for its owner alone.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::with_size(path, FULL)
    }

    fn with_size(path: &Path, full: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
            full,
        })
    }

    /// Appends a line.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let own = self.file.metadata()?;
        if own.is_file() && own.len() >= self.full {
            self.rotate(own.ino())?;
        }
        self.file.write_all(line)
    }

    /// Another process may have done it already: then its new file is written.
    fn rotate(&mut self, own: u64) -> io::Result<()> {
        self.file.lock()?;
        let is_current = self
            .path
            .metadata()
            .is_ok_and(|current| current.ino() == own);
        if is_current {
            for number in (1..KEPT).rev() {
                // There may be none of that age yet.
                drop(std::fs::rename(
                    older(&self.path, number),
                    older(&self.path, number + 1),
                ));
            }
            std::fs::rename(&self.path, older(&self.path, 1))?;
        }
        // Closing the old file gives up its lock.
        self.file = open(&self.path)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

fn older(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_and_two_writers_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut first = LogFile::with_size(&path, 40).unwrap();
        let mut second = LogFile::with_size(&path, 40).unwrap();
        for number in 0..10 {
            first
                .append(format!("first {number}\n").as_bytes())
                .unwrap();
            second
                .append(format!("second {number}\n").as_bytes())
                .unwrap();
        }
        let texts: Vec<String> = [
            path.clone(),
            older(&path, 1),
            older(&path, 2),
            older(&path, 3),
            older(&path, 4),
        ]
        .iter()
        .rev()
        .map(|path| std::fs::read_to_string(path).unwrap_or_default())
        .collect();
        let mut wanted: Vec<String> = ["first", "second"]
            .iter()
            .flat_map(|name| (0..10).map(move |number| format!("{name} {number}")))
            .collect();
        // The lines are short enough that none is dropped with an old file.
        let mut found: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
        assert!(texts.iter().filter(|text| !text.is_empty()).count() > 3);
        for number in 10..90 {
            first
                .append(format!("first {number}\n").as_bytes())
                .unwrap();
        }
        assert!(older(&path, KEPT).is_file() && !older(&path, KEPT + 1).exists());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }
}
