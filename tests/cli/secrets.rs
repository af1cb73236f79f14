//! Secrets, with the real programs: a server that knows them, a web server that returns what it gets in every way, and
//! everything that is on disk or shown afterwards.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use replibook::cli::demo::{Fleet, plan};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::replictl;
use crate::crash::server::{Client, Server, Settings};

/// Has what JSON and percent encoding escape, and differs in the two alphabets of base64.
const SECRET: &str = "s3cr3t \"of\" ops/\\?>~~~";

/// The ways in which the web server returns a secret.
const WAYS: [&str; 8] =
    ["plain", "pieces", "json", "base64", "base64url", "hex", "percent", "header"];

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The secret as the web server returns it.
fn written(way: &str, secret: &str) -> String {
    match way {
        "json" => json!({ "you": { "sent": secret } }).to_string(),
        "base64" => STANDARD.encode(format!("user:{secret}")),
        "base64url" => URL_SAFE.encode(secret),
        "hex" => hex::encode(secret),
        "percent" => percent(secret),
        _ => format!("<{secret}>"),
    }
}

/// A web server on loopback. It ends with the test's runtime.
struct Web {
    origin: String,
    /// The requests: the path, and what the headers said was the secret.
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Web {
    /// `elsewhere` is where it redirects to.
    async fn start(elsewhere: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::default();
        let kept = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, elsewhere) = (Arc::clone(&kept), elsewhere.clone());
                tokio::spawn(serve(stream, kept, elsewhere));
            }
        });
        Self { origin, seen }
    }

    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers one request, and closes the connection.
async fn serve(
    mut stream: TcpStream,
    kept: Arc<Mutex<Vec<(String, String)>>>,
    elsewhere: Option<String>,
) {
    let mut asked = Vec::new();
    let mut piece = [0; 4_096];
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(read @ 1..) => asked.extend_from_slice(&piece[..read]),
            Ok(0) | Err(_) => return,
        }
    }
    let asked = String::from_utf8(asked).unwrap();
    let path = asked.split(' ').nth(1).unwrap().to_owned();
    let token = asked.lines().find_map(|line| {
        line.strip_prefix("x-token: ").or(line.strip_prefix("authorization: Bearer "))
    });
    let secret = token.unwrap_or_default().to_owned();
    kept.lock().unwrap().push((path.clone(), secret.clone()));
    let way = path.trim_start_matches('/');
    let body = written(way, &secret);
    let mut head = "connection: close\r\n".to_owned();
    let mut status = "200 OK";
    match (way, elsewhere) {
        ("header", _) => {
            head.push_str(&format!("x-echo: {secret}\r\nx-hex: {}\r\n", hex::encode(&secret)))
        }
        ("redirect", Some(elsewhere)) => {
            status = "302 Found";
            head.push_str(&format!("location: {elsewhere}/?key={}\r\n", percent(&secret)));
        }
        _ => {}
    }
    let head = format!("HTTP/1.1 {status}\r\n{head}content-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).await;
    // The secret is in two pieces of the body.
    let (first, second) = body.as_bytes().split_at(body.len() / 2);
    for piece in [first, second] {
        let _ = stream.write_all(piece).await;
        let _ = stream.flush().await;
        tokio::task::yield_now().await;
    }
    let _ = stream.shutdown().await;
}

fn playbook(origin: &str, version: &str) -> String {
    let step = |way: &str, expect: &[u16]| {
        json!({"name": way, "use": "http", "with": {
            "url": format!("{origin}/{way}"), "expect": expect,
            "headers": {"x-token": "${{ secret('pager') }}"},
        }})
    };
    let mut steps: Vec<Value> = WAYS.iter().map(|way| step(way, &[200])).collect();
    steps.push(step("redirect", &[302]));
    json!({
        "apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "page", "version": version},
        "spec": {"stages": [{
            "name": "all", "strategy": {"use": "all-at-once"}, "steps": steps,
        }]},
    })
    .to_string()
}

fn policy(secrets: &str) -> String {
    format!(
        "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: house }}\nspec:\n  plugins:\n    \
         - match: builtin:*\n      may: {{ http: ['http://127.0.0.1:*'], networks: [127.0.0.0/8], secrets: [{secrets}] }}\n"
    )
}

/// Every file below a folder, with what is in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push((path.display().to_string(), fs::read(&path).unwrap_or_default())),
        }
    }
    all
}

/// The secret in all the ways in which it must not be found. Of base64, the middle, which is the same wherever it begins.
fn spellings() -> Vec<String> {
    let json = json!(SECRET).to_string();
    let mut all = vec![SECRET.to_owned(), json.trim_matches('"').to_owned(), hex::encode(SECRET)];
    all.push(percent(SECRET));
    for text in ["", "u", "us"].map(|before| STANDARD.encode(format!("{before}{SECRET}"))) {
        all.push(text[4..text.len() - 8].to_owned());
        all.push(text[4..text.len() - 8].replace('+', "-").replace('/', "_"));
    }
    all
}

fn assert_clean(what: &str, content: &[u8]) {
    for spelling in spellings() {
        let found = content.windows(spelling.len()).any(|part| part == spelling.as_bytes());
        assert!(!found, "{what} has {spelling}");
    }
}

#[tokio::test]
async fn a_secret_goes_where_both_sides_say_and_is_kept_and_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Web::start(None).await;
    let web = Web::start(Some(elsewhere.origin.clone())).await;
    let dir = folder.path();
    let write = |name: &str, text: &str| {
        fs::write(dir.join(name), text).unwrap();
        dir.join(name).to_str().unwrap().to_owned()
    };
    fs::create_dir(dir.join("secrets")).unwrap();
    write("secrets/pager", &format!("{SECRET}\n"));
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir, plan(1, 0).unwrap()).await.unwrap();
    let path = |name: &str| -> &'static str {
        // The settings of a server are few and live as long as the test.
        Box::leak(dir.join(name).to_str().unwrap().to_owned().into_boxed_str())
    };
    write("policy.yaml", &policy("pager"));
    let args = vec!["--policy", path("policy.yaml"), "--secrets", path("secrets")];
    let server = Server::start_with(Settings { args, ..Settings::in_dir(dir) }, None).await;
    let address = format!("http://{}", server.address);
    let first = write("playbook.yaml", &playbook(&web.origin, "1.0.0"));
    let cluster = write("cluster.yaml", &fleet.cluster_document("eu").unwrap());
    let (code, _, err) = replictl(&address, &["apply", "-f", &first, "-f", &cluster]).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains(&format!("+ http: secrets pager to {}", web.origin)), "{err}");
    let (_, shown, _) = replictl(&address, &["describe", "playbook", "page"]).await;
    assert!(shown.contains(&format!("secrets pager to {}", web.origin)), "{shown}");

    let start = ["run", "start", "page", "--cluster", "eu", "-o", "name"];
    let (code, run, err) = replictl(&address, &start).await;
    assert_eq!(code, 0, "{err}");
    let run = run.trim();
    let client = Client::new();
    let view = client.until_final(&server.address, run).await;
    assert_eq!(view.status.to_string(), "DONE", "{view:?}");

    // The web server got the value, and nobody followed its redirect.
    let seen = web.seen();
    assert_eq!(seen.len(), WAYS.len() + 1, "{seen:?}");
    assert!(seen.iter().all(|(_, secret)| secret == SECRET), "{seen:?}");
    assert_eq!(elsewhere.seen(), []);

    for path in ["", "/snapshot", "/agents", "/journals", "/events", "/logs"] {
        let url = format!("{address}/api/v1/runs/{run}{path}");
        let shown = client.0.get(&url).send().await.unwrap();
        assert!(shown.status().is_success(), "{url}: {}", shown.status());
        let shown = shown.text().await.unwrap();
        assert_clean(&url, shown.as_bytes());
        assert!(!shown.contains("\"seed\""), "whoever has the seed can make tokens: {url}");
        if path == "/journals" {
            assert!(shown.contains("replibook-secret.pager."), "{shown}");
            // With that in headers, the server returned it three times more.
            assert_eq!(shown.matches("[secret]").count(), WAYS.len() + 4, "{shown}");
        }
    }
    let (code, shown, err) = replictl(&address, &["describe", "run", run]).await;
    assert_eq!(code, 0, "{err}");
    assert_clean("describe run", shown.as_bytes());
    let export = dir.join("export.tar.zst");
    let export = export.to_str().unwrap();
    let (code, _, err) = replictl(&address, &["run", "export", run, "-o", export]).await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = replictl(super::NOWHERE, &["run", "replay", export]).await;
    assert_eq!(code, 0, "what was kept is enough to play it again: {err}");

    // The example of the documentation, with another port.
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/secrets");
    let text = fs::read_to_string(example.join("playbook.yaml")).unwrap();
    let example_of = write(
        "example.yaml",
        &text.replace("page\n", "example\n").replace("http://127.0.0.1:8099", &web.origin),
    );
    let (code, _, err) = replictl(&address, &["apply", "-f", &example_of]).await;
    assert_eq!(code, 0, "{err}");
    let begin = ["run", "start", "example", "--cluster", "eu", "-o", "name"];
    let (code, other, err) = replictl(&address, &begin).await;
    assert_eq!(code, 0, "{err}");
    let view = client.until_final(&server.address, other.trim()).await;
    assert_eq!(view.status.to_string(), "DONE", "{view:?}");
    assert_eq!(web.seen().last(), Some(&("/v1/events".to_owned(), SECRET.to_owned())));
    let house = example.join("policy.yaml");
    let (code, _, err) =
        replictl(super::NOWHERE, &["validate", "-f", house.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");

    // A policy that takes the secret away counts for the next run, as does a secret that is gone.
    fs::remove_file(dir.join("secrets/pager")).unwrap();
    let (code, _, err) = replictl(&address, &start).await;
    assert!(code == 4 && err.contains("secret-gone"), "{code} {err}");
    write("secrets/pager", SECRET);
    write("policy.yaml", &policy(""));
    let (code, err) =
        crate::wait::until("the tight policy", crate::crash::server::LIMIT, async || {
            let (code, _, err) = replictl(&address, &start).await;
            (code != 0).then_some((code, err))
        })
        .await;
    assert!(code == 11 && err.contains("found secrets pager to"), "{code} {err}");

    let log = server.log();
    assert_clean("the server's log", log.as_bytes());
    server.stop().await;
    fleet.stop().await;
    fs::remove_dir_all(dir.join("secrets")).unwrap();
    for (path, content) in files(dir).into_iter().filter(|(path, _)| !path.contains("plugin-cache"))
    {
        assert_clean(&path, &content);
    }
}

#[tokio::test]
async fn beyond_loopback_secrets_want_a_policy() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(["serve", "--insecure", "--listen", "0.0.0.0:0", "--data"]);
    command.arg(folder.path().join("data")).arg("--secrets").arg(folder.path());
    command.env("REPLIBOOK_STORE", "sqlite");
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let (code, out, err) = super::read(command.output()).await;
    assert!(code != 0 && out.is_empty(), "{code} {out} {err}");
    assert!(err.contains("--secrets is given without --policy FILE"), "{err}");
}
