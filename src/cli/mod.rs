//! The command line: what the arguments mean, and the housekeeping commands.

mod args;
