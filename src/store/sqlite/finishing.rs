//! The end of a run's records: they get their `finish_ts`, and go once they have expired.

use rusqlite::{Connection, params};

use super::commit::check_fence;
use super::create::give_back;
use super::rows::{all, change, column, integer, run_key};
use crate::run::{OldLines, RunId, Timestamp};
use crate::store::contract::{MAX_COMMIT_DOCUMENTS, Result};
use crate::store::keys::page_limit;
use crate::store::options::Moment;

const RECORDS: &str = "records of a run";

/// A kind of record: its table, and the columns that tell its rows apart.
struct Kind {
    table: &'static str,
    key: &'static str,
}

const KINDS: [Kind; 5] = [
    Kind { table: "agent_records", key: "rowid" },
    Kind { table: "journals", key: "rowid" },
    Kind { table: "logs", key: "run, event, agent, line" },
    Kind { table: "events", key: "run, seq" },
    Kind { table: "commands", key: "rowid" },
];

pub(super) fn stamp(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    finish_ts: Timestamp,
    at: &Moment,
) -> Result<u64> {
    check_fence(connection, run, epoch, at)?;
    stamp_some(connection, run, finish_ts)
}

/// Gives `finish_ts` to some of the records that have none, whoever has the lease.
pub(super) fn stamp_some(connection: &Connection, run: RunId, finish_ts: Timestamp) -> Result<u64> {
    let mut stamped = 0_u64;
    for kind in KINDS {
        let left = MAX_COMMIT_DOCUMENTS as u64 - stamped;
        let row = params![finish_ts.as_millis(), run_key(run), integer(left)];
        let Kind { table, key } = kind;
        let sql = format!(
            "UPDATE {table} SET finish_ts = ?1 WHERE ({key}) IN \
             (SELECT {key} FROM {table} INDEXED BY {table}_unfinished \
             WHERE run = ?2 AND finish_ts IS NULL LIMIT ?3)"
        );
        stamped += change(connection, RECORDS, &sql, row)? as u64;
    }
    Ok(stamped)
}

/// Removes some of these lines.
pub(super) fn forget_lines(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    lines: &OldLines,
    at: &Moment,
) -> Result<u64> {
    check_fence(connection, run, epoch, at)?;
    let OldLines { level, from, to, last } = *lines;
    // The body alone says what a line is; of a damaged one it says nothing.
    let sql = "DELETE FROM logs WHERE (run, event, agent, line) IN \
               (SELECT run, event, agent, line FROM logs \
               WHERE run = ?1 AND event BETWEEN ?2 AND ?3 AND CASE WHEN json_valid(body) \
               THEN json_extract(body, '$.level') = ?4 \
               AND coalesce(json_extract(body, '$.number'), 0) <= ?5 END \
               ORDER BY event, agent, line LIMIT ?6)";
    let most = integer(MAX_COMMIT_DOCUMENTS as u64);
    let row =
        params![run_key(run), integer(from), integer(to), level.as_str(), integer(last), most];
    Ok(change(connection, RECORDS, sql, row)? as u64)
}

pub(super) fn sweep(connection: &Connection, limit: u32, at: &Moment) -> Result<u64> {
    let limit = u64::from(page_limit(limit));
    let cutoff = at.cutoff.as_millis();
    let mut removed = 0_u64;
    for Kind { table, key } in KINDS {
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN \
             (SELECT {key} FROM {table} WHERE finish_ts < ?1 LIMIT ?2)"
        );
        let row = params![cutoff, integer(limit - removed)];
        removed += change(connection, RECORDS, &sql, row)? as u64;
    }
    let sql = "SELECT id FROM runs WHERE finish_ts < ?1 LIMIT ?2";
    let row = params![cutoff, integer(limit - removed)];
    let runs: Vec<[u8; 16]> = all(connection, RECORDS, sql, row, |row| column(RECORDS, row, 0))?;
    for run in &runs {
        for sql in [
            "DELETE FROM run_pins WHERE run = ?1",
            "DELETE FROM snapshots WHERE run = ?1",
            "DELETE FROM troubles WHERE run = ?1",
            "DELETE FROM runs WHERE id = ?1",
        ] {
            change(connection, RECORDS, sql, params![run])?;
        }
    }
    give_back(connection)?;
    Ok(removed + runs.len() as u64)
}
