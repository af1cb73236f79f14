//! What a run waits for, and what is still to be done in its stage.

use std::collections::VecDeque;

use crate::run::{AgentSeq, Refreshed, Timestamp};

/// How far asking agents afresh is. It is not kept: a machine that is loaded anew asks again, since the
/// wish stands until the next decision.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Refreshing {
    /// Nobody is being asked.
    #[default]
    No,
    /// Agents are being asked.
    Asking,
    /// Agents are being asked, and nobody wants to know any more.
    InVain,
    /// They have answered, and these answers are still to be taken over.
    Taking(VecDeque<Refreshed>),
    /// These were taken over, and are still to be written.
    Writing(VecDeque<Refreshed>),
    /// They have answered, and the strategy may be asked.
    Fresh,
}

impl Refreshing {
    /// Whether answers are still to be taken over.
    pub(crate) const fn is_taking(&self) -> bool {
        match self {
            Self::Taking(_) | Self::Writing(_) => true,
            Self::No | Self::Asking | Self::InVain | Self::Fresh => false,
        }
    }

    /// Whether it is going on.
    pub(crate) const fn goes_on(&self) -> bool {
        match self {
            Self::Asking | Self::InVain | Self::Taking(_) | Self::Writing(_) => true,
            Self::No | Self::Fresh => false,
        }
    }
}

/// What the strategy answered last.
#[derive(Debug, Default)]
pub(crate) struct LastAnswer {
    /// The decision, if it was to wait.
    pub(crate) wait: Option<Wait>,
    /// Sum of the lines that it wrote.
    pub(crate) lines: Option<[u8; 32]>,
    /// How often it wrote the same lines again, and when it did so last.
    pub(crate) again: u32,
    pub(crate) at: Timestamp,
}

/// A decision to wait that is in the history.
#[derive(Debug)]
pub(crate) struct Wait {
    /// The event that comes next: while nothing happens that stays.
    pub(crate) next_event: u64,
    pub(crate) until: bool,
    pub(crate) label: Option<String>,
    pub(crate) refresh: Vec<AgentSeq>,
}

/// Kinds of work that may be too much for one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Join,
    Refresh,
    CatchUp,
    Admit,
    Retry,
    Begin,
    Stop,
}

/// How far the present stage is: the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageAt {
    /// Its agents are not known yet.
    Entering,
    /// There is something to do that went into no commit so far.
    Work(Work),
    /// The strategy is asked, or agents are asked for it.
    Asking,
    /// The strategy wants no more: the stage ends once nothing is in flight.
    Decided,
    /// Nothing has changed since the strategy was asked.
    Waits,
    /// The run starts no agents.
    Stands,
    /// The strategy is to be asked.
    Due,
}
