//! How each kind of document is stored: the fields by which it is found, in addition to those of the value itself.

use std::sync::Arc;

use mongodb::bson::spec::ElementType;
use mongodb::bson::{Bson, DateTime, Document, RawDocument, doc};
use serde::Serialize;
use uuid::Uuid;

use super::base::{integer, uuid};
use super::codec::{CodecError, from_document, to_document, to_fields};
use super::failure::corrupt;
use super::rows::decode;
use crate::contract::Result;
use crate::damage::{Damage, DamagedRun, Glance, KeptRun};
use crate::documents::{NewRun, StoredPlaybook};
use crate::keys::version_key;
use replibook_core::run::{AttemptKey, Command, Progress, Run, RunId, Snapshot, Timestamp};

/// The expiry of a lease that nobody holds: it lies in the past.
pub(super) const FREE: DateTime = DateTime::from_millis(0);

/// The types in which the epoch of a lease may be stored.
pub(super) const EPOCH_TYPES: [ElementType; 2] = [ElementType::Int32, ElementType::Int64];

/// The field of a run that says which format an engine has to know.
pub(super) const NEEDS: &str = "needs";

/// A value in its stored form.
pub(super) fn body(what: &str, value: &impl Serialize) -> Result<Document> {
    to_document(value).map_err(|error| corrupt(what, error))
}

/// A playbook in its stored form. Its `_id` is `name@version`.
pub(super) fn playbook(new: &StoredPlaybook) -> Result<Document> {
    let (name, version) = (&new.playbook.name, &new.playbook.version);
    let pins = new.playbook.plugins.values().map(|pin| pin.digest.as_str());
    let pins: std::collections::BTreeSet<_> = pins.collect();
    let mut document = doc! {
        "_id": format!("{name}@{version}"),
        "name": name,
        "version": version.to_string(),
        "version_key": version_key(version),
        "pins": pins.into_iter().map(str::to_owned).collect::<Vec<_>>(),
    };
    document.extend(body("a playbook", new)?);
    Ok(document)
}

/// A run that no engine has claimed yet: its snapshot, beside the fields of its progress.
pub(super) fn new_run(new: &NewRun) -> Result<Document> {
    let snapshot = &new.run.snapshot;
    let pins: Vec<_> = snapshot.pins().into_iter().map(|pin| pin.as_str().to_owned()).collect();
    let mut document = doc! { "_id": uuid(snapshot.id.0), "cluster": &snapshot.cluster };
    document.extend(progress(&new.run.progress)?);
    document.extend(doc! {
        "lease": { "engine": Bson::Null, "epoch": 0_i64, "until": FREE, "token": Bson::Null,
            "store": Bson::Null },
        "commits": 0_i64,
        "request": new.request.as_str(),
        "pins": pins,
        "snapshot": body("a run", &**snapshot)?,
    });
    if let Some(key) = &new.idempotency_key {
        document.insert("idempotency_key", key);
    }
    Ok(document)
}

/// The fields of a run that a commit writes.
pub(super) fn progress(progress: &Progress) -> Result<Document> {
    to_fields(progress).map_err(|error| corrupt("a run", error))
}

/// A run from its stored form, or what is known of it if it can't be read.
pub(super) fn read_run(raw: &RawDocument) -> KeptRun {
    let snapshot = snapshot_of(raw).map(Arc::new);
    let progress = decode(raw, from_document::<Progress>);
    let why = match (&snapshot, progress) {
        // The field `cluster` decides which lock the run needs, so it must agree with the snapshot.
        (Ok(snapshot), Ok(progress)) => match same(raw, "cluster", &snapshot.cluster) {
            Ok(()) => return Ok(Run { snapshot: snapshot.clone(), progress }),
            Err(why) => why,
        },
        (Err(why), _) => format!("its snapshot: {why}"),
        (Ok(_), Err(why)) => why,
    };
    let id = raw.get_binary("_id").ok().and_then(|id| Uuid::from_slice(id.bytes).ok());
    let id = RunId(id.unwrap_or_default());
    let glance = Glance {
        id,
        cluster: match &snapshot {
            Ok(snapshot) => Some(snapshot.cluster.clone()),
            Err(_) => raw.get_str("cluster").ok().map(str::to_owned),
        },
        status: raw.get_str("status").ok().and_then(|word| word.parse().ok()),
        finish_ts: raw
            .get_datetime("finish_ts")
            .ok()
            .map(|at| at.timestamp_millis())
            .map(Timestamp::from_millis),
        snapshot: snapshot.ok(),
    };
    Err(Box::new(DamagedRun { glance, damage: Damage::new("a run", id.to_string(), &why) }))
}

/// Checks that the field by which a document is found agrees with the document.
pub(super) fn same(
    raw: &RawDocument,
    field: &str,
    document: &str,
) -> std::result::Result<(), String> {
    let found = raw.get_str(field).map_err(|error| error.to_string())?;
    match found == document {
        true => Ok(()),
        false => {
            Err(format!("it is stored under the {field} {found:?}, but says {document:?} itself"))
        }
    }
}

fn snapshot_of(raw: &RawDocument) -> std::result::Result<Snapshot, String> {
    let snapshot = raw.get_document("snapshot").map_err(|error| error.to_string())?;
    decode(snapshot, from_document)
}

/// The fields by which a journal is found, without its run.
pub(super) fn journal_key(key: &AttemptKey) -> Document {
    let AttemptKey { agent, stage, step, attempt } = *key;
    doc! {
        "key.agent": integer(agent.0.into()),
        "key.stage": integer(stage.into()),
        "key.step": integer(step.into()),
        "key.attempt": integer(attempt.into()),
    }
}

/// The agent of a log line, from the cursor of a log. A line of the strategy has no agent, and sorts before all
/// others.
pub(super) fn agent_of_line(agent: &str) -> Bson {
    if agent.is_empty() { Bson::Null } else { Bson::String(agent.to_owned()) }
}

/// A command in its stored form. Its `_id` is its identifier.
pub(super) fn command(command: &Command) -> Result<Document> {
    let mut document = doc! { "_id": uuid(command.id.0) };
    let mut rest = body("a command", command)?;
    rest.remove("id");
    document.extend(rest);
    Ok(document)
}

/// A command from its stored form.
pub(super) fn read_command(mut document: Document) -> std::result::Result<Command, CodecError> {
    if let Some(id) = document.remove("_id") {
        document.insert("id", id);
    }
    from_document(document)
}

/// An identifier from its stored form.
pub(super) fn read_uuid(value: &Bson) -> Option<uuid::Uuid> {
    let Bson::Binary(binary) = value else { return None };
    uuid::Uuid::from_slice(&binary.bytes).ok()
}
