//! Converts between the types of the WIT and those of the domain. Nothing else does, so that a change of the WIT
//! stops here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::bindings::step::exports::replicante::playbook::working::{StepError, StepInput};
use super::bindings::step::replicante::playbook::agent::{AgentError, NodeInfo};
use super::bindings::step::replicante::playbook::http::{HttpError, Response};
use super::bindings::step::replicante::playbook::logging::Level;
use super::bindings::strategy::exports::replicante::playbook::planning::{
    Decision, Next, PlanInput,
};
use super::bindings::strategy::replicante::playbook::roster::{AgentDetails, AgentState, NodeView};
use super::error::{PluginError, cut};
use super::limits;
use replibook_core::run::{
    self, Activate, AgentId, AgentRecord, CallError, LogLevel, MAX_DECIDED, MAX_MEMO_BYTES,
    Timestamp, escaped_bytes,
};

/// A moment as guests see it: milliseconds since the Unix epoch. Exact until the year 287396.
pub(super) fn moment(at: Timestamp) -> f64 {
    at.as_millis() as f64
}

/// A moment from a guest. None unless it can be written as RFC 3339, and read again.
fn timestamp(moment: f64) -> Option<Timestamp> {
    if !(0.0..).contains(&moment) {
        return None;
    }
    // Numbers that are too large saturate at the largest one, which is no valid moment either.
    let millis = moment as i64;
    jiff::Timestamp::from_millisecond(millis).is_ok().then(|| Timestamp::from_millis(millis))
}

pub(super) fn level(level: Level) -> LogLevel {
    match level {
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}

pub(super) fn step_input(activate: &Activate) -> StepInput {
    StepInput {
        arguments: activate.journal.arguments.to_string(),
        run: activate.journal.run.to_string(),
        cluster: activate.cluster.clone(),
        agent: activate.agent.0.clone(),
        stage: activate.stage.clone(),
        step: activate.journal.step_name.clone(),
        attempt: activate.journal.seen_attempt(),
        attributes: object(&activate.attributes),
    }
}

/// The message of a step's error, and whether another attempt may succeed.
pub(super) fn step_error(error: StepError) -> (String, bool) {
    let (message, retryable) = match error {
        StepError::Retryable(message) => (message, true),
        StepError::Permanent(message) => (message, false),
    };
    (cut(message, limits::MESSAGE_BYTES), retryable)
}

/// What a guest sees of a node. Attributes of the Cluster object take precedence over the node's own.
pub(super) fn node_info(
    agent: &AgentId,
    attributes: &Map<String, Value>,
    node: run::KeptNode,
) -> NodeInfo {
    let mut all = node.attributes();
    all.extend(attributes.clone());
    NodeInfo {
        id: agent.0.clone(),
        attributes: object(&all),
        status: node.status,
        node: node.raw.to_string(),
    }
}

pub(super) fn agent_error(error: CallError) -> AgentError {
    match error {
        CallError::Failed(message) => AgentError::Failed(message),
        CallError::Refused(message) => AgentError::Refused(message),
        // The WIT has no error of its own for these.
        CallError::Unreachable(message)
        | CallError::Malformed(message)
        | CallError::WrongNode(message) => AgentError::Unreachable(message),
        CallError::NotTaken(message) => {
            AgentError::Unreachable(format!("{message}; no action is out"))
        }
        CallError::Lost(message) => AgentError::Lost(message),
        CallError::TimedOut(message) => AgentError::TimedOut(message),
        CallError::NotGranted(message) => AgentError::NotGranted(message),
        // The WIT has no error of its own for this: the engine did not send the request.
        CallError::Secret(message) => AgentError::Refused(message),
    }
}

pub(super) fn http_response(response: run::HttpResponse) -> Response {
    let run::HttpResponse { status, headers, body } = response;
    Response { status, headers, body: body.bytes().to_vec() }
}

pub(super) fn http_error(error: run::HttpError) -> HttpError {
    match error {
        run::HttpError::NotGranted(message) => HttpError::NotGranted(message),
        run::HttpError::TimedOut(message) => HttpError::TimedOut(message),
        // The WIT has no error of its own for secrets that can't be used.
        run::HttpError::Failed(message) | run::HttpError::Secret(message) => {
            HttpError::Failed(message)
        }
    }
}

pub(super) fn agent_state(state: AgentState) -> run::AgentState {
    match state {
        AgentState::Added => run::AgentState::Added,
        AgentState::Pending => run::AgentState::Pending,
        AgentState::Running => run::AgentState::Running,
        AgentState::Done => run::AgentState::Done,
        AgentState::Failed => run::AgentState::Failed,
        AgentState::Skipped => run::AgentState::Skipped,
        AgentState::Removed => run::AgentState::Removed,
    }
}

pub(super) fn agent_details(record: &AgentRecord) -> AgentDetails {
    let state = match record.state {
        run::AgentState::Added => AgentState::Added,
        run::AgentState::Pending => AgentState::Pending,
        run::AgentState::Running => AgentState::Running,
        run::AgentState::Done => AgentState::Done,
        run::AgentState::Failed => AgentState::Failed,
        run::AgentState::Skipped => AgentState::Skipped,
        run::AgentState::Removed => AgentState::Removed,
    };
    let failure = record.error.as_ref().map(|failure| failure.message.clone());
    AgentDetails {
        id: record.agent.0.clone(),
        state,
        batch: record.batch,
        attributes: object(&record.attributes),
        reason: failure.or_else(|| record.skip_reason.clone()),
        started_at: record.started_at.map(moment),
        ended_at: record.ended_at.map(moment),
    }
}

/// What an agent said about its node when it was last asked.
pub(super) fn node_view(record: &AgentRecord) -> NodeView {
    NodeView {
        status: record.node_status().map(str::to_owned),
        node: record.node_status().map(|_| record.node.to_string()),
        seen_at: record.node_seen_at.map(moment),
    }
}

pub(super) fn plan_input(input: &run::PlanInput) -> PlanInput {
    PlanInput {
        stage: input.stage.clone(),
        arguments: input.arguments.to_string(),
        memo: input.memo.clone(),
        now: moment(input.now),
        max_start: input.max_start,
    }
}

/// Converts a decision and checks its sizes. It does not check whether the decision fits the roster.
pub(super) fn decision(
    decision: Decision,
    refresh: BTreeSet<AgentId>,
) -> Result<run::Decision, PluginError> {
    let Decision { start, skip, next, memo, label } = decision;
    let bad = |message: String| PluginError::new("bad-decision", message);
    // The bytes as the strategy wrote them: even with all of them escaped, and so six times as long, they fit into
    // a commit.
    let bytes = memo.len();
    if bytes > MAX_MEMO_BYTES {
        return Err(bad(format!(
            "found a memo of {bytes} bytes, expected at most {MAX_MEMO_BYTES}"
        )));
    }
    if skip.len() > MAX_DECIDED as usize {
        let agents = skip.len();
        return Err(bad(format!(
            "found {agents} agents to leave out, expected at most {MAX_DECIDED}"
        )));
    }
    let mut reasons = skip.iter().map(|agent| escaped_bytes(&agent.reason));
    if let Some(bytes) = reasons.find(|bytes| *bytes > limits::REASON_BYTES) {
        let most = limits::REASON_BYTES;
        return Err(bad(format!("found a reason of {bytes} bytes, expected at most {most}")));
    }
    let label_chars = label.as_ref().map_or(0, |label| label.chars().count());
    if label_chars > limits::LABEL_CHARS {
        let most = limits::LABEL_CHARS;
        return Err(bad(format!(
            "found a label of {label_chars} characters, expected at most {most}"
        )));
    }
    let next = match next {
        Next::Wait => run::Next::Wait,
        Next::WaitUntil(at) => match timestamp(at) {
            Some(at) => run::Next::WaitUntil(at),
            None => {
                let expected = "expected milliseconds since the Unix epoch, up to the year 9999";
                return Err(bad(format!("found {at} as the moment to ask again, {expected}")));
            }
        },
        Next::Approval(message) => run::Next::Approval(cut(message, limits::MESSAGE_BYTES)),
        Next::Complete => run::Next::Complete,
        Next::Abort(reason) => run::Next::Abort(cut(reason, limits::MESSAGE_BYTES)),
    };
    Ok(run::Decision {
        start: start.into_iter().map(AgentId).collect(),
        skip: skip.into_iter().map(|agent| (AgentId(agent.id), agent.reason)).collect(),
        next,
        memo,
        label,
        refresh: refresh.into_iter().collect(),
    })
}

fn object(map: &Map<String, Value>) -> String {
    // A map of JSON values can always be serialized.
    serde_json::to_string(map).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::bindings::strategy::exports::replicante::playbook::planning::Skipped;
    use replibook_core::run::{AgentSeq, AttemptKey, Digest, Journal, RunId, Taken};

    fn decision(decision: Decision) -> Result<run::Decision, PluginError> {
        super::decision(decision, BTreeSet::new())
    }

    fn activate(journal: Journal) -> Activate {
        Activate {
            key: journal.key,
            plugin: Digest::of(b""),
            grants: replibook_core::playbook::Grants::default(),
            agent: journal.agent.clone(),
            journal,
            attributes: Default::default(),
            cluster: "c".to_owned(),
            stage: "s".to_owned(),
        }
    }

    /// An attempt that continues another one repeats the other's calls, which may contain its number.
    #[test]
    fn what_goes_on_from_another_attempt_sees_the_number_of_that_one() {
        let key = |attempt| AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt };
        let (run, agent, at) = (RunId(Uuid::nil()), AgentId::from("a"), Timestamp::from_millis(0));
        let journal = Journal::new(run, key(3), agent.clone(), "act".to_owned(), at, Value::Null);
        let number = |taken| step_input(&activate(Journal { taken, ..journal.clone() })).attempt;
        let taken = Taken { from: Some(2), seed_of: 1, at, answers: 1 };
        assert_eq!((number(None), number(Some(taken))), (3, 1));
    }

    /// A journal from a server that showed each attempt its own number, before `from` was kept.
    #[test]
    fn what_an_early_version_began_keeps_the_number_that_it_saw() {
        let text = r#"{
            "run": "00000000-0000-0000-0000-000000000000",
            "key": {"agent": 0, "stage": 0, "step": 0, "attempt": 2},
            "agent": "node-1", "step_name": "act", "started_at": "2026-11-22T09:00:00.000Z",
            "arguments": {"grace": 30},
            "answers": [{
                "name": "run-action", "arguments_hash": "00", "at": "2026-11-22T09:00:05.000Z",
                "answer": {"run-action": {"Ok": {"moved": 3}}}
            }],
            "pending": {
                "name": "run-action", "arguments_hash": "01", "at": "2026-11-22T09:01:00.000Z",
                "accepted": true
            },
            "taken": {"seed_of": 1, "at": "2026-11-22T09:00:06.000Z", "answers": 1},
            "held": 0, "log_lines": 0, "finish_ts": null
        }"#;
        let journal: Journal = serde_json::from_str(text).unwrap();
        assert_eq!((journal.seen_attempt(), journal.seed_key().attempt), (2, 1));
        assert_eq!(journal.pending.as_ref().unwrap().bytes, None);
        assert_eq!(step_input(&activate(journal)).attempt, 2);
    }

    fn empty() -> Decision {
        let (start, skip, memo) = (vec![], vec![], String::new());
        Decision { start, skip, next: Next::Wait, memo, label: None }
    }

    #[test]
    fn a_decision_that_is_too_large_is_refused() {
        assert!(decision(empty()).is_ok());
        let memo = |bytes| Decision { memo: "m".repeat(bytes), ..empty() };
        assert!(decision(memo(MAX_MEMO_BYTES)).is_ok());
        assert!(decision(memo(MAX_MEMO_BYTES + 1)).is_err());
        let label = |chars| Decision { label: Some("ä".repeat(chars)), ..empty() };
        assert!(decision(label(limits::LABEL_CHARS)).is_ok());
        assert!(decision(label(limits::LABEL_CHARS + 1)).is_err());
        let skip = |count, bytes| {
            let agent = Skipped { id: "a".to_owned(), reason: "r".repeat(bytes) };
            Decision { skip: vec![agent; count], ..empty() }
        };
        let most = MAX_DECIDED as usize;
        assert!(decision(skip(most, limits::REASON_BYTES)).is_ok());
        assert!(decision(skip(most + 1, 1)).is_err());
        assert!(decision(skip(1, limits::REASON_BYTES + 1)).is_err());
    }

    #[test]
    fn a_moment_must_be_one() {
        let last = 253_402_207_200_000.0;
        for at in [f64::NAN, f64::INFINITY, -1.0, 1e300, last + 1.0] {
            assert!(decision(Decision { next: Next::WaitUntil(at), ..empty() }).is_err(), "{at}");
        }
        for at in [0.0, 1_763_802_000_123.0, last] {
            let later = Decision { next: Next::WaitUntil(at), ..empty() };
            let at = Timestamp::from_millis(at as i64);
            assert_eq!(decision(later).unwrap().next, run::Next::WaitUntil(at));
            assert_eq!(at.to_string().parse::<Timestamp>().unwrap(), at);
        }
    }
}
