//! The configuration: found, read, checked as a whole and never changed afterwards.
//!
//! May use everything before it; nothing below it reads settings files or the environment.

mod de;
mod document;
mod entries;
mod env;
mod findings;
mod mask;
mod node;
mod problem;
mod scalar;
mod settings;

pub use document::{Config, Document, Engine, Origin};
pub use entries::Entries;
pub use env::Env;
pub use problem::{At, ConfigError, Problem};
pub use settings::Settings;
