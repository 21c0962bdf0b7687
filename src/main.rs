//! The program; see the library for what it does.

mod maths;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    orch::run(&args, std::env::vars_os())
}
