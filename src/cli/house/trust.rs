//! `orch trust`: a configuration that was found, not named, may do what it says.

use std::path::Path;

use crate::cli::{Call, load};
use crate::error::OrchError;

pub(in crate::cli) fn trust(call: &Call, file: &Path) -> Result<u8, OrchError> {
    let path = load::trust_file(call, file)?;
    Ok(call.list(&format!("{} is trusted until it changes\n", path.display())))
}
