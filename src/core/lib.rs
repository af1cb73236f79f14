//! The heart of Replibook: playbooks and runs, as pure values. It has no I/O, no clock, no randomness, no async
//! and no Wasm. It depends on nothing that has them; moments and seeds come in as arguments.
//!
//! [`playbook`] makes a valid [`Playbook`] from a text. [`run`] takes one [`Input`](run::Input) after another and
//! says what to write and what to perform. [`door`] reads what agents answer, within bounds. All of them use
//! [`ids`] and [`time`]; [`length`] reads and writes lengths of time, and [`shown`] knows which characters must
//! not get into names or onto terminals. [`mutants`] has mistakes that only tests can turn on.

pub mod door;
pub mod ids;
pub mod length;
pub mod mutants;
pub mod playbook;
pub mod run;
pub mod shown;
pub mod time;

pub use playbook::Playbook;
pub use run::{Machine, Run};
