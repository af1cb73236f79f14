//! A job of a node, as the agent API shows an action.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::nodes::{End, JobState, Killed, Listed, MAX_KEPT, Phase, Seen, put_result};
use crate::agent::ActionPhase;
use crate::agent::server::{Hidden, Output, Refusal, ShownAction, ShownState, Tail, phase_word};
use crate::playbook::inventory::Allowance;
use crate::run::{SECRET_PLACES, Scrubber};

/// An action, and whether it has ended.
pub(super) struct Shown {
    /// In JSON.
    pub(super) body: Vec<u8>,
    pub(super) has_ended: bool,
}

/// Shows a job. `hidden` are its secrets, if they are still known. `None` if it has not begun: then nobody was told that it
/// would, and whoever wants it sends it again.
pub(super) fn action(
    id: Uuid,
    seen: &Seen,
    hidden: Option<&Arc<Hidden>>,
) -> Result<Option<Shown>, Refusal> {
    let scrubber = scrubber(seen, hidden);
    let (phase, payload, error, finished) = match &seen.state {
        JobState::NotStarted => return Ok(None),
        JobState::Running { .. } => (ActionPhase::Running, "null".to_owned(), None, None),
        JobState::Lost { why, .. } => {
            let error = format!("lost: {}", why.describe());
            (ActionPhase::Failed, "null".to_owned(), Some(error), None)
        }
        JobState::Ended(end) => {
            let (phase, payload, error) = ended(&seen.kind, end, scrubber.as_ref());
            (phase, payload, error, Some(end.ended.to_string()))
        }
    };
    let written = || -> serde_json::Result<Vec<u8>> {
        let payload: &RawValue = serde_json::from_str(&payload)?;
        let args = serde_json::value::to_raw_value(&seen.args)?;
        let metadata = serde_json::value::to_raw_value(&seen.metadata)?;
        serde_json::to_vec(&ShownAction {
            args: &args,
            created_time: &seen.created.to_string(),
            finished_time: finished.as_deref(),
            id,
            kind: &seen.kind,
            metadata: &metadata,
            scheduled_time: &seen.sent.to_string(),
            state: ShownState::new(phase, payload, error.as_deref()),
            executions: 1,
        })
    };
    let body = written().map_err(|error| {
        let message = format!("failed to show the action: {error}");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    })?;
    let has_ended = matches!(phase, ActionPhase::Done | ActionPhase::Failed);
    Ok(Some(Shown { body, has_ended }))
}

/// What takes the secrets of a job out of its output. A job with secrets that are not known any more shows nothing of it.
fn scrubber(seen: &Seen, hidden: Option<&Arc<Hidden>>) -> Option<Scrubber> {
    let has_secrets = seen.metadata.contains_key(SECRET_PLACES);
    has_secrets.then(|| hidden.map_or_else(Scrubber::of_unknown, |hidden| hidden.scrubber()))
}

fn ended(
    kind: &str,
    end: &End,
    scrubber: Option<&Scrubber>,
) -> (ActionPhase, String, Option<String>) {
    let failed = |message: String| (ActionPhase::Failed, "null".to_owned(), Some(message));
    let mut tail = Tail::new(scrubber.is_some());
    tail.add(&end.stderr);
    let said = |how: String| tail.said(&how, scrubber);
    match (end.killed, end.code) {
        (Some(Killed::Timeout), _) => {
            failed(said("the command was killed when its time was over".to_owned()))
        }
        (Some(Killed::Output), _) => {
            let most = MAX_KEPT / (1024 * 1024);
            failed(said(format!(
                "the command was killed after it had written more than {most} MiB"
            )))
        }
        (None, 0) if kind == Allowance::PutFile.kind() => {
            let mut result = put_result(&end.stdout).unwrap_or(Value::Null);
            if let Some(scrubber) = scrubber {
                scrubber.value(&mut result);
            }
            (ActionPhase::Done, result.to_string(), None)
        }
        (None, 0) => {
            let mut output = Output::default();
            output.add(&end.stdout);
            if end.cut {
                output.cut();
            }
            (ActionPhase::Done, output.payload(scrubber), None)
        }
        (None, code @ 129..=192) => failed(said(format!(
            "the command ended with exit status {code}: signal {}",
            code - 128
        ))),
        (None, code) => failed(said(format!("the command ended with exit status: {code}"))),
    }
}

/// The exit code of a job, if it has ended and has one.
pub(super) fn exit_code(state: &JobState) -> Option<u8> {
    match state {
        JobState::Ended(end) => u8::try_from(end.code).ok(),
        JobState::Running { .. } | JobState::Lost { .. } | JobState::NotStarted => None,
    }
}

/// The jobs of a node that are at work, or those that have ended, as the agent API lists actions.
pub(super) fn list(listed: &[Listed], are_over: bool, most: usize) -> Value {
    let mut actions: Vec<&Listed> =
        listed.iter().filter(|one| is_over(one) == Some(are_over)).collect();
    actions.sort_by_key(|one| (one.sent, one.id));
    // The last ones are those that somebody may ask about.
    let skipped = actions.len().saturating_sub(most);
    let actions = actions.into_iter().skip(skipped);
    let actions = actions.map(|one| {
        let phase = match one.phase {
            Phase::NotStarted => ActionPhase::New,
            Phase::Running => ActionPhase::Running,
            Phase::Ended(0) => ActionPhase::Done,
            Phase::Ended(_) | Phase::Lost => ActionPhase::Failed,
        };
        json!({ "id": one.id, "kind": one.kind, "phase": phase_word(phase) })
    });
    json!({ "actions": actions.collect::<Vec<_>>() })
}

/// Whether a job is over; `None` if it has not begun, and nobody was told that it would.
const fn is_over(listed: &Listed) -> Option<bool> {
    match listed.phase {
        Phase::NotStarted => None,
        Phase::Running => Some(false),
        Phase::Ended(_) | Phase::Lost => Some(true),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::Map;

    use super::super::nodes::Lost;
    use super::*;
    use crate::run::Timestamp;

    const ID: Uuid = Uuid::from_u128(1);

    fn end(code: i32, stdout: &str, stderr: &str) -> End {
        End {
            code,
            killed: None,
            stdout: Bytes::from(stdout.to_owned()),
            cut: false,
            stderr: Bytes::from(stderr.to_owned()),
            started: Timestamp::from_millis(1_000),
            ended: Timestamp::from_millis(2_000),
        }
    }

    fn seen(state: JobState) -> Seen {
        Seen {
            kind: "demo/drain".to_owned(),
            args: json!({"a": 1}),
            metadata: Map::new(),
            created: Timestamp::from_millis(0),
            sent: Timestamp::from_millis(500),
            state,
        }
    }

    fn state(state: JobState) -> Value {
        let shown = action(ID, &seen(state), None).unwrap().unwrap();
        serde_json::from_slice::<Value>(&shown.body).unwrap()["state"].clone()
    }

    #[test]
    fn a_job_is_shown_as_an_agent_shows_an_action() {
        let shown = action(ID, &seen(JobState::Ended(end(0, "{\"moved\": 3}", ""))), None);
        let shown = shown.unwrap().unwrap();
        assert!(shown.has_ended);
        let expected = json!({
            "args": {"a": 1}, "created_time": "1970-01-01T00:00:00.000Z", "finished_time": "1970-01-01T00:00:02.000Z",
            "id": ID, "kind": "demo/drain", "metadata": {}, "scheduled_time": "1970-01-01T00:00:00.500Z",
            "state": {"error": null, "payload": {"moved": 3}, "phase": "DONE"}, "executions": 1,
        });
        assert_eq!(serde_json::from_slice::<Value>(&shown.body).unwrap(), expected);
        let since = Timestamp::from_millis(600);
        let running = action(ID, &seen(JobState::Running { since }), None).unwrap().unwrap();
        assert!(!running.has_ended);
        assert!(action(ID, &seen(JobState::NotStarted), None).unwrap().is_none());
    }

    #[test]
    fn each_end_says_how_it_came() {
        let since = Timestamp::from_millis(600);
        let killed = |why| JobState::Ended(End { killed: Some(why), ..end(137, "", "so far") });
        for (ended, phase, expected) in [
            (JobState::Ended(end(0, "well\n", "warning")), "DONE", ""),
            (JobState::Ended(end(3, "", "no disk\n")), "FAILED", "exit status: 3: no disk"),
            (JobState::Ended(end(143, "", "")), "FAILED", "exit status 143: signal 15"),
            (killed(Killed::Timeout), "FAILED", "when its time was over: so far"),
            (killed(Killed::Output), "FAILED", "more than 64 MiB: so far"),
            (
                JobState::Lost { since, why: Lost::Rebooted },
                "FAILED",
                "lost: the node was rebooted",
            ),
        ] {
            let state = state(ended);
            assert_eq!(state["phase"], phase);
            let message = state["error"]["error_msg"].as_str().unwrap_or_default();
            assert!(message.contains(expected), "{message}");
        }
        let file = "changed content mode\n-a\n+b\n";
        let mut put = seen(JobState::Ended(end(0, file, "")));
        put.kind = Allowance::PutFile.kind().to_owned();
        let shown = action(ID, &put, None).unwrap().unwrap();
        let shown: Value = serde_json::from_slice(&shown.body).unwrap();
        let expected = json!({"changed": true, "what": ["content", "mode"], "diff": "-a\n+b\n"});
        assert_eq!(shown["state"]["payload"], expected);
        let cut = state(JobState::Ended(End { cut: true, ..end(0, "5", "") }));
        assert_eq!(cut["payload"], json!({"stdout": "5", "cut": true, "bytes": 2}));
    }

    #[test]
    fn secrets_are_in_no_answer_also_when_nobody_knows_them_any_more() {
        let args = json!({"password": "correct horse"}).to_string();
        let metadata = json!({ SECRET_PLACES: r#"[{"at": "/password"}]"# }).to_string();
        let (_, hidden) = Hidden::of(args, metadata);
        let hidden = Arc::new(hidden.unwrap());
        for end in [end(0, "got correct horse", ""), end(1, "", "got correct horse")] {
            let mut seen = seen(JobState::Ended(end));
            seen.metadata.insert(SECRET_PLACES.to_owned(), json!("[]"));
            let text = |hidden| {
                let shown = action(ID, &seen, hidden).unwrap().unwrap();
                String::from_utf8(shown.body).unwrap()
            };
            let known = text(Some(&hidden));
            assert!(known.contains("got [secret]") && !known.contains("horse"), "{known}");
            let unknown = text(None);
            assert!(!unknown.contains("got") && !unknown.contains("horse"), "{unknown}");
        }
    }

    #[test]
    fn lists_have_what_was_begun_and_the_last_ones() {
        let one = |id, sent, phase| Listed {
            id: Uuid::from_u128(id),
            kind: "demo/drain".to_owned(),
            sent: Timestamp::from_millis(sent),
            phase,
        };
        let all = [
            one(1, 5, Phase::Running),
            one(2, 4, Phase::Ended(0)),
            one(3, 3, Phase::Ended(2)),
            one(4, 2, Phase::Lost),
            one(5, 1, Phase::NotStarted),
        ];
        let ids = |are_over, most| {
            let list = list(&all, are_over, most);
            let all = list["actions"].as_array().unwrap().iter();
            all.map(|one| one["phase"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(false, 10), ["RUNNING"]);
        assert_eq!(ids(true, 10), ["FAILED", "FAILED", "DONE"]);
        assert_eq!(ids(true, 1), ["DONE"]);
    }
}
