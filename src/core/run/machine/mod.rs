//! The state machine of a run: `apply(input, now) → transition`.
//!
//! An input is decided about in a [turn](turn), which reads the state of the run, emits events and asks for
//! effects. Nothing here changes the state: it takes notice of the events ([`state`](super::state)).
//!
//! ```text
//! any input            ─▶ table            whether it fits the status of the run
//!                         inputs           where it goes; a run that is taken up
//!                         mending          what a store of an earlier version left out is added then
//!                         turn             events and effects become a transition
//!                         resting          whether anything happens before a person says something
//! Command, ClusterFree ─▶ entering         PENDING_APPROVE, PENDING → STARTING
//! Members              ─▶ entering         records made in chunks, STARTING → RUNNING; the next stage
//!                         standing         whether the stage selects a member, also one that did not answer
//! Membership           ─▶ joins_and_leaves agents that join, leave and move while a stage goes
//! Refreshed            ─▶ refreshing       agents that are asked anew because the strategy wants it
//! Planned              ─▶ planning         a decision checked and obeyed: agents start
//!                         repeating        what a strategy that waits says again is written once
//!                         identifying      whether an agent is who it should be, before its first step
//!                         steps            which step is next, its attempts and retries; an agent ends
//! Activated, Answered  ─▶ calls            calls and answers of an attempt, its precondition
//! Woken                ─▶ alarms           what is due: time-outs, retries, the strategy
//!                         settling         actions that outlive their attempt
//!                         finishing        budgets; the end of a stage and of the run
//! Noticed              ─▶ noticing         what people are told of calls in flight
//! Command              ─▶ steering         pause, resume, cancel, retry, give up
//!                         holding          agents on hold, agents that are put back
//! Forgotten            ─▶ forgetting       a full log: its oldest lines are gone
//! Stamped              ─▶ finishing        FINISHING → DONE | FAILED | CANCELLED
//! ```

mod alarms;
mod calls;
mod entering;
mod finishing;
mod forgetting;
mod holding;
mod identifying;
mod inputs;
mod joins_and_leaves;
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
