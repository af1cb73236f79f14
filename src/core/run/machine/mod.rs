//! The state machine of a run: `apply(input, now) → transition`.
//!
//! A [turn](turn) decides about an input: it reads the state of the run, emits events and asks for effects.
//! Nothing here changes the state; only [`state`](super::state) does, by taking the events. So the same events
//! give the same state again, without deciding anything again.
//!
//! ```text
//! any input            ─▶ table            whether it fits the status of the run
//!                         inputs           where it goes; a run that is taken up
//!                         mending          what earlier versions did not store, when a run is taken up
//!                         turn             events and effects become a transition
//! Command, ClusterFree ─▶ entering         PENDING_APPROVE, PENDING → STARTING
//! Members              ─▶ entering         records made in chunks, STARTING → RUNNING; the next stage
//!                         standing         what the selection of a stage says about a member
//!                         limiting         how many agents may take part
//!                         once             stages on the run, which have no agents
//! Membership           ─▶ joins_and_leaves agents that join, leave and move while a stage goes
//! Refreshed            ─▶ refreshing       fresh information about agents, for the strategy
//! Planned              ─▶ planning         a decision checked and followed: agents start
//! Guards               ─▶ guarding         which of the agents that a decision names the guards let start
//! LookedAround         ─▶ looking_around   fresh information about nodes, for the guards
//!                         repeating        what a strategy that waits says again is written once
//! Looked               ─▶ identifying      whether what answers is the agent, before anything is sent to it
//!                         steps            which step is next, its attempts and retries; an agent ends
//!                         ending           what follows when a step has failed for good: rescue, finally
//! Activated, Answered  ─▶ calls            calls and answers of an attempt, its precondition
//!                         secrets          which secrets an attempt may send, and by which tokens
//! Woken                ─▶ alarms           what is due: time-outs, retries, the strategy
//!                         settling         time that runs out, and actions that outlive their attempt
//!                         finishing        budgets; the end of a stage and of the run
//! Noticed              ─▶ noticing         what people are told of calls in flight
//!                         closing          stages that are always done, before a run that failed or is cancelled ends
//! Command              ─▶ steering         pause, resume, cancel, retry, give up
//!                         approving        whose approvals count, and a run that was not approved in time
//!                         holding          agents on hold, agents that are put back
//!                         signals          which signals are taken, and which of them ends a wait
//! Forgotten            ─▶ forgetting       a full log: its oldest lines are gone
//! Stamped              ─▶ finishing        FINISHING → DONE | FAILED | CANCELLED
//! no input             ─▶ resting          whether the run needs an engine at the moment
//! ```

mod alarms;
mod approving;
mod calls;
mod closing;
mod ending;
mod entering;
mod finishing;
mod forgetting;
mod guarding;
mod holding;
mod identifying;
mod inputs;
mod joins_and_leaves;
mod limiting;
mod looking_around;
mod mending;
mod noticing;
mod once;
mod planning;
mod refreshing;
mod repeating;
mod resting;
mod secrets;
mod settling;
mod signals;
mod standing;
mod steering;
mod steps;
mod table;
mod turn;

pub use inputs::Machine;
pub use standing::Selection;
pub use steering::CANCEL_DEADLINE;
