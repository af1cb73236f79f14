//! Reads every document of the database, including those that nobody asks for, to find damage before it matters.

use std::path::Path;

use rusqlite::{Connection, Row};
use sha2::{Digest as _, Sha256};

use super::failure::failed;
use super::rows::{Decoded, all, decode, first, key_of, record_at, same_word, value};
use super::store::SqliteStore;
use super::{
    DATABASE_FILE, LOCK_FILE, check_pins, directory, engines, left_log, open, runs, schema,
};
use crate::checked::Checked;
use crate::contract::Result;
use crate::damage::{Damage, PLUGIN_BYTES};
use crate::documents::{Cluster, LogCursor, Plugin, StoredPlaybook};
use crate::error::StoreError;
use crate::keys::version_key;
use replibook_core::run::{
    AgentRecord, AttemptKey, Command, Journal, LogLine, RunEvent, RunId, Trouble,
};

/// How many faults of the file itself are reported: the first few show where to look.
const FAULTS: u32 = 20;

/// A table, the columns by which its documents are found, and those from which they are read.
pub(super) struct Kind {
    pub(super) table: &'static str,
    pub(super) what: &'static str,
    /// All of them, beginning with those of the key.
    pub(super) columns: &'static str,
    /// How many columns the key has.
    pub(super) key: usize,
    /// Whether the first column is the run.
    pub(super) of_run: bool,
}

impl SqliteStore {
    /// Reads every document of the store in a data directory, even while an engine uses it. Changes nothing.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`](crate::StoreError::Unavailable) when the database can't be read;
    /// [`StoreError::NewerSchema`](crate::StoreError::NewerSchema) when a newer version made it.
    pub fn check(directory: impl AsRef<Path>) -> Result<Checked> {
        check(directory.as_ref())
    }
}

/// Reads every document of the store in this directory, even while an engine uses it. Changes nothing.
///
/// # Errors
/// [`StoreError`](crate::StoreError) when the database can't be opened, or was made by a newer version.
fn check(directory: &Path) -> Result<Checked> {
    let database = directory.join(DATABASE_FILE);
    let mut checked = Checked::default();
    let to = &mut checked;
    let look =
        || left_log::check(&database, &directory.join(LOCK_FILE), directory::is_open(directory));
    let mut kept = look();
    if matches!(kept, Err(StoreError::Unfit { .. })) {
        // An engine that is just ending notes that first and then removes the log, so look again.
        kept = look();
    }
    match kept {
        Ok(()) => {}
        // Opening the database now would make it look as if nothing were missing.
        Err(StoreError::Unfit { message, .. }) => {
            to.flaw("file", None, Damage::new("the log", String::new(), &message));
            return Ok(checked);
        }
        Err(error) => return Err(error),
    }
    let connection = open::looker(&database)?;
    match schema::known(&connection) {
        // The file is not a database, or shorter than its header says: SQLite does not read any of it then.
        Err(error @ StoreError::Broken { .. }) => {
            to.looked_at("file");
            broken("file", "the database file", error, to)?;
            return Ok(checked);
        }
        known => known?,
    }
    file(&connection, to)?;
    objects(&connection, to)?;
    of_runs(&connection, to)?;
    records(&connection, to)?;
    orphans(&connection, to)?;
    Ok(checked)
}

/// Checks the pages of the file.
fn file(connection: &Connection, to: &mut Checked) -> Result<()> {
    const WHAT: &str = "the database file";
    to.looked_at("file");
    let sql = format!("PRAGMA quick_check({FAULTS})");
    let said: Result<Vec<String>> = all(connection, WHAT, &sql, [], |row| {
        row.get(0).map_err(|error| failed("check the database file", error))
    });
    match said {
        Ok(said) => {
            for fault in said.iter().filter(|said| *said != "ok") {
                to.flaw("file", None, Damage::new(WHAT, String::new(), fault));
            }
            Ok(())
        }
        // The file is so damaged that even the check gives up.
        Err(error) => broken("file", WHAT, error, to),
    }
}

/// Notes that the file is broken where this table is. Other tables may be intact.
fn broken(
    table: &'static str,
    what: &'static str,
    error: StoreError,
    to: &mut Checked,
) -> Result<()> {
    let StoreError::Broken { .. } = &error else { return Err(error) };
    let why = super::failure::reason(&error);
    to.flaw(table, None, Damage::new(what, String::new(), &why));
    Ok(())
}

/// Reads all documents of a kind. `read` gets a row that begins with the key, and says what is wrong with the
/// document.
pub(super) fn each(
    connection: &Connection,
    to: &mut Checked,
    kind: &Kind,
    read: impl Fn(&Row<'_>) -> Decoded<()>,
) -> Result<()> {
    let Kind { table, what, columns, key, of_run } = *kind;
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    match first(connection, what, sql, [table], |_| Ok(())) {
        Ok(Some(())) => {}
        // A database of an earlier version does not have this table.
        Ok(None) => return Ok(()),
        Err(error) => return broken(table, what, error, to),
    }
    to.looked_at(table);
    let sql = format!("SELECT {columns} FROM {table}");
    let keys: Vec<usize> = (usize::from(of_run)..key).collect();
    let visited = all(connection, what, &sql, [], |row| {
        to.read(table);
        if let Err(why) = read(row) {
            let run = of_run.then(|| row.get(0).ok().map(|id| RunId(uuid::Uuid::from_bytes(id))));
            to.flaw(table, run.flatten(), Damage::new(what, key_of(row, &keys), &why));
        }
        Ok(())
    });
    match visited {
        Ok(_) => Ok(()),
        Err(error) => broken(table, what, error, to),
    }
}

/// Checks that a column by which a document is found agrees with the document.
fn same<T: PartialEq + std::fmt::Debug>(name: &str, column: T, document: T) -> Decoded<()> {
    match column == document {
        true => Ok(()),
        false => {
            Err(format!("it is stored under the {name} {column:?}, but says {document:?} itself"))
        }
    }
}

fn run_of(row: &Row<'_>, index: usize) -> Decoded<RunId> {
    value(row, index).map(|bytes| RunId(uuid::Uuid::from_bytes(bytes)))
}

fn objects(connection: &Connection, to: &mut Checked) -> Result<()> {
    let kind = |table, what, columns, key| Kind { table, what, columns, key, of_run: false };
    let playbooks = kind("playbooks", "a playbook", "name, version_key, content, body", 2);
    each(connection, to, &playbooks, |row| {
        let playbook: StoredPlaybook = decode(row, 3)?;
        same("name", value(row, 0)?, playbook.playbook.name)?;
        same("version", value(row, 1)?, version_key(&playbook.playbook.version))?;
        same("digest", value::<String>(row, 2)?, playbook.content.to_string())
    })?;
    each(connection, to, &kind("clusters", "a cluster", "name, body", 1), |row| {
        let cluster: Cluster = decode(row, 1)?;
        same("name", value(row, 0)?, cluster.spec.name)
    })?;
    let plugins = kind("plugins", "a plugin", "digest, body, name, version", 1);
    each(connection, to, &plugins, |row| {
        let Plugin { info, .. } = decode(row, 1)?;
        same("digest", value::<String>(row, 0)?, info.digest.to_string())?;
        same("name", value(row, 2)?, info.name)?;
        same("version", value(row, 3)?, info.version)
    })?;
    let bytes = kind("plugin_bytes", PLUGIN_BYTES, "digest, bytes", 1);
    each(connection, to, &bytes, |row| {
        let bytes = row.get_ref(1).and_then(|bytes| Ok(bytes.as_blob()?));
        let sum = hex::encode(Sha256::digest(bytes.map_err(|error| error.to_string())?));
        same("digest", value(row, 0)?, format!("sha256:{sum}"))
    })?;
    missing_bytes(connection, to)?;
    each(connection, to, &kind("locks", "the lock of a cluster", "cluster, run", 1), |row| {
        value::<String>(row, 0)?;
        run_of(row, 1).map(drop)
    })?;
    each(connection, to, &kind("engines", "an engine", "body, seen, draining, id", 0), |row| {
        let engine = engines::read(row)?;
        same("identifier", value(row, 3)?, engine.report.id.0)
    })?;
    each(connection, to, &kind("settings", "a setting", "name, value", 1), |row| {
        value::<String>(row, 0).map(drop)
    })
}

/// Reports plugins whose bytes are missing.
fn missing_bytes(connection: &Connection, to: &mut Checked) -> Result<()> {
    const PLACE: &str = "plugin_bytes";
    let sql = "SELECT digest FROM plugins WHERE digest NOT IN (SELECT digest FROM plugin_bytes)";
    match all(connection, PLUGIN_BYTES, sql, [], |row| Ok(key_of(row, &[0]))) {
        // This was reported when the whole table was read.
        Err(StoreError::Broken { .. }) => Ok(()),
        found => {
            for digest in found? {
                to.read(PLACE);
                to.flaw(PLACE, None, Damage::new(PLUGIN_BYTES, digest, &"they are not there"));
            }
            Ok(())
        }
    }
}

/// Whether the table has this column. A database of an earlier version may not.
fn has_column(
    connection: &Connection,
    table: &'static str,
    column: &str,
    to: &mut Checked,
) -> Result<bool> {
    const WHAT: &str = "the schema";
    let sql = "SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2";
    match first(connection, WHAT, sql, [table, column], |_| Ok(())) {
        Ok(found) => Ok(found.is_some()),
        Err(error) => broken(table, WHAT, error, to).map(|()| false),
    }
}

/// Columns of a run that were added later.
const PLAYBOOK_COLUMNS: &str = ", playbook, version";

fn of_runs(connection: &Connection, to: &mut Checked) -> Result<()> {
    let kind = |table, what, columns| Kind { table, what, columns, key: 1, of_run: true };
    let columns = "id, cluster, status, engine, progress, \
                   (SELECT body FROM snapshots WHERE run = id), playbook, version";
    // Databases of earlier versions don't say to which playbooks their runs belong.
    let says_playbook = has_column(connection, "runs", "playbook", to)?;
    let columns = if says_playbook { columns } else { columns.trim_end_matches(PLAYBOOK_COLUMNS) };
    each(connection, to, &kind("runs", "a run", columns), |row| {
        let id = run_of(row, 0)?;
        let run = runs::read_whole(row, [5, 4, 2, 1])?;
        same("identifier", id, run.id())?;
        value::<Option<String>>(row, 3)?;
        if says_playbook {
            let playbook = &run.snapshot.playbook;
            let word = |column| value::<Option<String>>(row, column).map(Option::unwrap_or_default);
            same("playbook", word(6)?, playbook.name.clone())?;
            same("version", word(7)?, playbook.version.to_string())?;
        }
        Ok(())
    })?;
    let columns = "run, (SELECT count(*) FROM runs WHERE id = run)";
    each(
        connection,
        to,
        &kind("snapshots", "the snapshot of a run", columns),
        |row| match value::<i64>(row, 1)? {
            0 => Err("its run is not there".to_owned()),
            _ => Ok(()),
        },
    )?;
    each(connection, to, &kind("troubles", "the trouble of a run", "run, body"), |row| {
        let trouble: Trouble = decode(row, 1)?;
        same("run", run_of(row, 0)?, trouble.run)
    })?;
    check_pins::check(connection, to)
}

fn records(connection: &Connection, to: &mut Checked) -> Result<()> {
    let kind = |table, what, columns, key| Kind { table, what, columns, key, of_run: true };
    let columns = "run, seq, agent, state, body, finish_ts";
    each(connection, to, &kind("agent_records", "an agent record", columns, 2), |row| {
        let record: AgentRecord = record_at(row, 4)?;
        same("run", run_of(row, 0)?, record.run)?;
        same("sequence", value(row, 1)?, record.seq.0)?;
        same("agent", value(row, 2)?, record.agent.0)?;
        same_word(row, 3, "state", record.state.as_str())
    })?;
    let columns = "run, agent, stage, step, attempt, body, finish_ts";
    each(connection, to, &kind("journals", "a journal", columns, 5), |row| {
        let journal: Journal = record_at(row, 5)?;
        same("run", run_of(row, 0)?, journal.run)?;
        let agent = replibook_core::run::AgentSeq(value(row, 1)?);
        let (stage, step, attempt) = (value(row, 2)?, value(row, 3)?, value(row, 4)?);
        same("key", AttemptKey { agent, stage, step, attempt }, journal.key)
    })?;
    let columns = "run, event, line, agent, body, finish_ts";
    each(connection, to, &kind("logs", "a log line", columns, 4), |row| {
        let line: LogLine = record_at(row, 4)?;
        same("run", run_of(row, 0)?, line.run)?;
        let event = value::<i64>(row, 1)?.unsigned_abs();
        let found = LogCursor { event, line: value(row, 2)?, agent: value(row, 3)? };
        same("place", found, LogCursor::of(&line))
    })?;
    each(connection, to, &kind("events", "an event", "run, seq, body, finish_ts", 2), |row| {
        let event: RunEvent = record_at(row, 2)?;
        same("run", run_of(row, 0)?, event.run)?;
        same("sequence", value::<i64>(row, 1)?.unsigned_abs(), event.seq)
    })?;
    let columns = "run, id, waiting, body, finish_ts";
    each(connection, to, &kind("commands", "a command", columns, 2), |row| {
        let command: Command = record_at(row, 3)?;
        same("run", run_of(row, 0)?, command.run)?;
        same("identifier", uuid::Uuid::from_bytes(value(row, 1)?), command.id.0)?;
        same("mark whether it waits", value(row, 2)?, command.outcome.is_none())
    })
}

/// Reports records without a `finish_ts` whose run has finished or is gone: they would never be removed.
fn orphans(connection: &Connection, to: &mut Checked) -> Result<()> {
    const WHAT: &str = "records of a run";
    for table in ["agent_records", "journals", "logs", "events", "commands"] {
        let sql = format!(
            "SELECT run, count(*) FROM {table} WHERE finish_ts IS NULL AND run NOT IN \
             (SELECT id FROM runs WHERE finish_ts IS NULL) GROUP BY run"
        );
        let found = all(connection, WHAT, &sql, [], |row| {
            Ok((row.get(0).ok().map(|id| RunId(uuid::Uuid::from_bytes(id))), key_of(row, &[1])))
        });
        match found {
            Err(StoreError::Broken { .. }) => {}
            found => {
                for (run, records) in found? {
                    let why =
                        format!("{records} of them have no finish_ts, although their run is over");
                    to.flaw(table, run, Damage::new(WHAT, String::new(), &why));
                }
            }
        }
    }
    Ok(())
}
