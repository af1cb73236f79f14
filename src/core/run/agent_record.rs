//! The agent record: the state of one agent in one run. It is a document of its own, so that a commit writes only
//! the agents that changed, however many take part.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::datastore::Datastore;
use super::ending::Ending;
pub use super::failure::{Failure, FailureReason};
use super::json_text::JsonText;
use super::late::LateEnd;
use super::notice::Notice;
use super::signal::Signal;
use super::status::AgentState;
use crate::ids::{AgentId, AgentSeq, AttemptKey, RunId, SentAction};
use crate::playbook::Identity;
use crate::time::Timestamp;

/// The state of one agent in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AgentRecord {
    /// The run that the agent takes part in.
    pub run: RunId,
    /// Number of the record within the run.
    pub seq: AgentSeq,
    /// The agent's identifier in its cluster.
    pub agent: AgentId,
    /// Base URL of the agent's API.
    pub address: String,
    /// Attributes of the agent: those that it reports, overridden by those of the Cluster object.
    ///
    /// They and `node` are shared, because they rarely change and a record is copied for each commit that it is
    /// in.
    pub attributes: Arc<Map<String, Value>>,
    /// What `info/node` said when the agent was last asked; null when it did not answer.
    pub node: Arc<Value>,
    /// What the agent said about its store at that time, if an expression of the stage looks at it.
    #[serde(default, skip_serializing_if = "has_no_datastore")]
    pub datastore: Arc<Datastore>,
    /// When the agent was last asked about its node, even if it did not answer. `None` when it was never asked.
    #[serde(default)]
    pub node_seen_at: Option<Timestamp>,
    /// The attributes that the Cluster object gives. They are kept apart so that a new report of the agent can be
    /// put beneath them.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub declared: Arc<Map<String, Value>>,
    /// Whether what answers at the address must be the agent.
    #[serde(default, skip_serializing_if = "Identity::is_plain")]
    pub identity: Identity,
    /// When what answers at the address was last found to be the agent, or said nothing about who it is. `None`:
    /// it is compared before anything is sent there.
    #[serde(default)]
    pub identified_at: Option<Timestamp>,
    /// Whether it is unknown if the stage selects the agent: the selection depends on what the node says, and the
    /// node did not answer, or another node did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undecided: bool,
    /// Whether the run does nothing to the agent, and has its record only because guards of the cluster count it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bystander: bool,
    /// Whether the agent is one of those that the run is limited to. Only a run with a limit says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
    /// State of the agent in the present stage.
    pub state: AgentState,
    /// Index of the present stage.
    pub stage: u16,
    /// Index of the step that is going on, or that comes next.
    pub step: u16,
    /// What a running agent does in that step.
    #[serde(default)]
    pub phase: StepPhase,
    /// Attempts of that step since it was begun, or since a person had it tried again. The limit of retries
    /// applies to this number.
    #[serde(default)]
    pub tries: u32,
    /// Number of the last attempt of each step of the stage; 0 if there was no attempt yet. The numbers only grow.
    pub attempts: Vec<u32>,
    /// Number of the decision that started the agent, from 1.
    pub batch: Option<u32>,
    /// Label of that decision, if the strategy gave one.
    pub batch_label: Option<String>,
    /// Results of the steps that ended well, by the name of the step.
    pub results: BTreeMap<String, JsonText>,
    /// Why the agent failed, or what went wrong in a step whose failure was passed over.
    pub error: Option<Failure>,
    /// Why the agent is going to fail, while its rescue and finally steps are done, and after they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Box<Ending>>,
    /// How many of the agent's steps failed and were passed over (`on_error: continue`), in all stages.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passed_over: u32,
    /// An action that may still be running although its attempt is over. Nothing further is sent to the agent
    /// until it is known how the action ended, or a person gives the action up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outstanding: Option<Outstanding>,
    /// The action that was last sent to the agent; the one in flight, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<SentAction>,
    /// What was noticed about the call in flight, if it does not go on as it should. In a run that has ended: what
    /// was noticed at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// Name of the signal that the attempt in flight waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for_signal: Option<String>,
    /// The signals to this agent alone, in the order in which they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// How an action ended whose attempt was over before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LateEnd>,
    /// Whether the next attempt does all of its step again, even if an action of the last attempt ended well, but
    /// late.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// How the agent came through the earlier stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<PastStage>,
    /// Why the agent was skipped.
    pub skip_reason: Option<String>,
    /// When the agent's first step of the stage started.
    pub started_at: Option<Timestamp>,
    /// When the agent reached its final state in the stage.
    pub ended_at: Option<Timestamp>,
    /// When the agent became a member, if it joined during the run.
    pub joined_at: Option<Timestamp>,
    /// When the agent left, if it did.
    pub left_at: Option<Timestamp>,
    /// Whether the agent is no longer a member, and becomes REMOVED once its call in flight has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
    /// The state in which the agent last left. If it had ended before that and was left out after it returned: the
    /// state in which it had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_from: Option<AgentState>,
    /// When the run finished, once it has. Retention counts from this moment.
    pub finish_ts: Option<Timestamp>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn has_no_datastore(datastore: &Arc<Datastore>) -> bool {
    datastore.is_empty()
}

fn is_empty(map: &Arc<Map<String, Value>>) -> bool {
    map.is_empty()
}

/// What a running agent does in its present step.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum StepPhase {
    /// Nothing yet: the step begins next.
    #[default]
    Waiting,
    /// The last attempt of the step is going on.
    Trying,
    /// The last attempt failed, and the next one begins later.
    RetryAt {
        /// When the next attempt begins.
        at: Timestamp,
    },
    /// The last attempt is over, but its action may still be running. The run waits for the action to end.
    Settling {
        /// When the agent fails if the action has not ended by then.
        until: Timestamp,
        /// Whether the step is tried again after that; otherwise the next step follows.
        #[serde(default)]
        again: bool,
    },
}

/// An action that may still be running although its attempt is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Outstanding {
    /// The attempt that had the action done.
    pub key: AttemptKey,
    /// Number of the call that scheduled the action.
    pub call: u32,
    /// When that call was committed.
    pub since: Timestamp,
    /// Bytes of the action's arguments; a large request may be on its way for longer. `None` in a record that an
    /// earlier version wrote, when the size is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
}

impl Outstanding {
    /// Whether this call scheduled the action.
    pub(super) fn is_call(&self, key: AttemptKey, call: u32) -> bool {
        self.key == key && self.call == call
    }
}

/// How an agent came through a stage that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PastStage {
    /// Index of the stage.
    pub stage: u16,
    /// The state in which the agent ended the stage.
    pub state: AgentState,
    /// Number of the decision that started the agent.
    pub batch: Option<u32>,
    /// Why the agent failed, or what went wrong in a step whose failure was passed over.
    pub error: Option<Failure>,
    /// Why the agent was skipped.
    pub skip_reason: Option<String>,
    /// When the agent's first step started.
    pub started_at: Option<Timestamp>,
    /// When the agent reached `state`.
    pub ended_at: Option<Timestamp>,
}

impl AgentRecord {
    /// The record of an agent that waits in the first stage, which has `steps` steps.
    pub fn new(run: RunId, seq: AgentSeq, agent: AgentId, address: String, steps: usize) -> Self {
        Self {
            run,
            seq,
            agent,
            address,
            attributes: Arc::default(),
            node: Arc::default(),
            datastore: Arc::default(),
            node_seen_at: None,
            declared: Arc::default(),
            identity: Identity::Check,
            identified_at: None,
            undecided: false,
            bystander: false,
            chosen: false,
            state: AgentState::Pending,
            stage: 0,
            step: 0,
            phase: StepPhase::Waiting,
            tries: 0,
            attempts: vec![0; steps],
            batch: None,
            batch_label: None,
            results: BTreeMap::new(),
            error: None,
            ending: None,
            passed_over: 0,
            outstanding: None,
            action: None,
            notice: None,
            waits_for_signal: None,
            signals: Vec::new(),
            late: None,
            again: false,
            past: Vec::new(),
            skip_reason: None,
            started_at: None,
            ended_at: None,
            joined_at: None,
            left_at: None,
            leaving: false,
            removed_from: None,
            finish_ts: None,
        }
    }

    /// The action that was last sent to the agent. A record of an early version has it only while the action may
    /// still be running.
    pub fn last_action(&self) -> Option<SentAction> {
        let out = self.outstanding.as_ref();
        let of_out = |out: &Outstanding| SentAction::of(self.run, &self.agent, out.key, out.call);
        self.action.or_else(|| out.map(of_out))
    }

    /// The attempts whose journals are needed to go on with the agent, in order.
    pub fn open_attempts(&self) -> BTreeSet<AttemptKey> {
        let present = Some(self.present_attempt()).filter(|key| key.attempt > 0);
        let present = match self.state {
            AgentState::Running => present,
            AgentState::Added
            | AgentState::Pending
            | AgentState::Done
            | AgentState::Failed
            | AgentState::Skipped
            | AgentState::Removed => None,
        };
        present.into_iter().chain(self.over_attempt()).collect()
    }

    /// The attempt that is over but whose action is outstanding, or whose late result the next attempt may take.
    pub(super) fn over_attempt(&self) -> Option<AttemptKey> {
        let late = self.late.as_ref().filter(|late| late.result);
        self.outstanding.as_ref().map(|action| action.key).or(late.map(|late| late.key))
    }

    /// The last attempt of the present step. Its number is 0 if the step had no attempt yet.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{AgentRecord, AgentSeq};
    ///
    /// let run = "0192a3b4-0000-7000-8000-000000000001".parse()?;
    /// let address = "http://node-1:8000".to_owned();
    /// let mut record = AgentRecord::new(run, AgentSeq(0), "node-1".into(), address, 2);
    /// assert_eq!(record.present_attempt().attempt, 0, "it has not begun");
    /// (record.step, record.attempts) = (1, vec![1, 3]);
    /// assert_eq!(record.present_attempt().attempt, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn present_attempt(&self) -> AttemptKey {
        self.attempt_of(self.step)
    }

    /// The last attempt of a step.
    pub(super) fn attempt_of(&self, step: u16) -> AttemptKey {
        let attempt = self.attempts.get(usize::from(step)).copied().unwrap_or(0);
        AttemptKey { agent: self.seq, stage: self.stage, step, attempt }
    }

    /// Status of the agent's node: a word in capitals, or `UNKNOWN` if the agent gave a reason instead. `None`
    /// when the agent did not answer.
    pub fn node_status(&self) -> Option<&str> {
        Some(self.node.get("node_status")?.as_str().unwrap_or("UNKNOWN"))
    }

    /// What is known about the agent, without the state of its work.
    pub fn about(&self) -> About {
        About {
            attributes: Arc::clone(&self.attributes),
            node: Arc::clone(&self.node),
            datastore: Arc::clone(&self.datastore),
            seen_at: self.node_seen_at,
        }
    }
}

/// The attributes of an agent: those that it reports, overridden by those that are declared for it.
///
/// # Example
/// ```
/// use replibook_core::run::declared_over;
/// use serde_json::{Map, json};
///
/// let said = Map::from_iter([("zone".to_owned(), json!("a")), ("rack".to_owned(), json!(7))]);
/// let declared = Map::from_iter([("zone".to_owned(), json!("b"))]);
/// let attributes = declared_over(said, &declared);
/// assert_eq!((&attributes["zone"], &attributes["rack"]), (&json!("b"), &json!(7)));
/// ```
pub fn declared_over(
    mut reported: Map<String, Value>,
    declared: &Map<String, Value>,
) -> Map<String, Value> {
    reported.extend(declared.clone());
    reported
}

/// What is known about an agent, and since when. Before each change the run keeps what was known
/// ([`Happened::AgentInfo`](super::Happened::AgentInfo)), so what was known at any event is found by going back
/// from the record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Attributes, as in the record.
    pub attributes: Arc<Map<String, Value>>,
    /// What `info/node` said; null when the agent did not answer.
    pub node: Arc<Value>,
    /// What the agent said about its store, if it was asked.
    pub datastore: Arc<Datastore>,
    /// When the agent was asked, even if it did not answer. `None` when it was never asked.
    pub seen_at: Option<Timestamp>,
}

impl About {
    /// The parts that differ from `new`, as they are in `self`; `None` if nothing differs.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::About;
    /// use serde_json::json;
    ///
    /// let before = About { node: json!({ "node_status": "HEALTHY" }).into(), ..About::default() };
    /// let after = About { node: json!({ "node_status": "DEGRADED" }).into(), ..About::default() };
    /// assert_eq!(before.changed(&before), None);
    ///
    /// let was = before.changed(&after);
    /// let mut about = after.clone();
    /// was.iter().for_each(|was| about.take_back(was));
    /// assert_eq!(about, before);
    /// ```
    pub fn changed(&self, new: &Self) -> Option<Was> {
        (self != new).then(|| Was {
            attributes: (self.attributes != new.attributes).then(|| self.attributes.clone()),
            node: (self.node != new.node).then(|| self.node.clone()),
            datastore: (self.datastore != new.datastore).then(|| self.datastore.clone()),
            node_seen_at: self.seen_at,
            address: None,
        })
    }

    /// Goes back to before the change that `was` describes. To find what was known at an event, take back the
    /// changes after it, the last one first.
    pub fn take_back(&mut self, was: &Was) {
        let Was { attributes, node, datastore, node_seen_at, address: _ } = was;
        if let Some(attributes) = attributes {
            self.attributes.clone_from(attributes);
        }
        if let Some(node) = node {
            self.node.clone_from(node);
        }
        if let Some(datastore) = datastore {
            self.datastore.clone_from(datastore);
        }
        self.seen_at = *node_seen_at;
    }
}

/// What was known about an agent before it changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Was {
    /// The attributes; left out if they did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Arc<Map<String, Value>>>,
    /// What `info/node` had said; null if the agent had not answered. Left out if it did not change.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub node: Option<Arc<Value>>,
    /// What the agent had said about its store; left out if it did not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore: Option<Arc<Datastore>>,
    /// When the agent had been asked; `None` if it was never asked before.
    pub node_seen_at: Option<Timestamp>,
    /// Base URL of the agent's API, if it changed with the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Reads a field that is present; null is a value here, and not a missing field.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Arc<Value>>, D::Error> {
    Arc::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::run::failure::MAX_FAILURE_BYTES;

    #[test]
    fn of_a_long_message_the_beginning_is_kept() {
        let failure = |message| {
            let at = Timestamp::from_millis(0);
            Failure::new(FailureReason::BadArguments, message, "step".to_owned(), at).message
        };
        assert_eq!(failure("short\u{1b}\n".to_owned()), "short\u{fffd}\n");
        let long = failure("é".repeat(2_000_000));
        assert_eq!((long.len(), long.ends_with("é…")), (MAX_FAILURE_BYTES + 3, true));
    }

    fn about(zone: &str, node: Value, seen: i64) -> About {
        let attributes = Map::from_iter([("zone".to_owned(), json!(zone))]);
        let seen_at = Some(Timestamp::from_millis(seen));
        let datastore = Datastore { store: json!({ "cluster_id": zone }), shards: Value::Null };
        About {
            attributes: attributes.into(),
            node: node.into(),
            datastore: datastore.into(),
            seen_at,
        }
    }

    /// What is kept of a change, written and read back.
    fn kept(from: &About, to: &About) -> Was {
        let text = serde_json::to_string(&from.changed(to).unwrap()).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_was_known_at_any_event_is_found_by_going_back() {
        let known = [
            about("a", Value::Null, 1),
            about("a", json!({"node_status": "HEALTHY"}), 2),
            about("a", json!({"node_status": "HEALTHY"}), 3),
            about("b", Value::Null, 4),
        ];
        let changes: Vec<_> = known.windows(2).map(|pair| kept(&pair[0], &pair[1])).collect();
        for (at, expected) in known.iter().enumerate() {
            let mut about = known[3].clone();
            changes[at..].iter().rev().for_each(|was| about.take_back(was));
            assert_eq!(about, *expected, "{at}");
        }
        assert_eq!(known[0].changed(&known[0]), None);
        let same = kept(&known[1], &known[2]);
        let Was { attributes, node, datastore, .. } = same;
        assert_eq!((attributes, node, datastore), (None, None, None), "only what changed is kept");
    }
}
