//! The user's own price file: checked as a whole, replaced at once, never fetched.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::entries::Entries;
use super::litellm;
use super::row::Row;
use crate::costs::calendar::Day;
use crate::files;

/// A larger file is no list of prices.
const MAX_BYTES: u64 = 64 << 20;

/// What is wrong with a price file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the price file `{}` {fault}", path.display())]
pub struct PriceFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in words that follow its name.
    pub fault: String,
}

impl PriceFileError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        "a price file is {\"schema\": 1, \"updated\": \"YYYY-MM-DD\", \"models\": {\"vendor/model\": \
         {\"input_per_mtok\": \"2.5\", \"output_per_mtok\": \"10\"}}}, in USD per million tokens; \
         `orch prices --update FILE` checks and installs one"
    }
}

/// A price file. Its rows are read when their models are asked for: a run needs a few of many.
#[derive(Debug)]
pub(super) struct PriceFile {
    pub(super) updated: String,
    pub(super) models: BTreeMap<String, Box<RawValue>>,
}

/// What an update did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Updated {
    /// The file that holds the prices from now on.
    pub path: PathBuf,
    /// How many models it prices.
    pub models: usize,
    /// Its edition.
    pub version: String,
}

/// The outer form; sources and notes beside the models are welcome and ignored.
#[derive(Deserialize)]
struct Document {
    schema: u32,
    #[serde(default)]
    updated: String,
    models: Entries<Box<RawValue>>,
}

/// Reads a price file; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<PriceFile>, PriceFileError> {
    match text_of(path) {
        Ok(text) => parse(path, &text).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(path, format!("cannot be read: {error}"))),
    }
}

/// The text of a file, which may have no end.
fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is larger than 64 MiB"));
    }
    Ok(text)
}

/// Checks a price file and makes it the user's own, which goes over the built-in table from then on.
/// LiteLLM's `model_prices_and_context_window.json` is taken, too.
///
/// # Errors
/// When `file` is missing or wrong, with everything that is wrong with it, or when `installed`
/// cannot be written; the prices in use stay as they are.
pub fn update(file: &Path, installed: &Path) -> Result<Updated, PriceFileError> {
    let text = text_of(file).map_err(|error| fault(file, format!("cannot be read: {error}")))?;
    let today = Day::of(std::time::SystemTime::now()).to_string();
    let converted = litellm::convert(&text, &today).map_err(|name| listed_twice(file, &name))?;
    let text = converted.unwrap_or(text);
    let checked = parse(file, &text)?;
    check(file, &checked)?;
    replace(installed, &text)
        .map_err(|error| fault(installed, format!("cannot be written: {error}")))?;
    Ok(Updated {
        path: installed.to_owned(),
        models: checked.models.len(),
        version: checked.updated,
    })
}

fn parse(path: &Path, text: &str) -> Result<PriceFile, PriceFileError> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| fault(path, format!("is no price file: {error}")))?;
    if document.schema != 1 {
        let schema = document.schema;
        return Err(fault(path, format!("has schema {schema}, only 1 is known")));
    }
    let models = document.models.each_once();
    Ok(PriceFile {
        updated: document.updated,
        models: models.map_err(|name| listed_twice(path, &name))?,
    })
}

/// Of two rows for one model nobody knows which holds.
fn listed_twice(path: &Path, name: &str) -> PriceFileError {
    fault(path, format!("lists the model `{name}` twice"))
}

/// Everything that is wrong with the rows of a file.
fn check(path: &Path, file: &PriceFile) -> Result<(), PriceFileError> {
    let faults: Vec<String> = file
        .models
        .iter()
        .filter_map(
            |(name, text)| match serde_json::from_str::<Row>(text.get()) {
                // Nothing is looked up by another name.
                Ok(_) if !name.contains('/') => Some(format!("`{name}` is no `vendor/model`")),
                Ok(row) => row.fault().map(|words| format!("`{name}` {words}")),
                Err(error) => Some(format!("`{name}`: {error}")),
            },
        )
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(fault(path, format!("is wrong: {}", faults.join("; "))))
    }
}

/// A new file under a temporary name, synced, then renamed over the old one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    files::private_dir(directory)?;
    files::write_whole(path, text.as_bytes(), 0o600)
}

fn fault(path: &Path, fault: String) -> PriceFileError {
    PriceFileError {
        path: path.to_owned(),
        fault,
    }
}
