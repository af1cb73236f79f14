//! The step `notify`, whose HTTP client is another one in each language: `wstd` in Rust, `fetch` in JavaScript, the loop of
//! componentize-py, and `http` of the WIT package in C. To the journal they are all the same.

use replibook_core::playbook::{Grants, HttpGrant, HttpMethod, PluginInfo};
use replibook_core::run::{
    Activate, ActivationEnd, Answer, Call, FailureReason, HttpError, HttpRequest, HttpResponse,
};
use serde_json::{Value, json};

use crate::conformance::languages::{all, same_description};
use crate::fixtures::{activate, drive};

fn start(info: &PluginInfo, url: &str) -> Activate {
    let http = HttpGrant::to("https://a.example").unwrap();
    let grants = Grants { http: vec![http], ..Grants::default() };
    Activate { grants, ..activate(&info.digest, json!({ "url": url, "text": "“up” again" })) }
}

fn response(status: u16, body: &str) -> Answer {
    let (headers, body) = (vec![], body.as_bytes().into());
    Answer::HttpSend(Ok(HttpResponse { status, headers, body }))
}

fn assert_told(language: &str, request: &HttpRequest) {
    assert_eq!(request.method(), HttpMethod::Post, "{language}");
    assert_eq!(request.url(), "https://a.example/hook?of=test", "{language}");
    let header = ("content-type".to_owned(), "application/json".to_owned());
    assert!(request.headers().contains(&header), "{language}: {:?}", request.headers());
    let message: Value = serde_json::from_slice(request.body().bytes()).unwrap();
    assert_eq!(message, json!({ "agent": "node-1", "text": "“up” again" }), "{language}");
    assert_eq!(request.timeout().0, 30_000, "{language}");
}

#[tokio::test]
async fn a_web_hook_is_told_the_same_in_every_language() {
    let languages = all("notify").await;
    same_description(&languages);
    for (language, info) in &languages {
        let start = start(info, "https://a.example/hook?of=test");
        let (calls, lines, end) = drive(start, |_| response(201, "“noted”")).await;
        let [Call::HttpSend { request }] = calls.as_slice() else {
            panic!("{language}: found {calls:?} and {end:?}, {lines:?}")
        };
        assert_told(language, request);
        let ActivationEnd::Done(result) = end else {
            panic!("{language}: found {end:?}, {lines:?}")
        };
        assert_eq!(result.value(), json!({ "status": 201, "answer": "“noted”" }), "{language}");
        assert_eq!(lines, ["the web hook answered 201"], "{language}");
    }
}

#[tokio::test]
async fn what_the_web_hook_refuses_fails_in_the_same_way() {
    for (language, info) in &all("notify").await {
        let errors = [
            (response(404, ""), FailureReason::StepFailed, false),
            (response(302, ""), FailureReason::StepFailed, false),
            (response(429, ""), FailureReason::StepFailed, true),
            (response(503, "busy"), FailureReason::StepFailed, true),
            (
                Answer::HttpSend(Err(HttpError::TimedOut("late".to_owned()))),
                FailureReason::TimedOut,
                true,
            ),
            (
                Answer::HttpSend(Err(HttpError::Failed("reset".to_owned()))),
                FailureReason::StepFailed,
                true,
            ),
        ];
        for (answer, expected, again) in errors {
            let start = start(info, "https://a.example/hook");
            let (calls, _, end) = drive(start, |_| answer.clone()).await;
            assert_eq!(calls.len(), 1, "{language}: {end:?}");
            let ActivationEnd::Failed { reason, message, retryable } = end else {
                panic!("{language}: found {end:?}")
            };
            assert_eq!((reason, retryable), (expected, again), "{language}: {message}");
            assert!(message.contains("the web hook"), "{language}: {message}");
        }
        let (calls, _, end) = drive(start(info, "https://b.example/"), |_| panic!()).await;
        assert!(calls.is_empty(), "{language}");
        let ActivationEnd::Failed { reason, message, .. } = end else {
            panic!("{language}: found {end:?}")
        };
        assert_eq!(reason, FailureReason::NotGranted, "{language}: {message}");
    }
}
