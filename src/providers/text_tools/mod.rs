//! Tools for models that have no function calling: offered in words, called by fenced `tool` blocks
//! in the answer.

mod blocks;
mod prompt;

pub(super) use blocks::Blocks;
pub(super) use prompt::{history, instructions};
