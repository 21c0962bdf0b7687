//! The interactive session.

mod input;
