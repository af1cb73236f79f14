//! Secrets in the arguments of actions: commands get them on standard input, and the reference agent keeps none.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::support::{Answer, ID, agent, raw, until_final};

const SECRET: &str = "correct \"horse\" battery";
const ECHO: &str = "test.example.com/echo";
const FAIL: &str = "test.example.com/fail";
const WAIT: &str = "test.example.com/wait";
const CONFIG: &str = "{ actions: {
    test.example.com/echo: { command: [sh, -c, 'cat | tee given'] },
    test.example.com/fail: { command: [sh, -c, 'cat >&2; exit 3'] },
    test.example.com/wait: { command: [sh, -c, 'while [ ! -e go ]; do sleep 0.01; done'] },
} }";

/// Schedules an action whose argument `auth` has the secret, as an engine does.
async fn send(address: &str, id: Uuid, kind: &str) -> Answer {
    let places = json!([{"at": "/auth", "from": 7, "to": 7 + SECRET.len()}]).to_string();
    let body = json!({
        "kind": kind, "id": id, "args": {"auth": format!("Bearer {SECRET}"), "user": "ann"},
        "metadata": {"replibook.secrets": places}, "created_time": "2026-11-22T09:00:00Z",
    });
    raw(address, "POST", "/api/unstable/action", &body.to_string()).await
}

/// No file of the agent's database has any part of the secret.
fn assert_clean(folder: &Path) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("agent.sqlite") {
            let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(!content.contains("horse"), "{}", path.display());
        }
    }
}

fn config(folder: &Path) -> String {
    // Commands run where the tests do.
    CONFIG
        .replace("given", &folder.join("given").display().to_string())
        .replace("-e go", &format!("-e {}", folder.join("go").display()))
}

#[tokio::test]
async fn a_command_gets_the_secret_and_nothing_that_is_kept_or_shown_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (agent, address) = agent(folder.path(), &config(folder.path())).await;
    assert_eq!(send(&address, ID, ECHO).await.status, 200);
    assert_eq!(send(&address, ID, ECHO).await.status, 409);
    let action = until_final(&address, ID).await;
    let given: Value =
        serde_json::from_slice(&fs::read(folder.path().join("given")).unwrap()).unwrap();
    assert_eq!(given, json!({"auth": format!("Bearer {SECRET}"), "user": "ann"}));
    let kept = json!({"auth": "Bearer [secret]", "user": "ann"});
    assert_eq!((&action["args"], &action["state"]["payload"]), (&kept, &kept));
    let failed = Uuid::from_u128(7);
    assert_eq!(send(&address, failed, FAIL).await.status, 200);
    let action = until_final(&address, failed).await;
    let message = action["state"]["error"]["error_msg"].as_str().unwrap();
    assert!(message.ends_with(r#"{"auth":"Bearer [secret]","user":"ann"}"#), "{message}");
    assert_clean(folder.path());
    agent.stop().await.unwrap();
    assert_clean(folder.path());
}

#[tokio::test]
async fn an_action_that_waited_while_its_agent_was_restarted_fails_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (first, address) = agent(folder.path(), &config(folder.path())).await;
    assert_eq!(send(&address, ID, WAIT).await.status, 200);
    let waits = Uuid::from_u128(7);
    assert_eq!(send(&address, waits, ECHO).await.status, 200);
    first.stop().await.unwrap();
    let (second, address) = agent(folder.path(), &config(folder.path())).await;
    let action = until_final(&address, waits).await;
    assert_eq!(action["state"]["phase"], "FAILED");
    let message = action["state"]["error"]["error_msg"].as_str().unwrap();
    assert!(message.contains("its arguments had secrets, which are not kept"), "{message}");
    assert!(!folder.path().join("given").exists());
    second.stop().await.unwrap();
    assert_clean(folder.path());
}
