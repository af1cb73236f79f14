//! Damage to documents, done behind a store's back.

use std::path::Path;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};
use replibook::run::RunId;
use replibook::store::memory::Damaged;
use replibook::store::sqlite::DATABASE_FILE;
use uuid::Uuid;

use crate::server::Database;

/// Ways in which a document is damaged.
pub(crate) const WAYS: usize = 4;

/// Deeper than anything that is read.
const DEEP: usize = 200;

pub(crate) fn in_sqlite(directory: &Path, what: &Damaged, way: usize) {
    let blob = |id: Uuid| format!("x'{}'", id.simple());
    let run = |run: &RunId| blob(run.0);
    let (table, column, fits) = match what {
        Damaged::Snapshot(id) => ("snapshots", "body", format!("run = {}", run(id))),
        Damaged::Progress(id) => ("runs", "progress", format!("id = {}", run(id))),
        Damaged::Record(id, seq) => {
            ("agent_records", "body", format!("run = {} AND seq = {}", run(id), seq.0))
        }
        Damaged::Journal(id, key) => {
            let (agent, attempt) = (key.agent.0, key.attempt);
            let fits = format!("run = {} AND agent = {agent} AND attempt = {attempt}", run(id));
            ("journals", "body", fits)
        }
        Damaged::Event(id, seq) => ("events", "body", format!("run = {} AND seq = {seq}", run(id))),
        Damaged::Line(id, at) => {
            let fits = format!("run = {} AND event = {} AND line = {}", run(id), at.event, at.line);
            ("logs", "body", fits)
        }
        Damaged::Command(id) => ("commands", "body", format!("id = {}", blob(id.0))),
        Damaged::Playbook(name, version) => {
            let fits = format!("name = '{name}' AND body LIKE '%{version}%'");
            ("playbooks", "body", fits)
        }
        Damaged::Cluster(name) => ("clusters", "body", format!("name = '{name}'")),
        Damaged::Plugin(digest) => ("plugins", "body", format!("digest = '{digest}'")),
    };
    let value = match way {
        0 => format!("'{}'", "[".repeat(DEEP) + &"]".repeat(DEEP)),
        1 => "CAST(x'7b2261223a22ff227d' AS TEXT)".to_owned(),
        2 => "'{\"status\": \"SLEEPING\"}'".to_owned(),
        _ => "'{}'".to_owned(),
    };
    // A version is found by its text only once.
    let fits = match (what, way) {
        (Damaged::Playbook(name, _), 1..) => format!("name = '{name}'"),
        _ => fits,
    };
    let database = rusqlite::Connection::open(directory.join(DATABASE_FILE)).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let sql = format!("UPDATE {table} SET {column} = {value} WHERE {fits}");
    assert_eq!(database.execute(&sql, []).unwrap(), 1, "{sql}");
}

pub(crate) async fn in_mongodb(database: &Database, what: &Damaged, way: usize) {
    let id = |id: Uuid| {
        let bytes = id.into_bytes().to_vec();
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes })
    };
    let run = |run: &RunId| id(run.0);
    let (collection, field, fits) = match what {
        Damaged::Snapshot(of) => ("runs", "snapshot.playbook", doc! { "_id": run(of) }),
        Damaged::Progress(of) => ("runs", "since", doc! { "_id": run(of) }),
        Damaged::Record(of, seq) => {
            ("agent_records", "address", doc! { "run": run(of), "seq": i64::from(seq.0) })
        }
        Damaged::Journal(of, key) => {
            let agent = i64::from(key.agent.0);
            ("journals", "step_name", doc! { "run": run(of), "key.agent": agent })
        }
        Damaged::Event(of, seq) => {
            ("events", "at", doc! { "run": run(of), "seq": i64::try_from(*seq).unwrap() })
        }
        Damaged::Line(of, at) => {
            let event = i64::try_from(at.event).unwrap();
            ("logs", "level", doc! { "run": run(of), "event": event, "line": i64::from(at.line) })
        }
        Damaged::Command(of) => ("commands", "verb", doc! { "_id": id(of.0) }),
        Damaged::Playbook(name, version) => {
            ("playbooks", "playbook", doc! { "_id": format!("{name}@{version}") })
        }
        Damaged::Cluster(name) => ("clusters", "spec", doc! { "_id": name }),
        Damaged::Plugin(digest) => ("plugins", "info", doc! { "_id": digest.to_string() }),
    };
    let deep = (0..60).fold(Bson::Int32(1), |inner, _| Bson::Array(vec![inner]));
    let text = "[".repeat(DEEP) + &"]".repeat(DEEP);
    let change = match way {
        0 => doc! { "$set": { field: { "%json": text } } },
        1 => doc! { "$set": { field: deep } },
        2 => doc! { "$set": { field: true } },
        _ => doc! { "$unset": { field: "" } },
    };
    let collection = database.open().await.collection::<Document>(collection);
    let changed = collection.update_one(fits, change).await.unwrap();
    assert_eq!(changed.matched_count, 1, "{what:?}");
}
