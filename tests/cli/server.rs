//! A server that answers as a test says, and keeps the requests that it got.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use replibook::run::RunStatus;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Number of the request, from 0.
    pub number: usize,
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: HashMap<String, String>,
    pub body: Bytes,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// A server on a port of its own, which ends when this is dropped.
pub(crate) struct Server {
    pub url: String,
    seen: watch::Sender<Vec<Seen>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let seen = watch::Sender::<Vec<Seen>>::default();
        let kept = seen.clone();
        let answer = Arc::new(answer);
        let app = Router::new().fallback(move |request: Request| {
            let (kept, answer) = (kept.clone(), answer.clone());
            async move {
                let asked = keep(&kept, request).await;
                answer(&asked)
            }
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    result = axum::serve(listener, app) => result.unwrap(),
                    // This comes even if the value is dropped in a panic.
                    _ = stopped => {}
                }
            });
        });
        Self { url, seen, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// Returns once there was a request for which `wanted` holds.
    pub(crate) async fn wait_for(&self, wanted: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let found = seen.wait_for(|all| all.iter().any(&wanted));
        tokio::time::timeout(super::DEADLINE, found).await.expect("the request in time").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn keep(kept: &watch::Sender<Vec<Seen>>, request: Request) -> Seen {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
    let headers = head.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut seen = Seen {
        number: 0,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
    };
    kept.send_modify(|all| {
        seen.number = all.len();
        all.push(seen.clone());
    });
    seen
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({"type": "about:blank", "title": "x", "status": status, "detail": detail,
        "code": code});
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::from_u16(status).unwrap(), kind, body.to_string()).into_response()
}

pub(crate) fn run_id() -> String {
    "01920000-0000-7000-8000-000000000001".to_owned()
}

pub(crate) fn run(status: RunStatus, counts: &[(&str, u32)]) -> Value {
    let why = json!({"code": "budget-exceeded", "message": "2 agents failed, at most 1 may"});
    let stopped = [RunStatus::Pending, RunStatus::Paused, RunStatus::Failed].contains(&status);
    let reason = if stopped { why } else { Value::Null };
    let counts: serde_json::Map<String, Value> =
        counts.iter().map(|(state, count)| ((*state).to_owned(), json!(count))).collect();
    json!({"id": run_id(), "playbook": "rolling-restart", "version": "1.4.0", "vcs": null,
        "cluster": "mongo-eu", "status": status, "reason": reason,
        "since": "2026-11-22T09:00:00Z", "stage": "restart", "selected": 12, "counts": counts,
        "failures": 0, "params": {}, "plugins": {}, "started_by": null,
        "created_at": "2026-11-22T09:00:00Z", "started_at": null, "finish_ts": null})
}

/// One message of a stream: the run became `what`, or the agent `what` became DONE.
pub(crate) fn event(seq: u64, what: &str) -> String {
    let happened = if what.starts_with("node") {
        json!({"event": "agent", "agent": what, "from": "RUNNING", "to": "DONE", "batch": 1})
    } else {
        json!({"event": "status", "from": "STARTING", "to": what, "reason": null})
    };
    let mut data = json!({"run": run_id(), "seq": seq, "at": "2026-11-22T09:00:00Z",
        "actor": null, "finish_ts": null});
    data.as_object_mut().unwrap().extend(happened.as_object().unwrap().clone());
    format!("id: {seq}\ndata: {data}\n\n")
}

/// Answers what a watch asks for: the run, its agents, and the stream of its events, which breaks off after
/// each part of the script.
pub(crate) struct EventScript {
    parts: Vec<Vec<String>>,
    next: AtomicUsize,
    hanging: bool,
}

impl EventScript {
    pub(crate) fn new(parts: Vec<Vec<String>>) -> Self {
        Self { parts, next: AtomicUsize::new(0), hanging: false }
    }

    /// The stream stays open after each part.
    pub(crate) fn hanging(self) -> Self {
        Self { hanging: true, ..self }
    }

    /// The last message of a stream.
    pub(crate) fn end(status: RunStatus, counts: &[(&str, u32)]) -> String {
        format!("event: end\ndata: {}\n\n", run(status, counts))
    }

    /// Whether a stream has been opened.
    pub(crate) fn streamed(&self) -> bool {
        self.next.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn answer(
        &self,
        seen: &Seen,
        status: RunStatus,
        counts: &[(&str, u32)],
    ) -> Response {
        if seen.header("accept") == "text/event-stream" {
            return self.stream();
        }
        if seen.path.ends_with("/agents") {
            let record = json!({"run": run_id(), "seq": 0, "agent": "node-1",
                "address": "http://10.0.0.11:8000", "attributes": {}, "node": null,
                "state": "DONE", "stage": 0, "step": 1, "attempts": [1], "batch": 1,
                "batch_label": null, "results": {}, "error": null, "skip_reason": null,
                "started_at": null, "ended_at": null, "joined_at": null, "left_at": null,
                "finish_ts": null});
            return axum::Json(json!({"items": [record], "next": null})).into_response();
        }
        axum::Json(run(status, counts)).into_response()
    }

    fn stream(&self) -> Response {
        let part = self.parts.get(self.next.fetch_add(1, Ordering::SeqCst));
        let part = part.cloned().unwrap_or_default();
        let messages = stream::iter(part).map(Ok::<_, std::io::Error>);
        let body = if self.hanging {
            Body::from_stream(messages.chain(stream::pending()))
        } else {
            Body::from_stream(messages)
        };
        ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
    }
}
