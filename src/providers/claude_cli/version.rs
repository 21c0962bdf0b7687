//! The CLI's binary: where it is, which version it is, what that version does not know.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use crate::providers::{FaultKind, ProviderError};
use crate::store::{Durability, Store, StoreError};

use super::ClaudeSpec;

/// The version whose behaviour was measured.
pub(super) const MEASURED: (u32, u32, u32) = (2, 1, 330);

/// The command that installs the CLI.
pub(super) const INSTALL: &str =
    "install it with `npm install -g @anthropic-ai/claude-code`, or set `cli_path`";

/// A binary as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binary {
    /// Its path, links resolved.
    pub(super) path: PathBuf,
    size: i64,
    mtime_ns: i64,
}

/// What is known of a binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// What it says, such as `2.1.330`.
    pub(super) version: String,
    /// Flags that it does not know and that a run can do without.
    pub(super) without: Vec<String>,
}

/// Finds the CLI: a path as it is, a name in `PATH`.
///
/// # Errors
/// When there is none, with the command that installs it.
pub(super) fn find(spec: &ClaudeSpec) -> Result<Binary, Box<ProviderError>> {
    let candidates: Vec<PathBuf> = if spec.cli_path.contains('/') {
        vec![PathBuf::from(&spec.cli_path)]
    } else {
        let path = spec
            .variable("PATH")
            .unwrap_or("/usr/local/bin:/usr/bin:/bin");
        std::env::split_paths(path)
            .map(|directory| directory.join(&spec.cli_path))
            .collect()
    };
    candidates
        .iter()
        .find_map(|path| binary(path))
        .ok_or_else(|| {
            let message = format!("the CLI `{}` is not installed", spec.cli_path);
            Box::new(
                ProviderError::new(&spec.name, FaultKind::Unavailable, message).with_hint(INSTALL),
            )
        })
}

fn binary(path: &Path) -> Option<Binary> {
    let path = path.canonicalize().ok()?;
    let metadata = path.metadata().ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then(|| Binary {
        path,
        size: metadata.size().try_into().unwrap_or(i64::MAX),
        mtime_ns: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
    })
}

/// What was remembered of exactly this binary.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn recall(store: &Store, binary: &Binary) -> Result<Option<Version>, StoreError> {
    let binary = binary.clone();
    store.read(move |connection| {
        connection
            .query_row(
                "SELECT version, without FROM claude_binaries WHERE path = ?1 AND size = ?2 AND mtime_ns = ?3",
                params![binary.path.to_string_lossy(), binary.size, binary.mtime_ns],
                |row| {
                    let without: String = row.get(1)?;
                    Ok(Version {
                        version: row.get(0)?,
                        without: serde_json::from_str(&without).unwrap_or_default(),
                    })
                },
            )
            .optional()
    })
}

/// Remembers what is known of a binary; nobody waits for it.
pub(super) fn remember(store: &Store, binary: &Binary, version: &Version) {
    let (binary, version) = (binary.clone(), version.clone());
    // What is forgotten is asked again, so a store that cannot be written is no fault.
    drop(store.write(Durability::Normal, move |transaction| {
        let without = serde_json::to_string(&version.without).unwrap_or_default();
        transaction.execute(
            "INSERT OR REPLACE INTO claude_binaries (path, size, mtime_ns, version, without)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                binary.path.to_string_lossy(),
                binary.size,
                binary.mtime_ns,
                version.version,
                without
            ],
        )
    }));
}

/// The version in `2.1.330 (Claude Code)`.
pub(super) fn parse(output: &str) -> Option<String> {
    let word = output.split_whitespace().next()?;
    numbers(word).map(|_| word.to_owned())
}

/// Whether a version is older than the one whose behaviour was measured.
pub(super) fn is_older(version: &str) -> bool {
    numbers(version).is_some_and(|version| version < MEASURED)
}

fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split(['.', '-']).map(str::parse);
    Some((
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        assert_eq!(parse("2.1.330 (Claude Code)\n").as_deref(), Some("2.1.330"));
        assert_eq!(
            parse("2.2.0-beta.1 (Claude Code)").as_deref(),
            Some("2.2.0-beta.1")
        );
        assert_eq!(parse("command not found"), None);
        for (version, older) in [
            ("2.1.329", true),
            ("1.9.999", true),
            ("2.1.330", false),
            ("3.0.0", false),
            ("?", false),
        ] {
            assert_eq!(is_older(version), older, "{version}");
        }
    }
}
