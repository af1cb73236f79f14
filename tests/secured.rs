//! The programs over TLS: server, agents and platform with certificates, and `replictl` as their client.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::certificates::{Authority, Files, Issued, put};
use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A site: an authority, and the credentials of all its programs.
struct Site {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("the site");
        let site = Self { folder, authority };
        let everybody = ["127.0.0.1", "localhost"];
        let (ours, theirs) = (site.authority.issue(&everybody), site.authority.issue(&everybody));
        site.put("ours/web", "server", None, Some(&ours), None);
        site.put(
            "ours/agents",
            "agent",
            Some(&["https://127.0.0.1:*"]),
            Some(&ours),
            Some("t0ken"),
        );
        site.put("ours/platform", "platform", Some(&["https://127.0.0.1:*"]), Some(&ours), None);
        // Its clients have to show a certificate.
        site.put("theirs/node", "server", Some(&[]), Some(&theirs), Some("t0ken"));
        site.put("theirs/platform", "server", Some(&[]), Some(&theirs), None);
        std::fs::write(site.path("ca"), site.authority.pem()).unwrap();
        std::fs::write(site.path("client"), format!("{}{}", ours.cert, ours.key)).unwrap();
        site
    }

    /// Writes credentials; with origins, even with none, they have an authority.
    fn put(
        &self,
        name: &str,
        used: &str,
        origins: Option<&[&str]>,
        identity: Option<&Issued>,
        token: Option<&str>,
    ) {
        let ca = origins.map(|_| &self.authority);
        let files = Files { used, origins: origins.unwrap_or_default(), ca, identity, token };
        put(self.folder.path(), name, &files);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    async fn start(&self, name: &str, args: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(args).arg("--until-stdin-closes");
        Process::start(name, command, &self.path(&format!("{name}.log"))).await.unwrap()
    }

    async fn server(&self, more: &[&str]) -> Process {
        let (data, ours) = (self.text("data"), self.text("ours"));
        let args = ["serve", "--listen", "127.0.0.1:0", "--data", &data, "--credentials", &ours];
        self.start("server", &[&args[..], &["--tls", "web"], more].concat()).await
    }

    async fn agent(&self, id: &str) -> Process {
        let (data, theirs) = (self.text(&format!("{id}.sqlite")), self.text("theirs"));
        let args = ["agent", "--node-id", id, "--port", "0", "--data", &data, "--tick", "20ms"];
        self.start(id, &[&args[..], &["--credentials", &theirs, "--tls", "node"]].concat()).await
    }

    /// `replictl`, which trusts the authority of the site.
    async fn replictl(&self, server: &Process, args: &[&str]) -> (i32, String) {
        let ca = self.text("ca");
        self.replictl_with(server.address(), &[&["--ca", ca.as_str()], args].concat()).await
    }

    async fn replictl_with(&self, server: &str, args: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
        command.args(args).env("REPLIBOOK_SERVER", server).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout) + &text(&output.stderr))
    }

    /// An answer of the server.
    async fn get(&self, server: &Process, path: &str) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let answer = client.get(format!("{}{path}", server.address())).send().await.unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    /// A client that shows a certificate of the site.
    fn client_with_certificate(&self) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let identity = std::fs::read(self.path("client")).unwrap();
        let identity = reqwest::Identity::from_pem(&identity).unwrap();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
        builder.identity(identity).build().unwrap()
    }

    async fn ready(&self, server: &Process) -> Value {
        serde_json::from_str(&self.get(server, "/readyz").await).unwrap()
    }

    fn write(&self, name: &str, document: &Value) -> String {
        std::fs::write(self.path(name), document.to_string()).unwrap();
        self.text(name)
    }
}

fn cluster(spec: Value) -> Value {
    json!({"apiVersion": "replicante.io/v1", "kind": "Cluster", "metadata": {"name": "eu"},
        "spec": spec})
}

fn playbook() -> Value {
    json!({"apiVersion": "replicante.io/v1", "kind": "Playbook",
        "metadata": {"name": "all", "version": "1.0.0"},
        "spec": {"summary": "One action on each.", "stages": [{"name": "go",
            "strategy": {"use": "rolling", "with": {"batch": 1}},
            "steps": [{"name": "s", "action": "agent.replicante.io/test.success"}]}]}})
}

#[tokio::test]
async fn a_whole_run_goes_over_tls_with_certificates_on_all_sides() {
    let site = Site::new();
    let nodes = [site.agent("node-1").await, site.agent("node-2").await];
    let listed: Vec<Value> = nodes
        .iter()
        .zip(1..)
        .map(|(node, n)| json!({"node_id": format!("node-{n}"), "agent_address": node.address()}))
        .collect();
    let file = site.write("nodes", &json!({"clusters": [{"cluster_id": "c", "nodes": listed}]}));
    let theirs = site.text("theirs");
    let args = ["platform", "--file", &file, "--listen", "127.0.0.1:0"];
    let args = [&args[..], &["--credentials", &theirs, "--tls", "platform"]].concat();
    let platform = site.start("platform", &args).await;
    assert!(platform.address().starts_with("https://"), "{}", platform.address());
    let server = site.server(&[]).await;
    let discovery = json!({"url": platform.address(), "cluster": "c", "credentials": "platform"});
    let document = cluster(json!({"credentials": "agents", "discovery": discovery}));
    let (eu, all) = (site.write("eu.json", &document), site.write("all.json", &playbook()));
    let (code, said) = site.replictl(&server, &["apply", "-f", &eu, "-f", &all]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) =
        site.replictl(&server, &["run", "start", "all", "--cluster", "eu", "--watch"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("2 done"), "{said}");
    let (code, said) = site.replictl(&server, &["get", "agents", "--cluster", "eu"]).await;
    assert!(code == 0 && said.matches("HEALTHY").count() == 2, "{said}");
    // Without the certificate nothing goes.
    let without = cluster(json!({"discovery": {"url": platform.address(), "cluster": "c"}}));
    let eu = site.write("eu.json", &without);
    let (code, said) = site.replictl(&server, &["apply", "-f", &eu]).await;
    assert_eq!(code, 0, "{said}");
    let (_, said) = site.replictl(&server, &["get", "agents", "--cluster", "eu"]).await;
    assert!(said.contains("UnknownIssuer") || said.contains("did not answer"), "{said}");
}

#[tokio::test]
async fn a_cluster_that_wants_credentials_sent_elsewhere_is_refused() {
    let site = Site::new();
    site.put("ours/house", "agent", Some(&["https://*.example.com:8000"]), None, None);
    let server = site.server(&[]).await;
    let thief = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("https://{}", thief.local_addr().unwrap());
    let agents = json!([{"id": "a", "address": at}]);
    for (spec, expected) in [
        (json!({"credentials": "house", "agents": agents}), "expected https://*.example.com:8000"),
        (json!({"credentials": "platform", "agents": agents}), "expected `use: agent`"),
        (json!({"credentials": "none", "agents": agents}), "found no credentials"),
        (json!({"credentials": "../data", "agents": agents}), "the name of a folder"),
        (
            json!({"discovery": {"url": at, "cluster": "c", "credentials": "house"}}),
            "expected `use: platform`",
        ),
        (json!({"tls": {"ca": "/etc/ca.pem"}, "agents": agents}), "`credentials: NAME`"),
    ] {
        let eu = site.write("eu.json", &cluster(spec));
        let (code, said) = site.replictl(&server, &["apply", "-f", &eu]).await;
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code != 0 && words.contains(expected), "{code} {said}");
    }
    // What a platform names is known only later.
    let nodes = json!([{"node_id": "a", "agent_address": at}]);
    let file = site.write("nodes", &json!({"clusters": [{"cluster_id": "c", "nodes": nodes}]}));
    let platform =
        site.start("platform", &["platform", "--file", &file, "--listen", "127.0.0.1:0"]).await;
    let discovery = json!({"url": platform.address(), "cluster": "c"});
    let document = cluster(json!({"credentials": "house", "discovery": discovery}));
    let (eu, all) = (site.write("eu.json", &document), site.write("all.json", &playbook()));
    let (code, said) = site.replictl(&server, &["apply", "-f", &eu, "-f", &all]).await;
    assert_eq!(code, 0, "{said}");
    let (code, said) =
        site.replictl(&server, &["run", "start", "all", "--cluster", "eu", "--watch"]).await;
    assert_ne!(code, 0, "{said}");
    let (_, said) = site.replictl(&server, &["get", "agents", "--cluster", "eu"]).await;
    assert!(
        said.split_whitespace().collect::<Vec<_>>().join(" ").contains("are not for"),
        "{said}"
    );
    let log = std::fs::read_to_string(site.path("server.log")).unwrap();
    assert!(!log.contains("t0ken"), "{log}");
    let nobody = tokio::time::timeout(Duration::from_millis(10), thief.accept()).await;
    assert!(nobody.is_err(), "{nobody:?}");
}

#[tokio::test]
async fn replictl_says_why_it_does_not_trust_a_server() {
    let site = Site::new();
    let server = site.server(&[]).await;
    let (ca, client) = (site.text("ca"), site.text("client"));
    let said = |code: i32, said: String| {
        assert_eq!(code, 8, "{said}");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let get = ["get", "runs"];
    let (code, out) = site.replictl_with(server.address(), &get).await;
    assert!(said(code, out).contains("an authority that this machine does not trust"));
    let plain = server.address().replace("https://", "http://");
    let (code, out) = site.replictl_with(&plain, &get).await;
    said(code, out);
    let other = Authority::new("another");
    std::fs::write(site.path("other"), other.pem()).unwrap();
    let file = site.text("other");
    let wrong = [&["--ca", file.as_str()], &get[..]].concat();
    let (code, out) = site.replictl_with(server.address(), &wrong).await;
    assert!(said(code, out).contains("not of an authority in the file of --ca"));
    // A certificate for another name, and one that is over.
    for (issued, expected) in [
        (site.authority.issue(&["other.example"]), "its certificate is for"),
        (site.authority.issue_until(&["127.0.0.1"], (2021, 1, 1)), "its certificate has expired"),
    ] {
        site.put("ours/web", "server", None, Some(&issued), None);
        wait::until(expected, LIMIT, async || {
            let (code, out) = site.replictl(&server, &get).await;
            (code == 8 && said(code, out).contains(expected)).then_some(())
        })
        .await;
    }
    // It asks for a certificate of the client now.
    let good = site.authority.issue(&["127.0.0.1"]);
    site.put("ours/web", "server", Some(&[]), Some(&good), None);
    wait::until("a certificate to be asked for", LIMIT, async || {
        let (code, out) = site.replictl(&server, &get).await;
        (code == 8 && out.contains("--cert")).then_some(())
    })
    .await;
    let with = [&["--ca", ca.as_str(), "--cert", client.as_str()], &get[..]].concat();
    let (code, out) = site.replictl_with(server.address(), &with).await;
    assert_eq!(code, 0, "{out}");
    let (code, out) =
        site.replictl_with(server.address(), &["--ca", "/no/such", "get", "runs"]).await;
    assert!(code != 0 && out.contains("--ca /no/such"), "{out}");
}

#[tokio::test]
async fn what_expires_and_what_is_broken_is_said() {
    let site = Site::new();
    let server = site.server(&[]).await;
    let ready = site.ready(&server).await;
    assert!(ready.get("certificates").is_none() && ready.get("credentials").is_none(), "{ready}");
    let soon = replibook::run::Timestamp::from_millis(now() + 5 * 24 * 3_600_000).to_string();
    let day: Vec<i32> = soon[..10].split('-').map(|part| part.parse().unwrap()).collect();
    let until = (day[0], day[1].try_into().unwrap(), day[2].try_into().unwrap());
    let issued = site.authority.issue_until(&["127.0.0.1"], until);
    let good = std::fs::read(site.path("ours/web/cert.pem")).unwrap();
    site.put("ours/web", "server", None, Some(&issued), None);
    wait::until("the certificate to be told of", LIMIT, async || {
        let ready = site.ready(&server).await;
        let told = &ready["certificates"][0];
        let is_it = told["name"] == "web" && told["file"] == "cert.pem" && told["expired"] == false;
        is_it.then_some(())
    })
    .await;
    let metrics = site.get(&server, "/metrics").await;
    let line = "replibook_certificate_expires_seconds{name=\"web\",file=\"cert.pem\"} ";
    let found = metrics.lines().find_map(|metric| metric.strip_prefix(line));
    let expected = format!("{}T00:00:00Z", &soon[..10]).parse::<replibook::run::Timestamp>();
    assert_eq!(found.unwrap(), (expected.unwrap().as_millis() / 1_000).to_string(), "{metrics}");
    let log = || std::fs::read_to_string(site.path("server.log")).unwrap();
    assert!(log().contains("the certificate expires soon"), "{}", log());
    // Half of a certificate, without its key: what was there before counts.
    std::fs::write(site.path("ours/web/cert.pem"), &good[..good.len() / 2]).unwrap();
    wait::until("the broken file to be told of", LIMIT, async || {
        let ready = site.ready(&server).await;
        let problem = ready["credentials"][0].as_str().unwrap_or_default().to_owned();
        (ready["status"] == "ready" && problem.contains("cert.pem")).then_some(())
    })
    .await;
    assert!(log().contains("what was there before still counts"), "{}", log());
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

#[tokio::test]
async fn a_stream_ends_when_the_authority_of_its_client_is_taken_away() {
    let site = Site::new();
    let own = site.authority.issue(&["127.0.0.1"]);
    // It asks for a certificate of its clients.
    site.put("ours/web", "server", Some(&[]), Some(&own), None);
    let server = site.server(&[]).await;
    let client = site.client_with_certificate();
    let ask = async |path: &str, body: Value| -> Value {
        let asked = client.post(format!("{}{path}", server.address())).json(&body).send().await;
        asked.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    let mut waiting = playbook();
    waiting["spec"]["approval"] = json!("required");
    let agents = json!([{"id": "a", "address": "http://127.0.0.1:2"}]);
    let eu = cluster(json!({ "agents": agents }));
    for (path, document) in [("clusters", eu), ("playbooks", waiting)] {
        ask(&format!("/api/v1/{path}"), json!({ "document": document.to_string() })).await;
    }
    let run = ask("/api/v1/runs", json!({ "playbook": "all", "cluster": "eu" })).await;
    let path = format!("/api/v1/runs/{}/events", run["id"].as_str().unwrap());
    let stream = client.get(format!("{}{path}", server.address()));
    let stream = stream.header("accept", "text/event-stream").send().await.unwrap();
    let mut stream = stream.error_for_status().unwrap();
    assert!(stream.chunk().await.unwrap().is_some(), "the first event comes at once");
    std::fs::write(site.path("ours/web/ca.pem"), Authority::new("another").pem()).unwrap();
    // Nobody decides about the run, so the stream would go on for ever.
    let end = async { while let Ok(Some(_)) = stream.chunk().await {} };
    tokio::time::timeout(LIMIT, end).await.expect("the stream ends");
    let refused = client.get(format!("{}/healthz", server.address())).send().await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn others_reach_a_server_only_with_what_keeps_strangers_out() {
    let site = Site::new();
    let (data, ours) = (site.text("data"), site.text("ours"));
    for (listen, more, expected) in [
        ("0.0.0.0:0", &[] as &[&str], "expected --tls NAME and --access FILE, or"),
        ("0.0.0.0:0", &["--tls", "web"], "expected --access FILE, or"),
        ("127.0.0.1:0", &["--tls", "none"], "found no credentials \"none\""),
        ("127.0.0.1:0", &["--tls", "agents"], "expected `use: server`"),
    ] {
        let serve = ["serve", "--listen", listen, "--data", &data, "--credentials", &ours];
        let said = refused(&[&serve[..], more].concat(), site.folder.path()).await;
        assert!(said.contains(expected), "{more:?}: {said}");
    }
}

async fn refused(args: &[&str], folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}
