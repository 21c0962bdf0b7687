//! The configuration: found, read, checked as a whole and never changed afterwards.
//!
//! ```text
//!  file ─► node (tree with places) ─► de (serde, collects) ─► check (names, values) ─► Config
//! ```
//!
//! May use everything before it; nothing below it reads settings files or the environment.

mod check;
mod de;
mod document;
mod dotenv;
mod entries;
mod env;
mod find;
mod findings;
mod load;
mod mask;
mod node;
mod problem;
mod read;
mod scalar;
mod schema;
mod settings;
mod ssh_variables;
mod trust;

pub use document::{Config, DecidedBy, Document, Engine, Origin};
pub use entries::Entries;
pub use env::Env;
pub use find::{hidden_by_ours, state_dir};
pub use load::{Source, environment, load, load_again, names_in, problem_at};
pub use problem::{At, ConfigError, Problem};
pub use schema::schema;
pub use settings::{Place, Settings};
pub use trust::{
    TrustState, is_trusted, needs_trust, refused_workspace, trust, trust_dir, trust_state,
};

#[cfg(test)]
mod tests;
