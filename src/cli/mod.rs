//! Command lines: one file for each group of commands.

pub mod demo;
mod serve;

pub use serve::ServeArgs;
