//! What all benchmarks share: tables in Markdown, a description of the machine and its load, samples, and
//! what a process uses.

// A benchmark exists to print figures, and not each one needs everything here.
#![allow(dead_code, unused_imports, clippy::print_stdout)]

mod backend;
mod machine;
mod process;
mod sample;
mod table;

pub(crate) use backend::{Backend, mongodb, mongodb_id, with_database};
pub(crate) use process::{
    Usage, cpu_by_thread, cpu_time, peak_memory, reset_peak_memory, thread_cpu_time, written,
};
pub(crate) use sample::{Sample, interleaved};
pub(crate) use table::{Table, heading, mib, ms, note, rate, times, us};
