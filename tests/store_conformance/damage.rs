//! Damages documents behind a store's back.

use std::path::Path;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc};
use replibook_core::run::RunId;
use replibook_store::memory::Damaged;
use replibook_store::sqlite::DATABASE_FILE;
use uuid::Uuid;

use crate::server::Database;

/// How many ways there are to damage a document.
pub(crate) const WAYS: usize = 7;

/// Nested deeper than anything that can be read.
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
        Damaged::PluginBytes(digest) => ("plugin_bytes", "bytes", format!("digest = '{digest}'")),
        Damaged::Lock(cluster) => ("locks", "run", format!("cluster = '{cluster}'")),
        Damaged::Status(id) => ("runs", "status", format!("id = {}", run(id))),
        Damaged::ClusterOf(id) => ("runs", "cluster", format!("id = {}", run(id))),
        Damaged::Trouble(id) => ("troubles", "body", format!("run = {}", run(id))),
    };
    let is_bytes = matches!(what, Damaged::PluginBytes(_) | Damaged::Lock(_));
    let value = match way {
        _ if is_bytes => format!("x'{}'", "ab".repeat(way)),
        0 => format!("'{}'", "[".repeat(DEEP) + &"]".repeat(DEEP)),
        1 => "CAST(x'7b2261223a22ff227d' AS TEXT)".to_owned(),
        2 => "'{\"status\": \"SLEEPING\"}'".to_owned(),
        3 => "'SLEEPING'".to_owned(),
        4 => "'7.5'".to_owned(),
        // Cut off in the middle.
        5 => format!("substr({column}, 1, max(1, length({column}) / 2))"),
        _ => "'{}'".to_owned(),
    };
    // Once its text is damaged, a version is no longer found by it.
    let fits = match (what, way) {
        (Damaged::Playbook(name, _), 1..) => format!("name = '{name}'"),
        _ => fits,
    };
    let database = rusqlite::Connection::open(directory.join(DATABASE_FILE)).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let sql = match (what, way) {
        (Damaged::PluginBytes(_), 2) => format!("DELETE FROM {table} WHERE {fits}"),
        (Damaged::PluginBytes(digest), _) => {
            format!(
                "INSERT OR REPLACE INTO {table} (digest, {column}) VALUES ('{digest}', {value})"
            )
        }
        _ => format!("UPDATE {table} SET {column} = {value} WHERE {fits}"),
    };
    assert_eq!(database.execute(&sql, []).unwrap(), 1, "{sql}");
}

pub(crate) fn locks_in_sqlite(directory: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(directory.join(DATABASE_FILE)).unwrap();
    let mut names = database.prepare("SELECT cluster FROM locks ORDER BY cluster").unwrap();
    names.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

pub(crate) fn leave_lock_in_sqlite(directory: &Path, cluster: &str, run: RunId) {
    let database = rusqlite::Connection::open(directory.join(DATABASE_FILE)).unwrap();
    let sql = "INSERT INTO locks (cluster, run) VALUES (?1, ?2)";
    database.execute(sql, rusqlite::params![cluster, run.0.into_bytes()]).unwrap();
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
            ("agent_records", "state", doc! { "run": run(of), "seq": i64::from(seq.0) })
        }
        Damaged::Journal(of, key) => {
            let agent = i64::from(key.agent.0);
            ("journals", "pending.name", doc! { "run": run(of), "key.agent": agent })
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
        Damaged::PluginBytes(digest) => {
            return bytes_in_mongodb(database, &digest.to_string(), way).await;
        }
        Damaged::Lock(cluster) => ("locks", "run", doc! { "_id": cluster }),
        Damaged::Status(of) => ("runs", "status", doc! { "_id": run(of) }),
        Damaged::ClusterOf(of) => ("runs", "cluster", doc! { "_id": run(of) }),
        Damaged::Trouble(of) => ("troubles", "tries", doc! { "_id": run(of) }),
    };
    damage_field(database, collection, field, fits, way).await;
}

/// Damages the chunk that holds the bytes of a plugin, or the reference to it.
async fn bytes_in_mongodb(database: &Database, digest: &str, way: usize) {
    let database = database.open().await;
    let plugins = database.collection::<Document>("plugins");
    let chunks = database.collection::<Document>("plugins.chunks");
    let by_digest = doc! { "_id": digest };
    let plugin = plugins.find_one(by_digest.clone()).await.unwrap().unwrap();
    let chunk = doc! { "files_id": plugin.get("file").cloned() };
    let length = match chunks.find_one(chunk.clone()).await.unwrap() {
        Some(chunk) => chunk.get_binary_generic("data").unwrap().len(),
        None => 0,
    };
    let data = |length| Binary { subtype: BinarySubtype::Generic, bytes: vec![7; length] };
    let set = |value: Bson| doc! { "$set": { "file": value } };
    let changed = match way {
        0 => chunks.update_one(chunk, doc! { "$set": { "data": data(length) } }).await,
        1 => chunks.update_one(chunk, doc! { "$set": { "data": data(length / 2) } }).await,
        2 => {
            assert_eq!(chunks.delete_many(chunk).await.unwrap().deleted_count, 1);
            return;
        }
        3 => plugins.update_one(by_digest, set(Bson::ObjectId(ObjectId::new()))).await,
        4 => plugins.update_one(by_digest, set(Bson::Boolean(true))).await,
        5 => plugins.update_one(by_digest, set(Bson::Null)).await,
        _ => plugins.update_one(by_digest, doc! { "$unset": { "file": "" } }).await,
    };
    assert_eq!(changed.unwrap().matched_count, 1);
}

/// Damages the lease of a run, in one of [`LEASE_WAYS`].
pub(crate) async fn lease_in_mongodb(database: &Database, run: RunId, way: usize) {
    let bytes = run.0.into_bytes().to_vec();
    let id = Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes });
    let (field, way) = match way {
        0 => ("lease", 3),
        1 => ("lease.epoch", 2),
        2 => ("lease.epoch", 4),
        3 => ("lease.epoch", 6),
        4 => ("lease.until", 2),
        5 => ("lease.until", 6),
        6 => ("lease", 2),
        _ => ("lease.engine", 5),
    };
    damage_field(database, "runs", field, doc! { "_id": id }, way).await;
}

/// How many ways there are to damage a lease.
pub(crate) const LEASE_WAYS: usize = 8;

/// A text that is found again among the bytes of a document, to damage it there.
const MARK: &str = "MARK-OF-THE-TEXT";

async fn damage_field(
    database: &Database,
    collection: &str,
    field: &str,
    fits: Document,
    way: usize,
) {
    let deep = (0..60).fold(Bson::Int32(1), |inner, _| Bson::Array(vec![inner]));
    let text = "[".repeat(DEEP) + &"]".repeat(DEEP);
    let change = match way {
        0 => doc! { "$set": { field: { "%json": text } } },
        1 => doc! { "$set": { field: deep } },
        2 => doc! { "$set": { field: true } },
        3 => doc! { "$set": { field: "SLEEPING" } },
        4 => doc! { "$set": { field: 7.5 } },
        5 => doc! { "$set": { field: MARK } },
        _ => doc! { "$unset": { field: "" } },
    };
    let database = database.open().await;
    let documents = database.collection::<Document>(collection);
    let changed = documents.update_one(fits.clone(), change).await.unwrap();
    assert_eq!(changed.matched_count, 1, "{collection} {fits}");
    if way == 5 {
        // Makes the text invalid UTF-8.
        let raw = database.collection::<RawDocumentBuf>(collection);
        let mut bytes = raw.find_one(fits.clone()).await.unwrap().unwrap().into_bytes();
        let mark = MARK.as_bytes();
        let at = bytes.windows(mark.len()).position(|found| found == mark).unwrap();
        bytes[at] = 0xff;
        let cut = RawDocumentBuf::from_bytes(bytes).unwrap();
        match raw.replace_one(fits.clone(), cut).await {
            Ok(written) => assert_eq!(written.modified_count, 1, "{collection}"),
            // Some servers refuse such a text: there the field becomes null.
            Err(refused) => {
                assert!(refused.to_string().contains("utf-8"), "{refused}");
                let none = doc! { "$set": { field: Bson::Null } };
                documents.update_one(fits, none).await.unwrap();
            }
        }
    }
}
