//! The state machine of a run: `apply(input, now) → transition`.
//!
//! ```text
//! Command, ClusterFree ─▶ admission     PENDING_APPROVE, PENDING → STARTING
//! Members              ─▶ members       records made in chunks, STARTING → RUNNING; the next stage
//! Membership           ─▶ membership    agents that join, leave and move while a stage goes
//! Planned              ─▶ planning      a decision checked and obeyed: agents start
//!                         repeating     what a strategy that waits says again is written once
//!                         identifying   whether an agent is who it should be, before its first step
//!                         steps         which step is next, its attempts and retries; an agent ends
//! Activated, Answered  ─▶ calls         calls and answers of an attempt, its precondition
//! Woken                ─▶ alarms        what is due: time-outs, retries, the strategy
//!                         settling      actions that outlive their attempt
//!                         finishing     budgets; the end of a stage and of the run
//! Noticed              ─▶ noticing      what people are told of calls in flight
//! Command              ─▶ steering      pause, resume, cancel, retry, give up
//!                         holding       agents on hold, agents that are put back
//! Forgotten            ─▶ forgetting    a full log: its oldest lines are gone
//! Stamped              ─▶ finishing     FINISHING → DONE | FAILED | CANCELLED
//! ```

mod alarms;
mod calls;
mod changes;
mod finishing;
mod forgetting;
mod holding;
mod identifying;
mod illegal;
mod members;
mod membership;
mod mending;
mod noticing;
mod planning;
mod refreshing;
mod repeating;
mod resting;
mod roster;
mod settling;
mod sizes;
mod standing;
mod state;
mod steering;
mod steps;

pub use illegal::IllegalInput;
pub use standing::Selection;
pub use state::Machine;
pub(crate) use steering::CANCEL_DEADLINE;
