//! What the core is told and what it answers: inputs, and transitions with effects.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::agent_record::{About, AgentRecord, FailureReason};
use super::command::Command;
use super::datastore::{Datastore, Wanted};
use super::decision::{Decision, PlanInput};
use super::document::{Progress, Unanswered};
use super::following::{MassAbsence, MembershipChange};
use super::history::{LogLine, PluginLine, RunEvent};
use super::identity::Expected;
use super::journal::{Answer, Call, CallError, Journal};
use super::json_text::JsonText;
use super::log_kept::OldLines;
use super::node_info::NodeInfo;
use super::notice::Notice;
use super::outcome::Gone;
use crate::ids::{AgentId, AgentSeq, AttemptKey, Digest, RunId};
use crate::playbook::{Grants, Identity};
use crate::time::Timestamp;

/// Something that the run must take notice of.
#[derive(Clone, Debug)]
pub enum Input {
    /// The cluster is free for this run.
    ClusterFree,
    /// Another run comes first on the cluster.
    ClusterBusy {
        /// The run that holds the cluster; when none does, the oldest one that is queued for it.
        holder: RunId,
        /// How many other runs are queued before this one.
        queued: u32,
    },
    /// The members of the cluster, as they are now.
    Members(Vec<Member>),
    /// The same for a run that goes over agents of another run again and has not begun: which of them are
    /// still members, and which are not.
    MembersOfRetry {
        /// The members.
        members: Vec<Member>,
        /// The others.
        gone: Gone,
    },
    /// Some members do not answer, and are asked again before [`Input::Members`] comes.
    MembersUnanswered(Unanswered),
    /// The members could not be worked out.
    MembersFailed(String),
    /// What the agents of [`Effect::Refresh`] say now: each of them once, in any order.
    Refreshed(Vec<Refreshed>),
    /// The strategy's decision, or why there is none.
    Planned {
        /// The decision.
        result: Result<Decision, PlanFailure>,
        /// What the strategy wrote to its log.
        logs: Vec<PluginLine>,
    },
    /// An activation of a step ended.
    Activated {
        /// The attempt.
        key: AttemptKey,
        /// How.
        activation: Activation,
    },
    /// The agent has accepted the action of the pending call.
    Accepted {
        /// The attempt.
        key: AttemptKey,
        /// Number of the call.
        call: u32,
    },
    /// Something was noticed about a call in flight. It is for people: what becomes of the call does not
    /// depend on it.
    Noticed {
        /// The attempt.
        key: AttemptKey,
        /// Number of the call; none for [`Effect::Check`].
        call: Option<u32>,
        /// What was noticed; none if the call goes on as it should.
        notice: Option<Notice>,
    },
    /// A pending call has its answer.
    Answered {
        /// The attempt.
        key: AttemptKey,
        /// Number of the call.
        call: u32,
        /// The answer.
        answer: Answer,
    },
    /// What the agent says, asked by [`Effect::Check`].
    Checked {
        /// The attempt.
        key: AttemptKey,
        /// What it says about its node.
        info: Result<NodeInfo, CallError>,
    },
    /// What an agent says, asked by [`Effect::Look`].
    Looked(Look),
    /// How the members of the cluster differ from those that the run knows.
    Membership(MembershipChange),
    /// A person's command.
    Command(Command),
    /// The moment that was asked for with [`Effect::WakeAt`] has come.
    Woken,
    /// The lines of [`Effect::Forget`] are gone.
    Forgotten(Vec<OldLines>),
    /// All records but the run itself have their `finish_ts`.
    Stamped,
    /// Go on with work that was too much for one commit.
    Continue,
}

/// One member of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The agent.
    pub agent: AgentId,
    /// Base URL of its API.
    pub address: String,
    /// Attributes: those of the Cluster object, or of the platform, over those that the agent reports.
    pub attributes: Map<String, Value>,
    /// Of these, those of the Cluster object or of the platform.
    pub declared: Map<String, Value>,
    /// What `info/node` said; null when the agent did not answer.
    pub node: Value,
    /// What it said of its store, where it was asked.
    pub datastore: Datastore,
    /// When it was asked, whether or not it answered; none: just now.
    pub asked_at: Option<Timestamp>,
    /// Whether what answers at the address must be the agent.
    pub identity: Identity,
    /// Why there is no answer where it would be the same each time; none where it answered, or where
    /// nothing did.
    pub refusal: Option<Refusal>,
}

/// Something answered at an agent's address, and said nothing about the node: who asks again is answered the
/// same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `refused` or `malformed`.
    pub reason: FailureReason,
    /// What was answered, with the address and the status, for people.
    pub message: String,
}

/// One look at an agent's node before its next step.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The last attempt of the step that comes next; its number is 0 when there was none.
    pub key: AttemptKey,
    /// Base URL that was asked.
    pub address: String,
    /// When it was.
    pub at: Timestamp,
    /// What came of it.
    pub looked: Looked,
    /// Whether the Cluster object, as it is now, wants the agent compared; none if that is not known.
    pub identity: Option<Identity>,
}

/// What came of one look at an agent's node.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// It answered.
    Says(Box<NodeInfo>),
    /// It answered, and says nothing about its node.
    Refused(Refusal),
    /// No answer came; with what happened, for people.
    Silent(String),
}

impl Looked {
    /// What was answered in place of anything about the node, where something was.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Says(_) | Self::Silent(_) => None,
        }
    }
}

/// An agent to ask about its node.
#[derive(Clone, Debug, PartialEq)]
pub struct AskAgain {
    /// Its record.
    pub seq: AgentSeq,
    /// The agent.
    pub agent: AgentId,
    /// Base URL of its API.
    pub address: String,
    /// Its attributes so far.
    pub attributes: Arc<Map<String, Value>>,
    /// Of these, those that count over what the agent reports.
    pub declared: Arc<Map<String, Value>>,
    /// What it is asked.
    pub wanted: Wanted,
}

/// What is known about an agent that was asked again.
#[derive(Clone, Debug, PartialEq)]
pub struct Refreshed {
    /// Its record.
    pub agent: AgentSeq,
    /// What is known now. Of an agent that did not answer the node is null, and the attributes are
    /// what they were.
    pub about: About,
    /// Of an agent that gave no good answer: when it was asked, and what came instead, for people.
    pub silence: Option<(Timestamp, String)>,
}

/// Why a strategy gave no decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFailure {
    /// A stable code, for example `plugin-trapped`.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Whether the same question may be answered later, by the same plugin.
    pub may_pass: bool,
}

/// How an activation of a step ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// The end.
    pub end: ActivationEnd,
    /// The lines after the last recorded answer.
    pub logs: Vec<PluginLine>,
}

/// The ends of an activation.
#[derive(Clone, Debug, PartialEq)]
pub enum ActivationEnd {
    /// It stopped at its first call without an answer; the number of the call is the number of
    /// answers in the journal.
    Blocked(Call),
    /// The step is done, with this result.
    Done(JsonText),
    /// The attempt failed.
    Failed {
        /// Why.
        reason: FailureReason,
        /// What happened, for people.
        message: String,
        /// Whether another attempt may go well.
        retryable: bool,
    },
}

/// What one input did: what to commit, and what to perform after that.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    /// What is to be written, all at once.
    pub writes: Writes,
    /// What is to be performed once the writes are committed.
    pub effects: Vec<Effect>,
}

/// What a commit writes. The run's progress is always written.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// Progress of the run; none only when nothing at all is to be written.
    pub progress: Option<Progress>,
    /// Agent records, each whole; at most one for each agent.
    pub records: Vec<AgentRecord>,
    /// Journals, each whole; at most one for each attempt.
    pub journals: Vec<Journal>,
    /// New log lines.
    pub logs: Vec<LogLine>,
    /// New events.
    pub events: Vec<RunEvent>,
    /// Commands that got their outcome.
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

/// Something for the driver to perform after the commit. Each is safe to perform again after a crash.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask for the lock of the cluster until the run has it, and answer with [`Input::ClusterFree`];
    /// or with [`Input::ClusterBusy`] once what it waits for is another than its reason says.
    AwaitCluster,
    /// Work out the members and answer with [`Input::Members`], [`Input::MembersOfRetry`] or
    /// [`Input::MembersFailed`].
    LoadMembers,
    /// Ask these agents about their nodes, and answer with [`Input::Refreshed`].
    Refresh(Vec<AskAgain>),
    /// Ask the strategy. While it thinks, no other input is applied.
    Plan {
        /// Digest of the plugin.
        plugin: Digest,
        /// What it is asked with.
        input: PlanInput,
    },
    /// Activate a step and answer with [`Input::Activated`].
    Activate(Box<Activate>),
    /// Ask the agent about its node, just before an attempt, and answer with [`Input::Checked`].
    Check {
        /// The attempt.
        key: AttemptKey,
        /// Base URL of the agent's API.
        address: String,
        /// What it is asked.
        wanted: Wanted,
        /// What was noticed of it before, by an engine that crashed or lost the run.
        noticed: Option<Notice>,
    },
    /// Look once at an agent's node before its next step, and answer with [`Input::Looked`]. An agent that
    /// does not answer is not asked again.
    Look {
        /// The last attempt of the step that comes next; its number is 0 when there was none.
        key: AttemptKey,
        /// The agent.
        agent: AgentId,
        /// Base URL of its API.
        address: String,
        /// What it is asked.
        wanted: Wanted,
    },
    /// Perform a call and answer with [`Input::Answered`].
    Perform(Box<Perform>),
    /// Answer with [`Input::Woken`] at that moment. A later one of these replaces this.
    WakeAt(Timestamp),
    /// Give up performing the call of this attempt; it will not be answered any more.
    Abandon(AttemptKey),
    /// A person takes these members for gone: say so to whoever follows the cluster. Where others are
    /// absent meanwhile it does not count.
    AcceptAbsence(MassAbsence),
    /// Remove these lines from the log, and answer with [`Input::Forgotten`].
    Forget(Vec<OldLines>),
    /// Write `finish_ts` to all records of the run, and answer with [`Input::Stamped`].
    Stamp(Timestamp),
    /// Answer with [`Input::Continue`].
    Continue,
}

/// An activation to make.
#[derive(Clone, Debug)]
pub struct Activate {
    /// The attempt.
    pub key: AttemptKey,
    /// Digest of the plugin.
    pub plugin: Digest,
    /// What it may reach.
    pub grants: Grants,
    /// The journal so far.
    pub journal: Journal,
    /// The agent, as the step's input and as `agent.info` need it.
    pub agent: AgentId,
    /// Attributes of the agent.
    pub attributes: Arc<Map<String, Value>>,
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the stage.
    pub stage: String,
}

impl Perform {
    /// Who has to answer at the address.
    pub fn expects(&self) -> Option<Expected<'_>> {
        self.identity.expects(&self.agent)
    }

    /// What has to be asked to compare that.
    pub fn wanted(&self) -> Wanted {
        Wanted::default().and_compare(&self.identity)
    }

    /// What the agent said about its node, unless another node said it.
    ///
    /// # Errors
    /// [`CallError::Unreachable`] with what answered.
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
    /// The attempt.
    pub key: AttemptKey,
    /// Number of the call.
    pub call: u32,
    /// The agent.
    pub agent: AgentId,
    /// Base URL of its API.
    pub address: String,
    /// What to do.
    pub what: Call,
    /// When the call was committed.
    pub since: Timestamp,
    /// Whether it may have been performed before, by an engine that crashed or lost the run.
    pub again: bool,
    /// Whether the agent is known to have accepted the action.
    pub accepted: bool,
    /// Bytes of the action's arguments, also where `what` is without them; none: not known.
    pub bytes: Option<u32>,
    /// Whether an action may only be looked at: one that the agent does not know is lost then.
    pub look_only: bool,
    /// What was noticed about the call before.
    pub noticed: Option<Notice>,
    /// Whether what answers at the address must be the agent, which an answer with another `node_id` is
    /// not.
    pub identity: Identity,
    /// Whether it must be compared before anything is sent.
    pub unidentified: bool,
}
