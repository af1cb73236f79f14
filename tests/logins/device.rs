//! `replictl login`: a person enters a code in a browser on another device.

use std::os::unix::fs::PermissionsExt as _;

use super::browser::{Browser, Page};
use super::{DEADLINE, Scene, address_of, json, read};

/// Goes through the pages of the issuer as a person does.
async fn log_in(at: &str, name: &str) -> Page {
    let mut browser = Browser::default();
    let mut page = browser.open(at).await;
    for _ in 0..8 {
        if !page.body.contains("<form") {
            break;
        }
        let fields: &[(&str, &str)] = match page.body.contains("name=\"login\"") {
            true => &[("login", name), ("password", "any")],
            false => &[],
        };
        page = browser.submit(&page, fields).await;
    }
    page
}

/// Begins `replictl login`, has a person log in, and returns how it ended.
async fn logged_in(scene: &Scene, name: &str) -> (i32, String, String) {
    let (code, _, err) = scene.replictl(&["context", "set", "here"]).await;
    assert_eq!(code, 0, "{err}");
    let mut child = scene.command(&["login"]).spawn().unwrap();
    let (at, mut lines) = address_of(child.stderr.take().unwrap()).await;
    assert!(at.starts_with(&scene.issuer.url), "{at}");
    log_in(&at, name).await;
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await.expect("in time");
    let (code, out, _) = read(&output.unwrap());
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said.push_str(&line);
        said.push('\n');
    }
    (code, out, said)
}

#[tokio::test]
async fn a_person_logs_in_and_is_known_and_logs_out() {
    let scene = Scene::start(300, "replibook").await;
    let (code, _, err) = scene.replictl(&["get", "runs"]).await;
    assert_eq!(code, 11, "{err}");
    // Without a context there is no place to keep it.
    let (code, _, err) = scene.replictl(&["login"]).await;
    assert_eq!(code, 2, "{err}");

    let (code, out, err) = logged_in(&scene, "alice").await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("logged in at id"), "{err}");
    let (code, out, err) = scene.replictl(&["auth", "whoami", "-o", "json"]).await;
    assert_eq!(code, 0, "{err}");
    let who = json(&out);
    assert_eq!(who["actor"], "user:id/alice@example.com", "{who}");
    assert_eq!(who["groups"], serde_json::json!(["group:id/dba"]), "{who}");
    let (code, _, err) = scene.replictl(&["get", "runs"]).await;
    assert_eq!(code, 0, "{err}");

    // What is kept is for this user alone, and nothing of it is in the server's log.
    let kept = scene.folder.path().join(".config/replibook/config.yaml");
    let mode = std::fs::metadata(&kept).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_to_string(kept).unwrap();
    let token = kept.split_whitespace().find(|word| word.starts_with("eyJ")).expect("a token");
    assert!(!scene.log().contains(token));

    let (code, _, err) = scene.replictl(&["logout"]).await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = scene.replictl(&["get", "runs"]).await;
    assert_eq!(code, 11, "{err}");
}

#[tokio::test]
async fn a_token_that_ends_is_replaced_without_a_person() {
    // They end at once, as far as a command goes that has to use them.
    let scene = Scene::start(20, "replibook").await;
    let (code, _, err) = logged_in(&scene, "alice").await;
    assert_eq!(code, 0, "{err}");
    let kept =
        || std::fs::read_to_string(scene.folder.path().join(".config/replibook/config.yaml"));
    for _ in 0..2 {
        let before = kept().unwrap();
        let (code, _, err) = scene.replictl(&["get", "runs"]).await;
        assert_eq!(code, 0, "{err}");
        assert_ne!(before, kept().unwrap());
    }
    // Two at once don't spoil it for each other: an issuer takes each refresh token once.
    let (one, other) =
        tokio::join!(scene.replictl(&["get", "runs"]), scene.replictl(&["get", "runs"]));
    assert_eq!((one.0, other.0), (0, 0), "{} {}", one.2, other.2);
}

#[tokio::test]
async fn who_has_not_shown_that_the_address_is_theirs_is_nobody() {
    let scene = Scene::start(300, "replibook").await;
    let (code, _, err) = logged_in(&scene, "mallory").await;
    assert_eq!(code, 0, "the issuer lets them in: {err}");
    let (code, _, err) = scene.replictl(&["get", "runs"]).await;
    assert_eq!(code, 11, "{err}");
    assert!(err.contains("has not verified the email address"), "{err}");
}

#[tokio::test]
async fn tokens_for_others_are_not_kept() {
    let scene = Scene::start(300, "somebody-else").await;
    let (code, _, err) = logged_in(&scene, "alice").await;
    assert_eq!(code, 11, "{err}");
    assert!(err.contains("the identity token is for \"replictl\""), "{err}");
    assert!(err.contains("the access token is for \"replibook\""), "{err}");
}
