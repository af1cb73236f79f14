//! Plugins, their bytes, and what pins them.

use std::collections::BTreeSet;

use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use super::rows::{
    Decoded, change, column, decode, document, encode, first, found, key_of, run_id,
};
use crate::contract::Result;
use crate::damage::{Found, no_bytes, whole_bytes};
use crate::documents::{Plugin, PluginSignature, Put};
use crate::error::StoreError;
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::run::Digest;

pub(super) const PLUGIN: &str = "a plugin";

pub(super) fn put_plugin(connection: &Connection, new: &Plugin, bytes: &[u8]) -> Result<Put> {
    let info = &new.info;
    let digest = info.digest.as_str();
    let body = encode(PLUGIN, new)?;
    let known = plugin(connection, &info.digest)
        .and_then(|known| Ok(plugin_bytes(connection, &info.digest)?.and(known)));
    let put = match known {
        Ok(Some(known)) => return learn(connection, known, new),
        Ok(None) => Put::Created,
        Err(StoreError::Damaged(_)) => Put::Updated,
        Err(error) => return Err(error),
    };
    // A plugin that can't be read, or of which a part is missing, is mended by putting it anew.
    let sql = "INSERT INTO plugins (digest, name, version, added_at, body) \
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (digest) DO UPDATE SET name = excluded.name, \
               version = excluded.version, added_at = excluded.added_at, body = excluded.body";
    let row = params![digest, info.name, info.version, new.added_at.as_millis(), body];
    change(connection, PLUGIN, sql, row)?;
    let sql = "INSERT OR REPLACE INTO plugin_bytes (digest, bytes) VALUES (?1, ?2)";
    change(connection, PLUGIN, sql, params![digest, bytes])?;
    Ok(put)
}

/// Adds what is new about where a plugin came from, and begins its retention anew.
fn learn(connection: &Connection, mut known: Plugin, new: &Plugin) -> Result<Put> {
    let learnt = known.learn(&new.provenance);
    let renewed = new.unpinned_at.is_some_and(|at| known.renew(at));
    if learnt || renewed {
        let (digest, body) = (known.info.digest.as_str(), encode(PLUGIN, &known)?);
        let sql = "UPDATE plugins SET body = ?2 WHERE digest = ?1";
        change(connection, PLUGIN, sql, params![digest, body])?;
    }
    Ok(if learnt { Put::Updated } else { Put::Unchanged })
}

pub(super) fn sign_plugin(
    connection: &Connection,
    digest: &Digest,
    signatures: &[PluginSignature],
) -> Result<Option<Plugin>> {
    let Some(mut signed) = plugin(connection, digest)? else { return Ok(None) };
    if signed.sign(signatures)? {
        let sql = "UPDATE plugins SET body = ?2 WHERE digest = ?1";
        change(connection, PLUGIN, sql, params![digest.as_str(), encode(PLUGIN, &signed)?])?;
    }
    Ok(Some(signed))
}

pub(super) fn is_there(connection: &Connection, digest: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM plugins WHERE digest = ?1";
    Ok(first(connection, PLUGIN, sql, params![digest], |_| Ok(()))?.is_some())
}

/// Fails if a digest is not in the store, naming the lowest such digest.
pub(super) fn check_pins(connection: &Connection, digests: &BTreeSet<&Digest>) -> Result<()> {
    for digest in digests {
        if !is_there(connection, digest.as_str())? {
            return Err(StoreError::MissingPlugin { digest: (*digest).clone() });
        }
    }
    Ok(())
}

pub(super) fn plugin(connection: &Connection, digest: &Digest) -> Result<Option<Plugin>> {
    let sql = "SELECT body FROM plugins WHERE digest = ?1";
    document(connection, PLUGIN, sql, params![digest.as_str()], digest.as_str(), read_plugin)
}

pub(super) fn plugin_by_name(
    connection: &Connection,
    name: &str,
    version: &str,
) -> Result<Option<Plugin>> {
    let sql = "SELECT body FROM plugins WHERE name = ?1 AND version = ?2 \
               ORDER BY added_at DESC, digest DESC LIMIT 1";
    document(connection, PLUGIN, sql, params![name, version], name, read_plugin)
}

pub(super) fn plugin_bytes(connection: &Connection, digest: &Digest) -> Result<Option<Bytes>> {
    let sql = "SELECT bytes FROM plugin_bytes WHERE digest = ?1";
    let bytes = first(connection, PLUGIN, sql, params![digest.as_str()], |row| {
        column::<Vec<u8>>(PLUGIN, row, 0).map(Bytes::from)
    })?;
    match bytes {
        Some(bytes) => whole_bytes(digest, bytes).map(Some),
        None if is_there(connection, digest.as_str())? => Err(no_bytes(digest).into()),
        None => Ok(None),
    }
}

pub(super) fn plugins(
    connection: &Connection,
    after: Option<&Digest>,
    limit: u32,
) -> Result<Found<Plugin>> {
    let sql = "SELECT body, digest FROM plugins WHERE digest > ?1 ORDER BY digest LIMIT ?2";
    let after = after.map(Digest::as_str).unwrap_or_default();
    let row = params![after, page_limit(limit)];
    found(connection, PLUGIN, sql, row, |row| key_of(row, &[1]), read_plugin)
}

pub(super) fn read_plugin(row: &Row<'_>) -> Decoded<Plugin> {
    decode(row, 0)
}

pub(super) fn delete_plugin(connection: &Connection, digest: &Digest, at: &Moment) -> Result<bool> {
    if let Some(by) = pinned_by(connection, digest, at)? {
        return Err(StoreError::Pinned { digest: digest.clone(), by });
    }
    remove(connection, digest)
}

/// Removes a plugin, whatever pins it. Returns whether it existed.
pub(super) fn remove(connection: &Connection, digest: &Digest) -> Result<bool> {
    for sql in
        ["DELETE FROM plugin_bytes WHERE digest = ?1", "DELETE FROM plugins WHERE digest = ?1"]
    {
        change(connection, PLUGIN, sql, params![digest.as_str()])?;
    }
    Ok(connection.changes() > 0)
}

pub(super) fn pinned_by(
    connection: &Connection,
    digest: &Digest,
    at: &Moment,
) -> Result<Option<String>> {
    let sql = "SELECT name, version FROM playbook_pins WHERE digest = ?1 \
               ORDER BY name, version_key LIMIT 1";
    let by = first(connection, PLUGIN, sql, params![digest.as_str()], |row| {
        let (name, version): (String, String) = (column(PLUGIN, row, 0)?, column(PLUGIN, row, 1)?);
        Ok(format!("playbook {name} version {version}"))
    })?;
    if by.is_some() {
        return Ok(by);
    }
    let sql = "SELECT run FROM run_pins JOIN runs ON id = run \
               WHERE digest = ?1 AND (finish_ts IS NULL OR finish_ts >= ?2) \
               ORDER BY run LIMIT 1";
    first(connection, PLUGIN, sql, params![digest.as_str(), at.cutoff.as_millis()], |row| {
        Ok(format!("run {}", run_id(PLUGIN, row, 0)?))
    })
}
