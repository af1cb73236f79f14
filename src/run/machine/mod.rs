//! The state machine of a run: `apply(input, now) → transition`.
//!
//! ```text
//! Command, ClusterFree ─▶ admission     PENDING_APPROVE, PENDING → STARTING
//! Members              ─▶ members       records made in chunks, STARTING → RUNNING
//! Planned              ─▶ planning      a decision checked and obeyed: agents start
//! Activated, Answered  ─▶ stepping      calls, answers, results; an agent ends
//!                         budget        failures counted; the run pauses or fails
//! Command              ─▶ steering      pause, resume, cancel
//! Stamped              ─▶ finishing     FINISHING → DONE | FAILED | CANCELLED
//! ```

mod changes;
mod finishing;
mod members;
mod planning;
mod state;
mod steering;
mod stepping;

pub use state::{IllegalInput, Machine};
