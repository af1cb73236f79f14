//! Command lines: one file for each group of commands.

pub mod demo;
mod logging;
mod serve;

pub use logging::log_to_stderr;
pub use serve::ServeArgs;
