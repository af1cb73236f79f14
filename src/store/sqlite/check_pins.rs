//! Checks whether the pins of runs and playbooks are recorded. A plugin whose pin is missing may be deleted while
//! it is still needed, and a plugin whose pin is left over can never be removed.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row};

use super::check::{Kind, each};
use super::rows::{Decoded, all, decode, key_of, run_id, value};
use super::runs::RUN;
use crate::checked::Checked;
use crate::contract::Result;
use crate::damage::Damage;
use crate::documents::StoredPlaybook;
use crate::error::StoreError;
use replibook_core::run::{Digest, RunId, Snapshot};

const OF_RUN: &str = "what a run pins";
const OF_PLAYBOOK: &str = "what a playbook pins";

/// Checks all pins, and everything that should have some.
pub(super) fn check(connection: &Connection, to: &mut Checked) -> Result<()> {
    of_runs(connection, to)?;
    of_playbooks(connection, to)?;
    missing_of_runs(connection, to)?;
    missing_of_playbooks(connection, to)
}

fn of_runs(connection: &Connection, to: &mut Checked) -> Result<()> {
    // An expired run no longer pins anything. This does not know the time, so any finished run may have expired.
    let columns = "run, digest, EXISTS (SELECT 1 FROM runs r WHERE r.id = run_pins.run), \
                   EXISTS (SELECT 1 FROM plugins p WHERE p.digest = run_pins.digest) OR NOT EXISTS \
                   (SELECT 1 FROM runs r WHERE r.id = run_pins.run AND r.finish_ts IS NULL)";
    let kind = Kind { table: "run_pins", what: OF_RUN, columns, key: 2, of_run: true };
    each(connection, to, &kind, |row| {
        value::<[u8; 16]>(row, 0).map_err(|why| format!("the identifier of its run: {why}"))?;
        value::<String>(row, 1)?;
        is_there(row, 2, "its run")?;
        is_there(row, 3, "the plugin")
    })
}

fn of_playbooks(connection: &Connection, to: &mut Checked) -> Result<()> {
    let columns = "digest, name, version, EXISTS (SELECT 1 FROM playbooks p WHERE \
                   p.name = playbook_pins.name AND p.version_key = playbook_pins.version_key), \
                   EXISTS (SELECT 1 FROM plugins p WHERE p.digest = playbook_pins.digest)";
    let kind = Kind { table: "playbook_pins", what: OF_PLAYBOOK, columns, key: 3, of_run: false };
    each(connection, to, &kind, |row| {
        value::<String>(row, 0)?;
        is_there(row, 3, "the playbook")?;
        is_there(row, 4, "the plugin")
    })
}

fn is_there(row: &Row<'_>, column: usize, what: &str) -> Decoded<()> {
    match value::<bool>(row, column)? {
        true => Ok(()),
        false => Err(format!("{what} is not there")),
    }
}

/// Compares the pins of runs with the snapshots with which they were started.
fn missing_of_runs(connection: &Connection, to: &mut Checked) -> Result<()> {
    // In a single query, so that nothing changes between reading the run and its pins.
    let sql = "SELECT id, (SELECT body FROM snapshots WHERE run = id), \
               (SELECT group_concat(digest, ' ') FROM run_pins WHERE run = id) FROM runs";
    let found: Result<Vec<Vec<(RunId, Difference)>>> = all(connection, OF_RUN, sql, [], |row| {
        // It was reported before that one of these can't be read.
        let (Ok(run), Ok(snapshot)) = (run_id(RUN, row, 0), decode::<Snapshot>(row, 1)) else {
            return Ok(Vec::new());
        };
        let differences = differences(&snapshot.pins(), &key_of(row, &[2]));
        Ok(differences.into_iter().map(|difference| (run, difference)).collect())
    });
    for (run, Difference { digest, why }) in sound(found)?.into_iter().flatten() {
        to.flaw("run_pins", Some(run), Damage::new(OF_RUN, digest, &why));
    }
    Ok(())
}

/// The same for playbooks.
fn missing_of_playbooks(connection: &Connection, to: &mut Checked) -> Result<()> {
    let sql = "SELECT name, body, (SELECT group_concat(digest, ' ') FROM playbook_pins pin \
               WHERE pin.name = playbooks.name AND pin.version_key = playbooks.version_key) \
               FROM playbooks";
    let found: Result<Vec<Vec<Damage>>> = all(connection, OF_PLAYBOOK, sql, [], |row| {
        let Ok(StoredPlaybook { playbook, .. }) = decode(row, 1) else { return Ok(Vec::new()) };
        let pins = playbook.plugins.values().map(|pin| &pin.digest).collect();
        let damage = |Difference { digest, why }| {
            let key = format!("{digest}.{}.{}", playbook.name, playbook.version);
            Damage::new(OF_PLAYBOOK, key, &why)
        };
        Ok(differences(&pins, &key_of(row, &[2])).into_iter().map(damage).collect())
    });
    for damage in sound(found)?.into_iter().flatten() {
        to.flaw("playbook_pins", None, damage);
    }
    Ok(())
}

/// A plugin that is pinned and should not be, or that should be pinned and is not.
struct Difference {
    digest: String,
    why: &'static str,
}

fn differences(wanted: &BTreeSet<&Digest>, found: &str) -> Vec<Difference> {
    let wanted: BTreeSet<&str> = wanted.iter().map(|digest| digest.as_str()).collect();
    let found: BTreeSet<&str> = found.split_whitespace().collect();
    let difference = |digest: &str, why| Difference { digest: digest.to_owned(), why };
    let missing = wanted.difference(&found);
    let missing =
        missing.map(|digest| difference(digest, "it is missing, although the plugin is used"));
    let left_over = found.difference(&wanted);
    let left_over =
        left_over.map(|digest| difference(digest, "it is there, although the plugin is not used"));
    missing.chain(left_over).collect()
}

/// What was found. Empty if the file is broken, which was reported when the whole table was read.
fn sound<T>(found: Result<Vec<T>>) -> Result<Vec<T>> {
    match found {
        Err(StoreError::Broken { .. }) => Ok(Vec::new()),
        found => found,
    }
}
