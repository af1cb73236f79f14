//! Builds the built-in plugins.

fn main() {}
