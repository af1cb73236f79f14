//! Exports of runs that have large documents.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use replibook::playbook::{PluginInfo, parse_playbook, resolve};
use replibook::replay::{ArchiveLimits, unpack};
use replibook::run::{Digest, RunId, RunStatus, Timestamp, new_run};
use serde_json::{Map, Value, json};

use super::replictl;
use super::server::{Seen, Server, run, run_id};

/// How many events the run has.
const EVENTS: u64 = 60;

/// A page of more events than this is larger than the client reads.
const FITS: u64 = 5;

fn snapshot() -> Value {
    let plugin = |name: &str, kind: &str| -> PluginInfo {
        let digest = Digest::of(name.as_bytes());
        serde_json::from_value(json!({"digest": digest, "kind": kind, "name": name,
            "version": "1.0.0", "summary": "", "arguments": {}, "size": 1}))
        .unwrap()
    };
    let text = "apiVersion: replicante.io/v1\nkind: Playbook\n\
        metadata: { name: p, version: 1.0.0 }\nspec:\n  stages:\n    - name: only\n      \
        strategy: { use: rolling }\n      steps: [{ name: act, action: a.example.com/act }]\n";
    let builtins = [plugin("rolling", "strategy"), plugin("action", "step")];
    let document = parse_playbook(text.as_bytes()).unwrap();
    let playbook = resolve(&document, &BTreeMap::new(), &builtins).unwrap();
    let id = RunId(run_id().parse().unwrap());
    let (run, _) = new_run(id, &playbook, Map::new(), "c", None, Timestamp::from_millis(0));
    serde_json::to_value(&*run.snapshot).unwrap()
}

fn events(seen: &Seen) -> Response {
    let number = |name| seen.parameter(name).map(|text| text.parse::<u64>().unwrap());
    let (after, limit) = (number("after").unwrap_or(0), number("limit").unwrap());
    if limit > FITS {
        let chunk = Bytes::from(vec![b' '; 1024 * 1024]);
        let chunks = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
        return Body::from_stream(chunks).into_response();
    }
    let last = (after + limit).min(EVENTS);
    let event = |seq| {
        json!({"run": run_id(), "seq": seq, "at": "2026-11-22T09:00:00Z", "actor": null,
            "finish_ts": null, "event": "status", "from": null, "to": "DONE", "reason": null})
    };
    let items: Vec<Value> = (after + 1..=last).map(event).collect();
    Json(json!({"items": items, "next": (last < EVENTS).then(|| last.to_string())})).into_response()
}

#[tokio::test]
async fn fewer_are_asked_for_where_an_answer_would_be_too_large() {
    let server = Server::start(|seen| match seen.path.rsplit('/').next().unwrap() {
        "events" => events(seen),
        "agents" | "journals" | "logs" => Json(json!({"items": [], "next": null})).into_response(),
        "snapshot" => Json(snapshot()).into_response(),
        _ => {
            let mut run = run(RunStatus::Done, &[]);
            run["finish_ts"] = json!("2026-11-22T09:00:00Z");
            Json(run).into_response()
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.tar.zst");
    let args = ["run", "export", &run_id(), "-o", file.to_str().unwrap()];
    let (code, _, err) = replictl(&server.url, &args).await;
    assert_eq!(code, 0, "{err}");
    let into = tempfile::tempdir().unwrap();
    unpack(&file, into.path(), ArchiveLimits::default()).unwrap();
    let text = std::fs::read_to_string(into.path().join("events.ndjson")).unwrap();
    let seqs: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (1..=EVENTS).collect::<Vec<_>>());
    let asked = server.seen().into_iter().filter(|seen| seen.path.ends_with("/events"));
    let limits: Vec<_> = asked.map(|seen| seen.parameter("limit").unwrap().to_owned()).collect();
    assert_eq!(limits[..4], ["16", "8", "4", "4"], "and no more than that again");
}
