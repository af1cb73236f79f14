//! How far a proof looks: the fleets, and what may happen to them.

use serde::{Deserialize, Serialize};

/// The most agents of the fleets over which everything is tried: with one agent more there are several times as many states.
pub const MAX_AGENTS: u32 = 8;

/// The most groups of those fleets.
pub const MAX_GROUPS: u32 = 4;

/// The most failures, and the most agents that join or leave, and pauses. Each of them doubles the states, or worse.
pub const MAX_HAPPENINGS: u32 = 8;

/// The most states, unless the person says another number. Each takes about a hundred bytes.
pub const DEFAULT_STATES: u64 = 2_000_000;

/// The most states that a person can ask for: some gigabytes of memory.
pub const MAX_STATES: u64 = 50_000_000;

/// The most random fleets.
pub const MAX_SEEDS: u32 = 1_000_000;

/// The most agents of a random fleet.
pub const MAX_LARGEST: u32 = 2_000;

/// How often in a row time may pass while agents are at work: nothing says how long they take, so it might pass for ever.
pub(super) const WAITS_IN_FLIGHT: u32 = 2;

/// After how many waits in a row the clock runs ahead: each further wait is eight times as long as the one before it, as if
/// the run had been woken late.
pub(super) const PLAIN_WAITS: u32 = 2;

/// After how many waits in a row, with nothing in flight, a strategy is taken to wait for ever. With the clock running ahead
/// these are more than thirty years, whatever the strategy asks for.
pub(super) const MOST_WAITS: u32 = 12;

/// After how many approvals in a row, with nothing in flight, a strategy is taken to ask people for ever.
pub(super) const MOST_APPROVALS: u32 = 10;

/// How often a strategy is asked again with nothing changed, to see whether its memo grows.
pub(super) const MEMO_ASKS: usize = 16;

/// How many decisions may follow each other before anything happens. A strategy that goes on longer is taken to go on for
/// ever: the host asks again at once only after a decision that started as many as it may.
pub(super) const MOST_DECISIONS: usize = 1_000;

/// The bounds of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Fleets of 1 up to this many agents, in which everything is tried.
    pub agents: u32,
    /// The groups of those fleets: 1 up to this many.
    pub groups: u32,
    /// How many agents may fail.
    pub failures: u32,
    /// How many agents may join.
    pub joins: u32,
    /// How many agents may leave.
    pub leaves: u32,
    /// How often a person may pause the run.
    pub pauses: u32,
    /// How often any of these may happen in all. Where they come together is what makes most states.
    pub changes: u32,
    /// The most states that are looked at in all.
    pub states: u64,
    /// How many random fleets are tried beyond that.
    pub seeds: u32,
    /// The most agents of a random fleet.
    pub largest: u32,
    /// The largest memo, in bytes, that a strategy may return.
    pub memo: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            agents: 4,
            groups: 3,
            failures: 2,
            joins: 1,
            leaves: 1,
            pauses: 1,
            changes: 1,
            states: DEFAULT_STATES,
            seeds: 200,
            largest: 40,
            memo: 64 * 1024,
        }
    }
}
