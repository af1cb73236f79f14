//! Commits: made ready by the caller, written by the thread that writes.

use rusqlite::{Connection, params};

use super::rows::{change, command_key, encode, integer, millis, run_key};
use crate::run::{Progress, RunId, Writes};
use crate::store::contract::Result;
use crate::store::documents::LogCursor;
use crate::store::error::StoreError;
use crate::store::finish::Finishes;
use crate::store::options::Moment;
use crate::store::size::CommitSize;

/// A commit as rows, so that the one thread that writes does nothing else.
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

/// What a command is found by.
pub(super) struct CommandRow {
    id: [u8; 16],
    at: i64,
    waiting: bool,
}

/// A document as text, with what it is found by.
struct Body<K> {
    key: K,
    finish_ts: Option<i64>,
    text: String,
}

impl Commit {
    /// Turns documents into rows.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub(super) fn of(writes: &Writes) -> Result<Self> {
        let Writes { progress, records, journals, logs, events, commands } = writes;
        let mut size = CommitSize::default();
        let commit = Self {
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
        };
        commit.size.check()?;
        Ok(commit)
    }

    /// About how large it is.
    pub(super) fn bytes(&self) -> usize {
        self.size.bytes()
    }

    /// Writes it, if `epoch` is that of the run's lease.
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
        for Body { key: (seq, agent, state), finish_ts, text } in &self.records {
            let sql = "INSERT INTO agent_records (run, seq, agent, state, finish_ts, body) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (run, seq) DO UPDATE SET \
                       agent = ?3, state = ?4, finish_ts = ?5, body = ?6";
            let row = params![id, seq, agent, state, finish_ts, text];
            change(connection, "an agent record", sql, row)?;
        }
        for Body { key: [agent, stage, step, attempt], finish_ts, text } in &self.journals {
            let sql = "INSERT INTO journals (run, agent, stage, step, attempt, finish_ts, body) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                       ON CONFLICT (run, agent, stage, step, attempt) DO UPDATE SET \
                       finish_ts = ?6, body = ?7";
            let row = params![id, agent, stage, step, attempt, finish_ts, text];
            change(connection, "a journal", sql, row)?;
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
    let sql = "UPDATE runs SET status = ?4, finishing_at = ?5, finish_ts = ?6, progress = ?7 \
               WHERE id = ?1 AND epoch = ?2 AND engine IS NOT NULL \
               AND (finish_ts IS NULL OR finish_ts >= ?3)";
    let cutoff = at.cutoff.as_millis();
    let row = params![run_key(run), integer(epoch), cutoff, status, finishing_at, finish_ts, body];
    match change(connection, "a run", sql, row)? {
        0 => Err(StoreError::Fenced { run, epoch }),
        _ => Ok(()),
    }
}

/// Refuses an epoch that is not that of the run's lease.
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
