//! Playbooks and clusters: what people apply.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use semver::Version;

use super::locks::lock_with_guards;
use super::plugins::check_pins;
use super::rows::{
    Decoded, change, column, decode, document, encode, first, found, key_of, run_id,
};
use super::upkeep::pin;
use crate::contract::Result;
use crate::damage::Found;
use crate::documents::{Cluster, Object, Page, Put, StoredPlaybook, gets_guards};
use crate::error::StoreError;
use crate::keys::{page_limit, version_key, version_of_key};
use replibook_core::run::RunStatus;

pub(super) const PLAYBOOK: &str = "a playbook";
pub(super) const CLUSTER: &str = "a cluster";

pub(super) fn put_playbook(connection: &Connection, new: &StoredPlaybook) -> Result<Put> {
    let (name, version) = (&new.playbook.name, &new.playbook.version);
    let key = version_key(version);
    let sql = "SELECT content, body FROM playbooks WHERE name = ?1 AND version_key = ?2";
    let known = first(connection, PLAYBOOK, sql, params![name, key], |row| {
        let content: String = column(PLAYBOOK, row, 0)?;
        Ok((content, decode::<StoredPlaybook>(row, 1).is_ok()))
    })?;
    let put = match known {
        Some((content, _)) if content != new.content.as_str() => {
            let what = format!("playbook {name} version {version}");
            return Err(StoreError::Conflict { what });
        }
        Some((_, true)) => return Ok(Put::Unchanged),
        // A playbook that can't be read is mended by applying it anew.
        Some((_, false)) => Put::Updated,
        None => Put::Created,
    };
    let pins = new.playbook.plugins.values().map(|pin| &pin.digest).collect();
    check_pins(connection, &pins)?;
    pin(connection, &pins)?;
    delete_playbook(connection, name, version)?;
    let sql = "INSERT INTO playbooks (name, version_key, content, body) VALUES (?1, ?2, ?3, ?4)";
    let body = encode(PLAYBOOK, new)?;
    change(connection, PLAYBOOK, sql, params![name, key, new.content.as_str(), body])?;
    for digest in pins {
        let sql = "INSERT INTO playbook_pins (digest, name, version_key, version) \
                   VALUES (?1, ?2, ?3, ?4)";
        let row = params![digest.as_str(), name, key, version.to_string()];
        change(connection, PLAYBOOK, sql, row)?;
    }
    Ok(put)
}

pub(super) fn playbook(
    connection: &Connection,
    name: &str,
    version: Option<&Version>,
) -> Result<Option<StoredPlaybook>> {
    match version {
        Some(version) => {
            let sql = "SELECT body FROM playbooks WHERE name = ?1 AND version_key = ?2";
            let key = version_key(version);
            document(connection, PLAYBOOK, sql, params![name, key], name, read_playbook)
        }
        None => {
            let sql = "SELECT body FROM playbooks WHERE name = ?1 \
                       ORDER BY version_key DESC LIMIT 1";
            document(connection, PLAYBOOK, sql, params![name], name, read_playbook)
        }
    }
}

pub(super) fn playbooks(
    connection: &Connection,
    after: Option<(String, Version)>,
    limit: u32,
) -> Result<Found<StoredPlaybook>> {
    let (name, key) = match after {
        Some((name, version)) => (name, version_key(&version)),
        None => (String::new(), String::new()),
    };
    let sql = "SELECT body, name, version_key FROM playbooks \
               WHERE (name, version_key) > (?1, ?2) ORDER BY name, version_key LIMIT ?3";
    let row = params![name, key, page_limit(limit)];
    found(connection, PLAYBOOK, sql, row, playbook_key, read_playbook)
}

/// The key of a playbook whose name and version are in columns 1 and 2.
pub(super) fn playbook_key(row: &Row<'_>) -> String {
    let version = version_of_key(&key_of(row, &[2]));
    let version = version.map_or_else(String::new, |version| version.to_string());
    format!("{}@{version}", key_of(row, &[1]))
}

pub(super) fn delete_playbook(
    connection: &Connection,
    name: &str,
    version: &Version,
) -> Result<bool> {
    let key = version_key(version);
    for sql in [
        "DELETE FROM playbook_pins WHERE name = ?1 AND version_key = ?2",
        "DELETE FROM playbooks WHERE name = ?1 AND version_key = ?2",
    ] {
        change(connection, PLAYBOOK, sql, params![name, key])?;
    }
    Ok(connection.changes() > 0)
}

pub(super) fn read_playbook(row: &Row<'_>) -> Decoded<StoredPlaybook> {
    decode(row, 0)
}

pub(super) fn read_cluster(row: &Row<'_>) -> Decoded<Cluster> {
    decode(row, 0)
}

pub(super) fn put_cluster(connection: &Connection, new: &Cluster) -> Result<Put> {
    let (put, known) = match cluster(connection, &new.spec.name) {
        Ok(Some(known)) if known.text == new.text && known.spec == new.spec => {
            return Ok(Put::Unchanged);
        }
        Ok(Some(known)) => (Put::Updated, Some(known)),
        // A cluster that can't be read is mended by applying it anew.
        Err(StoreError::Damaged(_)) => (Put::Updated, None),
        Ok(None) => (Put::Created, None),
        Err(error) => return Err(error),
    };
    if gets_guards(known.as_ref(), new) {
        lock_with_guards(connection, &new.spec.name)?;
    }
    let sql = "INSERT OR REPLACE INTO clusters (name, body) VALUES (?1, ?2)";
    change(connection, CLUSTER, sql, params![new.spec.name, encode(CLUSTER, new)?])?;
    Ok(put)
}

pub(super) fn cluster(connection: &Connection, name: &str) -> Result<Option<Cluster>> {
    let sql = "SELECT body FROM clusters WHERE name = ?1";
    document(connection, CLUSTER, sql, params![name], name, read_cluster)
}

pub(super) fn clusters(connection: &Connection, page: &Page) -> Result<Found<Cluster>> {
    let sql = "SELECT body, name FROM clusters WHERE name > ?1 ORDER BY name LIMIT ?2";
    let after = page.after.as_deref().unwrap_or_default();
    let row = params![after, page_limit(page.limit)];
    found(connection, CLUSTER, sql, row, |row| key_of(row, &[1]), read_cluster)
}

pub(super) fn delete_cluster(connection: &Connection, name: &str) -> Result<bool> {
    match check_cluster(connection, name) {
        Err(StoreError::MissingCluster { .. }) => return Ok(false),
        checked => checked?,
    }
    let mut sql = "SELECT id FROM runs INDEXED BY runs_by_cluster_and_status \
                   WHERE cluster = ? AND finish_ts IS NULL AND status IN ("
        .to_owned();
    let mut values = vec![Value::Text(name.to_owned())];
    for status in RunStatus::ALL.into_iter().filter(|status| !status.is_final()) {
        sql.push_str(if values.len() > 1 { ", ?" } else { "?" });
        values.push(Value::Text(status.as_str().to_owned()));
    }
    sql.push_str(") ORDER BY id LIMIT 1");
    let run =
        first(connection, CLUSTER, &sql, params_from_iter(values), |row| run_id(CLUSTER, row, 0))?;
    if let Some(run) = run {
        return Err(StoreError::ClusterInUse { cluster: name.to_owned(), run });
    }
    // All its runs have ended, so nobody holds the lock.
    change(connection, CLUSTER, "DELETE FROM locks WHERE cluster = ?1", params![name])?;
    let sql = "DELETE FROM clusters WHERE name = ?1";
    Ok(change(connection, CLUSTER, sql, params![name])? > 0)
}

/// Fails if the cluster is not in the store.
pub(super) fn check_cluster(connection: &Connection, name: &str) -> Result<()> {
    let sql = "SELECT 1 FROM clusters WHERE name = ?1";
    match first(connection, CLUSTER, sql, params![name], |_| Ok(()))? {
        Some(()) => Ok(()),
        None => Err(StoreError::MissingCluster { cluster: name.to_owned() }),
    }
}

/// If one of them can't be kept, the whole write fails, and nothing of it stays.
pub(super) fn put_all(connection: &Connection, objects: &[Object]) -> Result<Vec<Put>> {
    let put = objects.iter().map(|object| match object {
        Object::Playbook(playbook) => put_playbook(connection, playbook),
        Object::Cluster(cluster) => put_cluster(connection, cluster),
    });
    put.collect()
}
