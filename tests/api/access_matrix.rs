//! Every route with every role: what the table refuses is refused, what it allows is not, and nothing breaks.

use replibook::api::openapi_document;
use serde_json::{Value, json};

use crate::api::access::{ADMIN, ask, server, token, two_runs};
use crate::api::server::{CLUSTER, Server, playbook, send};

/// A route of the description of the API.
struct Route {
    method: String,
    path: String,
    id: String,
    /// The verbs of which one is wanted.
    verbs: Vec<String>,
    is_open: bool,
}

fn routes() -> Vec<Route> {
    let document = openapi_document();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let verbs = operation["x-verbs"].as_array().unwrap().iter();
            routes.push(Route {
                method: method.to_uppercase(),
                path: path.clone(),
                id: operation["operationId"].as_str().unwrap().to_owned(),
                verbs: verbs.map(|verb| verb.as_str().unwrap().to_owned()).collect(),
                is_open: operation["security"] == json!([]),
            });
        }
    }
    assert!(routes.len() > 40);
    routes
}

/// The path with these things in it, and what it needs of a query.
fn filled(route: &Route, run: &str, cluster: &str, playbook: &str) -> String {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let id = match route.path.split('/').nth(3) {
        Some("runs") => run,
        _ => "01920000-0000-7000-8000-000000000009",
    };
    let name = if route.path.contains("/clusters/") { cluster } else { playbook };
    let path = route
        .path
        .replace("{id}", id)
        .replace("{name}", &name.replace('/', "%2F"))
        .replace("{digest}", &digest)
        .replace("{agent}", "node-1")
        .replace("{command}", "01920000-0000-7000-8000-000000000009");
    match route.id.as_str() {
        "deletePlaybook" => format!("{path}?version=9.9.9"),
        "canI" => format!("{path}?verb=view"),
        _ => path,
    }
}

fn body(route: &Route, cluster: &str, name: &str) -> Option<Value> {
    let cluster_text = CLUSTER.replace("name: eu", &format!("name: {cluster}"));
    match route.id.as_str() {
        "applyPlaybook" => Some(json!({ "document": playbook(name, "1.0.0", "") })),
        "applyCluster" => Some(json!({ "document": cluster_text })),
        "applyAll" => Some(
            json!({ "documents": [{ "document": cluster_text }, { "document": playbook(name, "1.0.0", "") }] }),
        ),
        "startRun" | "planRun" => Some(json!({ "playbook": name, "cluster": cluster })),
        "exec" => Some(json!({ "cluster": cluster, "argv": ["uptime"] })),
        "retryRun" => Some(json!({})),
        "submitCommand" => Some(json!({ "command": "pause" })),
        "sendSignal" => Some(json!({ "name": "go", "payload": null })),
        "abandonRun" => Some(json!({ "reason": "a test" })),
        "drainEngine" => Some(json!({ "drain": true })),
        "startImport" => Some(json!({ "source": "oci://127.0.0.1:1/x:1" })),
        _ => None,
    }
}

/// The status and the code of the answer to a route.
async fn asked(
    server: &Server,
    route: &Route,
    who: Option<&str>,
    run: &str,
    (cluster, playbook): (&str, &str),
) -> (u16, String) {
    let path = filled(route, run, cluster, playbook);
    let mut request = server.request(&route.method, &path);
    if let Some(who) = who {
        request = request.bearer_auth(token(who));
    }
    if let Some(body) = body(route, cluster, playbook) {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.unwrap();
    let code = serde_json::from_slice::<Value>(&bytes).ok();
    let code = code.and_then(|body| body["code"].as_str().map(str::to_owned));
    (status, code.unwrap_or_default())
}

const ROLES: [&str; 9] =
    ["view", "start", "steer", "approve", "apply", "upload", "operate", "exec", "admin"];

#[tokio::test]
async fn every_route_asks_for_the_verb_that_it_names() {
    let rules: Vec<String> = ROLES
        .iter()
        .map(|verb| {
            format!(
                "may: [{}]",
                if *verb == "view" { "view".to_owned() } else { format!("view, {verb}") }
            )
        })
        .collect();
    let rules: Vec<[&str; 1]> = rules.iter().map(|rule| [rule.as_str()]).collect();
    let mut roles: Vec<(&str, &[&str])> =
        ROLES.iter().zip(&rules).map(|(name, rule)| (*name, &rule[..])).collect();
    roles.push(("none", &[]));
    let server = server(&roles).await;
    let [run, _] = two_runs(&server).await;
    let own = ("eu", "ops/restart");
    for route in routes() {
        let (name, has) = (&route.id, |verb: &str| route.verbs.iter().any(|one| one == verb));
        let (status, code) = asked(&server, &route, None, &run, own).await;
        match route.is_open {
            true => {
                let lets_in = code != "not-allowed" && code != "not-authenticated";
                assert!(lets_in && status < 500, "{name}: {status} {code}");
            }
            false => assert_eq!((status, code.as_str()), (401, "not-authenticated"), "{name}"),
        }
        let (status, code) = asked(&server, &route, Some("none"), &run, own).await;
        if !route.verbs.is_empty() {
            assert_eq!((status, code.as_str()), (403, "not-allowed"), "{name}");
        }
        for role in ROLES {
            let may = route.verbs.is_empty() || has(role) || has("view") || role == "admin";
            // Documents of both kinds want both verbs, and a command the one for what it is.
            let may = match name.as_str() {
                "applyAll" => role == "admin",
                "submitCommand" => matches!(role, "steer" | "admin"),
                _ => may,
            };
            let (status, code) = asked(&server, &route, Some(role), &run, own).await;
            assert_ne!(status, 401, "{name} as {role}");
            assert!(
                status < 500 || code == "plugins-unavailable",
                "{name} as {role}: {status} {code}"
            );
            match may {
                true => assert_ne!(code, "not-allowed", "{name} as {role}"),
                false => {
                    assert_eq!((status, code.as_str()), (403, "not-allowed"), "{name} as {role}")
                }
            }
        }
    }
}

/// What there is, and how the runs are.
async fn known(server: &Server) -> Vec<String> {
    let mut known = Vec::new();
    for path in ["/api/v1/runs", "/api/v1/playbooks", "/api/v1/clusters"] {
        let list = ask(server, "admin", "GET", path, None).await.ok(200);
        let items = list["items"].as_array().unwrap().iter();
        known.extend(
            items.map(|item| format!("{} {} {}", item["id"], item["name"], item["status"])),
        );
    }
    known
}

#[tokio::test]
async fn no_route_tells_or_does_anything_about_what_somebody_may_not_view() {
    let scoped = "may: [view, start, steer, approve, apply, upload, operate, exec], playbooks: ['lab/*'], clusters: [us]";
    let least = "may: [admin], playbooks: ['lab/*'], clusters: [us]";
    let server = server(&[ADMIN, ("scoped", &[scoped]), ("lord", &[least])]).await;
    let [run, _] = two_runs(&server).await;
    let before = known(&server).await;
    for route in routes() {
        for role in ["scoped", "lord"] {
            let (status, code) =
                asked(&server, &route, Some(role), &run, ("eu", "ops/restart")).await;
            let name = &route.id;
            assert!(status < 500 && status != 401, "{name} as {role}: {status} {code}");
            let is_about_one = route.path.contains('{') && !route.path.contains("{digest}");
            let makes = body(&route, "", "").is_some() && name != "startImport";
            if is_about_one || makes {
                assert!(matches!(status, 403 | 404), "{name} as {role}: {status} {code}");
            }
        }
    }
    assert_eq!(known(&server).await, before, "nothing has changed");
    let answers = ["/api/v1/runs", "/api/v1/playbooks", "/api/v1/clusters", "/api/v1/runs/find"];
    for path in answers {
        let reply = send(server.request("GET", path).bearer_auth(token("lord"))).await.ok(200);
        let text = reply.to_string();
        assert!(
            !text.contains(&run) && !text.contains("ops/") && !text.contains("\"eu\""),
            "{text}"
        );
    }
}
