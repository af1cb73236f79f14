//! The step `notify` in every language, over a web hook on loopback: the server is killed while the hook has a request and
//! has not answered, once in each language. The hook has one effect for each `Idempotency-Key`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use replibook::api::wire::RunView;
use replibook::cli::demo::{Fleet, plan};
use replibook::run::RunStatus;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::crash::server::{Client, LIMIT, Server, Settings};
use crate::{plugins, wait};

/// The languages, in the order of the steps, and the folders of their components.
const LANGUAGES: [(&str, &str); 4] = [
    ("rust", "examples/plugins/rust/target/wasm32-wasip2/release"),
    ("c", "examples/plugins/c/target"),
    ("javascript", "examples/plugins/javascript/target"),
    ("python", "examples/plugins/python/target"),
];

/// What the hook knows: how often each key came, and what it was told with it.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<BTreeMap<String, Told>>>);

/// How often a key came, and the messages with it.
type Told = (u32, Vec<String>);

impl Seen {
    /// Notes a message. True if its key is new: only then it has an effect.
    fn note(&self, key: &str, message: &str) -> bool {
        let mut seen = self.0.lock().unwrap();
        let (times, messages) = seen.entry(key.to_owned()).or_default();
        *times += 1;
        messages.push(message.to_owned());
        *times == 1
    }

    fn keys(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A web hook that never answers the first request with a key, and answers the others. It ends with the test's runtime.
async fn hook() -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let kept = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, kept.clone()));
        }
    });
    (origin, seen)
}

/// Reads one request: its head, and its body of the length that the head tells.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut asked = Vec::new();
    let mut piece = [0; 4_096];
    loop {
        match stream.read(&mut piece).await {
            Ok(read @ 1..) => asked.extend_from_slice(&piece[..read]),
            Ok(0) | Err(_) => return None,
        }
        let text = String::from_utf8_lossy(&asked);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length").map_or(0, |text| text.parse().unwrap());
        if body.len() >= length {
            return Some((head.to_owned(), body.to_owned()));
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    let of_name = |line: &str| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    head.lines().find_map(of_name)
}

async fn answer(mut stream: TcpStream, seen: Seen) {
    let Some((head, message)) = request(&mut stream).await else { return };
    assert!(head.starts_with("POST /hook?of=test HTTP/1.1"), "{head}");
    assert_eq!(header(&head, "content-type").as_deref(), Some("application/json"), "{head}");
    let key = header(&head, "idempotency-key").unwrap();
    if seen.note(&key, &message) {
        // The server dies before it has an answer, and this connection with it.
        let _ = stream.read(&mut [0]).await;
        return;
    }
    let said = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nnoted";
    let _ = stream.write_all(said.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Copies the components into the folder of the playbook, each under the name of its language.
fn copy_components(dir: &Path) {
    plugins::build("examples/plugins/rust");
    for (language, folder) in LANGUAGES {
        let file = plugins::root().join(folder).join("notify.wasm");
        assert!(file.exists(), "found no {}; `make example-plugins` builds it", file.display());
        std::fs::copy(file, dir.join(format!("{language}.wasm"))).unwrap();
    }
}

fn playbook(origin: &str) -> String {
    let of = |(language, _): (&str, &str)| {
        let grants = json!({ "http": [origin] });
        (
            language.to_owned(),
            json!({ "source": format!("file:{language}.wasm"), "grants": grants }),
        )
    };
    let plugins: serde_json::Map<String, Value> = LANGUAGES.into_iter().map(of).collect();
    let steps = LANGUAGES.map(|(language, _)| {
        let url = format!("{origin}/hook?of=test");
        let with = json!({ "url": url, "text": format!("“{language}”") });
        json!({ "name": language, "use": language, "with": with })
    });
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": { "name": "notify", "version": "1.0.0" },
        "spec": { "plugins": plugins, "stages": [{
            "name": "all", "strategy": { "use": "all-at-once" }, "steps": steps,
        }] },
    })
    .to_string()
}

const POLICY: &str = "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: { name: house }\nspec:\n  plugins:\n    \
    - match: 'builtin:*'\n    - match: 'file:*'\n      may: { http: ['http://127.0.0.1:*'], networks: [127.0.0.0/8] }\n";

async fn ctl(server: &Server, args: &[&str]) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"))
        .env("REPLIBOOK_SERVER", format!("http://{}", server.address))
        .args(args)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Starts a server with the policy, the cluster and the playbook, and the run. Returns the run's identifier.
async fn started(dir: &Path, origin: &str, fleet: &Fleet, client: &Client) -> (Server, String) {
    let write = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).to_str().unwrap().to_owned()
    };
    // The settings of a server are few and live as long as the test.
    let policy: &'static str = Box::leak(write("policy.yaml", POLICY).into_boxed_str());
    let args = vec!["--policy", policy];
    let server = Server::start_with(Settings { args, ..Settings::in_dir(dir) }, None).await;
    let cluster = write("cluster.yaml", &fleet.cluster_document("crash").unwrap());
    copy_components(dir);
    let playbook = write("playbook.yaml", &playbook(origin));
    ctl(&server, &["apply", "--yes", "-f", &cluster, "-f", &playbook]).await;
    let body = json!({ "playbook": "notify", "cluster": "crash" });
    let url = format!("http://{}/api/v1/runs", server.address);
    let response = client.0.post(url).json(&body).send().await.unwrap();
    let run: RunView = response.error_for_status().unwrap().json().await.unwrap();
    (server, run.id.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_hook_is_told_once_in_every_language_however_the_server_dies() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (origin, seen) = hook().await;
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir, plan(1, 0).unwrap()).await.unwrap();
    let client = Client::new();
    let (mut server, run) = started(dir, &origin, &fleet, &client).await;
    for (number, (language, _)) in (1..).zip(LANGUAGES) {
        wait::until(&format!("the request of {language}"), LIMIT, async || {
            (seen.keys() >= number).then_some(())
        })
        .await;
        server = Server::again(server.kill().await, None).await;
    }
    let ended = client.until_final(&server.address, &run).await;
    assert_eq!(ended.status, RunStatus::Done, "{ended:?}");

    let seen = seen.0.lock().unwrap().clone();
    assert_eq!(seen.len(), LANGUAGES.len(), "{seen:?}");
    let mut told = Vec::new();
    for (times, messages) in seen.values() {
        assert_eq!(*times, 2, "each was sent before the server died, and again after it: {seen:?}");
        assert_eq!(messages[0], messages[1]);
        let message: Value = serde_json::from_str(&messages[0]).unwrap();
        assert_eq!(message["agent"], json!(fleet.agents().next().unwrap().0.id));
        told.push(message["text"].as_str().unwrap().to_owned());
    }
    told.sort();
    let mut expected = LANGUAGES.map(|(language, _)| format!("“{language}”"));
    expected.sort();
    assert_eq!(told, expected);

    let records: Value =
        client.get(&format!("http://{}/api/v1/runs/{run}/agents", server.address)).await;
    for (language, _) in LANGUAGES {
        let result = &records["items"][0]["results"][language];
        assert_eq!(result, &json!({ "status": 200, "answer": "noted" }), "{language}: {records}");
    }
    server.stop().await;
    fleet.stop().await;
}
