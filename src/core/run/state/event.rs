//! What happens in a run, in memory: each event is the smallest change that is made as a whole.
//!
//! Those that belong to the history are [`told`](super::told); the others only say what the run does at the
//! moment, or change a document in a way that its history doesn't tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::agent::Doing;
use super::entering::{Arrival, Changed, Joining};
use crate::playbook::Identity;
use crate::run::{
    About, AgentId, AgentSeq, AgentState, Answered, Asked, AttemptKey, CommandId, Failure, Gone,
    Journal, JsonText, LateEnd, LogLine, MassAbsence, Notice, OldLines, Outstanding, Pending,
    PlannedNext, Refreshed, RunStatus, SentAction, StatusReason, Timestamp, Unanswered, Unheard,
};

/// Something that happened at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) what: What,
}

/// What happened, and to what.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Run(OfRun),
    Strategy(OfStrategy),
    Membership(OfMembership),
    Agent(AgentSeq, OfAgent),
    /// To the attempt of an agent, or to its action.
    Call(AgentSeq, OfCall),
}

/// One effect that is out, and that one input answers. There is at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sent {
    /// [`Effect::LoadMembers`](crate::run::Effect::LoadMembers)
    Members,
    /// [`Effect::Plan`](crate::run::Effect::Plan)
    Plan,
    /// [`Effect::Forget`](crate::run::Effect::Forget)
    Forget,
    /// [`Effect::Continue`](crate::run::Effect::Continue)
    Continue,
}

/// What happens to the run as a whole.
#[derive(Clone, Debug)]
pub(crate) enum OfRun {
    /// It begins, with this status.
    Created(RunStatus),
    /// It has another status.
    Status { to: RunStatus, reason: Option<StatusReason> },
    /// How it ends is settled: it enters FINISHING.
    Settled { outcome: RunStatus, outcomes: BTreeMap<AgentState, u32>, reason: StatusReason },
    /// Its status is what it was, for another reason.
    Reason(StatusReason),
    /// An effect of this kind is out.
    Sent(Sent),
    /// The input came that answers it.
    Came(Sent),
    /// It wants to be woken then.
    WakesAt(Timestamp),
    /// It was woken.
    Woke,
    /// Some members of the stage that is being entered do not answer; none: that is over.
    Unanswered(Option<Unanswered>),
    /// Some agents that it was to go over again have left.
    Gone(Gone),
    /// The agents of the stage are known.
    StageBegan { selected: u32 },
    /// The stage is over, and the next one is entered.
    StageEnded,
    /// A stage ended over its budget, and a person let the run go on.
    Exceeded(String),
    /// Agents stop after their present call from now on.
    Held,
    /// They no longer do.
    LetGo,
    /// A person's retry goes on with the failed agents from that one on; none: it has looked at all.
    Retries { from: Option<AgentSeq>, again: bool },
    /// A person accepts the failures so far.
    FailuresAccepted,
    /// Running agents are cut off, from that number on: those that wait for no action, or `all`. None:
    /// there are no more.
    Stops { from: Option<AgentSeq>, all: bool },
    /// A person's command was applied or refused.
    Command {
        id: CommandId,
        verb: String,
        agent: Option<AgentId>,
        again: bool,
        why: Option<String>,
        refused: Option<String>,
    },
    /// A plugin wrote a line.
    Logged(Box<LogLine>),
    /// Old lines are gone from the log.
    Forgot(Vec<OldLines>),
}

/// What happens between the run and the strategy of its stage.
#[derive(Clone, Debug)]
pub(crate) enum OfStrategy {
    /// Something changed since it was asked.
    Due,
    /// It is asked.
    Asks(Asked),
    /// It decided, and the decision is obeyed.
    Decided(Decided),
    /// It gave no decision that could be obeyed.
    Undecided { code: Option<String>, message: String, decision_hash: Option<String> },
    /// What is to happen next.
    Next(PlannedNext),
    /// What was to happen next does not count any more: it is asked again.
    Reopened,
    /// It decided as the last time, while nothing happened.
    Repeated { refresh: Vec<AgentSeq>, next: PlannedNext },
    /// It returned another memo with that.
    Memo(String),
    /// The decision that was just written down is remembered.
    Remembered { label: Option<String> },
    /// Its lines were written, with that sum.
    Said([u8; 32]),
    /// It wrote the same lines again.
    SaidAgain,
    /// Agents are asked afresh.
    AsksAfresh,
    /// They have answered.
    Heard(Vec<Refreshed>),
    /// So many of the answers were taken over.
    TookOver(usize),
    /// What was known of agents is written before the strategy is asked again.
    Writes(Vec<Refreshed>),
    /// All that it wanted asked is known.
    Fresh,
    /// Agents that gave no good answer.
    Unheard(Unheard),
    /// A record of so many bytes is among those that it may start.
    Weighs(usize),
}

/// A decision, as the history has it: what becomes of the agents follows.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) label: Option<String>,
    /// Agents that are started, and left out.
    pub(crate) started: u32,
    pub(crate) skipped: u32,
    /// What it wants next, in words.
    pub(crate) next: String,
    pub(crate) memo: String,
    /// Agents to ask afresh.
    pub(crate) refresh: Vec<AgentSeq>,
    /// The same as the strategy named them.
    pub(crate) named: Vec<AgentId>,
}

/// Who is a member.
#[derive(Clone, Debug)]
pub(crate) enum OfMembership {
    /// These agents are to be taken into the stage.
    Joins(Arc<Vec<Joining>>),
    /// So many of them were.
    TookIn(usize),
    /// A change of the membership of an agent that is still to be made.
    Noted(AgentId, Changed),
    /// The first of these changes is being made.
    CatchesUp,
    /// Whether agents that joined are to be admitted to the stage.
    Admits(bool),
    /// Too many members are absent at once, or no longer.
    Absence(Option<MassAbsence>),
    /// An agent gets its record, whose number is the next one.
    Made { arrival: Arc<Arrival>, begins: Begins },
}

/// How an agent begins a stage.
#[derive(Clone, Debug)]
pub(crate) struct Begins {
    pub(crate) state: AgentState,
    /// Why it takes no part.
    pub(crate) skip_reason: Option<String>,
    /// Why it has failed already.
    pub(crate) error: Option<Failure>,
    /// Whether it is unknown if the stage selects it.
    pub(crate) undecided: bool,
}

impl Begins {
    /// It begins in that state, and there is no more to say.
    pub(crate) const fn as_a(state: AgentState) -> Self {
        Self { state, skip_reason: None, error: None, undecided: false }
    }
}

/// What is known of who answers at an agent's address.
#[derive(Clone, Debug)]
pub(crate) struct Identified {
    pub(crate) declared: Arc<Map<String, Value>>,
    pub(crate) identity: Identity,
    pub(crate) at: Option<Timestamp>,
}

impl Identified {
    pub(crate) fn of(arrival: &Arrival) -> Self {
        let (declared, identity) = (Arc::clone(&arrival.declared), arrival.identity.clone());
        Self { declared, identity, at: arrival.identified_at }
    }
}

/// What happens to one agent.
#[derive(Clone, Debug)]
pub(crate) enum OfAgent {
    /// It enters the next stage, in that state. `member`: none if it has left the cluster.
    Entered { begins: Begins, member: Option<Identified> },
    /// It does again what its record says, after the run was taken up.
    TakenUp,
    /// The strategy started it.
    Started { batch: u32, label: Option<String> },
    /// Its next step is to begin, after those of others.
    Queued,
    /// Its turn has come, or it is looked at no longer: for the moment it does nothing.
    Rests,
    /// It is no longer waiting for the moment of its next attempt, before which there is something else to do.
    Waits,
    /// It is looked at before its next step.
    Looking,
    /// What came of that look.
    Looked { identity: Option<Identity> },
    /// What was due for it has come.
    Rang,
    /// The moment of its next attempt counts again.
    Rings,
    /// What answers at its address was found to be it.
    Identified(Timestamp),
    /// That has to be found out before anything is sent there.
    Unidentified,
    /// It is known now whether the stage selects it.
    Settled,
    /// It does again what ended well late.
    DoesAgain,
    /// An attempt of a step began.
    StepStarted { step: u16, attempt: u32, takes: Option<u32> },
    /// The step was left out.
    StepSkipped { step: u16 },
    /// The step ended well; the value is not in a history.
    StepDone { value: Option<JsonText> },
    /// The attempt failed.
    StepFailed(Failure),
    /// The failure of its step is passed over.
    PassedOver,
    /// Its next step comes.
    Advanced,
    /// Its step is tried again then.
    RetriesAt(Timestamp),
    /// It waits for the end of an action until then.
    Settles { until: Timestamp, again: bool },
    /// What went wrong, for now.
    Erred(Failure),
    /// All of its steps are over.
    Done,
    /// It failed.
    Failed { failure: Failure, counts: bool, undecided: bool },
    /// It takes no part.
    LeftOut { why: String },
    /// A person puts it back.
    PutBack { again: bool },
    /// It joined, and takes part from now on.
    Admitted,
    /// It is no member any more, and goes once its call has ended.
    Leaving,
    /// It is a member again before it had gone.
    Stays,
    /// It is gone.
    Removed,
    /// It is back.
    Returned(Identified),
    /// It has another address.
    Moved { to: String },
    /// Something else is known of it, and perhaps its address.
    Info { about: About, address: String },
    /// The same, which is written with the next thing that happens to it.
    Learned(About),
    /// That is written now.
    WrittenDown,
    /// There is nothing to write any more: it is as it was.
    Unchanged,
    /// What was learned does not count, for now.
    Unlearned,
    /// Something was noticed of its call.
    Noticed(Option<Notice>),
}

/// What happens to the attempt of an agent, or to its action.
#[derive(Clone, Debug)]
pub(crate) enum OfCall {
    /// It goes on, or begins, with this journal.
    Opened(Box<Journal>),
    /// It does something else, and its time is over then.
    Does { doing: Doing, alarm: Option<Timestamp> },
    /// Its journal is to be written as it is.
    Written,
    /// Its step sees these attributes, which is to be written, or not yet.
    Sees { attributes: Arc<Map<String, Value>>, written: bool },
    /// It made a call, which is its pending one.
    Called { pending: Pending, action: Option<SentAction> },
    /// The agent accepted its action.
    Accepted,
    /// Its pending call has its answer.
    Answered(Box<Answered>),
    /// It is over; that is its journal, which is to be written, or never was.
    Closed { journal: Box<Journal>, written: bool },
    /// An action is out whose attempt is over; that is its journal, where it is known.
    LeftOpen { action: Outstanding, journal: Option<Box<Journal>> },
    /// That action is looked at.
    Watched,
    /// It is not, for the moment.
    Unwatched,
    /// How an action ended whose attempt was over, in words. What is kept of that is not in a history.
    EndedLate {
        key: AttemptKey,
        outcome: String,
        action_id: Option<Uuid>,
        kept: Option<Box<EndKept>>,
    },
    /// Nothing is out any more.
    Settled,
    /// The next attempt may take what the attempt of that number took in vain.
    Kept { attempt: u32 },
}

/// What is kept of how an action ended whose attempt was over.
#[derive(Clone, Debug)]
pub(crate) struct EndKept {
    pub(crate) late: LateEnd,
    /// The journal of its attempt, from which the next one goes on if there is a result.
    pub(crate) journal: Option<Journal>,
}

impl OfCall {
    /// The journal that the event has and that is to be written, where it does not stand in the state any
    /// more.
    pub(crate) fn into_closed(self) -> Option<Journal> {
        match self {
            Self::Closed { journal, written: true } => Some(*journal),
            Self::EndedLate { kept, .. } => kept.and_then(|kept| kept.journal),
            Self::Closed { written: false, .. }
            | Self::Opened(_)
            | Self::Does { .. }
            | Self::Written
            | Self::Sees { .. }
            | Self::Called { .. }
            | Self::Accepted
            | Self::Answered(_)
            | Self::LeftOpen { .. }
            | Self::Watched
            | Self::Unwatched
            | Self::Settled
            | Self::Kept { .. } => None,
        }
    }
}

impl From<OfRun> for What {
    fn from(event: OfRun) -> Self {
        Self::Run(event)
    }
}

impl From<OfStrategy> for What {
    fn from(event: OfStrategy) -> Self {
        Self::Strategy(event)
    }
}

impl From<OfMembership> for What {
    fn from(event: OfMembership) -> Self {
        Self::Membership(event)
    }
}

impl From<(AgentSeq, OfAgent)> for What {
    fn from((agent, event): (AgentSeq, OfAgent)) -> Self {
        Self::Agent(agent, event)
    }
}

impl From<(AgentSeq, OfCall)> for What {
    fn from((agent, event): (AgentSeq, OfCall)) -> Self {
        Self::Call(agent, event)
    }
}
