//! The program; see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    orch::run(std::env::args_os().collect(), std::env::vars_os())
}
