//! What agents say, as large as the door lets it in: each back end has to keep it.

use replibook_core::door::bounds::{KEY_BYTES, NODE, PAYLOAD};
use replibook_core::door::{Bounds, error_message, read_action, read_node};
use replibook_core::run::{
    AgentState, Answer, Answered, CallError, CallName, Failure, FailureReason, JsonText, Notice,
    RunStatus, Writes,
};
use serde_json::Value;
use uuid::Uuid;

use super::commits::assert_has;
use crate::backends::{Fixture, START};
use crate::samples::{journal, key, new_run, only, progress, record, run_id};

const ID: Uuid = Uuid::from_u128(7);

/// Texts of JSON that reach one of these bounds each. `around` is what the document around them takes of each
/// bound.
fn at_bounds(bounds: &Bounds, around: &Bounds) -> Vec<String> {
    let (bytes, depth) = (bounds.bytes - around.bytes, bounds.depth - around.depth);
    let values = bounds.values - around.values;
    let text = bounds.text.min(bytes - 2);
    let quoted = |piece: &str, bytes: usize| format!("\"{}\"", piece.repeat(bytes / piece.len()));
    // Limited as bytes of JSON, and then as a text in memory.
    let escaped = format!("\"{}\"", r"\u0000".repeat(text.min((bytes - 2) / 6)));
    let names = ["$", ".", "é", "a.$b", "😀"].map(|piece| quoted(piece, KEY_BYTES));
    let keys = names.map(|key| format!("{key}:1")).join(",");
    let zeros = vec!["0"; values - 1].join(",");
    let wide = (0..values - 1).map(|n| format!("\"{n}\":0"));
    vec![
        format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
        format!("{}1{}", "{\"\":".repeat(depth), "}".repeat(depth)),
        format!("[{zeros}]"),
        format!("{{{}}}", wide.collect::<Vec<_>>().join(",")),
        quoted("x", text),
        quoted("😀", text),
        escaped,
        format!("{{{keys},\"\\u0000\":null}}"),
        format!("[{},{},{},1e308,5e-324,-0.0,1e-400]", i64::MIN, i64::MAX, u64::MAX),
    ]
}

fn payload(text: &str) -> JsonText {
    let body = format!(r#"{{"id":"{ID}","state":{{"phase":"DONE","payload":{text}}}}}"#);
    let status = read_action(body.as_bytes(), ID).unwrap();
    assert_eq!(status.unread, None, "{}", &text[..text.len().min(100)]);
    status.payload
}

pub(crate) async fn what_the_door_lets_in_at_its_bounds_is_read_back(on: Fixture) {
    on.store.create_run(&new_run(1)).await.unwrap();
    let lease = on.claim("e").await;
    let run = run_id(1);
    let nothing = Bounds { bytes: 0, depth: 0, values: 0, text: 0, key: 0 };
    let around = Bounds { bytes: 100, depth: 1, values: 2, ..nothing };
    let payloads = at_bounds(&PAYLOAD, &nothing);
    let nodes = at_bounds(&NODE, &around);
    let long = "\u{0}\"é".repeat(100_000);
    let told = error_message(format!(r#"{{"error_msg":{}}}"#, Value::from(long)).as_bytes());
    for (said, of_node) in payloads.iter().zip(&nodes) {
        let body = format!(r#"{{"node_status":"HEALTHY","x":{of_node}}}"#);
        let node = read_node(body.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let said = payload(said);
        let mut record = record(run, 0, AgentState::Failed);
        record.node = node.raw.clone().into();
        record.results.insert("drain".to_owned(), said.clone());
        let (reason, step) = (FailureReason::Refused, "drain".to_owned());
        record.error = Some(Failure { reason, message: told.clone(), step, at: START });
        let message = told.clone();
        record.notice = Some(Notice::NoAnswer { since: START, message, errors: true });
        let mut journal = journal(run, key(0, 0, 1));
        let answered = |name, answer| Answered {
            name,
            arguments_hash: "00".to_owned(),
            at: START,
            answer,
            bytes: None,
        };
        journal.answers = vec![
            answered(CallName::RunAction, Answer::RunAction(Ok(said))),
            answered(CallName::Info, Answer::Info(Ok(node.into()))),
            answered(CallName::RunAction, Answer::RunAction(Err(CallError::Refused(told.clone())))),
        ];
        let (records, journals) = (vec![record], vec![journal]);
        let progress = progress(RunStatus::Running, START);
        let writes = Writes { records, journals, ..only(progress) };
        on.store.commit(run, lease.epoch, &writes).await.unwrap();
        assert_has(&*on.store, run, &writes).await;
    }
}
