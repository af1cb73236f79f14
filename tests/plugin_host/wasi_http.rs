//! Requests of clients that are built on `wasi:http`: which calls of the journal they are, what the client gets, and that
//! whatever is not offered is an error and no trap.

use replibook_core::playbook::{Grants, HttpGrant};
use replibook_core::run::{
    Activate, ActivationEnd, Answer, Call, FailureReason, HttpError, HttpRequest, HttpResponse,
    MAX_HTTP_BODY, Millis,
};
use replibook_host::Interfaces;
use serde_json::{Value, json};

use crate::fixtures::*;

async fn client(arguments: Value) -> Activate {
    let http = HttpGrant::to("https://a.example").unwrap();
    let grants = Grants { http: vec![http], ..Grants::default() };
    Activate { grants, ..activate(&imported("wasi-client").await, arguments) }
}

fn response(status: u16, body: &str) -> Answer {
    let headers = vec![("x-a".to_owned(), "b".to_owned())];
    Answer::HttpSend(Ok(HttpResponse { status, headers, body: body.as_bytes().into() }))
}

/// Answers each request with its path and its body.
fn echo(call: &Call) -> Answer {
    match call {
        Call::HttpSend { request } => {
            let path = request.url().trim_start_matches("https://a.example");
            let body = String::from_utf8_lossy(request.body().bytes()).into_owned();
            response(200, &format!("{path} {body}"))
        }
        Call::Sleep { .. } => Answer::Sleep,
        other => panic!("found {other:?}"),
    }
}

/// What each call was: the path of a request, or the length of a sleep.
fn names(calls: &[Call]) -> Vec<String> {
    let name = |call: &Call| match call {
        Call::HttpSend { request } => request.url().replace("https://a.example", ""),
        Call::Sleep { length } => format!("sleep {}", length.0),
        other => panic!("found {other:?}"),
    };
    calls.iter().map(name).collect()
}

/// Plays a step whose requests are echoed: its calls, its log and its result.
async fn played(arguments: Value) -> (Vec<String>, Vec<String>, Value) {
    let (calls, lines, end) = drive(client(arguments).await, echo).await;
    match end {
        ActivationEnd::Done(result) => (names(&calls), lines, result.value()),
        end => panic!("found {end:?} after {lines:?}, expected a result"),
    }
}

fn got(body: &str) -> Value {
    json!({ "status": 200, "headers": [["x-a", "b"]], "body": body })
}

#[tokio::test]
async fn a_request_is_the_same_call_as_one_of_our_own() {
    let of = json!({
        "method": "POST", "host": "A.example:443", "path": "/v1/../alerts?x=1", "timeout_seconds": 5,
        "headers": [["X-Team", "dba"], ["content-length", "5"]], "body": "12345",
    });
    let start = client(json!({ "do": "each", "requests": [of] })).await;
    let (calls, lines, end) = drive(start, |_| response(201, "made")).await;
    let headers = vec![("X-Team".to_owned(), "dba".to_owned())];
    let url = "https://a.example/alerts?x=1";
    let request = HttpRequest::new("POST", url, headers, b"12345", 5_000).unwrap();
    let call = Call::HttpSend { request };
    assert_eq!(calls, std::slice::from_ref(&call));
    assert_eq!(calls[0].arguments_hash(), call.arguments_hash());
    let result = json!([{ "status": 201, "headers": [["x-a", "b"]], "body": "made" }]);
    assert_eq!(end, ActivationEnd::Done(result.into()));
    assert!(lines.is_empty(), "{lines:?}");
}

#[tokio::test]
async fn several_at_once_are_sent_and_answered_in_the_order_of_their_creation() {
    let requests: Vec<_> = (1..=3).map(|n| json!({ "path": format!("/{n}") })).collect();
    let (calls, _, came) = played(json!({ "do": "all", "requests": requests })).await;
    assert_eq!(calls, ["/1", "/2", "/3"]);
    assert_eq!(came, json!([[0, got("/1 ")], [1, got("/2 ")], [2, got("/3 ")]]));
    let (calls, _, responses) = played(json!({ "do": "last-first" })).await;
    assert_eq!(calls, ["/1", "/2", "/3"]);
    assert_eq!(responses, json!([got("/3 x"), got("/1 x"), got("/2 x")]));
    // A request can't be sent before its body is there.
    let (calls, _, responses) = played(json!({ "do": "order-of-bodies" })).await;
    assert_eq!(calls, ["/2", "/1"]);
    assert_eq!(responses, json!([got("/1 one"), got("/2 two")]));
}

#[tokio::test]
async fn requests_come_before_whatever_the_step_does_next() {
    for (what, expected, result) in [
        ("forget", vec!["/1", "/2"], json!("went on")),
        ("cancel", vec!["/1", "/3"], json!([got("/1 x"), got("/3 x")])),
        ("sleep", vec!["/1", "sleep 5"], got("/1 x")),
        ("timer-alone", vec!["/1", "sleep 4000"], got("/1 x")),
        // The answer comes a second later, and then the timer is due as well.
        ("timer", vec!["/1"], json!([[0, 1], got("/1 x")])),
        // A timer that is always due does not hold requests back.
        ("always-ready", vec!["/1", "/2"], json!([[0, 1], [0, 1, 2]])),
        ("unfinished-with-timer", vec!["sleep 1", "/1"], got("/1 late")),
        ("finished-first", vec!["/1"], got("/1 early")),
        ("no-trailers", vec!["/1"], json!(["sent", got("/1 ")])),
    ] {
        let (calls, _, found) = played(json!({ "do": what })).await;
        assert_eq!(
            (calls, found),
            (expected.into_iter().map(str::to_owned).collect(), result),
            "{what}"
        );
    }
}

#[tokio::test]
async fn each_activation_gets_the_same_answers() {
    let requests = json!([{ "path": "/1" }, { "path": "/2" }]);
    let start = client(json!({ "do": "all", "requests": requests })).await;
    let (calls, _, end) = drive(start.clone(), echo).await;
    let mut again = start.clone();
    for (number, call) in (0..).zip(&calls) {
        again.journal.answers.push(answered(number, call, echo(call)));
    }
    assert_eq!(host().activate(again.clone()).await.end, end);
    assert_eq!(host().activate(again).await.end, end);

    let mut other = start;
    let call = Call::HttpSend {
        request: HttpRequest::new("GET", "https://a.example/3", vec![], b"", 30_000).unwrap(),
    };
    other.journal.pending = Some(pending(&call));
    let (reason, message) = failure(other).await;
    assert_eq!(reason, FailureReason::NotDeterministic, "{message}");
}

#[tokio::test]
async fn a_request_that_can_not_be_sent_has_a_code_and_a_line_in_the_log() {
    let long = "x".repeat(8 << 10);
    let many = vec![["a", "b"]; 65];
    for (of, code, said) in [
        (
            json!({ "host": "b.example" }),
            "HttpRequestDenied",
            "does not grant GET https://b.example/",
        ),
        (json!({ "scheme": "http" }), "HttpRequestDenied", "it grants https://a.example"),
        (json!({ "scheme": "ftp" }), "HttpRequestUriInvalid", "another scheme"),
        (json!({ "host": "u@a.example" }), "HttpRequestUriInvalid", "a user or a password"),
        (json!({ "path": format!("/{long}") }), "HttpRequestUriTooLong", "more than 8192 bytes"),
        (
            json!({ "method": "OPTIONS" }),
            "HttpRequestMethodInvalid",
            "found the method \"OPTIONS\"",
        ),
        (json!({ "method": "BREW" }), "HttpRequestMethodInvalid", "expected GET, "),
        (json!({ "headers": [["Host", "b.example"]] }), "Forbidden", "the header host, which only"),
        (json!({ "headers": [["Idempotency-Key", "1"]] }), "Forbidden", "idempotency-key"),
        (json!({ "headers": [["a", "b\r\nc: d"]] }), "InvalidSyntax", ""),
        (json!({ "headers": many }), "Forbidden", "found 65 headers"),
        (json!({ "headers": [["a", "b".repeat(16 << 10)]] }), "Forbidden", "16385 bytes"),
        (json!({ "headers": [["content-length", "5"]] }), "HttpRequestBodySize", "without a body"),
        (
            json!({ "headers": [["content-length", "5"]], "body": "1" }),
            "HttpRequestBodySize",
            "finish",
        ),
        (
            json!({ "headers": [["content-length", "1048577"]], "body": "1" }),
            "HttpRequestBodySize(Some(1048577))",
            "found a content-length of 1048577 bytes, expected at most 1048576",
        ),
        (json!({ "headers": [["content-length", "five"]] }), "InternalError", "no number"),
    ] {
        let start = client(json!({ "do": "each", "requests": [of] })).await;
        let (calls, lines, end) = drive(start, echo).await;
        let ActivationEnd::Done(result) = end else { panic!("found {end:?} for {of}") };
        let result = result.value();
        assert!(calls.is_empty(), "{of}: {calls:?}");
        assert!(result[0].as_str().unwrap().contains(code), "{of}: {result}");
        let log = lines.join("\n");
        assert!(log.contains(said) && log.is_empty() == said.is_empty(), "{of}: {log}");
    }
}

#[tokio::test]
async fn a_request_without_a_response_has_a_code_and_a_reason() {
    for (error, code, reason) in [
        (
            HttpError::NotGranted("private".to_owned()),
            "HttpRequestDenied",
            FailureReason::NotGranted,
        ),
        (HttpError::TimedOut("late".to_owned()), "HttpResponseTimeout", FailureReason::TimedOut),
        (
            HttpError::Failed("reset".to_owned()),
            "InternalError(Some(\"reset\"))",
            FailureReason::StepFailed,
        ),
        (
            HttpError::Secret("gone".to_owned()),
            "InternalError(Some(\"gone\"))",
            FailureReason::SecretUnavailable,
        ),
    ] {
        let said = error.to_string();
        let start = client(json!({ "do": "fail", "requests": [{}] })).await;
        let answer = Answer::HttpSend(Err(error));
        let (calls, lines, end) = drive(start, |_| answer.clone()).await;
        assert_eq!(calls.len(), 1);
        let ActivationEnd::Failed { reason: found, message, .. } = end else {
            panic!("found {end:?}")
        };
        assert!(found == reason && message.contains(&code.replace('"', "\\\"")), "{message}");
        assert_eq!(lines, [format!("wasi:http: GET https://a.example/: {said}")]);
    }
    let (reason, message) =
        failure(client(json!({ "do": "fail", "requests": [{ "host": "b.example" }] })).await).await;
    assert_eq!(reason, FailureReason::NotGranted, "{message}");
}

#[tokio::test]
async fn what_the_host_refuses_is_the_reason_of_an_error_after_it() {
    for (requests, then) in [
        (json!([{}, { "headers": [["Host", "b.example"]] }]), None),
        (json!([{}, { "headers": [["a", "b\r\nc: d"]] }]), None),
        (json!([{}, { "headers": [["content-length", "5"]], "body": "1" }]), None),
        (json!([{}]), Some("dropped-body")),
    ] {
        let said = format!("{requests} {then:?}");
        let arguments = json!({ "do": "fail", "requests": requests, "then": then });
        let late = Answer::HttpSend(Err(HttpError::TimedOut("late".to_owned())));
        let (calls, _, end) = drive(client(arguments).await, |_| late.clone()).await;
        assert_eq!(calls.len(), 1, "{said}");
        let ActivationEnd::Failed { reason, message, .. } = end else { panic!("found {end:?}") };
        assert_eq!(reason, FailureReason::StepFailed, "{said}: {message}");
    }
}

#[tokio::test]
async fn every_answer_has_its_line_however_many_came_before() {
    let requests = vec![json!({}); 20];
    let start = client(json!({ "do": "each", "requests": requests })).await;
    let mut number = 0;
    let (calls, lines, end) = drive(start, |_| {
        number += 1;
        Answer::HttpSend(Err(HttpError::Failed(format!("reset {number}"))))
    })
    .await;
    assert!(matches!(end, ActivationEnd::Done(_)), "{end:?}");
    assert_eq!((calls.len(), lines.len()), (20, 20), "{lines:?}");
    assert!(lines[19].ends_with("reset 20"), "{lines:?}");
}

#[tokio::test]
async fn a_step_whose_result_is_not_taken_sends_nothing_more() {
    let (calls, _, end) = drive(client(json!({ "do": "bad-result" })).await, echo).await;
    let ActivationEnd::Failed { message, .. } = end else { panic!("found {end:?}") };
    assert!(message.starts_with("bad-result: "), "{message}");
    assert!(calls.is_empty(), "{calls:?}");
}

#[tokio::test]
async fn what_is_sent_in_pieces_is_an_error_and_no_hang() {
    for (what, expected) in [
        ("unfinished", "has to be finished before its response is waited for"),
        ("dropped-body", "dropped before it was finished"),
        ("trailers", "trailers are not sent"),
    ] {
        let (made, lines, result) = played(json!({ "do": what })).await;
        assert!(made.is_empty(), "{what}: {made:?}");
        assert!(result.to_string().contains(expected), "{what}: {result}");
        assert!(lines.join("\n").contains(expected), "{what}: {lines:?}");
    }
    let (_, _, result) = played(json!({ "do": "serve" })).await;
    assert_eq!(result, json!([204, true]));
    let (_, _, result) = played(json!({ "do": "fixed-headers" })).await;
    assert!(result.to_string().contains("Immutable"), "{result}");
}

#[tokio::test]
async fn what_belongs_to_a_handle_goes_before_it() {
    for what in ["stream-without-body", "pollable-without-future"] {
        let (reason, message) = failure(client(json!({ "do": what })).await).await;
        assert_eq!(reason, FailureReason::PluginLimit, "{what}: {message}");
        assert!(message.starts_with("handle-limit: "), "{what}: {message}");
    }
}

#[tokio::test]
async fn every_limit_is_an_error_that_names_itself() {
    let sent = |what: &str, number: usize| played(json!({ "do": what, "number": number }));
    let (calls, _, result) = sent("body", MAX_HTTP_BODY).await;
    assert_eq!((calls.len(), result), (1, json!(["sent", 200])));
    let (calls, _, result) = sent("body", MAX_HTTP_BODY + 1).await;
    assert!(calls.is_empty());
    let too_long = "ErrorCode::HttpRequestBodySize(Some(1048577))";
    assert_eq!(result, json!([too_long, too_long]));

    assert_eq!(sent("bodies", 4).await.2, json!("sent"));
    let (_, _, result) = sent("bodies", 5).await;
    assert!(result.to_string().contains("expected at most 4194304"), "{result}");

    assert_eq!(sent("requests", 64).await.2, json!("sent"));
    let (_, lines, result) = sent("requests", 65).await;
    assert!(result.to_string().contains("ConnectionLimitReached"), "{result}");
    assert!(lines[0].contains("found 64 requests without an answer"), "{lines:?}");

    assert_eq!(sent("pollables", 4_000).await.2, json!(4_000));
    let cases = [("pollables", "handle-limit"), ("spin", "out-of-time")];
    for (what, code) in cases {
        let start = client(json!({ "do": what, "number": 4_200 })).await;
        let (_, message) = failure(start).await;
        assert!(message.starts_with(code), "{message}");
    }
}

#[tokio::test]
async fn more_requests_than_an_attempt_has_calls_end_it() {
    let requests = vec![json!({}); 257];
    let start = client(json!({ "do": "each", "requests": requests })).await;
    let (calls, _, end) = drive(start, |_| response(200, "")).await;
    assert_eq!(calls.len(), 256);
    let ActivationEnd::Failed { message, .. } = end else { panic!("found {end:?}") };
    assert!(message.starts_with("calls-limit: "), "{message}");
}

#[tokio::test]
async fn a_request_waits_as_long_as_its_options_say() {
    for (of, expected) in [
        (json!({}), 30_000),
        (json!({ "timeout_seconds": 5 }), 5_000),
        (json!({ "timeout_seconds": 3_600 }), 600_000),
    ] {
        let start = client(json!({ "do": "each", "requests": [of] })).await;
        let ActivationEnd::Blocked(Call::HttpSend { request }) = host().activate(start).await.end
        else {
            panic!("it sent nothing")
        };
        assert_eq!(request.timeout(), Millis(expected));
    }
}

/// Runtimes of languages bring sockets along beside such a client, so a component may import them.
#[tokio::test]
async fn sockets_are_there_and_end_the_step() {
    let imports = Interfaces::of(&guest("wasi-client")).imports;
    assert!(imports.iter().any(|name| name.starts_with("wasi:sockets/tcp@")), "{imports:?}");
    let (reason, message) = failure(client(json!({ "do": "connect" })).await).await;
    assert_eq!(reason, FailureReason::PluginTrapped, "{message}");
    assert!(message.starts_with("forbidden-call: the plugin called wasi:sockets/"), "{message}");
    assert!(message.contains("and there are no sockets"), "{message}");
}
