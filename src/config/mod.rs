//! The configuration: found, read, checked as a whole and never changed afterwards.
//!
//! May use everything before it; nothing below it reads settings files or the environment.

mod document;
mod entries;
mod env;
mod settings;

pub use document::{Config, Document, Engine, Origin};
pub use entries::Entries;
pub use env::Env;
pub use settings::Settings;
