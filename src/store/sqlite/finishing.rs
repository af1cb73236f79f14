//! The end of a run's records: they get their `finish_ts`, and are removed once they have expired.

use rusqlite::{Connection, params};

use super::commit::check_fence;
use super::create::give_back;
use super::rows::{all, change, column, integer, run_key};
use crate::contract::{MAX_COMMIT_DOCUMENTS, MAX_PAGE, Result};
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::run::{OldLines, RunId, Timestamp};

const RECORDS: &str = "records of a run";

/// A kind of record: its table, and the columns that identify its rows.
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

/// Gives `finish_ts` to some of the records that have none, whoever has the lease. Returns how many.
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

/// How many lines are examined at a time: a page, as for any reader. Only its body says what a line is, and the
/// lines to remove may be rare among the others.
const LOOKED_INTO: u32 = MAX_PAGE;

/// The key of a line within its run: event, agent and line.
pub(super) type LineKey = (i64, String, i64);

/// A part of a run's log that was examined.
pub(super) struct Part {
    /// Those of its lines that were looked for.
    pub(super) these: Vec<LineKey>,
    /// The key of its last line. None if this is the last part.
    pub(super) last: Option<LineKey>,
}

/// Looks for `lines` in the part of the log after a line. A damaged line never matches, since it does not say what
/// it is.
pub(super) fn look_for_lines(
    connection: &Connection,
    run: RunId,
    lines: &OldLines,
    after: Option<&LineKey>,
) -> Result<Part> {
    let OldLines { level, from, to, last } = *lines;
    let before_all = (integer(from), String::new(), -1);
    let (event, agent, line) = after.unwrap_or(&before_all);
    let sql = "SELECT event, agent, line, CASE WHEN json_valid(body) \
               THEN coalesce(json_extract(body, '$.level') = ?6 \
               AND coalesce(json_extract(body, '$.number'), 0) <= ?7, 0) ELSE 0 END \
               FROM logs WHERE run = ?1 AND event <= ?2 AND (event, agent, line) > (?3, ?4, ?5) \
               ORDER BY event, agent, line LIMIT ?8";
    let (level, last, most) = (level.as_str(), integer(last), LOOKED_INTO);
    let row = params![run_key(run), integer(to), event, agent, line, level, last, most];
    let found: Vec<(LineKey, bool)> = all(connection, RECORDS, sql, row, |row| {
        let number = |index| column(RECORDS, row, index);
        let key = (number(0)?, column(RECORDS, row, 1)?, number(2)?);
        Ok((key, column(RECORDS, row, 3)?))
    })?;
    let is_last = found.len() < LOOKED_INTO as usize;
    let last = found.last().filter(|_| !is_last).map(|(key, _)| key.clone());
    let these = found.into_iter().filter(|(_, is_one)| *is_one).map(|(key, _)| key).collect();
    Ok(Part { these, last })
}

/// Removes these lines, at most [`MAX_COMMIT_DOCUMENTS`], if `epoch` is that of the run's lease.
pub(super) fn forget_lines(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    lines: &[LineKey],
    at: &Moment,
) -> Result<u64> {
    check_fence(connection, run, epoch, at)?;
    let sql = "DELETE FROM logs WHERE run = ?1 AND event = ?2 AND agent = ?3 AND line = ?4";
    let mut gone = 0;
    for (event, agent, line) in lines.iter().take(MAX_COMMIT_DOCUMENTS) {
        gone += change(connection, RECORDS, sql, params![run_key(run), event, agent, line])?;
    }
    Ok(gone as u64)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{directory::Directory, open, schema};
    use replibook_core::run::LogLevel;

    #[test]
    fn lines_are_looked_for_in_parts_however_rare_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let connection = open::writer(&directory.database()).unwrap();
        schema::migrate(&connection).unwrap();
        let run = RunId(uuid::Uuid::from_u128(7));
        let rare = [3, LOOKED_INTO, LOOKED_INTO + 1, 3 * LOOKED_INTO];
        for number in 1..=3 * LOOKED_INTO {
            let level = if rare.contains(&number) { "debug" } else { "info" };
            let body = format!("{{\"level\":\"{level}\",\"number\":{number}}}");
            let sql =
                "INSERT INTO logs (run, event, agent, line, body) VALUES (?1, ?2, 'a', ?3, ?4)";
            let row = params![run_key(run), number / 10, number % 10, body];
            connection.execute(sql, row).unwrap();
        }
        let last = u64::from(3 * LOOKED_INTO) - 1;
        let lines = OldLines { level: LogLevel::Debug, from: 0, to: last, last };
        let (mut after, mut found) = (None, Vec::new());
        for _ in 0..3 {
            let part = look_for_lines(&connection, run, &lines, after.as_ref()).unwrap();
            found.push(part.these.len());
            after = part.last;
            assert!(after.is_some());
        }
        let part = look_for_lines(&connection, run, &lines, after.as_ref()).unwrap();
        // The last line is not old enough.
        assert_eq!((found, part.these.len(), part.last), (vec![2, 1, 0], 0, None));
        let late = OldLines { from: 100, ..lines };
        let part = look_for_lines(&connection, run, &late, None).unwrap();
        assert_eq!(part.these, [(100, "a".to_owned(), 0), (100, "a".to_owned(), 1)]);
    }
}
