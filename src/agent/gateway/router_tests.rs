use axum::body::{Body, to_bytes};
use serde_json::Map;
use tower::ServiceExt as _;

use super::super::fake_nodes::{FakeNodes, Silent};
use super::super::nodes::{End, NodeError, Trouble, Work};
use super::*;
use crate::clock::TokioClock;
use crate::playbook::inventory::parse_inventory;

const INVENTORY: &str = "
apiVersion: replicante.io/v1
kind: Inventory
metadata: { name: web }
spec:
  groups:
    all: { allow: [command], actions: { demo/drain: { command: [drain] } } }
    front: { attributes: { role: front } }
  nodes:
    - { id: web-1, groups: [front], node_status: { command: [status] } }
    - { id: 'eu/web-2', carrier: local }
";

struct Door {
    nodes: Arc<FakeNodes>,
    router: Router,
    known: watch::Sender<Arc<KnownNodes>>,
}

fn known(text: &str) -> Arc<KnownNodes> {
    Arc::new(KnownNodes::new(parse_inventory(text.as_bytes()).unwrap()))
}

impl Door {
    fn new() -> Self {
        Self::over(Arc::default())
    }

    /// A gateway over these nodes, which has just been started.
    fn over(nodes: Arc<FakeNodes>) -> Self {
        let (sender, receiver) = watch::channel(known(INVENTORY));
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
        let shared = Shared::new(
            receiver,
            Arc::<FakeNodes>::clone(&nodes),
            clock,
            OwnNames::with(Vec::new()),
            (None, "https"),
            RETENTION,
        );
        Self { nodes, router: router(shared), known: sender }
    }

    async fn send(
        &self,
        request: axum::http::request::Builder,
        body: String,
    ) -> (u16, HeaderMap, Bytes) {
        let request = request.header("host", "localhost:8300").body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, to_bytes(response.into_body(), usize::MAX).await.unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request::get(path);
        let (status, _, body) = self.send(request, String::new()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, node: &str, body: &Value) -> (u16, Value) {
        let request = Request::post(format!("/nodes/{node}/api/unstable/action"))
            .header("content-type", "application/json");
        let (status, _, body) = self.send(request, body.to_string()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

const ID: Uuid = Uuid::from_u128(1);

const RETENTION: Millis = Millis::from_secs(60);

fn drain() -> Value {
    json!({"id": ID, "kind": "demo/drain", "args": {"a": 1}, "metadata": {"replibook.run": "r"},
        "created_time": "2026-11-30T10:00:00Z"})
}

fn end(code: i32, stdout: &str) -> JobState {
    let moment = Timestamp::from_millis(9);
    JobState::Ended(End {
        code,
        killed: None,
        stdout: Bytes::from(stdout.to_owned()),
        cut: false,
        stderr: Bytes::from_static(b"said"),
        started: moment,
        ended: moment,
    })
}

fn trouble(trouble: Trouble) -> NodeError {
    NodeError::before(trouble)
}

fn unreachable() -> Trouble {
    Trouble::Unreachable { place: "ssh web-1".to_owned(), said: "no route".to_owned() }
}

#[tokio::test]
async fn an_action_goes_to_its_node_and_comes_back_as_agents_have_it() {
    let door = Door::new();
    assert_eq!(door.post("web-1", &drain()).await, (200, json!({"id": ID})));
    let path = format!("/nodes/web-1/api/unstable/action/{ID}");
    let (status, seen) = door.get(&path).await;
    assert_eq!(
        (status, &seen["state"]["phase"], &seen["kind"]),
        (200, &json!("RUNNING"), &json!("demo/drain"))
    );
    assert_eq!(
        (&seen["args"], &seen["metadata"]),
        (&json!({"a": 1}), &json!({"replibook.run": "r"}))
    );
    assert_eq!(seen["created_time"], "2026-11-30T10:00:00.000Z");
    let queue = "/nodes/web-1/api/unstable/actions/queue";
    let listed = json!({"actions": [{"id": ID, "kind": "demo/drain", "phase": "RUNNING"}]});
    assert_eq!(door.get(queue).await, (200, listed));
    assert_eq!(
        door.get("/nodes/web-1/api/unstable/actions/finished").await,
        (200, json!({"actions": []}))
    );
    assert_eq!(
        door.get("/nodes/eu%2Fweb-2/api/unstable/actions/queue").await,
        (200, json!({"actions": []}))
    );
    door.nodes.set(ID, end(0, "{\"moved\": 3}"));
    let (_, seen) = door.get(&path).await;
    assert_eq!(seen["state"], json!({"error": null, "payload": {"moved": 3}, "phase": "DONE"}));
    let started = door.nodes.started.lock().unwrap().remove(0);
    let Work::Command { argv, stdin, .. } = started.work else { panic!("{started:?}") };
    assert_eq!(
        (argv, &stdin[..], started.secret),
        (vec!["drain".to_owned()], &b"{\"a\":1}"[..], false)
    );
    assert_eq!(started.timeout, Some(Duration::from_secs(300)));
}

#[tokio::test]
async fn what_can_not_be_done_is_refused_before_the_node_hears_of_it() {
    let door = Door::new();
    let with = |key: &str, value: Value| {
        let mut body = drain();
        body[key] = value;
        body
    };
    for (body, expected) in [
        (with("kind", json!("demo/other")), "the node web-1 has no action"),
        (with("kind", json!("replicante.io/script")), "is not allowed on the node web-1"),
        (with("kind", json!("replicante.io/command")), "args: missing field `argv`"),
        (with("args", json!({"check": true})), "can't tell what it would change"),
    ] {
        let (status, said) = door.post("web-1", &body).await;
        assert_eq!(status, 400, "{said}");
        assert!(said["error_msg"].as_str().unwrap().contains(expected), "{said}");
    }
    assert_eq!(door.post("web-1", &json!({"kind": 1})).await.0, 400);
    assert_eq!(door.nodes.asked("start"), 0);
    // Whoever repeats a request after the inventory changed learns that the first one had arrived.
    assert_eq!(door.post("web-1", &drain()).await.0, 200);
    door.known.send_replace(known(&INVENTORY.replace("demo/drain", "demo/other")));
    assert_eq!(door.post("web-1", &drain()).await.0, 409);
    door.nodes.set(ID, JobState::NotStarted);
    assert_eq!(door.post("web-1", &drain()).await.0, 400);
    *door.nodes.trouble.lock().unwrap() = Some(trouble(unreachable()));
    assert_eq!(door.post("web-1", &drain()).await.0, 502);
}

#[tokio::test]
async fn a_known_action_is_never_begun_again_and_one_that_never_began_is_not_known() {
    let door = Door::new();
    assert_eq!(door.post("web-1", &drain()).await.0, 200);
    assert_eq!(door.post("web-1", &drain()).await.0, 409);
    let path = format!("/nodes/web-1/api/unstable/action/{ID}");
    door.nodes.set(ID, JobState::NotStarted);
    assert_eq!(door.get(&path).await.0, 404);
    assert_eq!(door.get("/nodes/web-1/api/unstable/action/5").await.0, 404);
    assert_eq!(door.get(&format!("/nodes/eu%2Fweb-2/api/unstable/action/{ID}")).await.0, 404);
}

#[tokio::test]
async fn a_node_that_is_not_in_the_inventory_is_no_agent_that_knows_nothing() {
    let door = Door::new();
    for path in
        ["action/00000000-0000-0000-0000-000000000001", "info/node", "info/store", "actions/queue"]
    {
        let (status, said) = door.get(&format!("/nodes/web-9/api/unstable/{path}")).await;
        assert_eq!(status, 410, "{path}");
        assert!(said["error_msg"].as_str().unwrap().contains("no node \"web-9\""), "{said}");
    }
    assert_eq!(door.post("web-9", &drain()).await.0, 410);
}

#[tokio::test]
async fn troubles_of_nodes_are_told_by_what_is_certain() {
    let door = Door::new();
    let sudo = || Trouble::Sudo {
        place: "ssh web-1".to_owned(),
        user: "root".to_owned(),
        said: "a password is required".to_owned(),
    };
    for (error, posted, got) in [
        (NodeError::before(unreachable()), 425, 502),
        (NodeError::unknown(unreachable()), 502, 502),
        (NodeError::before(sudo()), 422, 502),
    ] {
        *door.nodes.trouble.lock().unwrap() = Some(error);
        let (status, said) = door.post("web-1", &drain()).await;
        assert_eq!(status, posted, "{said}");
        assert!(said["error_msg"].as_str().unwrap().contains("ssh web-1"), "{said}");
        for path in ["action/00000000-0000-0000-0000-000000000001", "info/node", "actions/finished"]
        {
            assert_eq!(
                door.get(&format!("/nodes/web-1/api/unstable/{path}")).await.0,
                got,
                "{path}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_tells_of_itself_and_what_was_done_there_makes_it_tell_anew() {
    let door = Door::new();
    let path = "/nodes/web-1/api/unstable/info/node";
    let (_, info) = door.get(path).await;
    assert_eq!((&info["node_id"], &info["node_status"]), (&json!("web-1"), &json!("DEGRADED")));
    let attributes = &info["attributes"];
    assert_eq!((&attributes["os"], &attributes["role"]), (&json!("debian 12"), &json!("front")));
    assert_eq!(attributes["group.front"], true);
    assert_eq!(
        door.get("/nodes/eu%2Fweb-2/api/unstable/info/node").await.1["node_status"],
        "HEALTHY"
    );
    door.get(path).await;
    assert_eq!(door.nodes.asked("facts"), 2, "those of this moment are told again");
    tokio::time::advance(Duration::from_millis(1)).await;
    door.post("web-1", &drain()).await;
    door.get(path).await;
    assert_eq!(door.nodes.asked("facts"), 3);
    tokio::time::advance(Duration::from_secs(2)).await;
    door.get(path).await;
    assert_eq!(door.nodes.asked("facts"), 4);
    let store = json!({"cluster_id": "web", "attributes": {}});
    assert_eq!(door.get("/nodes/web-1/api/unstable/info/store").await, (200, store));
    assert_eq!(
        door.get("/nodes/web-1/api/unstable/info/shards").await,
        (200, json!({"shards": []}))
    );
}

#[tokio::test]
async fn output_is_told_piece_by_piece() {
    let door = Door::new();
    door.post("web-1", &drain()).await;
    let ask = async |query: &str| {
        let path = format!("/nodes/web-1/api/unstable/action/{ID}/output{query}");
        door.send(Request::get(path), String::new()).await
    };
    let (status, headers, body) = ask("").await;
    assert_eq!(
        (status, &body[..], &headers["output-next"], &headers["output-ended"]),
        (200, &b"so far"[..], &"6".parse().unwrap(), &"false".parse().unwrap())
    );
    door.nodes.set(ID, end(3, "so far so good"));
    let (_, headers, body) = ask("?from=6&stream=stdout").await;
    assert_eq!((&body[..], &headers["output-exit"]), (&b" so good"[..], &"3".parse().unwrap()));
    assert_eq!(&ask("?stream=stderr").await.2[..], b"said");
    assert_eq!(ask("?from=x").await.0, 400);
    assert_eq!(ask("?stream=both").await.0, 400);
    let other = Uuid::from_u128(2);
    let path = format!("/nodes/web-1/api/unstable/action/{other}/output");
    assert_eq!(door.get(&path).await.0, 404);
}

#[tokio::test]
async fn secrets_are_nowhere_but_in_what_the_command_reads() {
    let door = Door::new();
    let mut body = drain();
    body["args"] = json!({"password": "correct horse", "user": "ann"});
    body["metadata"] = json!({ SECRET_PLACES: r#"[{"at": "/password"}]"# });
    assert_eq!(door.post("web-1", &body).await.0, 200);
    let started = door.nodes.started.lock().unwrap()[0].clone();
    assert!(started.secret);
    assert_eq!(started.args, json!({"password": "[secret]", "user": "ann"}));
    assert_eq!(started.metadata, Map::from_iter([(SECRET_PLACES.to_owned(), json!("[]"))]));
    let Work::Command { stdin, argv, env, .. } = started.work else { panic!() };
    assert!(String::from_utf8_lossy(&stdin).contains("correct horse"));
    assert!(!format!("{argv:?}{env:?}").contains("horse"));
    door.nodes.set(ID, end(0, "got correct horse"));
    let path = format!("/nodes/web-1/api/unstable/action/{ID}");
    let output = format!("{path}/output");
    let (_, seen) = door.get(&path).await;
    assert_eq!(seen["state"]["payload"], json!({"stdout": "got [secret]"}));
    let (_, _, shown) = door.send(Request::get(&output), String::new()).await;
    assert_eq!(&shown[..], b"got [secret]");
    // A gateway that was started again does not know them any more.
    let door = Door::over(Arc::clone(&door.nodes));
    let (_, seen) = door.get(&path).await;
    assert_eq!(seen["state"]["payload"], json!({"stdout": "[secret]"}));
    let (_, _, shown) = door.send(Request::get(&output), String::new()).await;
    assert_eq!(&shown[..], b"");
}

#[tokio::test(start_paused = true)]
async fn what_is_old_is_forgotten_on_nodes_at_which_something_is_done() {
    let door = Door::new();
    let purged = || door.nodes.purged.lock().unwrap().clone();
    let start = async |id: u128| {
        let mut body = drain();
        body["id"] = json!(Uuid::from_u128(id));
        assert_eq!(door.post("web-1", &body).await.0, 200);
        // What is done besides is done on this thread.
        tokio::task::yield_now().await;
    };
    tokio::time::advance(Duration::from_secs(100)).await;
    start(1).await;
    assert_eq!(purged(), [Timestamp::from_millis(40_000)]);
    start(2).await;
    assert_eq!(purged().len(), 1, "it was done a moment ago");
    tokio::time::advance(Duration::from_secs(25 * 3_600)).await;
    start(3).await;
    assert_eq!(purged().len(), 2);
}

#[tokio::test]
async fn all_nodes_are_discovered_where_the_gateway_was_asked() {
    let door = Door::new();
    let (status, found) = door.get("/discover").await;
    assert_eq!(status, 200);
    assert_eq!(found["clusters"][0]["cluster_id"], "web");
    let nodes = found["clusters"][0]["nodes"].as_array().unwrap();
    assert_eq!(nodes[0]["agent_address"], "https://localhost:8300/nodes/web-1");
    assert_eq!(nodes[1]["agent_address"], "https://localhost:8300/nodes/eu%2Fweb-2");
    door.known.send_replace(known(&INVENTORY.replace("web-1", "web-7")));
    assert_eq!(door.get("/discover").await.1["clusters"][0]["nodes"][0]["node_id"], "web-7");
}

#[tokio::test]
async fn strangers_and_what_is_too_large_are_refused() {
    let door = Door::new();
    let path = "/nodes/web-1/api/unstable/action";
    let stranger = Request::get("/discover").header("origin", "https://evil.example.com");
    assert_eq!(door.send(stranger, String::new()).await.0, 403);
    let form = Request::post(path).header("content-type", "text/plain");
    assert_eq!(door.send(form, drain().to_string()).await.0, 415);
    let large = Request::post(path).header("content-type", "application/json");
    let large = large.header("content-length", MAX_BODY_BYTES + 1);
    assert_eq!(door.send(large, String::new()).await.0, 413);
    let request =
        Request::get("/discover").header("host", "evil.example.com").body(Body::empty()).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 403);
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_before_its_sender_gives_up() {
    let (_sender, receiver) = watch::channel(known(INVENTORY));
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(0)));
    let names = OwnNames::with(Vec::new());
    let shared = Shared::new(receiver, Arc::new(Silent), clock, names, (None, "http"), RETENTION);
    let request = Request::get("/nodes/web-1/api/unstable/info/node").header("host", "localhost");
    let before = tokio::time::Instant::now();
    let response = router(shared).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(before.elapsed() < Duration::from_secs(15));
    assert!(Millis::from_secs(13).to_std() == ANSWER_WITHIN);
}
