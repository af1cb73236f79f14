//! The actions of the reference agent, in SQLite.
//!
//! It counts how often each action was started, and the count is committed before the work begins: so
//! the database proves that an action ran once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::database;
use super::error::StoreError;
use super::hidden::{Hidden, HiddenArguments};
use super::process::ProcessId;
use crate::agent::ActionPhase;
use crate::run::Timestamp;

/// The most actions that may wait: an agent that works on one at a time would need hours for more, and a client
/// that sends so many should be told.
pub(super) const MAX_QUEUED: u32 = 1_000;

/// How many bytes of arguments and metadata the waiting actions may have: enough for a few of the largest or
/// many of the usual ones, and small enough for a small disk.
pub(super) const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// Finished actions in one list, the latest ones: an agent may keep those of days.
pub(super) const MAX_LISTED: u32 = 1_000;

const COLUMNS: &str = "id, kind, args, metadata, created_time, scheduled_time, finished_time, phase, \
                       payload, error, executions, process";

/// An action as the database keeps it. Arguments, metadata and payload are JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) args: String,
    pub(super) metadata: String,
    pub(super) created_time: String,
    pub(super) scheduled_time: String,
    pub(super) finished_time: Option<String>,
    pub(super) phase: ActionPhase,
    pub(super) payload: String,
    pub(super) error: Option<String>,
    pub(super) executions: u32,
    pub(super) process: Started,
}

/// Whether the command of an action was allowed to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Started {
    /// No command of this action has begun.
    Not,
    /// The command may have begun, as this process.
    As(ProcessId),
    /// A command may have begun, but an earlier version of the agent did not write down its process.
    Somehow,
}

/// An action as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) phase: String,
}

/// An action to add. Arguments and metadata are JSON.
#[derive(Clone, Debug)]
pub(super) struct NewAction {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) args: String,
    pub(super) metadata: String,
    pub(super) created_time: String,
}

/// The result of adding an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Queued,
    Known,
    /// The waiting actions are too many or too large.
    QueueFull,
}

/// The end of an action; the payload is JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum ActionEnd {
    Done(String),
    Failed(String),
}

/// The database. Cheap to clone; calls run one after another on threads for blocking work.
#[derive(Clone, Debug)]
pub(super) struct ActionStore {
    /// `None` once it is closed.
    connection: Arc<Mutex<Option<Connection>>>,
    /// What the database does not have.
    hidden: HiddenArguments,
}

impl ActionStore {
    /// Opens the database, and creates it if needed. It stays locked for others until it is closed, or all
    /// clones are gone. Blocks.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = database::open(path)?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        Ok(Self { connection, hidden: HiddenArguments::default() })
    }

    /// Closes the database for all clones, after the call in progress, if there is one. Blocks.
    pub(super) fn close(&self) {
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Adds an action to the queue, if its identifier is new and there is room. What is secret in its arguments is not
    /// written.
    pub(super) async fn add(&self, action: NewAction, now: Timestamp) -> Result<Added, StoreError> {
        let hidden = self.hidden.clone();
        self.call(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = action.id.to_string();
            let known = "SELECT EXISTS (SELECT 1 FROM actions WHERE id = ?1)";
            if tx.query_row(known, [&id], |row| row.get::<_, bool>(0))? {
                return Ok(Added::Known);
            }
            let bytes = action.args.len().saturating_add(action.metadata.len());
            let queued = "SELECT count(*), coalesce(sum(bytes), 0) FROM actions
                          WHERE phase IN ('NEW', 'RUNNING')";
            let (count, sum) =
                tx.query_row(queued, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?)))?;
            let sum = usize::try_from(sum).unwrap_or(usize::MAX).saturating_add(bytes);
            if count >= MAX_QUEUED || sum > MAX_QUEUED_BYTES {
                return Ok(Added::QueueFull);
            }
            let (kept, secrets) = Hidden::of(action.args, action.metadata);
            tx.execute(
                "INSERT INTO actions
                 (id, kind, args, metadata, created_time, scheduled_time, phase, bytes)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'NEW', ?7)",
                params![
                    id,
                    action.kind,
                    kept.args,
                    kept.metadata,
                    action.created_time,
                    now.to_string(),
                    i64::try_from(bytes).unwrap_or(i64::MAX),
                ],
            )?;
            tx.commit()?;
            // Nobody takes the action before this has let go of the connection.
            secrets.into_iter().for_each(|secrets| hidden.put(action.id, secrets));
            Ok(Added::Queued)
        })
        .await
    }

    /// An action with everything that is kept of it; `None` if it is not known.
    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Action>, StoreError> {
        self.call(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM actions WHERE id = ?1");
            Ok(connection.query_row(&sql, [id.to_string()], read).optional()?)
        })
        .await
    }

    /// Whether an action is known.
    pub(super) async fn knows(&self, id: Uuid) -> Result<bool, StoreError> {
        self.call(move |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM actions WHERE id = ?1)";
            Ok(connection.query_row(sql, [id.to_string()], |row| row.get(0))?)
        })
        .await
    }

    /// Bytes of the JSON of an action, to take room for them before reading it.
    pub(super) async fn weight(&self, id: Uuid) -> Result<Option<usize>, StoreError> {
        self.call(move |connection| {
            let sql = "SELECT bytes + octet_length(payload) FROM actions WHERE id = ?1";
            let bytes = connection.query_row(sql, [id.to_string()], |row| row.get::<_, i64>(0));
            Ok(bytes.optional()?.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
        })
        .await
    }

    /// Actions that have not ended, in the order in which they are worked on.
    pub(super) async fn queue(&self) -> Result<Vec<Listed>, StoreError> {
        self.list("WHERE phase IN ('NEW', 'RUNNING') ORDER BY phase DESC, seq", MAX_QUEUED).await
    }

    /// Actions that have ended, the latest ones first.
    pub(super) async fn finished(&self) -> Result<Vec<Listed>, StoreError> {
        self.list("WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, seq DESC", MAX_LISTED)
            .await
    }

    async fn list(&self, rest: &'static str, limit: u32) -> Result<Vec<Listed>, StoreError> {
        self.call(move |connection| {
            let sql = format!("SELECT id, kind, phase FROM actions {rest} LIMIT {limit}");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], |row| {
                Ok(Listed { id: row.get(0)?, kind: row.get(1)?, phase: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The action to work on: the RUNNING one, or else the oldest NEW one, which becomes RUNNING. The returned
    /// action has the phase that it had before.
    pub(super) async fn take(&self) -> Result<Option<Action>, StoreError> {
        self.call(|connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql = format!(
                "SELECT {COLUMNS} FROM actions WHERE phase IN ('NEW', 'RUNNING')
                 ORDER BY phase DESC, seq LIMIT 1"
            );
            let action = tx.query_row(&sql, [], read).optional()?;
            if let Some(action) = &action
                && action.phase == ActionPhase::New
            {
                tx.execute(
                    "UPDATE actions SET phase = 'RUNNING', executions = executions + 1
                     WHERE id = ?1",
                    [action.id.to_string()],
                )?;
                tx.commit()?;
            }
            Ok(action)
        })
        .await
    }

    /// The arguments of an action whose secrets are not in the database; `None` if there are none, or if they came to an
    /// agent before this one.
    pub(super) fn hidden(&self, id: Uuid) -> Option<Arc<Hidden>> {
        self.hidden.get(id)
    }

    /// Writes down which process will be the command of an action.
    pub(super) async fn starts(&self, id: Uuid, process: &ProcessId) -> Result<(), StoreError> {
        let process = serde_json::to_string(process).map_err(|error| broken(11, error))?;
        self.call(move |connection| {
            let sql = "UPDATE actions SET process = ?2 WHERE id = ?1";
            connection.execute(sql, params![id.to_string(), process])?;
            Ok(())
        })
        .await
    }

    /// Writes down how the command of an action ended. For everybody else the action stays RUNNING until
    /// nothing of the command is left.
    pub(super) async fn command_ends(&self, id: Uuid, end: &ActionEnd) -> Result<(), StoreError> {
        let end = serde_json::to_string(end).map_err(|error| broken(0, error))?;
        self.call(move |connection| {
            let sql = "UPDATE actions SET command_end = ?2 WHERE id = ?1";
            connection.execute(sql, params![id.to_string(), end])?;
            Ok(())
        })
        .await
    }

    /// How the command of a RUNNING action ended, if that was written down.
    pub(super) async fn command_end(&self, id: Uuid) -> Result<Option<ActionEnd>, StoreError> {
        self.call(move |connection| {
            let sql = "SELECT command_end FROM actions WHERE id = ?1";
            let end = connection.query_row(sql, [id.to_string()], |row| row.get(0)).optional()?;
            let end: Option<String> = end.flatten();
            let read = |end: String| serde_json::from_str(&end).map_err(|error| broken(0, error));
            Ok(end.map(read).transpose()?)
        })
        .await
    }

    /// Writes down the progress of an action, as its payload.
    pub(super) async fn progress(&self, id: Uuid, payload: String) -> Result<(), StoreError> {
        self.call(move |connection| {
            let sql = "UPDATE actions SET payload = ?2 WHERE id = ?1";
            connection.execute(sql, params![id.to_string(), payload])?;
            Ok(())
        })
        .await
    }

    /// Writes the end of an action.
    pub(super) async fn finish(
        &self,
        id: Uuid,
        end: ActionEnd,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let hidden = self.hidden.clone();
        self.call(move |connection| {
            let (phase, payload, error) = match end {
                ActionEnd::Done(payload) => ("DONE", Some(payload), None),
                ActionEnd::Failed(message) => ("FAILED", None, Some(message)),
            };
            connection.execute(
                "UPDATE actions SET phase = ?2, payload = coalesce(?3, payload), error = ?4,
                 finished_time = ?5, finished_at = ?6, command_end = NULL WHERE id = ?1",
                params![id.to_string(), phase, payload, error, now.to_string(), now.as_millis()],
            )?;
            hidden.forget(id);
            Ok(())
        })
        .await
    }

    /// Forgets actions that ended before `before`, and returns their number.
    pub(super) async fn purge(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.call(move |connection| {
            let sql = "DELETE FROM actions WHERE finished_at < ?1";
            let purged = connection.execute(sql, [before.as_millis()])?;
            if purged > 0 {
                let sql = "DELETE FROM outputs WHERE id NOT IN (SELECT id FROM actions)";
                connection.execute(sql, [])?;
            }
            Ok(purged)
        })
        .await
    }

    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic in the middle of a transaction rolls it back, so the connection stays good.
            match connection.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(connection) => work(connection),
                None => Err(StoreError::Closed),
            }
        })
        .await?
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Action> {
    let id: String = row.get(0)?;
    let phase: String = row.get(7)?;
    let process: Option<String> = row.get(11)?;
    Ok(Action {
        id: Uuid::parse_str(&id).map_err(|error| broken(0, error))?,
        kind: row.get(1)?,
        args: row.get(2)?,
        metadata: row.get(3)?,
        created_time: row.get(4)?,
        scheduled_time: row.get(5)?,
        finished_time: row.get(6)?,
        phase: match phase.as_str() {
            "NEW" => ActionPhase::New,
            "RUNNING" => ActionPhase::Running,
            "DONE" => ActionPhase::Done,
            "FAILED" => ActionPhase::Failed,
            other => return Err(broken(7, format!("found phase {other:?}"))),
        },
        payload: row.get(8)?,
        error: row.get(9)?,
        executions: row.get(10)?,
        process: match process.map(|text| serde_json::from_str::<Option<ProcessId>>(&text)) {
            None => Started::Not,
            Some(Ok(Some(process))) => Started::As(process),
            Some(Ok(None)) => Started::Somehow,
            Some(Err(error)) => return Err(broken(11, error)),
        },
    })
}

fn broken(
    column: usize,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_action(id: u128) -> NewAction {
        NewAction {
            id: Uuid::from_u128(id),
            kind: "k".to_owned(),
            args: "null".to_owned(),
            metadata: "{}".to_owned(),
            created_time: "2026-11-22T09:00:00Z".to_owned(),
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_known_action_is_known_also_then() {
        let folder = tempfile::tempdir().unwrap();
        let store = ActionStore::open(&folder.path().join("agent.sqlite")).unwrap();
        let now = Timestamp::default();
        store.add(new_action(1), now).await.unwrap();
        let fill = "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                    INSERT INTO actions (id, kind, args, metadata, created_time, scheduled_time, phase)
                    SELECT printf('00000000-0000-0000-0001-%012d', i), 'k', 'null', '{}', '', '', 'NEW'
                    FROM n";
        store.connection.lock().unwrap().as_mut().unwrap().execute(fill, [MAX_QUEUED]).unwrap();
        assert_eq!(store.queue().await.unwrap().len(), MAX_QUEUED as usize);
        assert_eq!(store.add(new_action(2), now).await.unwrap(), Added::QueueFull);
        assert_eq!(store.add(new_action(1), now).await.unwrap(), Added::Known);
        let end = ActionEnd::Done("null".to_owned());
        store.finish(Uuid::from_u128(1), end, now).await.unwrap();
        assert_eq!(store.add(new_action(2), now).await.unwrap(), Added::Queued);
        assert_eq!(store.finished().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_queue_has_no_room_for_more_bytes_than_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let store = ActionStore::open(&folder.path().join("agent.sqlite")).unwrap();
        let now = Timestamp::default();
        let part = 2 * 1024 * 1024;
        let large = |id: u128, args: usize| NewAction {
            args: format!("\"{}\"", "x".repeat(args - 4)),
            ..new_action(id)
        };
        let most = u128::try_from(MAX_QUEUED_BYTES / part).unwrap();
        for id in 0..most {
            assert_eq!(store.add(large(id, part), now).await.unwrap(), Added::Queued, "{id}");
        }
        assert_eq!(store.add(new_action(most), now).await.unwrap(), Added::QueueFull);
        assert_eq!(store.weight(Uuid::from_u128(1)).await.unwrap(), Some(part + "null".len()));
        let end = ActionEnd::Failed("no".to_owned());
        store.finish(Uuid::from_u128(0), end, now).await.unwrap();
        assert_eq!(store.add(large(most, part), now).await.unwrap(), Added::Queued);
    }

    #[tokio::test]
    async fn lists_read_no_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let store = ActionStore::open(&folder.path().join("agent.sqlite")).unwrap();
        store.queue().await.unwrap();
        let connection = store.connection.lock().unwrap();
        for rest in [
            "phase IN ('NEW', 'RUNNING') ORDER BY phase DESC, seq",
            "finished_at IS NOT NULL ORDER BY finished_at DESC, seq DESC",
        ] {
            let sql =
                format!("EXPLAIN QUERY PLAN SELECT id, kind, phase FROM actions WHERE {rest}");
            let plan: String =
                connection.as_ref().unwrap().query_row(&sql, [], |row| row.get(3)).unwrap();
            assert!(plan.contains("COVERING INDEX"), "{rest}: {plan}");
        }
    }

    #[tokio::test]
    async fn actions_are_taken_in_order_and_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = ActionStore::open(&folder.path().join("agent.sqlite")).unwrap();
        let now = Timestamp::default();
        for id in [9, 3] {
            store.add(new_action(id), now).await.unwrap();
        }
        for phase in [ActionPhase::New, ActionPhase::Running, ActionPhase::Running] {
            let action = store.take().await.unwrap().unwrap();
            assert_eq!((action.id, action.phase), (Uuid::from_u128(9), phase));
        }
        let action = store.get(Uuid::from_u128(9)).await.unwrap().unwrap();
        assert_eq!((action.phase, action.executions), (ActionPhase::Running, 1));
    }

    #[tokio::test]
    async fn one_agent_at_a_time_uses_a_database() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let first = ActionStore::open(&path).unwrap();
        let error = ActionStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        let clone = first.clone();
        first.close();
        ActionStore::open(&path).unwrap();
        assert!(matches!(clone.take().await, Err(StoreError::Closed)));
    }
}
