//! `replictl`: steers a Replibook server from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    replibook::cli::replictl(std::env::args_os())
}
