//! Web pages of other people, which make a browser send requests to the agent and to the platform.

use serde_json::{Value, json};

use crate::agent::platform::Process;
use crate::agent::support::{Answer, agent, raw, raw_with};

const ACTION: &str = "/api/unstable/action";
const EFFECT: &str = "demo.example.com/effect";

/// Heads of requests that such a page may have sent, each with the answer that it gets.
const FORBIDDEN: [(&str, &str); 7] = [
    ("host: evil.example:PORT\r\n", "host: found \"evil.example:PORT\", expected localhost"),
    ("host: localhost.evil.example\r\n", "host: found \"localhost.evil.example\", expected"),
    ("host: localhost\r\nhost: evil.example\r\n", "host: found two of them, expected localhost"),
    ("host: HOST\r\norigin: http://evil.example\r\n", "origin: found \"http://evil.example\""),
    ("host: HOST\r\norigin: null\r\n", "origin: found \"null\""),
    ("host: HOST\r\nsec-fetch-site: cross-site\r\n", "sec-fetch-site: found \"cross-site\""),
    ("host: HOST\r\nsec-fetch-site: same-site\r\n", "sec-fetch-site: found \"same-site\""),
];

/// Replaces `HOST` and `PORT` in `text` by those of the address.
fn with_address(text: &str, address: &str) -> String {
    let host = address.strip_prefix("http://").unwrap();
    let (_, port) = host.rsplit_once(':').unwrap();
    text.replace("HOST", host).replace("PORT", port)
}

fn error(answer: &Answer) -> String {
    let body = answer.json();
    assert_eq!(body["error"], true, "{answer:?}");
    body["error_msg"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_agent_does_nothing_that_a_web_page_sends() {
    let folder = tempfile::tempdir().unwrap();
    let effect = folder.path().join("effect");
    let config = format!(
        "{{ allow_hosts: [node-1.example.com], \
         actions: {{ {EFFECT}: {{ command: [touch, {}] }} }} }}",
        effect.display()
    );
    let (agent, address) = agent(folder.path(), &config).await;
    let body = json!({ "kind": EFFECT }).to_string();
    let json = "content-type: application/json\r\n";
    for (head, says) in FORBIDDEN {
        let head = with_address(head, &address) + json;
        for (method, path, body) in
            [("POST", ACTION, body.as_str()), ("GET", "/api/unstable/info/node", "")]
        {
            let answer = raw_with(&address, method, path, &head, body).await;
            assert_eq!(answer.status, 403, "{head}");
            assert!(error(&answer).starts_with(&with_address(says, &address)), "{answer:?}");
        }
    }
    // Content types that a form can send without the browser asking first.
    let own = with_address("host: HOST\r\n", &address);
    for kind in [
        "",
        "content-type: text/plain\r\n",
        "content-type: text/plain; application/json\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: multipart/form-data; boundary=x\r\n",
    ] {
        let answer = raw_with(&address, "POST", ACTION, &format!("{own}{kind}"), &body).await;
        assert_eq!(answer.status, 415, "{kind}");
        assert!(error(&answer).ends_with("expected application/json"), "{answer:?}");
    }
    // Asked whether it allows what a form can't send, the server allows nothing.
    let ask = format!("{own}access-control-request-method: POST\r\n");
    let answer = raw_with(&address, "OPTIONS", ACTION, &ask, "").await;
    assert!(answer.status == 405 && !answer.head.contains("access-control"), "{answer:?}");
    let queue = raw(&address, "GET", "/api/unstable/actions/queue", "").await.json();
    let finished = raw(&address, "GET", "/api/unstable/actions/finished", "").await.json();
    assert_eq!((&queue["actions"], &finished["actions"]), (&json!([]), &json!([])));
    assert!(!effect.exists());
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_agent_answers_for_its_own_names_whatever_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), "allow_hosts: [node-1.example.com]").await;
    let head = "content-type: application/json; charset=utf-8\r\nsec-fetch-site: none\r\n";
    for host in ["localhost", "HOST", "[::1]:80", "10.0.0.7:9000", "Node-1.example.com:8000"] {
        let head = format!("host: {}\r\n{head}", with_address(host, &address));
        let body = r#"{"kind":"agent.replicante.io/test.success"}"#;
        let answer = raw_with(&address, "POST", ACTION, &head, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_platform_tells_nothing_to_web_pages() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nodes.yaml");
    std::fs::write(&file, "clusters: []").unwrap();
    let platform = Process::start_with(&file, &["--allow-host", "platform.example.com"]);
    let address = platform.address.as_str();
    for (head, says) in FORBIDDEN {
        let answer = raw_with(address, "GET", "/discover", &with_address(head, address), "").await;
        assert_eq!(answer.status, 403, "{head}");
        assert!(answer.body.starts_with(&with_address(says, address)), "{answer:?}");
    }
    for host in ["localhost", "HOST", "platform.example.com"] {
        let head = format!("host: {}\r\n", with_address(host, address));
        let answer = raw_with(address, "GET", "/discover", &head, "").await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({ "clusters": Value::Array(vec![]) }))
        );
    }
}
