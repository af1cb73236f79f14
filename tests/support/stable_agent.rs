//! An agent of the released generation, over a real socket. It answers as the source of those agents says:
//! replicante-io/agents, revision 45035138689c8ef43b4b70ebed83b1071474da0e, `libs/rust/sdk`. Instead of a tick, a look at an
//! action takes it one state further.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::certificates::Authority;

/// An action that collects as many pongs as its arguments say, one at each look.
pub(crate) const PING: &str = "agent.replicante.io/test.ping";

/// An action that fails.
pub(crate) const FAIL: &str = "agent.replicante.io/debug.fail";

/// How many actions that have ended are kept. Real agents remove the others once an hour, this one at once.
const KEPT: usize = 100;

/// Headers of a request that are not kept with its action.
const IGNORED: [&str; 6] =
    ["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"];

/// What an agent is like.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) role: Value,
    /// Whether its store answers.
    pub(crate) store_answers: bool,
    /// Whether its store neither answers nor refuses.
    pub(crate) store_hangs: bool,
    /// Whether it does actions. Real agents do only if they ask for client certificates.
    pub(crate) actions: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster: "zoo".to_owned(),
            node: "1".to_owned(),
            role: json!("primary"),
            store_answers: true,
            store_hangs: false,
            actions: true,
        }
    }
}

#[derive(Default)]
struct State {
    settings: Settings,
    /// In the order in which they came.
    actions: Vec<Value>,
    /// Those that have ended, the first one first.
    finished: Vec<Uuid>,
    /// All requests: method and path.
    asked: Vec<String>,
    /// The body of the last request to schedule.
    body: Bytes,
}

/// An agent that ends when this is dropped.
pub(crate) struct StableAgent {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

impl StableAgent {
    /// An agent that anybody may ask.
    pub(crate) async fn start(settings: Settings) -> Self {
        let (listener, port) = listen().await;
        let state = Arc::new(Mutex::new(State { settings, ..State::default() }));
        let app = app(&state);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let address = format!("http://127.0.0.1:{port}");
        Self { address, state, _server: AbortOnDropHandle::new(server) }
    }

    /// An agent that asks for a certificate of this authority, and shows one.
    pub(crate) async fn start_secured(settings: Settings, authority: &Authority) -> Self {
        let (listener, port) = listen().await;
        let state = Arc::new(Mutex::new(State { settings, ..State::default() }));
        let (app, acceptor) = (app(&state), acceptor(authority));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (app, acceptor) = (app.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: axum::http::Request<Incoming>| {
                        app.clone().oneshot(request.map(Body::new))
                    });
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ = served.await;
                });
            }
        });
        let address = format!("https://127.0.0.1:{port}");
        Self { address, state, _server: AbortOnDropHandle::new(server) }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state.lock().unwrap().settings);
    }

    /// The requests that came, as `POST actions/schedule/…`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// How many requests to schedule came.
    pub(crate) fn posts(&self) -> usize {
        self.asked().iter().filter(|asked| asked.starts_with("POST ")).count()
    }

    /// The body of the last request to schedule.
    pub(crate) fn body_of_last_post(&self) -> Bytes {
        self.state.lock().unwrap().body.clone()
    }

    /// All actions that are kept.
    pub(crate) fn actions(&self) -> Vec<Value> {
        self.state.lock().unwrap().actions.clone()
    }

    /// Has others do so many actions, all of which end.
    pub(crate) fn do_for_others(&self, count: usize) {
        let mut state = self.state.lock().unwrap();
        for _ in 0..count {
            let id = Uuid::new_v4();
            state.actions.push(json!({ "id": id, "kind": PING, "state": "DONE", "finished_ts": "2026-11-22T09:00:00Z" }));
            state.finished.push(id);
        }
        state.prune();
    }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let own = authority.issue(&["127.0.0.1"]);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn app(state: &Arc<Mutex<State>>) -> Router {
    let state = Arc::clone(state);
    Router::new().fallback(move |request: Request| {
        let state = Arc::clone(&state);
        async move {
            let (head, body) = request.into_parts();
            let body = to_bytes(body, 4 * 1024 * 1024).await.unwrap();
            let path =
                head.uri.path().strip_prefix("/api/unstable/").unwrap_or_default().to_owned();
            let hangs = path == "info/datastore" && state.lock().unwrap().settings.store_hangs;
            if hangs {
                std::future::pending::<()>().await;
            }
            let mut state = state.lock().unwrap();
            state.asked.push(format!("{} {path}", head.method));
            state.answer(&head.method, &path, &head.headers, &body)
        }
    })
}

fn json_of(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

/// An error as `SerializableFail` writes it.
fn failed(status: u16, variant: &str, error: &str) -> Response {
    json_of(status, fail(variant, error))
}

fn fail(variant: &str, error: &str) -> Value {
    json!({ "error": error, "layers": [error], "trace": null, "variant": variant })
}

fn not_found() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, head: &HeaderMap, body: &Bytes) -> Response {
        let settings = self.settings.clone();
        match (method.as_str(), path) {
            ("GET", "info/agent") => json_of(
                200,
                json!({ "version": { "checkout": "c", "number": "0.5.0", "taint": "not tainted" } }),
            ),
            ("GET", "info/datastore" | "shards") if !settings.store_answers => {
                failed(500, "StoreOpFailed", "datastore operation 'conf' failed")
            }
            ("GET", "info/datastore") => json_of(
                200,
                json!({
                    "cluster_display_name": null, "cluster_id": settings.cluster, "kind": "Zookeeper",
                    "node_id": settings.node, "version": "3.4.13",
                }),
            ),
            ("GET", "shards") => json_of(
                200,
                json!({ "shards": [{
                    "commit_offset": { "unit": { "unit": "zxid" }, "value": 7 },
                    "id": settings.cluster, "lag": null, "role": settings.role,
                }] }),
            ),
            // As it is, with a slash where there are actions and without one where there are none.
            ("GET", "actions") if !settings.actions => json_of(200, json!({ "actions": false })),
            ("GET", "actions/") if settings.actions => json_of(200, json!({ "actions": true })),
            (_, path) if settings.actions => self.answer_action(method, path, head, body),
            _ => not_found(),
        }
    }

    fn answer_action(
        &mut self,
        method: &Method,
        path: &str,
        head: &HeaderMap,
        body: &Bytes,
    ) -> Response {
        if let Some(kind) = path.strip_prefix("actions/schedule/") {
            return self.schedule(kind, head, body);
        }
        if let Some(id) = path.strip_prefix("actions/info/") {
            return self.info(id);
        }
        let listed = |ended: bool| {
            let of = |action: &&Value| ended != action["finished_ts"].is_null();
            let item = |action: &Value| json!({ "kind": action["kind"], "id": action["id"], "state": action["state"] });
            json_of(200, self.actions.iter().filter(of).map(item).collect())
        };
        match (method.as_str(), path) {
            ("GET", "actions/queue") => listed(false),
            ("GET", "actions/finished") => listed(true),
            ("GET", "actions/available") => json_of(
                200,
                json!([
                    { "kind": FAIL, "description": "Debugging action that always fails" },
                    { "kind": PING, "description": "Test action that emits pong messages" },
                ]),
            ),
            _ => not_found(),
        }
    }

    fn schedule(&mut self, kind: &str, head: &HeaderMap, body: &Bytes) -> Response {
        self.body = body.clone();
        let request: Value = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                let text = format!("Json deserialize error: {error}");
                return (StatusCode::BAD_REQUEST, text).into_response();
            }
        };
        if ![PING, FAIL].contains(&kind) {
            let error = format!("actions with kind {kind} are not available");
            return failed(400, "ActionNotAvailable", &error);
        }
        let id = request["action_id"].as_str().map(|id| id.parse().unwrap());
        let id: Uuid = id.unwrap_or_else(Uuid::new_v4);
        if self.place(&id.to_string()).is_some() {
            let error = format!("an action with id '{id}' already exists");
            return failed(409, "ActionAlreadyExists", &error);
        }
        let headers = head.iter().filter(|(name, _)| !IGNORED.contains(&name.as_str()));
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()));
        let now = "2026-11-22T09:00:00Z";
        self.actions.push(json!({
            "args": request["args"], "created_ts": request["created_ts"], "finished_ts": null,
            "headers": headers.collect::<Map<_, _>>(), "id": id, "kind": kind,
            "requester": request["requester"], "scheduled_ts": now, "state": "NEW", "state_payload": null,
        }));
        json_of(200, json!({ "id": id }))
    }

    fn info(&mut self, id: &str) -> Response {
        let Some(place) = self.place(id) else { return not_found() };
        let action = self.actions[place].clone();
        let new = json!({
            "action_id": action["id"], "timestamp": action["scheduled_ts"],
            "state": "NEW", "state_payload": null,
        });
        self.go_on(place);
        json_of(200, json!({ "action": action, "history": [new] }))
    }

    /// What the agent's tick does.
    fn go_on(&mut self, place: usize) {
        let action = &mut self.actions[place];
        if !action["finished_ts"].is_null() {
            return;
        }
        let (state, payload) = if action["kind"] == FAIL {
            ("FAILED", fail("FreeForm", "triggered debugging action that fails"))
        } else {
            let mut pongs = action["state_payload"].as_array().cloned().unwrap_or_default();
            pongs.push("Pong at 2026-11-22 09:00:00 UTC".into());
            let wanted = action["args"]["count"].as_u64().unwrap_or(1);
            let goes_on = (pongs.len() as u64) < wanted;
            (if goes_on { "RUNNING" } else { "DONE" }, pongs.into())
        };
        (action["state"], action["state_payload"]) = (state.into(), payload);
        if state != "RUNNING" {
            action["finished_ts"] = "2026-11-22T09:00:01Z".into();
            let id = action["id"].as_str().unwrap().parse().unwrap();
            self.finished.push(id);
            self.prune();
        }
    }

    fn prune(&mut self) {
        let beyond = self.finished.len().saturating_sub(KEPT);
        for id in self.finished.drain(..beyond).collect::<Vec<_>>() {
            let id = id.to_string();
            self.actions.retain(|action| action["id"] != id.as_str());
        }
    }

    fn place(&self, id: &str) -> Option<usize> {
        self.actions.iter().position(|action| action["id"] == id)
    }
}
