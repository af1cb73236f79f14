//! A server that asks who somebody is: what they see, what they may do, and what is told of those who may not.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use replibook::access::audit::AuditLog;
use replibook::access::{
    CurrentAccess, FAILURES_AT_ONCE, Keeper, REQUESTS_AT_ONCE, new_token, token_sum,
};
use replibook::clock::{Clock, SystemClock};
use replibook::playbook::access::{Access, parse_access};
use replibook::run::{CommandId, Digest};
use replibook::store::Store as _;
use serde_json::{Value, json};

use crate::api::server::{CLUSTER, DEADLINE, JumpingClock, Reply, Server, playbook, send};

/// The token of this name, the same each time.
pub(crate) fn token(name: &str) -> String {
    let mut random = [0; 32];
    random[..name.len()].copy_from_slice(name.as_bytes());
    new_token(random).0
}

/// Who may do what: tokens by name, each with its rules, in which `who` is left out.
pub(crate) fn access(roles: &[(&str, &[&str])]) -> Access {
    let (mut tokens, mut rules) = (Vec::new(), Vec::new());
    for (name, of_role) in roles {
        let sum = token_sum(&token(name));
        tokens.push(format!(
            "    - {{ name: {name}, sha256: {sum}, expires: 2099-01-01T00:00:00Z }}\n"
        ));
        let of_role = of_role.iter();
        rules.extend(of_role.map(|rule| format!("    - {{ who: ['token:{name}'], {rule} }}\n")));
    }
    let text = format!(
        "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: test }}\nspec:\n  tokens:\n{}  rules:{}\n{}",
        tokens.concat(),
        if rules.is_empty() { " []" } else { "" },
        rules.concat()
    );
    parse_access(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

pub(crate) fn current(roles: &[(&str, &[&str])]) -> CurrentAccess {
    CurrentAccess::of(access(roles), Digest::of(b""))
}

/// A server on which these tokens may do this.
pub(crate) async fn server(roles: &[(&str, &[&str])]) -> Server {
    Server::with_keeper(Keeper::new(current(roles), Arc::new(SystemClock))).await
}

/// Sends a request with the token of this name.
pub(crate) async fn ask(
    server: &Server,
    name: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Reply {
    let request = server.request(method, path).bearer_auth(token(name));
    send(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

pub(crate) async fn get(server: &Server, name: &str, path: &str) -> Reply {
    ask(server, name, "GET", path, None).await
}

pub(crate) const ADMIN: (&str, &[&str]) = ("admin", &["may: [admin]"]);

/// The clusters eu and us, the playbooks ops/restart and lab/restart, and a run of the first on eu and of the second on us.
/// Returns the identifiers of the runs.
pub(crate) async fn two_runs(server: &Server) -> [String; 2] {
    let mut runs = Vec::new();
    for (name, cluster) in [("ops/restart", "eu"), ("lab/restart", "us")] {
        let document = CLUSTER.replace("name: eu", &format!("name: {cluster}"));
        let apply = |path: &str, document: String| {
            let path = path.to_owned();
            async move {
                ask(server, "admin", "POST", &path, Some(json!({ "document": document }))).await
            }
        };
        apply("/api/v1/clusters", document).await.ok(201);
        apply("/api/v1/playbooks", playbook(name, "1.0.0", "")).await.ok(201);
        let start = json!({ "playbook": name, "cluster": cluster, "started_by": "mallory" });
        let run = ask(server, "admin", "POST", "/api/v1/runs", Some(start)).await.ok(201);
        assert_eq!(run["started_by"], "token:admin", "it is who was authenticated");
        runs.push(run["id"].as_str().unwrap().to_owned());
    }
    [runs.remove(0), runs.remove(0)]
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn nobody_comes_in_without_a_token_and_nothing_of_one_is_repeated() {
    let server = server(&[ADMIN, ("ci", &["may: [view]"])]).await;
    let refused = server.get("/api/v1/runs").await;
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"replibook\"");
    refused.problem(401, "not-authenticated");
    let wrong = token("nobody");
    for header in [format!("Bearer {wrong}"), format!("Basic {wrong}"), wrong.clone()] {
        let reply =
            send(server.request("GET", "/api/v1/runs").header("authorization", header)).await;
        assert_eq!(
            reply.header("www-authenticate"),
            "Bearer realm=\"replibook\", error=\"invalid_token\""
        );
        let problem = reply.problem(401, "not-authenticated").to_string();
        assert!(!problem.contains(&wrong) && !problem.contains(&wrong[4..20]), "{problem}");
    }
    get(&server, "ci", "/api/v1/runs").await.ok(200);
    // Probes prove nothing, and are told nothing but whether it is up.
    for (path, name) in [("/healthz", "ok"), ("/readyz", "ready")] {
        assert_eq!(server.get(path).await.ok(200)["status"], name);
    }
    assert_eq!(server.get("/readyz").await.ok(200).get("access"), None);
    assert_eq!(get(&server, "ci", "/readyz").await.ok(200)["access"]["name"], "test");
    server.get("/openapi.json").await.ok(200);
    server.get("/metrics").await.problem(401, "not-authenticated");
}

#[tokio::test]
async fn what_somebody_may_not_view_does_not_exist_for_them() {
    let ops = ["may: [view, start, steer], playbooks: ['ops/*'], clusters: [eu]"];
    let server = server(&[ADMIN, ("ops", &ops)]).await;
    let [own, other] = two_runs(&server).await;
    let unknown = "01920000-0000-7000-8000-000000000009";
    for rest in [
        "",
        "/events",
        "/agents",
        "/agents/node-1",
        "/logs",
        "/journals",
        "/snapshot",
        "/explanation",
    ] {
        let of = |run: &str| format!("/api/v1/runs/{run}{rest}");
        assert!(get(&server, "ops", &of(&own)).await.status < 500, "{rest}");
        let hidden = get(&server, "ops", &of(&other)).await.problem(404, "run-not-found");
        let missing = get(&server, "ops", &of(unknown)).await.problem(404, "run-not-found");
        let same = missing["detail"].as_str().unwrap().replace(unknown, &other);
        assert_eq!(hidden["detail"], same, "{rest}");
    }
    for (hidden, unknown) in [
        ("/api/v1/clusters/us", "/api/v1/clusters/xx"),
        ("/api/v1/clusters/us/agents", "/api/v1/clusters/xx/agents"),
        ("/api/v1/playbooks/lab%2Frestart", "/api/v1/playbooks/lab%2Fxestart"),
    ] {
        let hidden = get(&server, "ops", hidden).await;
        let missing = get(&server, "ops", unknown).await;
        let plain = |reply: &Reply| {
            reply.body["detail"]
                .as_str()
                .unwrap()
                .replace("us", "xx")
                .replace("lab/restart", "lab/xestart")
        };
        assert_eq!((hidden.status, plain(&hidden)), (404, plain(&missing)));
    }
    let pause = Some(json!({ "command": "pause" }));
    let path = format!("/api/v1/runs/{other}/commands");
    ask(&server, "ops", "POST", &path, pause).await.problem(404, "run-not-found");
    for (playbook, cluster, code) in [
        ("lab/restart", "eu", "playbook-not-found"),
        ("ops/restart", "us", "cluster-not-found"),
        ("ops/nothing", "eu", "playbook-not-found"),
    ] {
        let start = Some(json!({ "playbook": playbook, "cluster": cluster }));
        for path in ["/api/v1/runs", "/api/v1/runs/plan"] {
            ask(&server, "ops", "POST", path, start.clone()).await.problem(404, code);
        }
    }
}

#[tokio::test]
async fn lists_pages_and_searches_have_only_what_somebody_may_view() {
    let ops =
        ["may: [view], playbooks: ['ops/*']", "may: [view], playbooks: [x], clusters: ['u*']"];
    let server = server(&[ADMIN, ("ops", &ops), ("none", &[])]).await;
    let [first, hidden] = two_runs(&server).await;
    let start = Some(json!({ "playbook": "ops/restart", "cluster": "eu" }));
    let last = ask(&server, "admin", "POST", "/api/v1/runs", start).await.ok(201);
    let last = last["id"].as_str().unwrap().to_owned();
    // Runs of one moment are in no particular order.
    let mut all = names(&get(&server, "admin", "/api/v1/runs").await.ok(200), "id");
    assert_eq!(all.len(), 3);
    all.retain(|id| *id != hidden);
    assert!(all.contains(&first) && all.contains(&last));
    let (last, first) = (all.remove(0), all.remove(0));
    let list = get(&server, "ops", "/api/v1/runs").await.ok(200);
    assert_eq!(names(&list, "id"), [last.clone(), first.clone()]);
    // No page ends at what is hidden.
    let page = get(&server, "ops", "/api/v1/runs?limit=1").await.ok(200);
    assert_eq!((names(&page, "id"), &page["next"]), (vec![last.clone()], &json!(last)));
    let path = format!("/api/v1/runs?limit=1&after={last}");
    let page = get(&server, "ops", &path).await.ok(200);
    assert_eq!(names(&page, "id"), std::slice::from_ref(&first));
    for filter in ["cluster=us", "playbook=lab/restart", "selector=run.cluster%20==%20%22us%22"] {
        let list = get(&server, "ops", &format!("/api/v1/runs?{filter}")).await.ok(200);
        assert_eq!((names(&list, "id"), &list["next"]), (vec![], &Value::Null), "{filter}");
    }
    let found = get(&server, "ops", "/api/v1/runs/find").await.ok(200);
    assert_eq!(found["ids"], json!([last]));
    let digits: String = hidden.chars().filter(|c| *c != '-').skip(20).collect();
    let found = get(&server, "ops", &format!("/api/v1/runs/find?part={digits}")).await.ok(200);
    assert_eq!(found, json!({ "ids": [], "count": 0 }));
    let list = get(&server, "ops", "/api/v1/playbooks").await.ok(200);
    assert_eq!(names(&list, "name"), ["ops/restart"]);
    let list = get(&server, "ops", "/api/v1/clusters?limit=1").await.ok(200);
    assert_eq!(names(&list, "name"), ["eu"], "a rule without clusters is about all");
    // Numbers about all runs are for those who may view all.
    for path in ["/metrics", "/api/v1/engines"] {
        get(&server, "ops", path).await.problem(403, "not-allowed");
    }
    let problem = get(&server, "none", "/api/v1/runs").await.problem(403, "not-allowed");
    let detail = "token:none may not view runs: expected the verb view";
    assert_eq!(problem["detail"], detail);
}

#[tokio::test]
async fn what_loosens_a_guard_or_shows_credentials_is_for_those_who_may_do_everything() {
    let server = server(&[ADMIN, ("op", &["may: [view, operate], clusters: [eu]"])]).await;
    let apply = |who: &'static str, guards: &str| {
        let document = format!("{CLUSTER}  {guards}\n");
        let server = &server;
        async move {
            let body = Some(json!({ "document": document }));
            ask(server, who, "POST", "/api/v1/clusters", body).await
        }
    };
    apply("op", "guards: [{ name: quorum, max_out: 2 }]").await.ok(201);
    apply("op", "guards: [{ name: quorum, max_out: 1 }]").await.ok(200);
    let problem = apply("op", "guards: [{ name: quorum, max_out: 2 }]").await;
    let detail = problem.problem(403, "not-allowed")["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.ends_with("expected the verb admin for cluster eu: guard quorum holds up less"),
        "{detail}"
    );
    ask(&server, "op", "DELETE", "/api/v1/clusters/eu", None).await.problem(403, "not-allowed");
    let all = json!({ "documents": [{ "document": CLUSTER }] });
    let refused = ask(&server, "op", "POST", "/api/v1/apply", Some(all)).await;
    let problem = refused.problem(403, "not-allowed");
    assert!(problem["detail"].as_str().unwrap().ends_with("; nothing was applied"));
    apply("admin", "guards: []").await.ok(200);
    ask(&server, "op", "DELETE", "/api/v1/clusters/eu", None).await.ok(204);
}

#[tokio::test]
async fn overriding_a_guard_and_forcing_an_end_want_more_than_steering() {
    let server = server(&[ADMIN, ("on-call", &["may: [view, steer]"])]).await;
    let [run, _] = two_runs(&server).await;
    let commands = format!("/api/v1/runs/{run}/commands");
    let cases = [
        (json!({ "command": "resume", "override_guard": "q", "reason": "x" }), "admin"),
        (json!({ "command": "approve" }), "approve"),
        (json!({ "command": "reject" }), "approve"),
    ];
    for (body, verb) in cases {
        let refused = ask(&server, "on-call", "POST", &commands, Some(body)).await;
        let detail = refused.problem(403, "not-allowed")["detail"].to_string();
        assert!(
            detail.contains(&format!("the verb {verb} for runs of ops/restart on eu")),
            "{detail}"
        );
    }
    let force = Some(json!({ "reason": "x", "force": true }));
    let abandon = format!("/api/v1/runs/{run}/abandon");
    ask(&server, "on-call", "POST", &abandon, force).await.problem(403, "not-allowed");
    // Nobody drives the run, so the command stays without an outcome.
    let pause = Some(json!({ "command": "pause", "actor": "mallory" }));
    let kept = ask(&server, "on-call", "POST", &commands, pause).await.ok(202);
    let id = CommandId(kept["id"].as_str().unwrap().parse().unwrap());
    let command = server.store.command(id).await.unwrap().unwrap();
    assert_eq!(command.actor.as_deref(), Some("token:on-call"));
}

#[tokio::test]
async fn a_stream_ends_when_it_is_withdrawn() {
    let current = current(&[ADMIN, ("ops", &["may: [view], playbooks: ['ops/*']"])]);
    let keeper = Keeper::new(current.clone(), Arc::new(SystemClock));
    let server = Server::with_keeper_at(keeper, Arc::new(SystemClock)).await;
    let [run, _] = two_runs(&server).await;
    let open = || async {
        let path = format!("/api/v1/runs/{run}/events");
        let request = server.request("GET", &path).bearer_auth(token("ops"));
        let answer = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut chunks = answer.bytes_stream().boxed();
        assert!(chunks.next().await.is_some(), "the first event comes at once");
        chunks
    };
    let withdrawn = [
        // The rule is gone, the token is gone, or its value is another one.
        access(&[ADMIN, ("ops", &[])]),
        access(&[ADMIN]),
        {
            let mut other = access(&[ADMIN, ("ops", &["may: [view]"])]);
            other.tokens[1].sha256 = "ab".repeat(32);
            other
        },
    ];
    let good = access(&[ADMIN, ("ops", &["may: [view], playbooks: ['ops/*']"])]);
    for less in withdrawn {
        current.changed(good.clone(), Digest::of(b"good"));
        let mut chunks = open().await;
        current.changed(less, Digest::of(b"less"));
        let end = async { while chunks.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
        tokio::time::timeout(Duration::from_secs(5), end).await.expect("it ends within 5 s");
    }
}

#[tokio::test]
async fn whoever_asks_too_often_or_is_wrong_too_often_waits() {
    let clock: Arc<dyn Clock> = Arc::new(JumpingClock::default());
    let keeper = Keeper::new(current(&[ADMIN, ("ci", &["may: [view]"])]), clock.clone());
    let server = Server::with_keeper(keeper).await;
    let wrong = || get(&server, "nobody", "/api/v1/runs");
    for _ in 0..FAILURES_AT_ONCE.get() {
        wrong().await.problem(401, "not-authenticated");
    }
    let reply = wrong().await;
    assert_eq!(reply.header("retry-after"), "5");
    reply.problem(429, "too-many-requests");
    // That somebody else behind the same address guesses keeps nobody out.
    get(&server, "ci", "/api/v1/auth/whoami").await.ok(200);
    clock.sleep(Duration::from_secs(5)).await;
    wrong().await.problem(401, "not-authenticated");
    let limited = async {
        for _ in 0..=REQUESTS_AT_ONCE.get() {
            let reply = get(&server, "ci", "/api/v1/auth/whoami").await;
            if reply.status == 429 {
                return reply;
            }
        }
        panic!("nothing is limited");
    };
    let reply = tokio::time::timeout(DEADLINE * 3, limited).await.unwrap();
    assert_eq!(reply.header("retry-after"), "1");
    reply.problem(429, "too-many-requests");
    get(&server, "admin", "/api/v1/auth/whoami").await.ok(200);
}

#[tokio::test]
async fn one_may_ask_who_one_is_and_what_one_may() {
    let server = server(&[("ci", &["may: [view, apply], playbooks: ['ops/*']"])]).await;
    let who = get(&server, "ci", "/api/v1/auth/whoami").await.ok(200);
    assert_eq!(
        who,
        json!({ "actor": "token:ci", "expires": "2099-01-01T00:00:00.000Z", "is_asked": true, "may": ["view", "apply"] })
    );
    for (query, allowed, somewhere) in [
        ("verb=apply&playbook=ops/x", true, true),
        ("verb=apply&playbook=lab/x", false, true),
        ("verb=view&playbook=ops/x&cluster=eu", true, true),
        ("verb=start&playbook=ops/x&cluster=eu", false, false),
        ("verb=view", false, true),
        ("verb=operate&cluster=eu", false, false),
    ] {
        let found = get(&server, "ci", &format!("/api/v1/auth/can-i?{query}")).await.ok(200);
        assert_eq!(found, json!({ "allowed": allowed, "somewhere": somewhere }), "{query}");
    }
    get(&server, "ci", "/api/v1/auth/can-i?verb=dance").await.problem(400, "bad-parameter");
    // On a server that asks nobody, everybody may do everything.
    let open = Server::start().await;
    let who = open.get("/api/v1/auth/whoami").await.ok(200);
    assert_eq!((&who["is_asked"], who["may"].as_array().unwrap().len()), (&json!(false), 9));
    assert_eq!(open.get("/api/v1/auth/can-i?verb=admin").await.ok(200)["allowed"], true);
}

#[tokio::test]
async fn pages_of_other_sites_do_nothing_and_browsers_are_told_to_be_careful() {
    let server = Server::start().await;
    let from = |method: &str, headers: &[(&'static str, String)]| {
        let mut request = server.request(method, "/api/v1/playbooks");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.json(&json!({ "document": playbook("restart", "1.0.0", "") }));
        send(request)
    };
    let own = format!("http://{}", server.address);
    for (method, headers, good) in [
        ("POST", vec![("origin", "https://evil.example".to_owned())], false),
        ("POST", vec![("origin", "null".to_owned())], false),
        ("POST", vec![("sec-fetch-site", "cross-site".to_owned())], false),
        ("GET", vec![("origin", "https://evil.example".to_owned())], false),
        ("GET", vec![("sec-fetch-site", "cross-site".to_owned())], true),
        ("POST", vec![("origin", own), ("sec-fetch-site", "same-origin".to_owned())], true),
    ] {
        let reply = from(method, &headers).await;
        if good {
            assert!(reply.status < 300, "{headers:?}: {}", reply.body);
        } else {
            reply.problem(403, "origin-refused");
        }
    }
    let reply = server.get("/api/v1/playbooks").await;
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(reply.header(name), value);
    }
    assert!(!reply.headers.contains_key("strict-transport-security"), "it has no TLS");
}

/// An audit in this folder.
pub(crate) fn audited(roles: &[(&str, &[&str])], path: &std::path::Path) -> Keeper {
    let audit = AuditLog::open(path).unwrap();
    Keeper::new(current(roles), Arc::new(SystemClock)).with_audit(Some(audit))
}
