//! What happens in a run, in memory. Each event is the smallest change that is made as a whole.
//!
//! Events that belong to the history are [`told`](super::told). The others only say what the run does at the
//! moment, or change a document in a way that its history does not tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::agent::Doing;
use super::entering::{Arrival, Changed, Joining};
use crate::playbook::{ClusterGuards, Identity};
use crate::run::{
    About, AgentId, AgentSeq, AgentState, Answered, ApprovalChange, Asked, AttemptKey, Closing,
    CommandId, Failure, Gone, Held, HeldThen, Journal, JsonText, LateEnd, LogLine, MassAbsence,
    Notice, OldLines, Outstanding, Pending, PlannedNext, Refreshed, RunStatus, SentAction, Signal,
    StatusReason, Timestamp, Unanswered, Unheard,
};

/// Something that happened at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) what: What,
}

/// What happened, and what it happened to.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Run(OfRun),
    Strategy(OfStrategy),
    Membership(OfMembership),
    Agent(AgentSeq, OfAgent),
    /// Something happened to the attempt of an agent, or to its action.
    Call(AgentSeq, OfCall),
}

/// A kind of effect that is out until one input answers it. At most one effect of each kind is out.
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
    /// The run begins, with this status.
    Created(RunStatus),
    /// The run gets another status.
    Status { to: RunStatus, reason: Option<StatusReason> },
    /// It is settled how the run ends, and the run enters FINISHING.
    Settled { outcome: RunStatus, outcomes: BTreeMap<AgentState, u32>, reason: StatusReason },
    /// The run keeps its status, but for another reason.
    Reason(StatusReason),
    /// An effect of this kind is out.
    Sent(Sent),
    /// The input came that answers the effect.
    Came(Sent),
    /// The run wants to be woken at this moment.
    WakesAt(Timestamp),
    /// The run was woken.
    Woke,
    /// Some members of the stage that is being entered do not answer. `None` means that this is over.
    Unanswered(Option<Unanswered>),
    /// Some agents that the run was to go over again have left.
    Gone(Gone),
    /// The agents of the stage are known.
    StageBegan { selected: u32 },
    /// The stage is over, and the next one is entered.
    StageEnded,
    /// The run is going to end like this, after the stages that are always done. The number is that of the stage that
    /// begins next; `None` if the present one is such a stage, and goes on.
    Closes { closing: Closing, next: Option<u16> },
    /// No further stage begins before the run ends.
    ClosesNow,
    /// A stage ended over its budget, and a person let the run go on. The text says how it ended.
    Exceeded(String),
    /// From now on agents stop after their present calls.
    Held,
    /// Agents no longer stop after their calls.
    LetGo,
    /// A person's retry goes on with the failed agents from number `from` on. `None` means that it has looked at
    /// all.
    Retries { from: Option<AgentSeq>, again: bool },
    /// A person accepts the failures so far.
    FailuresAccepted,
    /// The cluster has these guards.
    Guards(Arc<ClusterGuards>),
    /// A person overrides the guard of this name.
    Overridden(String),
    /// Guards hold these agents.
    Holds(Held),
    /// Running agents are cut off, from number `from` on: those that wait for no action, or `all`. `None` means
    /// that no more are left.
    Stops { from: Option<AgentSeq>, all: bool },
    /// Something has become of what the run asks people. `by` is who has approved it.
    Approval { by: Option<String>, change: ApprovalChange },
    /// A person's command was applied or refused.
    Command {
        id: CommandId,
        verb: String,
        agent: Option<AgentId>,
        again: bool,
        signal: Option<String>,
        override_guard: Option<String>,
        why: Option<String>,
        refused: Option<String>,
    },
    /// A signal to the whole run came.
    Signalled(Signal),
    /// A plugin wrote a line to the log.
    Logged(Box<LogLine>),
    /// Old lines are gone from the log.
    Forgot(Vec<OldLines>),
}

/// What happens between the run and the strategy of its stage.
#[derive(Clone, Debug)]
pub(crate) enum OfStrategy {
    /// Something changed since the strategy was last asked.
    Due,
    /// The strategy is asked.
    Asks(Asked),
    /// The strategy decided, and the decision is followed.
    Decided(Decided),
    /// The strategy gave no decision that could be followed.
    Undecided { code: Option<String>, message: String, decision_hash: Option<String> },
    /// What is to happen next.
    Next(PlannedNext),
    /// What was to happen next does not count any more, and the strategy is asked again.
    Reopened,
    /// The strategy repeated its last decision, and nothing has happened since.
    Repeated { refresh: Vec<AgentSeq>, next: PlannedNext },
    /// The strategy returned another memo with a repeated decision.
    Memo(String),
    /// The decision that was just written down is remembered.
    Remembered { label: Option<String> },
    /// The strategy's log lines were written. The bytes are their hash.
    Said([u8; 32]),
    /// The strategy wrote the same lines again.
    SaidAgain,
    /// Agents are being asked afresh for the strategy.
    AsksAfresh,
    /// The agents that were asked afresh have answered.
    Heard(Vec<Refreshed>),
    /// This many of the answers were taken over.
    TookOver(usize),
    /// What is known about these agents is written before the strategy is asked again.
    Writes(Vec<Refreshed>),
    /// Everything is known that the strategy wanted asked.
    Fresh,
    /// Agents that gave no usable answer to questions for the strategy.
    Unheard(Unheard),
    /// A record of this many bytes is among those that the strategy may start.
    Weighs(usize),
    /// Agents are being asked for the guards: all of them if it is a `whole` round. Nobody is started before they have
    /// answered if that is `needed`.
    LooksAround { whole: bool, needed: bool },
    /// Nobody is started before the agents have answered that are being asked for the guards.
    AwaitsLook,
    /// The agents that were asked for the guards have answered.
    LookedAround(Vec<Refreshed>),
    /// This many of these answers were taken over.
    TookAround(usize),
    /// It was looked at whether guards still hold the agents that they held.
    Judged,
}

/// A decision, as the history has it. What becomes of the agents follows in further events.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    pub(crate) label: Option<String>,
    /// How many agents are started, and how many are left out.
    pub(crate) started: u32,
    pub(crate) skipped: u32,
    /// What the strategy wants next, as text.
    pub(crate) next: String,
    pub(crate) memo: String,
    /// Agents to ask afresh, by their numbers.
    pub(crate) refresh: Vec<AgentSeq>,
    /// The same agents, as the strategy named them.
    pub(crate) named: Vec<AgentId>,
    /// All agents that guards hold now, by their numbers.
    pub(crate) held: Vec<AgentSeq>,
    /// The same agents, as the history has them. `None` if nobody is held.
    pub(crate) holds: Option<HeldThen>,
}

/// What happens to the membership of agents.
#[derive(Clone, Debug)]
pub(crate) enum OfMembership {
    /// These agents are to be taken into the stage.
    Joins(Arc<Vec<Joining>>),
    /// This many of them were taken in.
    TookIn(usize),
    /// The membership of an agent changed, and the change is still to be made.
    Noted(AgentId, Changed),
    /// The first of the noted changes is being made.
    CatchesUp,
    /// Whether agents that joined are to be admitted to the stage.
    Admits(bool),
    /// Too many members are absent at once. `None` means that this is over.
    Absence(Option<MassAbsence>),
    /// An agent gets its record, with the next number.
    Made { arrival: Arc<Arrival>, begins: Begins },
}

/// How an agent begins a stage.
#[derive(Clone, Debug)]
pub(crate) struct Begins {
    pub(crate) state: AgentState,
    /// Why the agent takes no part.
    pub(crate) skip_reason: Option<String>,
    /// Why the agent has already failed.
    pub(crate) error: Option<Failure>,
    /// Whether it is unknown if the stage selects the agent.
    pub(crate) undecided: bool,
    /// Whether the run does nothing to the agent and has its record only for guards.
    pub(crate) bystander: bool,
}

impl Begins {
    /// The agent begins in this state, and there is no more to say about it.
    pub(crate) const fn as_a(state: AgentState) -> Self {
        Self { state, skip_reason: None, error: None, undecided: false, bystander: false }
    }
}

/// What is known about who answers at an agent's address.
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
    /// The agent enters the next stage. `member` is `None` if it has left the cluster.
    Entered { begins: Begins, member: Option<Identified> },
    /// When the run is taken up: the agent goes on with what its record says.
    TakenUp,
    /// The strategy started the agent.
    Started { batch: u32, label: Option<String> },
    /// The agent's next step is to begin, after those of other agents.
    Queued,
    /// The agent's turn has come, or the look at it ended: for the moment it does nothing.
    Rests,
    /// The agent stops waiting for its next attempt, because something else must be done first.
    Waits,
    /// The agent is being looked at before its next step.
    Looking,
    /// The look has ended. `identity` is how the agent's identity is to be checked from now on, if that is known.
    Looked { identity: Option<Identity> },
    /// What was due for the agent has come.
    Rang,
    /// The time of the agent's next attempt counts again.
    Rings,
    /// What answers at the agent's address was found to be the agent.
    Identified(Timestamp),
    /// It must be found out who answers at the address before anything is sent there.
    Unidentified,
    /// It is now known whether the stage selects the agent.
    Settled,
    /// The agent does again what ended well but late.
    DoesAgain,
    /// An attempt of a step began.
    StepStarted { step: u16, attempt: u32, takes: Option<u32> },
    /// The step was left out.
    StepSkipped { step: u16 },
    /// The step ended well. A history does not have the value.
    StepDone { value: Option<JsonText> },
    /// The attempt failed.
    StepFailed(Failure),
    /// The failure of the agent's step is passed over.
    PassedOver,
    /// The agent goes on to its next step.
    Advanced,
    /// The agent goes on with step number `to`, which is one of its rescue or finally steps, or past the last one. The
    /// failure is what led there, if it was one.
    Turns { to: u16, failure: Option<Failure> },
    /// The agent's step is tried again at this moment.
    RetriesAt(Timestamp),
    /// The agent waits for the end of an action, until this moment at the latest.
    Settles { until: Timestamp, again: bool },
    /// Something went wrong, which may not be the end of the agent.
    Erred(Failure),
    /// The agent has come through all of its steps.
    Done,
    /// The agent failed.
    Failed { failure: Failure, counts: bool, undecided: bool },
    /// The agent takes no part.
    LeftOut { why: String },
    /// A person puts the agent back in the queue.
    PutBack { again: bool },
    /// The agent joined, and takes part from now on.
    Admitted,
    /// The agent is no longer a member, and goes once its call has ended.
    Leaving,
    /// The agent is a member again before it was gone.
    Stays,
    /// The agent is gone.
    Removed,
    /// The agent is a member again after it was gone.
    Returned(Identified),
    /// The agent has a new address.
    Moved { to: String },
    /// Something new is known about the agent, and perhaps its address.
    Info { about: About, address: String },
    /// Something new is known about the agent, to be written together with the next thing that happens to it.
    Learned(About),
    /// What was learned is now written.
    WrittenDown,
    /// Nothing is left to write, because what is known is again what was written.
    Unchanged,
    /// What was learned does not count for now.
    Unlearned,
    /// Something was noticed about the agent's call. `None`: the call goes on as it should.
    Noticed(Option<Notice>),
    /// A signal to the agent came.
    Signalled(Signal),
}

/// What happens to the attempt of an agent, or to its action.
#[derive(Clone, Debug)]
pub(crate) enum OfCall {
    /// An attempt begins or goes on, with this journal.
    Opened(Box<Journal>),
    /// The attempt waits for something else. `alarm` is when its time is over.
    Does { doing: Doing, alarm: Option<Timestamp> },
    /// The attempt's journal is to be written as it is.
    Written,
    /// The attempt's step sees these attributes. `written` says whether that is to be written now.
    Sees { attributes: Arc<Map<String, Value>>, written: bool },
    /// The attempt made a call, which is now pending.
    Called { pending: Pending, action: Option<SentAction> },
    /// The agent accepted the attempt's action.
    Accepted,
    /// The attempt's pending call has got its answer.
    Answered(Box<Answered>),
    /// The attempt is over, and this is its journal. `written` says whether the journal is to be written.
    Closed { journal: Box<Journal>, written: bool },
    /// An action is out although its attempt is over. The journal is that of the attempt, if it is known.
    LeftOpen { action: Outstanding, journal: Option<Box<Journal>> },
    /// The outstanding action is being looked at.
    Watched,
    /// The outstanding action is not being looked at for the moment.
    Unwatched,
    /// How an action ended whose attempt was over, as text. A history does not have the part that is `kept`.
    EndedLate {
        key: AttemptKey,
        outcome: String,
        action_id: Option<Uuid>,
        kept: Option<Box<EndKept>>,
    },
    /// No action is out any more.
    Settled,
    /// The next attempt may take the result that attempt number `attempt` took in vain.
    Kept { attempt: u32 },
}

/// What is kept of how an action ended whose attempt was over.
#[derive(Clone, Debug)]
pub(crate) struct EndKept {
    pub(crate) late: LateEnd,
    /// The journal of the action's attempt. The next attempt goes on from it if there is a result.
    pub(crate) journal: Option<Journal>,
}

impl OfCall {
    /// The journal that the event has and that is to be written, if the state no longer has it.
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
