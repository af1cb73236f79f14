//! The state machine of a run: `apply(input, now) → transition`.
//!
//! An input is decided about in a [turn](turn), which reads the state of the run, emits events and asks for
//! effects. Nothing here changes the state: it takes notice of the events ([`state`](super::state)).
//!
//! ```text
//! any input            ─▶ table         whether it fits the status of the run
//!                         inputs        where it goes; a run that is taken up
//!                         turn          events and effects become a transition
//! Command, ClusterFree ─▶ members       PENDING_APPROVE, PENDING → STARTING
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
mod finishing;
mod forgetting;
mod holding;
mod identifying;
mod inputs;
mod members;
mod membership;
mod mending;
mod noticing;
mod planning;
mod refreshing;
mod repeating;
mod resting;
mod settling;
mod standing;
mod steering;
mod steps;
mod table;
mod turn;

pub use inputs::Machine;
pub use standing::Selection;
pub use steering::CANCEL_DEADLINE;
