//! `replictl`: steers a Replibook server from the command line. The commands are in `replibook::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = replibook::plugin::compile_if_asked(std::env::args_os()) {
        return code;
    }
    replibook::cli::replictl(std::env::args_os())
}
