//! The heart of Replibook: playbooks and runs, as pure values. No I/O, no clock, no randomness, no async, no
//! Wasm: this crate depends on nothing that has them, and moments and seeds are arguments.
//!
//! [`playbook`] makes a valid [`Playbook`] of a text. [`run`] takes one [`Input`](run::Input) after another
//! and says what to write and what to perform. [`door`] reads what agents answer, as far as it may come in.
//! All of them name things with [`ids`] and [`time`]; [`length`] reads and writes lengths of time, and [`shown`]
//! knows which characters no name and no terminal may get.

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
