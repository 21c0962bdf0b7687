//! The house: what looks after the program and its files and never runs an agent.

mod check;
mod completions;
mod found;
mod init;
mod print;
mod surroundings;
mod trust;

pub(super) use check::check;
pub(super) use completions::completions;
pub(super) use init::init;
pub(super) use print::{man, prices, schema};
pub(super) use trust::trust;
