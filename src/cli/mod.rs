//! Command lines: one file for each group of commands.
