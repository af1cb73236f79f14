//! The journal of an attempt: the calls that its step made, and the answers that they got. A step is activated
//! from its start after each answer, so the journal is all that an attempt has to remember.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::{Answer, Call, CallError, CallName};
use super::json_text::JsonText;
use super::late::Taken;
use crate::ids::{AgentId, AttemptKey, RunId, SentAction};
use crate::time::{Millis, Timestamp};

/// The journal of one attempt, in one document. With the attempt's arguments and seed it determines each
/// activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Journal {
    /// The run that the attempt belongs to.
    pub run: RunId,
    /// Which attempt of which step on which agent record.
    pub key: AttemptKey,
    /// Identifier of the agent.
    pub agent: AgentId,
    /// Name of the step.
    pub step_name: String,
    /// When the attempt started: the logical time until the first answer.
    pub started_at: Timestamp,
    /// The step's arguments with the expressions filled in.
    pub arguments: JsonText,
    /// The answers so far; the index is the number of the call.
    pub answers: Vec<Answered>,
    /// The call that is being performed, if one is.
    pub pending: Option<Pending>,
    /// How the pending call ended, if it ended after the attempt was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Answered>,
    /// Number of the call that `late` answers, if the attempt had already got an answer for it. That answer only
    /// said that the agent did not tell how the action went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_of: Option<u32>,
    /// What was taken over from an earlier attempt whose action ended well, but after that attempt was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// How long the run had been on hold (`pause --now`) when the attempt began. The step's timeout does not count
    /// what is added later.
    #[serde(default)]
    pub held: Millis,
    /// The attributes that the step sees, if the agent did not have them when the attempt started, or no longer
    /// has them. All activations of an attempt must see the same attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Arc<Map<String, Value>>>,
    /// Whether the host ended the attempt before it came to an end by itself: its time was over, the run was
    /// cancelled, or an answer was larger than what is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
    /// Number of lines that the attempt has logged so far.
    pub log_lines: u32,
    /// When the run finished, once it has.
    pub finish_ts: Option<Timestamp>,
}

impl Journal {
    /// The journal of an attempt that has made no call yet.
    pub fn new(
        run: RunId,
        key: AttemptKey,
        agent: AgentId,
        step_name: String,
        started_at: Timestamp,
        arguments: impl Into<JsonText>,
    ) -> Self {
        Self {
            run,
            key,
            agent,
            step_name,
            started_at,
            arguments: arguments.into(),
            answers: Vec::new(),
            pending: None,
            late: None,
            late_of: None,
            taken: None,
            held: Millis(0),
            attributes: None,
            cut_off: false,
            log_lines: 0,
            finish_ts: None,
        }
    }

    /// The moment from which the time limit of the attempt counts.
    pub fn counts_from(&self) -> Timestamp {
        self.taken.map_or(self.started_at, |taken| taken.at)
    }

    /// The attempt whose seed gives the step its random bytes. A step that goes on from an earlier attempt must
    /// see the same bytes.
    pub fn seed_key(&self) -> AttemptKey {
        let attempt = self.taken.map_or(self.key.attempt, |taken| taken.seed_of);
        AttemptKey { attempt, ..self.key }
    }

    /// The answers with which the next attempt can go on from here: those before the call that ended late, and how
    /// that call ended. `None` if no call ended late.
    pub fn with_late(&self) -> Option<Vec<Answered>> {
        let late = self.late.clone()?;
        let call = self.late_of.and_then(|call| usize::try_from(call).ok());
        let before = self.answers.get(..call.unwrap_or(self.answers.len()))?;
        Some(before.iter().cloned().chain([late]).collect())
    }

    /// The journal of the next attempt, which goes on from this one. Its step sees everything that this attempt
    /// saw, and sees the action that ended late as if it had been waited for.
    pub(super) fn go_on(&self, key: AttemptKey, now: Timestamp, held: Millis) -> Option<Self> {
        let answers = self.with_late()?;
        let taken = Taken {
            from: Some(self.key.attempt),
            seed_of: self.seed_key().attempt,
            at: now,
            answers: u32::try_from(answers.len()).unwrap_or(u32::MAX),
        };
        Some(Self {
            key,
            answers,
            taken: Some(taken),
            held,
            pending: None,
            late: None,
            late_of: None,
            cut_off: false,
            log_lines: 0,
            finish_ts: None,
            ..self.clone()
        })
    }
}

impl Journal {
    /// The earlier attempt that something was taken over from.
    pub fn taken_from(&self) -> Option<AttemptKey> {
        let from = self.taken?.from;
        let attempt = from.unwrap_or_else(|| self.key.attempt.saturating_sub(1));
        Some(AttemptKey { attempt, ..self.key })
    }

    /// The numbers of the signals that the attempt got.
    pub fn received(&self) -> impl Iterator<Item = u32> {
        self.answers.iter().filter_map(|answered| match &answered.answer {
            Answer::WaitSignal(Ok(received)) => Some(received.number),
            Answer::WaitSignal(Err(_))
            | Answer::Info(_)
            | Answer::RunAction(_)
            | Answer::WaitStatus(_)
            | Answer::HttpSend(_)
            | Answer::Sleep => None,
        })
    }

    /// The actions that the attempt had the agent do, in the order of the calls.
    pub fn actions(&self) -> Vec<SentAction> {
        let answered = self.answers.iter().map(|answered| answered.name);
        // The late end of a pending call is the end of the call after the last answer.
        let open = self.pending.as_ref().map(|pending| pending.name);
        let late = self.late.as_ref().filter(|_| self.late_of.is_none());
        let open = open.or(late.map(|late| late.name));
        // Another attempt had the agent do what was taken over.
        let taken = self.taken.map_or(0, |taken| taken.answers);
        let calls = (0..).zip(answered.chain(open)).filter(|(call, _)| *call >= taken);
        let actions = calls.filter(|(_, name)| *name == CallName::RunAction);
        let sent = |(call, _)| SentAction::of(self.run, &self.agent, self.key, call);
        actions.map(sent).collect()
    }
}

/// A call that has got its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Answered {
    /// Which function was called.
    pub name: CallName,
    /// sha256 of the call's arguments, in hex.
    pub arguments_hash: String,
    /// When the answer came. It is the logical time of the step from then on.
    pub at: Timestamp,
    /// The answer to the call.
    pub answer: Answer,
    /// Bytes of the action's arguments, if the answer leaves open how the action ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
}

/// A call that was committed and waits for its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pending {
    /// Which function was called.
    pub name: CallName,
    /// sha256 of the call's arguments, in hex.
    pub arguments_hash: String,
    /// When the call was committed. Sleeps and timeouts count from this moment.
    pub at: Timestamp,
    /// Whether the agent is known to have accepted the action. If it does not know it later, the action is lost.
    pub accepted: bool,
    /// Bytes of an action's arguments: a large request may be on its way for longer. `None` for other calls, and
    /// for an action whose call an earlier version wrote: its size is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// What is asked for, as far as people are told: the name of a signal, or where an HTTP request goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_for: Option<String>,
}

impl Pending {
    /// A call that is committed at this moment.
    pub fn new(call: &Call, at: Timestamp) -> Self {
        Self {
            name: call.name(),
            arguments_hash: call.arguments_hash(),
            at,
            accepted: false,
            bytes: call.argument_bytes(),
            asks_for: call.asks_for(),
        }
    }

    /// The name of the signal that is waited for, if the call waits for one.
    pub fn signal(&self) -> Option<String> {
        self.asks_for.clone().filter(|_| self.name == CallName::WaitSignal)
    }

    /// Makes an answered call of the pending one.
    pub(super) fn answered(self, at: Timestamp, answer: Answer) -> Answered {
        let open = answer.error().is_some_and(CallError::leaves_open);
        let bytes = self.bytes.filter(|_| open);
        Answered { name: self.name, arguments_hash: self.arguments_hash, at, answer, bytes }
    }
}
