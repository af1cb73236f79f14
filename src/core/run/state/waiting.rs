//! What a run waits for, and what is still to be done in its stage. None of it is stored: an engine that takes the
//! run up works it out, or asks again.

use std::collections::VecDeque;

use crate::run::{AgentSeq, Refreshed, Timestamp};

/// How far asking agents afresh has come. It is not stored: a machine that is loaded anew asks again, since the
/// wish of the strategy stays until its next decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Refreshing {
    /// Nobody is being asked.
    #[default]
    No,
    /// Agents are being asked.
    Asking,
    /// Agents are being asked, but nobody wants to know any more.
    InVain,
    /// The agents have answered, and these answers are still to be taken over.
    Taking(VecDeque<Refreshed>),
    /// These answers were taken over, and are still to be written.
    Writing(VecDeque<Refreshed>),
    /// The agents have answered, and the strategy may be asked.
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

    /// Whether asking afresh is under way.
    pub(crate) const fn goes_on(&self) -> bool {
        match self {
            Self::Asking | Self::InVain | Self::Taking(_) | Self::Writing(_) => true,
            Self::No | Self::Fresh => false,
        }
    }
}

/// What the strategy last answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastAnswer {
    /// The strategy's decision, if it was to wait.
    pub(crate) wait: Option<Wait>,
    /// Hash of the log lines that the strategy wrote.
    pub(crate) lines: Option<[u8; 32]>,
    /// How often the strategy wrote the same lines again, and when it last did so.
    pub(crate) again: u32,
    pub(crate) at: Timestamp,
}

/// A decision to wait that is in the history.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    /// The number of the next event. It stays the same while nothing happens.
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
    LookAround,
    CatchUp,
    Admit,
    Retry,
    Begin,
    Stop,
}

/// How far the present stage has come: the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageAt {
    /// The agents of the stage are not known yet.
    Entering,
    /// Something is to be done that went into no commit so far.
    Work(Work),
    /// The strategy is being asked, or agents are being asked for it.
    Asking,
    /// The strategy wants nothing more: the stage ends once nothing is in flight.
    Decided,
    /// Nothing has changed since the strategy was asked.
    Waits,
    /// The run does not start agents at the moment.
    Stands,
    /// The strategy must be asked.
    Due,
}
