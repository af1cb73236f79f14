//! `POST /api/v1/exec`: runs a command on agents of a cluster, as a run of a playbook that is made here.
//!
//! The playbook is made by the server, and not by clients that would apply it and start a run of it: so the verb `exec` is
//! all that this takes, the verb allows nothing else, and what was asked is known to the server, which writes it to the
//! audit. The playbook is only part of the run's snapshot. It is not among the applied playbooks, where it would stay when
//! the run has expired, and where others could start it.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json, to_value};

use super::access::{Caller, Deed};
use super::bodies::{InJson, check_length};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::{MAX_ACTOR, MAX_ARGV, MAX_ARGV_BYTES};
use super::params::InQuery;
use super::shapes::IdempotencyKey;
use super::start::{KEY_MEANS, before, create, prepared_of, read_key};
use super::state::ApiState;
use super::wire::{ApplyPlaybook, ExecCommand, HowMany, RunView, StartRun};
use super::{apply, clusters, start};
use crate::playbook::access::Object;
use crate::playbook::{Problem, Problems};
use crate::run::{Digest, canonical};
use crate::store::NewRun;

const EXEC: &str = "/api/v1/exec";

/// The prefix of the playbooks that are made here. No other playbook may have it.
const PREFIX: &str = "exec/";

/// The kind of action that runs commands.
const KIND: &str = "replicante.io/command";

/// How many agents at a time, unless the request says otherwise: few enough to notice what a wrong command does.
const BATCH: u32 = 10;

/// How many digits of a digest name a playbook: enough to tell the commands of a cluster apart.
const DIGITS: usize = 12;

/// How many characters of a command the summary of its playbook has.
const SUMMARY_CHARS: usize = 100;

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(EXEC, "exec", "Runs a command on agents of a cluster.", exec)
            .does(Deed::Exec)
            .header::<IdempotencyKey>("Idempotency-Key", KEY_MEANS)
            .takes::<ExecCommand>()
            .fails(&start::FAILS)
            .fails(&apply::FAILS)
            .fails(&[Code::ClusterNotFound, Code::RunNotFound])
            .answers::<RunView>(201, "The run is created.")
            .answers::<RunView>(200, "An earlier request with the same key had created it."),
    ]
}

async fn exec(
    State(state): State<ApiState>,
    caller: Caller,
    headers: HeaderMap,
    query: InQuery,
    InJson(mut request): InJson<ExecCommand>,
) -> Result<Response, ApiError> {
    query.finish()?;
    let key = read_key(&headers)?;
    check(&request)?;
    if !caller.views(Object::Cluster(&request.cluster)) {
        return Err(clusters::not_found(&request.cluster));
    }
    let name = name_of(&request);
    let cluster = request.cluster.clone();
    caller.may(Deed::Exec, Object::Run { playbook: &name, cluster: &cluster })?;
    let command = in_words(&request.argv);
    let select = request.select.clone().unwrap_or_default();
    let about = [
        ("cluster", cluster.as_str()),
        ("playbook", name.as_str()),
        ("command", command.as_str()),
        ("select", select.as_str()),
    ];
    caller.begin(Deed::Exec, &about, false, state.own_clock.now())?;
    request.started_by = caller.actor(request.started_by);
    let asked = to_value(&request).map_err(ApiError::internal)?;
    let asked = Digest::of(canonical(&json!({ "exec": asked })).as_bytes());
    if let Some(before) = before(&state, key.as_deref(), &asked).await? {
        return Ok(before);
    }
    let document = document(&name, &command, &request).to_string();
    let (stored, _) =
        apply::read_any(&state, ApplyPlaybook { document, uploads: Default::default() }).await?;
    let params: Map<String, Value> = Map::from_iter([("argv".to_owned(), json!(request.argv))]);
    let wanted = StartRun {
        playbook: name,
        cluster: request.cluster,
        params,
        select: request.select,
        limit: None,
        skip_stages: Vec::new(),
        start_at: None,
        started_by: request.started_by,
    };
    let (run, events) = prepared_of(&state, stored, wanted).await?;
    create(&state, &caller, NewRun { run, events, idempotency_key: key, request: asked }).await
}

/// Whether a playbook with this name is one that is made here.
fn is_made_here(playbook: &str) -> bool {
    playbook.starts_with(PREFIX)
}

/// What starting a run of this playbook is. Who may start runs may not run commands, also not those that others ran.
pub(super) fn deed_of_start(playbook: &str) -> Deed {
    if is_made_here(playbook) { Deed::Exec } else { Deed::StartRun }
}

/// Refuses to apply a playbook that looks as if it had been made here.
pub(super) fn check_not_reserved(name: &str) -> Result<(), ApiError> {
    if !is_made_here(name) {
        return Ok(());
    }
    Err(ApiError::invalid_document(Problems(vec![Problem {
        code: "reserved-name".to_owned(),
        path: "/metadata/name".to_owned(),
        line: None,
        column: None,
        message: format!("the prefix {PREFIX} is for the commands of `replictl exec`"),
        found: Some(format!("{name:?}")),
        expected: Some("another prefix, or none".to_owned()),
    }])))
}

fn check(request: &ExecCommand) -> Result<(), ApiError> {
    check_length("started_by", request.started_by.as_deref(), MAX_ACTOR)?;
    let bad = |detail: String| Err(ApiError::new(Code::BadBody, detail));
    let argv = &request.argv;
    if argv.first().is_none_or(String::is_empty) {
        return bad("`argv`: found no program, expected a program and its arguments".to_owned());
    }
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.len() > MAX_ARGV || bytes > MAX_ARGV_BYTES {
        return bad(format!(
            "`argv`: found {} words with {bytes} bytes, expected at most {MAX_ARGV} words with {MAX_ARGV_BYTES} bytes",
            argv.len()
        ));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return bad("`argv`: found a zero byte, which no program can be given".to_owned());
    }
    Ok(())
}

/// The same command in the same way has the same name, so that its runs can be found.
fn name_of(request: &ExecCommand) -> String {
    let ExecCommand { argv, batch, max_failed, timeout, .. } = request;
    let what =
        json!({ "argv": argv, "batch": batch, "max_failed": max_failed, "timeout": timeout });
    let digest = Digest::of(canonical(&what).as_bytes());
    let hex = digest.as_str().trim_start_matches("sha256:");
    format!("{PREFIX}{}", hex.get(..DIGITS).unwrap_or(hex))
}

/// The playbook. The command is a parameter, so that nothing in it is taken for an expression.
fn document(name: &str, command: &str, request: &ExecCommand) -> Value {
    let mut step = json!({
        "name": "command",
        "action": KIND,
        "args": { "argv": "${{ params.argv }}" },
    });
    if let Some(timeout) = &request.timeout {
        step["timeout"] = json!(timeout);
    }
    let batch = request.batch.clone().unwrap_or(HowMany::Count(BATCH));
    let max_failed = request.max_failed.clone().unwrap_or(HowMany::Count(0));
    let words = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    json!({
        "apiVersion": "replicante.io/v1",
        "kind": "Playbook",
        "metadata": { "name": name, "version": "1.0.0" },
        "spec": {
            "summary": command,
            "params": {
                "type": "object",
                "properties": { "argv": words },
                "required": ["argv"],
                "additionalProperties": false,
            },
            "stages": [{
                "name": "exec",
                "strategy": { "use": "rolling", "with": { "batch": batch } },
                // Nobody waits for a person to go on with a command.
                "budget": { "max_failed": max_failed, "scope": "stage", "on_exceeded": "abort" },
                "steps": [step],
            }],
        },
    })
}

/// The beginning of the command, for people.
fn in_words(argv: &[String]) -> String {
    let line = argv.join(" ");
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = line.chars().take(SUMMARY_CHARS).map(plain).collect();
    if line.chars().count() > SUMMARY_CHARS {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::parse_playbook;

    fn request(body: Value) -> ExecCommand {
        serde_json::from_value(body).unwrap()
    }

    #[test]
    fn the_same_command_has_the_same_name_on_any_agents() {
        let one = request(json!({ "cluster": "a", "argv": ["uptime"] }));
        let other = request(json!({ "cluster": "b", "argv": ["uptime"], "select": "true" }));
        assert_eq!(name_of(&one), name_of(&other));
        for body in [
            json!({ "cluster": "a", "argv": ["uptime", ""] }),
            json!({ "cluster": "a", "argv": ["uptime"], "batch": 2 }),
            json!({ "cluster": "a", "argv": ["uptime"], "max_failed": "10%" }),
            json!({ "cluster": "a", "argv": ["uptime"], "timeout": "5s" }),
        ] {
            assert_ne!(name_of(&one), name_of(&request(body.clone())), "{body}");
        }
    }

    #[test]
    fn whatever_the_command_is_it_makes_a_document() {
        for argv in
            [json!(["uptime"]), json!(["sh", "-c", "echo ${{ secret(\"pager\") }} \"'\n:#"])]
        {
            let request = request(json!({ "cluster": "a", "argv": argv, "timeout": "5s" }));
            let text = document(&name_of(&request), &in_words(&request.argv), &request).to_string();
            let document = parse_playbook(text.as_bytes()).unwrap();
            assert_eq!(document.content()["spec"]["stages"][0]["steps"][0]["timeout"], "5s");
        }
    }

    #[test]
    fn a_command_has_a_program_and_limits() {
        let check = |argv: Value| check(&request(json!({ "cluster": "a", "argv": argv })));
        assert!(check(json!(vec!["a"; MAX_ARGV])).is_ok());
        assert!(check(json!(["a", "x".repeat(MAX_ARGV_BYTES - 1)])).is_ok());
        for bad in [
            json!([]),
            json!([""]),
            json!(["a\0b"]),
            json!(vec!["a"; MAX_ARGV + 1]),
            json!(["a", "x".repeat(MAX_ARGV_BYTES)]),
        ] {
            assert_eq!(check(bad).unwrap_err().code, Code::BadBody);
        }
    }

    #[test]
    fn the_prefix_is_reserved() {
        assert!(check_not_reserved("ops/exec").is_ok() && check_not_reserved("executive").is_ok());
        assert_eq!(check_not_reserved("exec/x").unwrap_err().code, Code::InvalidDocument);
        assert_eq!(deed_of_start("exec/0123"), Deed::Exec);
        assert_eq!(deed_of_start("ops/restart"), Deed::StartRun);
    }
}
