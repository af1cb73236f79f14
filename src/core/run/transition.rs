//! What goes into the state machine and what comes out: inputs, and transitions with their effects. This is how
//! the driver tells the core what happened, and how the core tells the driver what to do.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::agent_record::{About, AgentRecord, FailureReason};
use super::call::{Answer, Call, CallError};
use super::command::Command;
use super::datastore::{Datastore, Wanted};
use super::decision::{Decision, PlanInput};
use super::document::{Progress, Unanswered};
use super::following::{MassAbsence, MembershipChange};
use super::history::{LogLine, PluginLine, RunEvent};
use super::http::Caller;
use super::identity::Expected;
use super::journal::Journal;
use super::json_text::JsonText;
use super::log_kept::OldLines;
use super::node_info::NodeInfo;
use super::notice::Notice;
use super::outcome::Gone;
use super::secret::Entitled;
use super::signal::Signal;
use crate::ids::{AgentId, AgentSeq, AttemptKey, Digest, RunId};
use crate::playbook::{ClusterGuards, Grants, Identity};
use crate::time::Timestamp;

/// Something that the run is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// The cluster is free for this run.
    ClusterFree,
    /// Another run comes first on the cluster.
    ClusterBusy {
        /// The run that holds the cluster. If none does: the oldest run that is queued for it.
        holder: RunId,
        /// How many further runs are queued before this one.
        queued: u32,
    },
    /// The guards that the cluster has now. The driver gives them right after [`Machine::load`](super::Machine::load),
    /// before it asks for the first [`settle`](super::Machine::settle); before each [`Input::Members`] and
    /// [`Input::MembersOfRetry`]; and whenever the Cluster document has changed. Those that the run has already change
    /// nothing.
    Guards(Arc<ClusterGuards>),
    /// The members of the cluster as they are now.
    Members(Vec<Member>),
    /// The members for a run that goes over agents of another run again and has not begun: which of those agents
    /// are still members, and which are not.
    MembersOfRetry {
        /// Agents of the other run that are still members.
        members: Vec<Member>,
        /// Agents of the other run that are not members any more.
        gone: Gone,
        /// If the cluster has guards: all other members. They take no part, but guards count them.
        bystanders: Vec<Member>,
    },
    /// Some members do not answer. They are asked again before [`Input::Members`] comes.
    MembersUnanswered(Unanswered),
    /// The members could not be worked out. The text says why.
    MembersFailed(String),
    /// What the agents of [`Effect::Refresh`] say now: each agent once, in any order.
    Refreshed(Vec<Refreshed>),
    /// What the agents of [`Effect::LookAround`] say now: each agent once, in any order.
    LookedAround(Vec<Refreshed>),
    /// The strategy's decision, or why it gave none.
    Planned {
        /// The decision, or why there is none.
        result: Result<Decision, PlanFailure>,
        /// What the strategy wrote to its log.
        logs: Vec<PluginLine>,
    },
    /// An activation of a step ended.
    Activated {
        /// The attempt whose step was activated.
        key: AttemptKey,
        /// How the activation ended.
        activation: Activation,
    },
    /// The agent has accepted the action of the pending call.
    Accepted {
        /// The attempt that made the call.
        key: AttemptKey,
        /// Number of the call within the attempt.
        call: u32,
    },
    /// Something was noticed about a call in flight. It is for people: what becomes of the call does not depend on
    /// it.
    Noticed {
        /// The attempt that made the call.
        key: AttemptKey,
        /// Number of the call within the attempt. `None` for [`Effect::Check`].
        call: Option<u32>,
        /// What was noticed. `None` if the call goes on as it should.
        notice: Option<Notice>,
    },
    /// A pending call has got its answer.
    Answered {
        /// The attempt that made the call.
        key: AttemptKey,
        /// Number of the call within the attempt.
        call: u32,
        /// The answer.
        answer: Answer,
    },
    /// What the agent says in answer to [`Effect::Check`].
    Checked {
        /// The attempt for which the agent was asked.
        key: AttemptKey,
        /// What the agent says about its node, or why it said nothing.
        info: Result<NodeInfo, CallError>,
    },
    /// What an agent says in answer to [`Effect::Look`].
    Looked(Look),
    /// How the members of the cluster differ from those that the run knows.
    Membership(MembershipChange),
    /// A person's command.
    Command(Command),
    /// The moment that was asked for with [`Effect::WakeAt`] has come.
    Woken,
    /// The lines of [`Effect::Forget`] are removed.
    Forgotten(Vec<OldLines>),
    /// All records of the run have their `finish_ts`, except the run itself.
    Stamped,
    /// Go on with work that was too much for one commit.
    Continue,
}

/// One member of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The agent.
    pub agent: AgentId,
    /// Base URL of the agent's API.
    pub address: String,
    /// Attributes that the agent reports, overridden by those of the Cluster object or of the platform.
    pub attributes: Map<String, Value>,
    /// The attributes of the Cluster object or of the platform.
    pub declared: Map<String, Value>,
    /// What `info/node` said; null when the agent did not answer.
    pub node: Value,
    /// What the agent said about its store, if it was asked.
    pub datastore: Datastore,
    /// When the agent was asked, even if it did not answer. `None` means just now.
    pub asked_at: Option<Timestamp>,
    /// Whether what answers at the address must be the agent.
    pub identity: Identity,
    /// Why the agent said nothing about its node, if it would say the same each time. `None` if it said something,
    /// or if nothing answered.
    pub refusal: Option<Refusal>,
}

/// Something answered at an agent's address, but said nothing about the node. Asking again would get the same
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `refused` or `malformed`.
    pub reason: FailureReason,
    /// What was answered, with the address and the status, as human-readable text.
    pub message: String,
}

/// One look at an agent's node before its next step.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The last attempt of the step that comes next. Its number is 0 if the step had no attempt yet.
    pub key: AttemptKey,
    /// Base URL that was asked.
    pub address: String,
    /// When the agent was asked.
    pub at: Timestamp,
    /// What came of the look.
    pub looked: Looked,
    /// How the Cluster object, as it is now, wants the agent's identity checked. `None` if that is not known.
    pub identity: Option<Identity>,
}

/// What came of one look at an agent's node.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// The agent said something about its node.
    Says(Box<NodeInfo>),
    /// Something answered, but said nothing about the node.
    Refused(Refusal),
    /// No answer came. The text says what happened.
    Silent(String),
}

impl Looked {
    /// What was answered instead of something about the node, if that is what happened.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Says(_) | Self::Silent(_) => None,
        }
    }
}

/// An agent that is to be asked about its node.
#[derive(Clone, Debug, PartialEq)]
pub struct AskAgain {
    /// Number of the agent's record.
    pub seq: AgentSeq,
    /// The agent.
    pub agent: AgentId,
    /// Base URL of the agent's API.
    pub address: String,
    /// The agent's attributes as they are known.
    pub attributes: Arc<Map<String, Value>>,
    /// The attributes that override those that the agent reports.
    pub declared: Arc<Map<String, Value>>,
    /// What the agent is asked in addition to what it says about its node.
    pub wanted: Wanted,
}

/// What is known about an agent that was asked again.
#[derive(Clone, Debug, PartialEq)]
pub struct Refreshed {
    /// Number of the agent's record.
    pub agent: AgentSeq,
    /// What is known now. If the agent did not answer, the node is null and the attributes are what they were.
    pub about: About,
    /// If the agent gave no usable answer: when it was asked, and what came instead, as human-readable text.
    pub silence: Option<(Timestamp, String)>,
}

/// Why a strategy gave no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFailure {
    /// A stable code for programs, for example `plugin-trapped`.
    pub code: String,
    /// What happened, as human-readable text.
    pub message: String,
    /// Whether the same plugin may answer the same question later.
    pub may_pass: bool,
}

/// How an activation of a step ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// How the activation ended.
    pub end: ActivationEnd,
    /// The log lines that the step wrote after the last recorded answer.
    pub logs: Vec<PluginLine>,
}

/// The ways in which an activation can end.
#[derive(Clone, Debug, PartialEq)]
pub enum ActivationEnd {
    /// The step stopped at its first call without an answer. The number of the call is the number of answers in
    /// the journal.
    Blocked(Call),
    /// The step is done, with this result.
    Done(JsonText),
    /// The attempt failed.
    Failed {
        /// The kind of failure.
        reason: FailureReason,
        /// What happened, as human-readable text.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
}

/// What one input leads to: what to commit, and what to perform after that.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    /// What is to be written, all in one commit.
    pub writes: Writes,
    /// What is to be performed once the writes are committed.
    pub effects: Vec<Effect>,
}

/// What a commit writes. The run's progress is always written.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// Progress of the run. `None` only if nothing at all is to be written.
    pub progress: Option<Progress>,
    /// Agent records, each as a whole. At most one for each agent.
    pub records: Vec<AgentRecord>,
    /// Journals, each as a whole. At most one for each attempt.
    pub journals: Vec<Journal>,
    /// New log lines.
    pub logs: Vec<LogLine>,
    /// New events.
    pub events: Vec<RunEvent>,
    /// Commands that have got their outcome.
    pub commands: Vec<Command>,
}

impl Writes {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.progress.is_none()
    }

    /// Number of documents besides the run.
    pub fn documents(&self) -> usize {
        self.records.len()
            + self.journals.len()
            + self.logs.len()
            + self.events.len()
            + self.commands.len()
    }
}

/// Something that the driver performs after the commit. Each effect is safe to perform again after a crash.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask for the lock of the cluster until the run has it, and answer with [`Input::ClusterFree`]. Answer with
    /// [`Input::ClusterBusy`] when the run waits for another run than its reason says.
    AwaitCluster,
    /// Work out the members and answer with [`Input::Members`], [`Input::MembersOfRetry`] or
    /// [`Input::MembersFailed`].
    LoadMembers,
    /// Ask these agents about their nodes, and answer with [`Input::Refreshed`].
    Refresh(Vec<AskAgain>),
    /// Ask these agents about their nodes, for the guards of the cluster, and answer with [`Input::LookedAround`].
    /// Each is asked once: an agent that does not answer is out. This may be under way together with
    /// [`Effect::Refresh`], but never twice.
    LookAround(Vec<AskAgain>),
    /// Ask the strategy, and answer with [`Input::Planned`]. No other input is applied until it has answered.
    Plan {
        /// Digest of the plugin.
        plugin: Digest,
        /// What the strategy is asked with.
        input: PlanInput,
    },
    /// Activate a step and answer with [`Input::Activated`].
    Activate(Box<Activate>),
    /// Ask the agent about its node, just before an attempt, and answer with [`Input::Checked`].
    Check {
        /// The attempt for which the agent is asked.
        key: AttemptKey,
        /// Base URL of the agent's API.
        address: String,
        /// What the agent is asked in addition to what it says about its node.
        wanted: Wanted,
        /// What was noticed about this question before, by an engine that crashed or lost the run.
        noticed: Option<Notice>,
    },
    /// Look once at an agent's node before its next step, and answer with [`Input::Looked`]. An agent that does
    /// not answer is not asked again.
    Look {
        /// The last attempt of the step that comes next. Its number is 0 if the step had no attempt yet.
        key: AttemptKey,
        /// The agent.
        agent: AgentId,
        /// Base URL of the agent's API.
        address: String,
        /// What the agent is asked in addition to what it says about its node.
        wanted: Wanted,
    },
    /// Perform a call and answer with [`Input::Answered`].
    Perform(Box<Perform>),
    /// Answer with [`Input::Woken`] at this moment. A later effect of this kind replaces it.
    WakeAt(Timestamp),
    /// Stop performing the call of this attempt. It is not answered any more.
    Abandon(AttemptKey),
    /// Answer the calls that wait for this signal: those of one agent, or of all.
    Signal {
        /// The signal.
        signal: Signal,
        /// The agent that it is for; `None` for all.
        to: Option<AgentSeq>,
    },
    /// Tell whoever follows the cluster that a person takes these members for gone. It does not count if other
    /// members are absent by then.
    AcceptAbsence(MassAbsence),
    /// Remove these lines from the log, and answer with [`Input::Forgotten`].
    Forget(Vec<OldLines>),
    /// Write `finish_ts` to all records of the run, and then answer with [`Input::Stamped`].
    Stamp(Timestamp),
    /// Answer with [`Input::Continue`].
    Continue,
}

/// An activation of a step that is to be made.
#[derive(Clone, Debug)]
pub struct Activate {
    /// The attempt that is activated.
    pub key: AttemptKey,
    /// Digest of the plugin.
    pub plugin: Digest,
    /// What the plugin may reach.
    pub grants: Grants,
    /// The attempt's journal so far.
    pub journal: Journal,
    /// The agent, as the step's input and `agent.info` need it.
    pub agent: AgentId,
    /// Attributes of the agent as the step sees them.
    pub attributes: Arc<Map<String, Value>>,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the stage.
    pub stage: String,
}

impl Perform {
    /// Who must answer at the address. `None` if identities are not compared.
    pub fn expects(&self) -> Option<Expected<'_>> {
        self.identity.expects(&self.agent)
    }

    /// What must be asked to compare the identity.
    pub fn wanted(&self) -> Wanted {
        Wanted::default().and_compare(&self.identity)
    }

    /// What the agent said about its node, unless another node said it.
    ///
    /// # Errors
    /// [`CallError::Unreachable`] that names the node that answered.
    pub fn of_its_agent(&self, info: NodeInfo) -> Result<NodeInfo, CallError> {
        let checked = self.expects().map_or(Ok(()), |who| who.check_info(&self.address, &info));
        match checked {
            // A step has no way to ask for it.
            Ok(()) => Ok(NodeInfo { datastore: Datastore::default(), ..info }),
            Err(wrong) => Err(CallError::Unreachable(wrong.to_string())),
        }
    }
}

/// A call to perform.
#[derive(Clone, Debug)]
pub struct Perform {
    /// The attempt that made the call.
    pub key: AttemptKey,
    /// Number of the call within the attempt.
    pub call: u32,
    /// The agent.
    pub agent: AgentId,
    /// Base URL of the agent's API.
    pub address: String,
    /// The call itself.
    pub what: Call,
    /// When the call was committed.
    pub since: Timestamp,
    /// Whether the call may have been performed before, by an engine that crashed or lost the run.
    pub again: bool,
    /// Whether the agent is known to have accepted the action.
    pub accepted: bool,
    /// Bytes of the action's arguments, even if `what` comes without them. `None` if they are not known.
    pub bytes: Option<u32>,
    /// Whether the action may only be looked at and never sent. If the agent does not know it, it is lost.
    pub look_only: bool,
    /// What was noticed about the call before.
    pub noticed: Option<Notice>,
    /// Whether what answers at the address must be the agent, and how that is checked.
    pub identity: Identity,
    /// Whether the identity must be compared before anything is sent.
    pub unidentified: bool,
    /// If the call waits for a signal: one that came before.
    pub signal: Option<Signal>,
    /// If the call is an HTTP request, or may have secrets in it: on whose behalf it is sent.
    pub caller: Option<Box<Caller>>,
    /// The secrets that the attempt may send, with the tokens that stand for them.
    pub secrets: Vec<Entitled>,
}
