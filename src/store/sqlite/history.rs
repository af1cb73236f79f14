//! Reads what belongs to a run: agent records, journals, log lines and events.

use rusqlite::{Connection, Row, params};

use super::rows::{Decoded, document, found, integer, key_of, record, run_key, same_word};
use crate::contract::Result;
use crate::damage::Found;
use crate::documents::LogCursor;
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Journal, LogLine, RunEvent, RunId,
};

pub(super) fn records(
    connection: &Connection,
    run: RunId,
    state: Option<AgentState>,
    after: Option<AgentSeq>,
    limit: u32,
    at: &Moment,
) -> Result<Found<AgentRecord>> {
    const WHAT: &str = "an agent record";
    let after = after.map_or(-1, |seq| i64::from(seq.0));
    let (id, cutoff, limit) = (run_key(run), at.cutoff.as_millis(), page_limit(limit));
    match state {
        Some(state) => {
            let sql = "SELECT body, finish_ts, seq, state FROM agent_records \
                       WHERE run = ?1 AND state = ?2 AND seq > ?3 \
                       AND (finish_ts IS NULL OR finish_ts >= ?4) ORDER BY seq LIMIT ?5";
            let row = params![id, state.as_str(), after, cutoff, limit];
            found(connection, WHAT, sql, row, |row| key_of(row, &[2]), agent)
        }
        None => {
            let sql = "SELECT body, finish_ts, seq, state FROM agent_records \
                       WHERE run = ?1 AND seq > ?2 \
                       AND (finish_ts IS NULL OR finish_ts >= ?3) ORDER BY seq LIMIT ?4";
            let row = params![id, after, cutoff, limit];
            found(connection, WHAT, sql, row, |row| key_of(row, &[2]), agent)
        }
    }
}

/// Reads the record of an agent, whose state is in column 3.
fn agent(row: &Row<'_>) -> Decoded<AgentRecord> {
    let agent: AgentRecord = record(row)?;
    same_word(row, 3, "state", agent.state.as_str())?;
    Ok(agent)
}

pub(super) fn agent_record(
    connection: &Connection,
    run: RunId,
    agent: &AgentId,
    at: &Moment,
) -> Result<Option<AgentRecord>> {
    const WHAT: &str = "an agent record";
    let sql = "SELECT body, finish_ts, seq, state FROM agent_records INDEXED BY agent_records_by_agent \
               WHERE run = ?1 AND agent = ?2 \
               AND (finish_ts IS NULL OR finish_ts >= ?3) ORDER BY seq LIMIT 1";
    let row = params![run_key(run), agent.0, at.cutoff.as_millis()];
    document(connection, WHAT, sql, row, agent.as_str(), self::agent)
}

pub(super) fn journals(
    connection: &Connection,
    run: RunId,
    agent: Option<AgentSeq>,
    after: Option<AttemptKey>,
    limit: u32,
    at: &Moment,
) -> Result<Found<Journal>> {
    const WHAT: &str = "a journal";
    const BEFORE_ALL: (u16, u16, i64) = (0, 0, -1);
    let (id, cutoff, limit) = (run_key(run), at.cutoff.as_millis(), page_limit(limit));
    match agent {
        Some(agent) => {
            let (stage, step, attempt) = match after {
                Some(after) if after.agent > agent => return Ok(Vec::new()),
                Some(AttemptKey { agent: of, stage, step, attempt }) if of == agent => {
                    (stage, step, i64::from(attempt))
                }
                Some(_) | None => BEFORE_ALL,
            };
            let sql = "SELECT body, finish_ts, agent, stage, step, attempt FROM journals WHERE run = ?1 AND agent = ?2 \
                       AND (stage, step, attempt) > (?3, ?4, ?5) \
                       AND (finish_ts IS NULL OR finish_ts >= ?6) \
                       ORDER BY stage, step, attempt LIMIT ?7";
            let row = params![id, agent.0, stage, step, attempt, cutoff, limit];
            found(connection, WHAT, sql, row, |row| key_of(row, &[2, 3, 4, 5]), record)
        }
        None => {
            let (agent, (stage, step, attempt)) = match after {
                Some(AttemptKey { agent, stage, step, attempt }) => {
                    (agent.0, (stage, step, i64::from(attempt)))
                }
                None => (0, BEFORE_ALL),
            };
            let sql = "SELECT body, finish_ts, agent, stage, step, attempt FROM journals WHERE run = ?1 \
                       AND (agent, stage, step, attempt) > (?2, ?3, ?4, ?5) \
                       AND (finish_ts IS NULL OR finish_ts >= ?6) \
                       ORDER BY agent, stage, step, attempt LIMIT ?7";
            let row = params![id, agent, stage, step, attempt, cutoff, limit];
            found(connection, WHAT, sql, row, |row| key_of(row, &[2, 3, 4, 5]), record)
        }
    }
}

pub(super) fn logs(
    connection: &Connection,
    run: RunId,
    agent: Option<&AgentId>,
    after: Option<&LogCursor>,
    limit: u32,
    at: &Moment,
) -> Result<Found<LogLine>> {
    const WHAT: &str = "a log line";
    let (id, cutoff, limit) = (run_key(run), at.cutoff.as_millis(), page_limit(limit));
    let (event, from, line) = match after {
        Some(LogCursor { event, agent, line }) => {
            (integer(*event), agent.as_str(), i64::from(*line))
        }
        None => (-1, "", -1),
    };
    match agent {
        Some(agent) => {
            let sql = "SELECT body, finish_ts, event, line, agent FROM logs INDEXED BY logs_by_agent \
                       WHERE run = ?1 AND agent = ?2 \
                       AND event >= ?3 AND (event, agent, line) > (?3, ?4, ?5) \
                       AND (finish_ts IS NULL OR finish_ts >= ?6) \
                       ORDER BY event, line LIMIT ?7";
            let row = params![id, agent.0, event, from, line, cutoff, limit];
            found(connection, WHAT, sql, row, |row| key_of(row, &[2, 3, 4]), record)
        }
        None => {
            let sql = "SELECT body, finish_ts, event, line, agent FROM logs WHERE run = ?1 \
                       AND (event, agent, line) > (?2, ?3, ?4) \
                       AND (finish_ts IS NULL OR finish_ts >= ?5) \
                       ORDER BY event, agent, line LIMIT ?6";
            let row = params![id, event, from, line, cutoff, limit];
            found(connection, WHAT, sql, row, |row| key_of(row, &[2, 3, 4]), record)
        }
    }
}

pub(super) fn events(
    connection: &Connection,
    run: RunId,
    after: u64,
    limit: u32,
    at: &Moment,
) -> Result<Found<RunEvent>> {
    const WHAT: &str = "an event";
    let sql = "SELECT body, finish_ts, seq FROM events WHERE run = ?1 AND seq > ?2 \
               AND (finish_ts IS NULL OR finish_ts >= ?3) ORDER BY seq LIMIT ?4";
    let row = params![run_key(run), integer(after), at.cutoff.as_millis(), page_limit(limit)];
    found(connection, WHAT, sql, row, |row| key_of(row, &[2]), record)
}
