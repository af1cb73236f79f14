//! Finds playbooks, clusters and plugins of which some pages can't be read. Their keys are in the table and in an
//! index of it; each document is then read by itself.

use rusqlite::{Connection, Row, params};
use semver::Version;

use super::failure::reason;
use super::objects::{CLUSTER, PLAYBOOK, playbook_key, read_cluster, read_playbook};
use super::plugins::{PLUGIN, read_plugin};
use super::rows::{Decoded, all, column, first, key_of};
use crate::contract::Result;
use crate::damage::{Damage, Found};
use crate::documents::{Cluster, Page, Plugin, StoredPlaybook};
use crate::error::StoreError;
use crate::keys::{page_limit, version_key};
use replibook_core::run::Digest;

/// Like [`objects::playbooks`](super::objects::playbooks), from a damaged file.
pub(super) fn playbooks(
    connection: &Connection,
    after: Option<(String, Version)>,
    limit: u32,
) -> Result<Found<StoredPlaybook>> {
    let (name, version) = match after {
        Some((name, version)) => (name, version_key(&version)),
        None => Default::default(),
    };
    let table = Table { what: PLAYBOOK, table: "playbooks", columns: "name, version_key" };
    let values = [name, version, page_limit(limit).to_string()];
    table.save(connection, "(name, version_key) > (?1, ?2)", &values, playbook_key, read_playbook)
}

/// Like [`objects::clusters`](super::objects::clusters), from a damaged file.
pub(super) fn clusters(connection: &Connection, page: &Page) -> Result<Found<Cluster>> {
    let table = Table { what: CLUSTER, table: "clusters", columns: "name" };
    let after = page.after.clone().unwrap_or_default();
    let values = [after, page_limit(page.limit).to_string()];
    table.save(connection, "name > ?1", &values, |row| key_of(row, &[1]), read_cluster)
}

/// Like [`plugins::plugins`](super::plugins::plugins), from a damaged file.
pub(super) fn plugins(
    connection: &Connection,
    after: Option<&Digest>,
    limit: u32,
) -> Result<Found<Plugin>> {
    let table = Table { what: PLUGIN, table: "plugins", columns: "digest" };
    let after = after.map(Digest::as_str).unwrap_or_default().to_owned();
    let values = [after, page_limit(limit).to_string()];
    table.save(connection, "digest > ?1", &values, |row| key_of(row, &[1]), read_plugin)
}

/// A table with an index of its keys.
struct Table {
    what: &'static str,
    table: &'static str,
    /// The columns of the key.
    columns: &'static str,
}

impl Table {
    /// The documents after a key, in order, with the damage of those that can't be read. The last of `values` is
    /// the most that are returned.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if neither the index nor the table shows which documents there are.
    fn save<T>(
        &self,
        connection: &Connection,
        after: &str,
        values: &[String],
        key: impl Fn(&Row<'_>) -> String,
        read: impl Fn(&Row<'_>) -> Decoded<T>,
    ) -> Result<Found<T>> {
        let Self { what, table, columns } = self;
        let keys = |how: &str| {
            let sql = format!(
                "SELECT rowid, {columns} FROM {table}{how} WHERE {after} ORDER BY {columns} \
                 LIMIT CAST(?{} AS INTEGER)",
                values.len()
            );
            all(connection, what, &sql, rusqlite::params_from_iter(values), |row| {
                Ok((column::<i64>(what, row, 0)?, key(row)))
            })
        };
        let keys = match keys("") {
            Err(StoreError::Broken { .. }) => keys(" NOT INDEXED"),
            keys => keys,
        };
        let sql = format!("SELECT body FROM {table} WHERE rowid = ?1");
        let one = |(row, key): (i64, String)| {
            let damage = |why: String| Damage::new(what, key.clone(), &why);
            let found = first(connection, what, &sql, params![row], |row| Ok(read(row)));
            match found {
                Ok(Some(found)) => Ok(found.map_err(damage)),
                Ok(None) => Ok(Err(damage("only its key is there".to_owned()))),
                Err(error @ StoreError::Broken { .. }) => Ok(Err(damage(reason(&error)))),
                Err(error) => Err(error),
            }
        };
        keys?.into_iter().map(one).collect()
    }
}
