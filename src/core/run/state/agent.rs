//! One agent in memory: its record, and what it does at the moment. What it does is an enum with its data, so that
//! an agent can't do two things at once.

use crate::run::{
    About, AgentRecord, Answer, CallName, Journal, Outstanding, StepPhase, Timestamp,
};

use super::evolve_agent::set_about;
use super::weight::answers_bytes;

/// One agent of a run.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// The agent's record, as it is stored.
    pub(super) record: AgentRecord,
    pub(super) phase: Phase,
    /// The journal of an attempt that is over, and whose action is out or ended well but late. The next attempt
    /// may go on from it.
    pub(super) over: Option<Box<Journal>>,
    /// Whether the agent's outstanding action is being looked at.
    pub(super) watched: bool,
    /// What was last written of what is known about the agent, if more is known by now.
    pub(super) written: Option<Box<About>>,
}

/// What an agent does at the moment, with all data that belongs to it.
///
/// The agent's record has the part that [`kept`](Self::kept) gives. The rest is worked out again when the run is
/// taken up.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Nothing: the agent has not started, has ended, or its next step does not begin for now.
    Idle,
    /// The agent's next step begins when its turn comes.
    Queued { place: u64 },
    /// The agent is looked at before its next step.
    Looking,
    /// An attempt is going on.
    Trying(Box<Attempt>),
    /// The next attempt begins at `at`. The run is woken for it if it `rings`.
    Retrying { at: Timestamp, rings: bool },
    /// The agent waits for the end of an action.
    Settling { until: Timestamp, again: bool, rings: bool },
}

impl Phase {
    /// The part of the phase that the agent's record keeps.
    pub(crate) const fn kept(&self) -> StepPhase {
        match self {
            Self::Idle | Self::Queued { .. } | Self::Looking => StepPhase::Waiting,
            Self::Trying(_) => StepPhase::Trying,
            Self::Retrying { at, .. } => StepPhase::RetryAt { at: *at },
            Self::Settling { until, again, .. } => {
                StepPhase::Settling { until: *until, again: *again }
            }
        }
    }

    /// The name of the phase, for messages to whoever mends the program.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Queued { .. } => "queued",
            Self::Looking => "looked at",
            Self::Trying(_) => "at an attempt",
            Self::Retrying { .. } => "to be tried again",
            Self::Settling { .. } => "waiting for the end of an action",
        }
    }

    /// When something is due for the agent.
    pub(crate) fn alarm(&self) -> Option<Timestamp> {
        match self {
            Self::Trying(attempt) => attempt.alarm,
            Self::Retrying { at, rings: true } => Some(*at),
            Self::Settling { until, rings: true, .. } => Some(*until),
            Self::Idle
            | Self::Queued { .. }
            | Self::Looking
            | Self::Retrying { rings: false, .. }
            | Self::Settling { rings: false, .. } => None,
        }
    }

    /// The attempt that is going on.
    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Trying(attempt) => Some(attempt),
            Self::Idle
            | Self::Queued { .. }
            | Self::Looking
            | Self::Retrying { .. }
            | Self::Settling { .. } => None,
        }
    }

    /// Whether an agent in this phase may enter that phase next: the one table. An attempt ends only when it is
    /// [closed](super::event::OfCall::Closed), so its journal is never lost.
    pub(super) const fn may_become(&self, next: &Self) -> bool {
        match self {
            Self::Idle => true,
            // An action of an earlier attempt may still be running.
            Self::Retrying { .. } => matches!(next, Self::Idle | Self::Settling { .. }),
            Self::Queued { .. } | Self::Looking | Self::Settling { .. } => next.is_idle(),
            Self::Trying(_) => false,
        }
    }

    /// Whether this is the phase of an agent that is not running.
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}

/// An attempt in flight.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) journal: Journal,
    pub(crate) doing: Doing,
    /// Bytes of the answers in the journal.
    pub(crate) bytes: usize,
    /// When the attempt's time is over. `None` while the attempt is held, and once the alarm has rung.
    pub(crate) alarm: Option<Timestamp>,
}

/// What an attempt in flight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// For the end of an activation.
    Activation,
    /// For the answer to the pending call.
    Answer,
    /// For what the agent says, to check the precondition of the step.
    Checking,
    /// For a person to let the run go on.
    Held,
}

impl Attempt {
    /// An attempt that does nothing yet.
    pub(crate) fn new(journal: Journal) -> Self {
        let bytes = answers_bytes(&journal.answers);
        Self { journal, doing: Doing::Held, bytes, alarm: None }
    }

    /// Whether a call of the attempt waits for its answer, even while the attempt is activated anew.
    pub(crate) fn waits_for_answer(&self) -> bool {
        self.journal.pending.is_some() && self.doing != Doing::Held
    }
}

impl Agent {
    pub(super) fn new(record: AgentRecord, over: Option<Journal>) -> Self {
        Self { record, phase: Phase::Idle, over: over.map(Box::new), watched: false, written: None }
    }

    pub(crate) const fn record(&self) -> &AgentRecord {
        &self.record
    }

    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(crate) fn attempt(&self) -> Option<&Attempt> {
        self.phase.attempt()
    }

    /// What the attempt that is going on waits for.
    pub(crate) fn doing(&self) -> Option<Doing> {
        self.attempt().map(|attempt| attempt.doing)
    }

    /// The journal of an attempt that is over but left something behind.
    pub(crate) fn over(&self) -> Option<&Journal> {
        self.over.as_deref()
    }

    /// The action that is being looked at although its attempt is over.
    pub(crate) fn watched(&self) -> Option<&Outstanding> {
        self.record.outstanding.as_ref().filter(|_| self.watched)
    }

    /// Whether the agent is being looked at before its next step.
    pub(crate) const fn is_looking(&self) -> bool {
        matches!(self.phase, Phase::Looking)
    }

    /// What was last written of what is known about the agent, if more is known by now.
    pub(crate) fn written(&self) -> Option<&About> {
        self.written.as_deref()
    }

    /// The record without what is known about the agent and not written yet.
    pub(crate) fn record_as_written(&self) -> AgentRecord {
        let mut record = self.record().clone();
        if let Some(about) = self.written() {
            set_about(&mut record, about);
        }
        record
    }
}

impl Journal {
    /// Number of the call that the attempt is at, which is the number of its answers.
    pub(crate) fn call(&self) -> u32 {
        u32::try_from(self.answers.len()).unwrap_or(u32::MAX)
    }

    /// The action that the attempt waits for, if its pending call is one.
    pub(crate) fn pending_action(&self) -> Option<Outstanding> {
        let pending = self.pending.as_ref().filter(|p| p.name == CallName::RunAction)?;
        let (call, since, bytes) = (self.call(), pending.at, pending.bytes);
        Some(Outstanding { key: self.key, call, since, bytes })
    }

    /// Adds to the journal how the action of one of its calls ended after the attempt was over. `None` if the
    /// journal has no such call.
    pub(crate) fn ended_late(mut self, call: u32, answer: Answer, now: Timestamp) -> Option<Self> {
        if let Some(pending) = self.pending.take_if(|pending| pending.name == answer.name()) {
            self.late = Some(pending.answered(now, answer));
            return Some(self);
        }
        let answered = self.answers.get(usize::try_from(call).ok()?)?;
        let (name, arguments_hash) = (answered.name, answered.arguments_hash.clone());
        self.late =
            Some(crate::run::Answered { name, arguments_hash, at: now, answer, bytes: None });
        self.late_of = Some(call);
        Some(self)
    }
}
