//! Steps that reach more than their agent, as the host activates them: what is granted, what is sent, and what the
//! built-in steps make of the answers.

use replibook_core::playbook::{Grants, HttpGrant, HttpMethod};
use replibook_core::run::{
    Activate, ActivationEnd, AgentId, Answer, Call, CallError, FailureReason, HttpError,
    HttpResponse, Received,
};
use serde_json::{Value, json};

use crate::fixtures::{activate, answered, builtin, drive, failure};

fn reaching(step: &str, arguments: Value) -> Activate {
    let http = HttpGrant::to("https://a.example").unwrap();
    let grants = Grants { http: vec![http], signals: vec!["go".to_owned()], ..Grants::default() };
    Activate { grants, ..activate(&builtin(step), arguments) }
}

fn response(status: u16, kind: &str, body: &str) -> Answer {
    let headers = vec![("content-type".to_owned(), kind.to_owned())];
    Answer::HttpSend(Ok(HttpResponse { status, headers, body: body.as_bytes().into() }))
}

/// How a step ends that gets this one answer.
async fn ends(
    step: &str,
    arguments: Value,
    answer: Answer,
) -> Result<Value, (FailureReason, bool, String)> {
    let (calls, _, end) = drive(reaching(step, arguments), |_| answer.clone()).await;
    assert_eq!(calls.len(), 1);
    match end {
        ActivationEnd::Done(value) => Ok(value.value()),
        ActivationEnd::Failed { reason, message, retryable } => Err((reason, retryable, message)),
        ActivationEnd::Blocked(call) => panic!("found {call:?}, expected an end"),
    }
}

#[tokio::test]
async fn a_request_is_sent_as_the_arguments_say() {
    let arguments = json!({
        "url": "https://a.example/v1?x=1", "method": "PUT", "headers": {"X-Team": "dba"},
        "body": {"node": "node-1"}, "timeout_seconds": 5,
    });
    let (calls, _, _) = drive(reaching("http", arguments), |_| response(204, "", "")).await;
    let [Call::HttpSend { request }] = calls.as_slice() else { panic!("found {calls:?}") };
    assert_eq!((request.method(), request.url()), (HttpMethod::Put, "https://a.example/v1?x=1"));
    let headers = [("x-team", "dba"), ("content-type", "application/json")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(request.headers(), headers);
    assert_eq!(
        (request.body().bytes(), request.timeout().0),
        (&br#"{"node":"node-1"}"#[..], 5_000)
    );
}

#[tokio::test]
async fn on_the_run_there_is_no_agent_and_each_call_to_one_is_invalid() {
    for (step, arguments) in [
        ("action", json!({"kind": "a.example/restart"})),
        ("wait-healthy", json!({"timeout_seconds": 5})),
    ] {
        let start = activate(&builtin(step), arguments);
        let grants = Grants { actions: vec!["*".to_owned()], ..Grants::default() };
        let start = Activate { agent: AgentId::of_run(), grants, ..start };
        // It comes to its end without a call in the journal.
        let (reason, message) = failure(start).await;
        assert_eq!(reason, FailureReason::StepFailed, "{step}");
        assert!(message.contains("a stage on the run has no agent"), "{step}: {message}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_not_sent() {
    for (step, arguments, expected) in [
        ("http", json!({"url": "https://b.example/x"}), "does not grant GET https://b.example/x"),
        ("http", json!({"url": "http://a.example/"}), "it grants https://a.example"),
        ("wait-signal", json!({"name": "stop"}), "does not grant the signal stop"),
        ("wait-signal", json!({"name": "go\u{1b}[2J"}), "does not grant the signal go"),
    ] {
        let (reason, message) = failure(reaching(step, arguments)).await;
        assert_eq!(reason, FailureReason::NotGranted, "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let arguments = json!({"url": "https://a.example", "headers": {"Host": "b.example"}});
    let (reason, message) = failure(reaching("http", arguments)).await;
    assert_eq!(reason, FailureReason::StepFailed);
    assert!(message.contains("found the header host, which only the host sets"), "{message}");
}

#[tokio::test]
async fn the_step_http_reads_the_answer() {
    let get = |more: Value| {
        let mut arguments = json!({"url": "https://a.example"});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let found =
        ends("http", get(json!({})), response(200, "application/json; charset=utf-8", "[1]")).await;
    assert_eq!(found.unwrap()["body"], json!([1]));
    let found = ends("http", get(json!({})), response(200, "text/plain", "[1]")).await;
    assert_eq!(found.unwrap()["body"], json!("[1]"));
    let found = ends("http", get(json!({"expect": [404]})), response(404, "", "")).await;
    assert_eq!(found.unwrap()["status"], json!(404));
    for (answer, retryable, expected) in [
        (response(404, "", "no"), false, "found status 404, expected 200 to 299: no"),
        (response(302, "", ""), false, "found status 302"),
        (response(503, "", "busy"), true, "found status 503"),
        (response(429, "", ""), true, "found status 429"),
        (Answer::HttpSend(Err(HttpError::Failed("reset".to_owned()))), true, "reset"),
        (Answer::HttpSend(Err(HttpError::NotGranted("private".to_owned()))), false, "private"),
        (Answer::HttpSend(Err(HttpError::TimedOut("late".to_owned()))), true, "late"),
        (response(200, "application/json", "{"), false, "failed to read the body"),
    ] {
        let (_, found, message) = ends("http", get(json!({})), answer).await.unwrap_err();
        assert!(found == retryable && message.contains(expected), "{found} {message}");
    }
}

#[tokio::test]
async fn the_step_metric_compares_one_value() {
    let arguments = json!({
        "server": "https://a.example/prometheus/", "query": "sum(rate(errors[5m]))", "at_least": 1,
        "at_most": 2.5,
    });
    let (calls, _, _) =
        drive(reaching("metric", arguments.clone()), |_| response(500, "", "")).await;
    let [Call::HttpSend { request }] = calls.as_slice() else { panic!("found {calls:?}") };
    let url = "https://a.example/prometheus/api/v1/query?query=sum%28rate%28errors%5B5m%5D%29%29";
    assert_eq!(request.url(), url);
    let answered = |kind: &str, result: Value| {
        let body = json!({"status": "success", "data": {"resultType": kind, "result": result}});
        response(200, "application/json", &body.to_string())
    };
    let series = |value: &str| json!({"metric": {}, "value": [1.5, value]});
    for (answer, expected) in [
        (answered("scalar", json!([1.5, "2"])), Ok(2.0)),
        (answered("vector", json!([series("2.5")])), Ok(2.5)),
        (
            answered("vector", json!([series("0.5")])),
            Err((true, "found 0.5, expected at least 1 and at most 2.5")),
        ),
        (answered("vector", json!([series("+Inf")])), Err((true, "found inf"))),
        (answered("vector", json!([series("NaN")])), Err((true, "found NaN"))),
        (answered("vector", json!([])), Err((true, "the query has no value"))),
        (
            answered("vector", json!([series("1"), series("2")])),
            Err((false, "has 2 values, expected one")),
        ),
        (answered("matrix", json!([])), Err((false, "the result is a matrix"))),
        (
            response(400, "application/json", r#"{"status":"error","error":"parse error"}"#),
            Err((false, "400: parse error")),
        ),
        (response(503, "text/plain", "no"), Err((true, "503: no reason given"))),
        (response(200, "text/html", "<html>"), Err((false, "failed to read the body"))),
    ] {
        match (ends("metric", arguments.clone(), answer).await, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, json!({"value": expected})),
            (Err((_, found, message)), Err((retryable, expected))) => {
                assert!(found == retryable && message.contains(expected), "{found} {message}");
            }
            (found, expected) => panic!("found {found:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn the_payload_of_a_signal_is_the_result() {
    let received = Received { number: 1, payload: json!({"ticket": 4711}).into() };
    let arguments = json!({"name": "go", "timeout_seconds": 60});
    let found = ends("wait-signal", arguments.clone(), Answer::WaitSignal(Ok(received))).await;
    assert_eq!(found.unwrap(), json!({"ticket": 4711}));
    let late = Answer::WaitSignal(Err(CallError::TimedOut("no signal go came".to_owned())));
    let (reason, retryable, message) = ends("wait-signal", arguments, late).await.unwrap_err();
    assert_eq!((reason, retryable), (FailureReason::TimedOut, true));
    assert!(message.contains("no signal go came"), "{message}");
}

#[tokio::test]
async fn another_request_than_before_is_not_deterministic() {
    let before = reaching("http", json!({"url": "https://a.example/1"}));
    let (calls, _, _) = drive(before, |_| response(200, "", "")).await;
    let mut start = reaching("http", json!({"url": "https://a.example/2"}));
    start.journal.answers.push(answered(0, &calls[0], response(200, "", "")));
    let (reason, message) = failure(start).await;
    assert_eq!(reason, FailureReason::NotDeterministic, "{message}");
}
