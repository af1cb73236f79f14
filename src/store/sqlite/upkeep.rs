//! Plugins that nothing pins: how their retention begins and ends. There is one thread that writes, so nobody pins a
//! plugin between the look at its pins and its removal.

use std::collections::BTreeSet;
use std::sync::PoisonError;

use rusqlite::{Connection, params};

use super::plugins::{PLUGIN, is_there, pinned_by, plugin, plugins, remove};
use super::rows::{change, encode};
use super::store::SqliteStore;
use crate::contract::{MAX_PAGE, MAX_SWEPT_PLUGINS, Result};
use crate::documents::{Plugin, SweptPlugins};
use crate::error::StoreError;
use crate::options::Moment;
use crate::upkeep::{Fate, fate, goes_on_after_found};
use replibook_core::run::{Digest, Timestamp};

/// After how many bytes of removed plugins a sweep ends: it holds up everybody who writes. That is one plugin of the largest.
const MAX_SWEPT_BYTES: u64 = 64 * 1024 * 1024;

impl SqliteStore {
    /// Makes the next sweep over plugins, if it is time. No other process makes one, so this one alone knows where it goes
    /// on; the next process begins a new round.
    pub(super) async fn sweep_next(&self, limit: u32, at: Moment) -> Result<Option<SweptPlugins>> {
        let limit = limit.min(MAX_SWEPT_PLUGINS);
        let round = || self.round.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(after) = round().take(&at) else { return Ok(None) };
        let (swept, last) = self.write(move |c| sweep(c, after.as_ref(), limit, &at)).await?;
        round().after = last;
        Ok(Some(swept))
    }
}

/// Ends the retention of plugins that are pinned from now on. What can't be read has none that could end.
pub(super) fn pin(connection: &Connection, digests: &BTreeSet<&Digest>) -> Result<()> {
    for digest in digests {
        match plugin(connection, digest) {
            Ok(Some(known)) if known.unpinned_at.is_some() => begin(connection, known, None)?,
            Ok(_) | Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Begins the retention of these plugins anew, and returns how many of them are there.
pub(super) fn renew(connection: &Connection, digests: &[Digest], at: &Moment) -> Result<u64> {
    let digests: BTreeSet<_> = digests.iter().take(MAX_PAGE as usize).collect();
    let mut there = 0;
    for digest in digests {
        match plugin(connection, digest) {
            Ok(Some(mut known)) => {
                there += 1;
                if known.renew(at.now) {
                    begin(connection, known, Some(at.now))?;
                }
            }
            Ok(None) => {}
            Err(StoreError::Damaged(_)) => {
                there += u64::from(is_there(connection, digest.as_str())?)
            }
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

/// Looks at the plugins after one. Also returns after which plugin to go on.
fn sweep(
    connection: &Connection,
    after: Option<&Digest>,
    limit: u32,
    at: &Moment,
) -> Result<(SweptPlugins, Option<Digest>)> {
    let found = plugins(connection, after, limit)?;
    let mut last = goes_on_after_found(&found, limit);
    let mut swept = SweptPlugins::default();
    let mut removed_bytes = 0;
    for known in found {
        swept.looked_at += 1;
        let Ok(known) = known else { continue };
        let is_pinned = pinned_by(connection, &known.info.digest, at)?.is_some();
        match fate(&known, is_pinned, at) {
            Fate::Stays => {}
            Fate::Pinned => begin(connection, known, None)?,
            Fate::Unpinned => begin(connection, known, Some(at.now))?,
            Fate::Goes => {
                if remove(connection, &known.info.digest)? {
                    removed_bytes += known.info.size;
                    swept.removed.push(known.info.digest.clone());
                }
                if removed_bytes >= MAX_SWEPT_BYTES {
                    last = Some(known.info.digest);
                    break;
                }
            }
        }
    }
    Ok((swept, last))
}

/// Sets when the retention of a plugin began.
fn begin(connection: &Connection, known: Plugin, at: Option<Timestamp>) -> Result<()> {
    let known = Plugin { unpinned_at: at, ..known };
    let (digest, body) = (known.info.digest.as_str(), encode(PLUGIN, &known)?);
    let sql = "UPDATE plugins SET body = ?2 WHERE digest = ?1";
    change(connection, PLUGIN, sql, params![digest, body]).map(drop)
}
