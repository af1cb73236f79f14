//! Commits. The caller turns documents into rows, so that the one thread that writes only has to write them.

use rusqlite::{Connection, params};

use super::rows::{change, command_key, encode, integer, millis, run_key};
use crate::contract::Result;
use crate::documents::LogCursor;
use crate::error::StoreError;
use crate::finish::Finishes;
use crate::options::Moment;
use crate::size::{CommitSize, check_documents};
use replibook_core::run::{Progress, RunId, Writes};

/// A commit as rows, ready to be written.
pub(super) struct Commit {
    progress: Option<ProgressRow>,
    records: Vec<Body<(u32, String, &'static str)>>,
    journals: Vec<Body<[u32; 4]>>,
    logs: Vec<Body<LogCursor>>,
    events: Vec<Body<u64>>,
    commands: Vec<Body<CommandRow>>,
    size: CommitSize,
}

struct ProgressRow {
    status: &'static str,
    finishing_at: Option<i64>,
    finish_ts: Option<i64>,
    body: String,
}

/// The columns by which a command is found.
pub(super) struct CommandRow {
    id: [u8; 16],
    at: i64,
    waiting: bool,
}

/// A document as text, with the columns by which it is found.
struct Body<K> {
    key: K,
    finish_ts: Option<i64>,
    text: String,
}

impl Commit {
    /// Turns documents into rows. Needs no connection.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] past the limits of a commit.
    pub(super) fn of(writes: &Writes) -> Result<Self> {
        let Writes { progress, records, journals, logs, events, commands } = writes;
        check_documents(writes.documents())?;
        let mut size = CommitSize::default();
        Ok(Self {
            progress: progress.as_ref().map(progress_row).transpose()?,
            records: bodies("an agent record", records, &mut size, |record| {
                (record.seq.0, record.agent.0.clone(), record.state.as_str())
            })?,
            journals: bodies("a journal", journals, &mut size, |journal| {
                let key = journal.key;
                [key.agent.0, key.stage.into(), key.step.into(), key.attempt]
            })?,
            logs: bodies("a log line", logs, &mut size, LogCursor::of)?,
            events: bodies("an event", events, &mut size, |event| event.seq)?,
            commands: bodies("a command", commands, &mut size, |command| CommandRow {
                id: command_key(command.id),
                at: command.at.as_millis(),
                waiting: command.outcome.is_none(),
            })?,
            size,
        })
    }

    /// The approximate size of the commit.
    pub(super) fn bytes(&self) -> usize {
        self.size.bytes()
    }

    /// Writes the commit, if `epoch` is that of the run's lease.
    pub(super) fn write(
        &self,
        connection: &Connection,
        run: RunId,
        epoch: u64,
        at: &Moment,
    ) -> Result<()> {
        match &self.progress {
            Some(progress) => write_progress(connection, run, epoch, at, progress)?,
            None => check_fence(connection, run, epoch, at)?,
        }
        let id = run_key(run);
        for record in &self.records {
            write_record(connection, &id, record)?;
        }
        for journal in &self.journals {
            write_journal(connection, &id, journal)?;
        }
        for Body { key: LogCursor { event, agent, line }, finish_ts, text } in &self.logs {
            let sql = "INSERT OR REPLACE INTO logs (run, event, agent, line, finish_ts, body) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let row = params![id, integer(*event), agent, line, finish_ts, text];
            change(connection, "a log line", sql, row)?;
        }
        for Body { key: seq, finish_ts, text } in &self.events {
            write_event(connection, run, *seq, *finish_ts, text)?;
        }
        for Body { key: CommandRow { id: command, at, waiting }, finish_ts, text } in &self.commands
        {
            let sql = "INSERT OR REPLACE INTO commands (id, run, at, waiting, finish_ts, body) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let row = params![command, id, at, waiting, finish_ts, text];
            change(connection, "a command", sql, row)?;
        }
        if self.progress.as_ref().is_some_and(|progress| progress.finish_ts.is_some()) {
            change(connection, "a run", "DELETE FROM troubles WHERE run = ?1", params![id])?;
        }
        Ok(())
    }
}

fn bodies<D: serde::Serialize + Finishes, K>(
    what: &str,
    documents: &[D],
    size: &mut CommitSize,
    key: impl Fn(&D) -> K,
) -> Result<Vec<Body<K>>> {
    let body = |document| {
        let text = encode(what, document)?;
        size.add(text.len());
        // Check after each document: if they are far too large together, all their texts would take as much memory
        // again.
        size.check()?;
        Ok(Body { key: key(document), finish_ts: millis(document.finish_ts()), text })
    };
    documents.iter().map(body).collect()
}

fn progress_row(progress: &Progress) -> Result<ProgressRow> {
    Ok(ProgressRow {
        status: progress.status.as_str(),
        finishing_at: millis(progress.finishing_at),
        finish_ts: millis(progress.finish_ts),
        body: encode("a run", progress)?,
    })
}

fn write_progress(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    at: &Moment,
    progress: &ProgressRow,
) -> Result<()> {
    let ProgressRow { status, finishing_at, finish_ts, body } = progress;
    let cutoff = at.cutoff.as_millis();
    let id = run_key(run);
    let sql = "UPDATE runs SET finishing_at = ?5, progress = ?7 \
               WHERE id = ?1 AND epoch = ?2 AND engine IS NOT NULL \
               AND (finish_ts IS NULL OR finish_ts >= ?3) AND status = ?4 AND finish_ts IS ?6";
    let row = params![id, integer(epoch), cutoff, status, finishing_at, finish_ts, body];
    if change(connection, "a run", sql, row)? > 0 {
        return Ok(());
    }
    let sql = "UPDATE runs SET status = ?4, finishing_at = ?5, finish_ts = ?6, progress = ?7 \
               WHERE id = ?1 AND epoch = ?2 AND engine IS NOT NULL \
               AND (finish_ts IS NULL OR finish_ts >= ?3)";
    let row = params![id, integer(epoch), cutoff, status, finishing_at, finish_ts, body];
    match change(connection, "a run", sql, row)? {
        0 => Err(StoreError::Fenced { run, epoch }),
        _ => Ok(()),
    }
}

// SQLite rewrites the entry of a row in each index over a column that a statement sets, even if the value is the
// same. So there are two statements for each document. The first one does not set the columns that hardly ever
// change, and writes nothing if one of them did change. Only then does the second one set everything.

fn write_record(
    connection: &Connection,
    run: &[u8; 16],
    record: &Body<(u32, String, &'static str)>,
) -> Result<()> {
    let Body { key: (seq, agent, state), finish_ts, text } = record;
    for sql in [
        "INSERT INTO agent_records (run, seq, agent, state, finish_ts, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (run, seq) DO UPDATE SET \
         state = ?4, body = ?6 WHERE agent = ?3 AND finish_ts IS ?5",
        "UPDATE agent_records SET agent = ?3, state = ?4, finish_ts = ?5, body = ?6 \
         WHERE run = ?1 AND seq = ?2",
    ] {
        let row = params![run, seq, agent, state, finish_ts, text];
        if change(connection, "an agent record", sql, row)? > 0 {
            break;
        }
    }
    Ok(())
}

fn write_journal(connection: &Connection, run: &[u8; 16], journal: &Body<[u32; 4]>) -> Result<()> {
    let Body { key: [agent, stage, step, attempt], finish_ts, text } = journal;
    for sql in [
        "INSERT INTO journals (run, agent, stage, step, attempt, finish_ts, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
         ON CONFLICT (run, agent, stage, step, attempt) DO UPDATE SET \
         body = ?7 WHERE finish_ts IS ?6",
        "UPDATE journals SET finish_ts = ?6, body = ?7 \
         WHERE run = ?1 AND agent = ?2 AND stage = ?3 AND step = ?4 AND attempt = ?5",
    ] {
        let row = params![run, agent, stage, step, attempt, finish_ts, text];
        if change(connection, "a journal", sql, row)? > 0 {
            break;
        }
    }
    Ok(())
}

/// Fails if `epoch` is not that of the run's lease.
pub(super) fn check_fence(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    at: &Moment,
) -> Result<()> {
    let sql = "SELECT 1 FROM runs WHERE id = ?1 AND epoch = ?2 AND engine IS NOT NULL \
               AND (finish_ts IS NULL OR finish_ts >= ?3)";
    let row = params![run_key(run), integer(epoch), at.cutoff.as_millis()];
    match super::rows::first(connection, "a run", sql, row, |_| Ok(()))? {
        Some(()) => Ok(()),
        None => Err(StoreError::Fenced { run, epoch }),
    }
}

/// Writes one event.
pub(super) fn write_event(
    connection: &Connection,
    run: RunId,
    seq: u64,
    finish_ts: Option<i64>,
    body: &str,
) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO events (run, seq, finish_ts, body) VALUES (?1, ?2, ?3, ?4)";
    let row = params![run_key(run), integer(seq), finish_ts, body];
    change(connection, "an event", sql, row).map(drop)
}
