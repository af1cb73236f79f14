//! Logging in by a browser.

use std::time::Duration;

use super::Scene;
use super::browser::{Browser, Page};

/// Begins a login, and goes through the pages of the issuer.
async fn log_in(scene: &Scene, browser: &mut Browser, path: &str, name: &str) -> Page {
    let mut page = browser.open(&scene.localhost(path)).await;
    while page.body.contains("<form") {
        let fields: &[(&str, &str)] = match page.body.contains("name=\"login\"") {
            true => &[("login", name), ("password", "any")],
            false => &[],
        };
        page = browser.submit(&page, fields).await;
    }
    page
}

#[tokio::test]
async fn a_browser_logs_in_and_out() {
    let scene = Scene::start(300, "replibook").await;
    let mut browser = Browser::default();
    let page = log_in(&scene, &mut browser, "/auth/login?next=/api/v1/runs", "alice").await;
    assert_eq!((page.status, page.url.path()), (200, "/auth/callback"), "{}", page.body);
    let session = page.headers.get_all("set-cookie").iter().next().unwrap().to_str().unwrap();
    for part in ["replibook-session=", "; HttpOnly", "; SameSite=Strict"] {
        assert!(session.contains(part), "{session}");
    }
    let page = browser.refresh(&page).await;
    assert_eq!((page.status, page.url.path()), (200, "/api/v1/runs"), "{}", page.body);
    let who = browser.open(&scene.localhost("/api/v1/auth/whoami")).await;
    assert!(who.body.contains("user:id/alice@example.com"), "{}", who.body);

    // A page of another site neither uses the session nor ends it.
    let forged = browser.forged(&scene.localhost("/auth/logout"), "127.0.0.1").await;
    assert_eq!(forged.status, 403, "{}", forged.body);
    let who = browser.open(&scene.localhost("/api/v1/auth/whoami")).await;
    assert_eq!(who.status, 200, "{}", who.body);

    let sent = browser.cookies(&scene.localhost("/"));
    let out = browser.forged(&scene.localhost("/auth/logout"), "localhost").await;
    assert_eq!(out.status, 204, "{}", out.body);
    assert!(!browser.cookies(&scene.localhost("/")).contains("replibook-session"));
    let value = sent.split("replibook-session=").nth(1).unwrap();
    assert!(!scene.log().contains(value.split(';').next().unwrap()));
    let who = browser.open(&scene.localhost("/api/v1/auth/whoami")).await;
    assert_eq!(who.status, 401, "{}", who.body);
}

#[tokio::test]
async fn a_login_that_another_browser_began_is_not_ended() {
    let scene = Scene::start(300, "replibook").await;
    let (mut theirs, mut ours) = (Browser::default(), Browser::default());
    // An attacker logs in as themselves, and has somebody else's browser come back with that.
    let page = log_in(&scene, &mut theirs, "/auth/login", "alice").await;
    let back = page.url.to_string();
    let page = ours.open(&back).await;
    assert_eq!(page.status, 403, "{}", page.body);
    assert!(page.body.contains("has begun no such login"), "{}", page.body);
    assert!(!ours.cookies(&back).contains("replibook-session"));
    // The code is good for once.
    let page = theirs.open(&back).await;
    assert_eq!(page.status, 403, "{}", page.body);
    for odd in
        ["/auth/callback", "/auth/callback?code=x&state=y", "/auth/callback?error=access_denied"]
    {
        let page = ours.open(&scene.localhost(odd)).await;
        assert_eq!(page.status, 403, "{odd}: {}", page.body);
    }
}

#[tokio::test]
async fn a_login_leads_to_no_other_site() {
    let scene = Scene::start(300, "replibook").await;
    let mut browser = Browser::default();
    for bad in
        ["//evil.example", "https://evil.example", "/%5Cevil.example", "/%0d%0aa:b", "evil.example"]
    {
        let page = browser.open(&scene.localhost(&format!("/auth/login?next={bad}"))).await;
        assert_eq!(page.status, 400, "{bad}: {}", page.body);
    }
    let page = browser.open(&scene.localhost("/auth/login?issuer=other")).await;
    assert_eq!(page.status, 404, "{}", page.body);
}

#[tokio::test]
async fn who_has_not_shown_that_the_address_is_theirs_gets_no_session() {
    let scene = Scene::start(300, "replibook").await;
    let mut browser = Browser::default();
    let page = log_in(&scene, &mut browser, "/auth/login", "mallory").await;
    assert_eq!(page.status, 403, "{}", page.body);
    assert!(page.body.contains("has not verified the email address"), "{}", page.body);
    assert!(!browser.cookies(&scene.localhost("/")).contains("replibook-session"));
}

#[tokio::test]
async fn who_fails_to_log_in_again_and_again_waits_before_an_issuer_is_asked() {
    let scene = Scene::start(300, "replibook").await;
    let (mut guessing, mut honest) = (Browser::default(), Browser::default());
    let callback = scene.localhost("/auth/callback?code=x&state=y");
    // A place frees up while this goes on, if the machine is slow.
    let mut answers = Vec::new();
    while answers.last() != Some(&429) {
        assert!(answers.len() < 1_000, "nobody is told to wait: {answers:?}");
        answers.push(guessing.open(&callback).await.status);
    }
    assert!(answers.len() > 30, "{answers:?}");
    assert!(answers.iter().rev().skip(1).all(|status| *status == 403), "{answers:?}");
    // The same client, which has begun a login, is not listened to for a while, and then is.
    let page = log_in(&scene, &mut honest, "/auth/login", "alice").await;
    assert!([200, 429].contains(&page.status), "{}", page.body);
    let back = page.url.to_string();
    let mut asked = Some(page);
    let page = crate::wait::until("the end of the pause", Duration::from_secs(60), async || {
        let page = match asked.take() {
            Some(page) => page,
            None => honest.open(&back).await,
        };
        if page.status != 429 {
            return Some(page);
        }
        let wait: u64 = page.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=6).contains(&wait), "{wait}");
        None
    })
    .await;
    assert_eq!(page.status, 200, "{}", page.body);
}
