//! A run with documents that somebody has damaged: it says so, holds up nothing but its cluster, and a person
//! abandons it.

use std::path::Path;

use ::mongodb::bson::{Document, doc};
use replibook::cli::demo::{Fleet, plan};
use replibook::run::{ReasonCode, RunStatus, TroubleCode};
use serde_json::Value;
use tokio::process::Command;

use crate::crash::server::{Client, LIMIT, Remains, Server, start_run};
use crate::wait;

/// How many agents the runs have.
const AGENTS: u16 = 4;

/// The document that is damaged.
#[derive(Clone, Copy, Debug)]
enum Target {
    Record,
    Run,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_a_damaged_record_is_set_aside_and_given_up() {
    set_aside_and_given_up(None, Target::Record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_can_not_be_read_is_set_aside_and_given_up() {
    set_aside_and_given_up(None, Target::Run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_mongodb_with_a_damaged_record_is_set_aside_and_given_up() {
    let name = format!("replibook_test_{}", uuid::Uuid::new_v4().simple());
    set_aside_and_given_up(Some(name), Target::Record).await;
}

async fn set_aside_and_given_up(database: Option<String>, target: Target) {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new();
    let program = Path::new(env!("CARGO_BIN_EXE_replibook"));
    let fleet = Fleet::start(program, dir.path(), plan(AGENTS, 0).unwrap()).await.unwrap();
    let store =
        database.as_ref().map(|name| crate::mongodb::with_database(crate::mongodb::shared(), name));
    let server = Server::start(dir.path(), store.as_deref(), None).await;
    let ill = start_run(&client, &server, &fleet, dir.path()).await;
    client.wait_until_it_goes_on(&server.address, &ill).await;
    let next = start_run(&client, &server, &fleet, dir.path()).await;

    let remains = server.stop().await;
    match &database {
        Some(name) => damage_in_mongodb(name, &ill).await,
        None => damage_in_sqlite(&remains, target, &ill),
    }
    let server = Server::again(remains, None).await;
    let run = wait::until("the run to be set aside", LIMIT, async || {
        let run = client.run(&server.address, &ill).await;
        let trouble = run.trouble.clone()?;
        (trouble.tries > 0).then_some(run)
    })
    .await;
    assert_eq!(run.trouble.as_ref().unwrap().code, TroubleCode::Damaged, "{run:?}");
    assert!(!run.status.is_final(), "{run:?}");
    assert_eq!((run.cluster.as_str(), run.finish_ts), ("crash", None));

    let ready: Value = client.get(&format!("http://{}/readyz", server.address)).await;
    assert_eq!(ready["troubled"]["runs"], 1, "{ready}");
    assert_eq!(ready["troubled"]["first"][0], ill.as_str(), "{ready}");
    let metrics = client.0.get(format!("http://{}/metrics", server.address)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let troubled = metrics.lines().find(|line| line.starts_with("replibook_runs_troubled"));
    assert!(troubled.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    for counted in [
        // Calls of the engine, and of the API.
        "replibook_store_call_duration_seconds_count{operation=\"claim_some\"}",
        "replibook_store_call_duration_seconds_count{operation=\"ping\"}",
    ] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
    let described = said(&server, &["describe", "run", &ill]).await;
    assert!(described.contains("Trouble:    damaged since"), "{described}");
    assert!(described.contains(&format!("run abandon {ill} --reason")), "{described}");
    let watched = replictl(&server, &["run", "watch", &ill]).await;
    let told = String::from_utf8_lossy(&watched.stderr);
    assert_eq!(watched.status.code(), Some(9), "{watched:?}");
    assert!(told.contains("the run can't go on and is set aside: "), "{told}");
    assert!(told.contains("(damaged)"), "{told}");
    assert!(told.contains(&format!("run abandon {ill} --reason")), "{told}");
    let listed = said(&server, &["run", "list"]).await;
    assert!(listed.contains("can't go on: damaged") && listed.contains(&next), "{listed}");
    let waits = wait::until("the next run to wait for it", LIMIT, async || {
        let waits = said(&server, &["describe", "run", &next]).await;
        waits.contains("can't go on by itself").then_some(waits)
    })
    .await;
    assert!(waits.contains(&format!("run abandon {ill} --reason")), "{waits}");

    said(&server, &["run", "abandon", &ill, "--reason", "the disk broke"]).await;
    let run = client.until_final(&server.address, &ill).await;
    assert_eq!(run.status, RunStatus::Failed, "{run:?}");
    assert!(run.finish_ts.is_some());
    let abandoned = run.trouble.as_ref().unwrap().abandoned.as_ref().unwrap();
    assert_eq!(abandoned.why, "the disk broke");
    if let Target::Record = target {
        assert_eq!(run.reason.as_ref().unwrap().code, ReasonCode::Abandoned);
    }
    let described = said(&server, &["describe", "run", &ill]).await;
    assert!(described.contains("the disk broke"), "{described}");
    let ready: Value = client.get(&format!("http://{}/readyz", server.address)).await;
    assert_eq!(ready["troubled"]["runs"], 0, "{ready}");

    let run = client.until_final(&server.address, &next).await;
    assert_eq!(run.status, RunStatus::Done, "{run:?}");
    let refused = replictl(&server, &["run", "abandon", &next, "--reason", "x"]).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert_eq!(server.log().matches("is set aside").count(), 1, "{}", server.log());
    server.process.stop().await;
    fleet.stop().await;
}

fn damage_in_sqlite(remains: &Remains, target: Target, run: &str) {
    let path = remains.settings.data.join(replibook::store::sqlite::DATABASE_FILE);
    let database = rusqlite::Connection::open(path).unwrap();
    let run = run.replace('-', "");
    let sql = match target {
        Target::Record => format!(
            "UPDATE agent_records SET body = replace(body, '\"state\":\"', '\"state\":\"WAS-') \
             WHERE run = x'{run}' AND seq = 0"
        ),
        Target::Run => format!("UPDATE runs SET progress = '{{' WHERE id = x'{run}'"),
    };
    assert_eq!(database.execute(&sql, []).unwrap(), 1);
}

async fn damage_in_mongodb(name: &str, run: &str) {
    let client = ::mongodb::Client::with_uri_str(crate::mongodb::shared()).await.unwrap();
    let run: uuid::Uuid = run.parse().unwrap();
    let run = ::mongodb::bson::Binary {
        subtype: ::mongodb::bson::spec::BinarySubtype::Uuid,
        bytes: run.into_bytes().to_vec(),
    };
    let records = client.database(name).collection::<Document>("agent_records");
    let unset = doc! { "$unset": { "address": "" } };
    let damaged = records.update_one(doc! { "run": run, "seq": 0 }, unset).await.unwrap();
    assert_eq!(damaged.matched_count, 1);
}

async fn replictl(server: &Server, args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_replictl"))
        .env("REPLIBOOK_SERVER", format!("http://{}", server.address))
        .args(args)
        .output()
        .await
        .unwrap()
}

/// What a command prints that succeeds.
async fn said(server: &Server, args: &[&str]) -> String {
    let output = replictl(server, args).await;
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
