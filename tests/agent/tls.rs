//! Agents over TLS: who shows what to whom, where credentials go, and what counts after their files changed.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use replibook::agent::platform::{HttpPlatforms, Platform as _, PlatformHttpConfig};
use replibook::agent::server::{AgentConfig, AgentSettings, RunningAgent, start};
use replibook::agent::{AgentClient as _, AgentError, AgentHttpConfig, HttpAgents};
use replibook::clock::{Clock as _, SystemClock};
use replibook::credentials::{Credentials, KeptCredentials, NotUsed, ServedTls};
use replibook::playbook::{Discovery, Reach};
use replibook::run::Millis;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::certificates::{Authority, Files, put};

/// No test waits for longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the agents of these tests are.
const HERE: [&str; 1] = ["https://127.0.0.1:*"];

pub(crate) fn kept(folder: &Path) -> KeptCredentials {
    KeptCredentials::open(Credentials::open(folder).unwrap()).unwrap()
}

/// A reference agent that shows what is under `server` in a folder.
pub(crate) async fn agent(data: &Path, kept: &KeptCredentials) -> RunningAgent {
    let settings = AgentSettings {
        config: AgentConfig::default(),
        data: data.join("agent.sqlite"),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        insecure: false,
        tls: Some(ServedTls::of(kept, "server").unwrap()),
        tick: Duration::from_millis(5),
        retention: Duration::from_secs(3_600),
    };
    start(settings, Arc::new(SystemClock)).await.unwrap()
}

/// A client of agents with what is under a name.
fn client(kept: &KeptCredentials, name: &str) -> HttpAgents {
    let config = AgentHttpConfig { credentials: kept.clone(), ..AgentHttpConfig::default() };
    let credentials = Some(name.to_owned());
    HttpAgents::new(&config).unwrap().by(&Reach { credentials, ..Reach::default() })
}

#[tokio::test]
async fn both_sides_show_their_certificate() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (server, engine) = (ours.issue(&["127.0.0.1"]), ours.issue(&["engine"]));
    let stranger = theirs.issue(&["engine"]);
    let write = |name, used, ca, identity, token| {
        put(folder.path(), name, &Files { used, origins: &HERE, ca, identity, token });
    };
    write("server", "server", Some(&ours), Some(&server), Some("t0ken"));
    write("good", "agent", Some(&ours), Some(&engine), Some("t0ken"));
    write("no-certificate", "agent", Some(&ours), None, Some("t0ken"));
    write("stranger", "agent", Some(&ours), Some(&stranger), Some("t0ken"));
    write("other-authority", "agent", Some(&theirs), Some(&engine), Some("t0ken"));
    write("no-authority", "agent", None, Some(&engine), Some("t0ken"));
    write("no-token", "agent", Some(&ours), Some(&engine), None);
    write("wrong-token", "agent", Some(&ours), Some(&engine), Some("t0kem"));
    let kept = kept(folder.path());
    let agent = agent(data.path(), &kept).await;
    let url = agent.url();
    assert!(url.starts_with("https://"), "{url}");
    assert_eq!(client(&kept, "good").node(&url).await.unwrap().status, "HEALTHY");
    // The agent does not take the client.
    for name in ["no-certificate", "stranger"] {
        let error = client(&kept, name).node(&url).await.unwrap_err();
        assert!(error.retryable(), "{name}: {error}");
    }
    // The client does not take the agent.
    for name in ["other-authority", "no-authority"] {
        let error = client(&kept, name).node(&url).await.unwrap_err();
        let AgentError::Connect { message, .. } = error else { panic!("{name}: {error}") };
        assert!(message.contains("UnknownIssuer"), "{name}: {message}");
    }
    for name in ["no-token", "wrong-token"] {
        let error = client(&kept, name).node(&url).await.unwrap_err();
        assert!(error.is_denial(), "{name}: {error}");
    }
    // Without any credentials nobody is trusted.
    let plain = HttpAgents::new(&AgentHttpConfig::default()).unwrap();
    let error = plain.node(&url).await.unwrap_err();
    assert!(matches!(error, AgentError::Connect { .. }), "{error}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn credentials_go_nowhere_else_and_nothing_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let engine = ours.issue(&["engine"]);
    let write = |name, used, origins: &[&str]| {
        let (ca, identity, token) = (Some(&ours), Some(&engine), Some("t0ken"));
        put(folder.path(), name, &Files { used, origins, ca, identity, token });
    };
    write("agents", "agent", &["https://*.example.com:8000", "http://10.0.0.1"]);
    write("platform", "platform", &["https://platform.example.com"]);
    let kept = kept(folder.path());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (name, url, expected) in [
        ("agents", format!("https://{address}"), "origin"),
        ("agents", format!("http://{address}"), "origin"),
        ("agents", format!("https://a.example.com:8000@{address}"), "origin"),
        ("agents", "http://10.0.0.1".to_owned(), "plain"),
    ] {
        let error = client(&kept, name).node(&url).await.unwrap_err();
        assert!(!error.retryable() && !error.may_have_taken_effect(), "{url}: {error}");
        let AgentError::Barred { why, .. } = error else { panic!("{url}: {error}") };
        let found = match why {
            NotUsed::Origin { .. } => "origin",
            NotUsed::Plain { .. } => "plain",
            other => panic!("{url}: {other}"),
        };
        assert_eq!(found, expected, "{url}");
    }
    // What this server lacks says nothing about the agent.
    for name in ["platform", "nothing"] {
        let error = client(&kept, name).node(&format!("https://{address}")).await.unwrap_err();
        assert!(error.is_ours(), "{name}: {error}");
    }
    let platforms =
        HttpPlatforms::new(PlatformHttpConfig::default()).unwrap().with_credentials(kept.clone());
    let discovery = |name: &str| Discovery {
        url: format!("https://{address}"),
        cluster: "eu".to_owned(),
        interval: Millis::from_secs(10),
        credentials: Some(name.to_owned()),
    };
    for (name, expected) in [
        ("platform", "are not for https://127.0.0.1:"),
        ("agents", "`use: agent`, expected `use: platform`"),
    ] {
        let error = platforms.discover_as(&discovery(name)).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("nothing was sent"), "{error}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await;
    assert!(nobody.is_err(), "{nobody:?}");
}

#[tokio::test]
async fn new_files_count_without_a_restart_and_broken_ones_do_not() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let (server, engine) = (first.issue(&["127.0.0.1"]), first.issue(&["engine"]));
    let write = |name, used, ca, identity| {
        put(
            folder.path(),
            name,
            &Files { used, origins: &HERE, ca: Some(ca), identity: Some(identity), token: None },
        )
    };
    write("server", "server", &first, &server);
    write("eu", "agent", &first, &engine);
    let kept = kept(folder.path());
    let stop = CancellationToken::new();
    let following = kept.follow(Arc::new(SystemClock), stop.clone()).unwrap();
    let _following = AbortOnDropHandle::new(tokio::spawn(following));
    let agent = agent(data.path(), &kept).await;
    let (url, client) = (agent.url(), client(&kept, "eu"));
    client.node(&url).await.unwrap();
    // A key that does not belong to the certificate.
    std::fs::write(folder.path().join("server/key.pem"), &engine.key).unwrap();
    until(async || kept.problems().len() == 1).await;
    let problem = kept.problems().remove(0);
    assert!(
        problem.contains("server/for.yaml") && problem.contains("cert.pem and key.pem"),
        "{problem}"
    );
    client.node(&url).await.unwrap();
    // All are replaced by those of another authority. The client's connection was made under the first one.
    let (server, engine) = (second.issue(&["127.0.0.1"]), second.issue(&["engine"]));
    write("server", "server", &second, &server);
    write("eu", "agent", &second, &engine);
    let content = |name: &str| std::fs::read(folder.path().join(name).join("ca.pem")).unwrap();
    until(async || kept.problems().is_empty() && client.node(&url).await.is_ok()).await;
    // Whoever has the old files is no longer taken.
    let old = tempfile::tempdir().unwrap();
    let was = first.issue(&["engine"]);
    let files = Files {
        used: "agent",
        origins: &HERE,
        ca: Some(&second),
        identity: Some(&was),
        token: None,
    };
    put(old.path(), "eu", &files);
    let error = self::client(&self::kept(old.path()), "eu").node(&url).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert_eq!(content("server"), content("eu"));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_asked_who_its_clients_are_does_not_stop_to_ask() {
    for (has_ca, token) in [(true, None), (false, Some("t0ken")), (true, Some("t0ken"))] {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ours = Authority::new("ours");
        let (server, engine) = (ours.issue(&["127.0.0.1"]), ours.issue(&["engine"]));
        let write = |name, used, ca, identity, token| {
            put(folder.path(), name, &Files { used, origins: &HERE, ca, identity, token });
        };
        write("server", "server", has_ca.then_some(&ours), Some(&server), token);
        write("friend", "agent", Some(&ours), Some(&engine), token);
        write("stranger", "agent", Some(&ours), None, None);
        let kept = kept(folder.path());
        let following = kept.follow(Arc::new(SystemClock), CancellationToken::new()).unwrap();
        let _following = AbortOnDropHandle::new(tokio::spawn(following));
        let agent = agent(data.path(), &kept).await;
        let url = agent.url();
        let is_open = async || client(&kept, "stranger").node(&url).await.is_ok();
        assert!(!is_open().await, "{has_ca} {token:?}");
        for file in ["ca.pem", "token"] {
            let _ = std::fs::remove_file(folder.path().join("server").join(file));
        }
        until(async || is_open().await || !kept.problems().is_empty()).await;
        assert!(!is_open().await, "{has_ca} {token:?}");
        let problem = kept.problems().join(" ");
        assert!(problem.contains("found neither a ca.pem nor a token"), "{problem}");
        // Nor does it if the folder was gone in between.
        std::fs::rename(folder.path().join("server"), folder.path().join(".server")).unwrap();
        until(async || kept.problems().is_empty()).await;
        std::fs::rename(folder.path().join(".server"), folder.path().join("server")).unwrap();
        until(async || is_open().await || !kept.problems().is_empty()).await;
        assert!(!is_open().await, "{has_ca} {token:?}");
        client(&kept, "friend").node(&url).await.unwrap();
        // What asks again counts.
        write("server", "server", None, Some(&server), Some("other"));
        write("friend", "agent", Some(&ours), None, Some("other"));
        // Before the files are read again, the friend of before is still let in.
        let is_friend = async || client(&kept, "friend").node(&url).await.is_ok();
        until(async || kept.problems().is_empty() && is_friend().await).await;
        assert!(!is_open().await, "{has_ca} {token:?}");
        agent.stop().await.unwrap();
    }
}

/// Returns once `done` says so.
async fn until(done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            SystemClock.sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("in time");
}

#[tokio::test]
async fn others_reach_an_agent_only_if_it_knows_who_they_are() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ours = Authority::new("ours");
    let server = ours.issue(&["127.0.0.1"]);
    let write = |ca, token| {
        let (used, identity) = ("server", Some(&server));
        put(folder.path(), "server", &Files { used, origins: &[], ca, identity, token });
        ServedTls::of(&kept(folder.path()), "server").unwrap()
    };
    let settings = |tls| AgentSettings {
        config: AgentConfig::default(),
        data: data.path().join("agent.sqlite"),
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        insecure: false,
        tls,
        tick: Duration::from_millis(5),
        retention: Duration::from_secs(3_600),
    };
    for (tls, expected) in
        [(None, "expected --tls NAME"), (Some(write(None, None)), "expected a ca.pem or a token")]
    {
        let error = start(settings(tls), Arc::new(SystemClock)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for tls in [write(Some(&ours), None), write(None, Some("t0ken"))] {
        let agent = start(settings(Some(tls)), Arc::new(SystemClock)).await.unwrap();
        agent.stop().await.unwrap();
    }
}
