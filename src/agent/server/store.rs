//! The actions of the reference agent, in SQLite.
//!
//! It counts how often each action was started, and the count is committed before the work begins: so
//! the database proves that an action ran once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::agent::ActionPhase;
use crate::run::Timestamp;

/// Actions that may wait: an agent that works on one at a time would need hours for more, and who
/// sends so many should be told.
pub(super) const MAX_QUEUED: u32 = 1_000;

/// Finished actions in one list, the last ones: an agent may keep days of them.
const MAX_LISTED: u32 = 1_000;

/// Version of the tables, kept in the database.
const VERSION: i64 = 1;

/// How long to wait for a database that another agent is just leaving.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS actions (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        args TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created_time TEXT NOT NULL,
        scheduled_time TEXT NOT NULL,
        finished_time TEXT,
        finished_at INTEGER,
        phase TEXT NOT NULL,
        payload TEXT NOT NULL DEFAULT 'null',
        error TEXT,
        executions INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX IF NOT EXISTS actions_by_phase ON actions (phase, seq);
    CREATE INDEX IF NOT EXISTS actions_by_end ON actions (finished_at) WHERE finished_at IS NOT NULL;
";

const COLUMNS: &str = "id, kind, args, metadata, created_time, scheduled_time, finished_time, phase, \
                       payload, error, executions";

/// Why the actions could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("failed to use the agent's database")]
    Sqlite(#[from] rusqlite::Error),
    /// Another agent has the database open.
    #[error("failed to open {}: another agent uses it", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The database was made by a later version.
    #[error("failed to open {}: found version {found}, expected at most {VERSION}", path.display())]
    Version {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The agent stops, and has closed the database.
    #[error("failed to use the agent's database: it is closed, since the agent stops")]
    Closed,
    /// The thread that did the work ended early.
    #[error("failed to finish the work on the agent's database")]
    Thread(#[from] tokio::task::JoinError),
}

/// An action as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) args: Value,
    pub(super) metadata: Map<String, Value>,
    pub(super) created_time: String,
    pub(super) scheduled_time: String,
    pub(super) finished_time: Option<String>,
    pub(super) phase: ActionPhase,
    pub(super) payload: Value,
    pub(super) error: Option<String>,
    pub(super) executions: u32,
}

/// An action to add.
#[derive(Clone, Debug)]
pub(super) struct NewAction {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) args: Value,
    pub(super) metadata: Map<String, Value>,
    pub(super) created_time: String,
}

/// What came of adding an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Queued,
    Known,
    QueueFull,
}

/// The end of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ActionEnd {
    Done(Value),
    Failed(String),
}

/// The database. Cheap to clone; calls run one after another on threads for blocking work.
#[derive(Clone, Debug)]
pub(super) struct ActionStore {
    /// None once it is closed.
    connection: Arc<Mutex<Option<Connection>>>,
}

impl ActionStore {
    /// Opens the database, or makes it. It stays locked for others until it is closed, or all clones
    /// are gone. Blocks.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let prepared = prepare(&mut connection, path);
        if let Err(StoreError::Sqlite(error)) = &prepared
            && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
        {
            return Err(StoreError::InUse { path: path.to_owned() });
        }
        prepared?;
        Ok(Self { connection: Arc::new(Mutex::new(Some(connection))) })
    }

    /// Closes the database for all clones, after the call that goes on, if there is one. Blocks.
    pub(super) fn close(&self) {
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Adds an action to the queue, if its identifier is new and there is room.
    pub(super) async fn add(&self, action: NewAction, now: Timestamp) -> Result<Added, StoreError> {
        self.call(move |connection| {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = action.id.to_string();
            let known = "SELECT EXISTS (SELECT 1 FROM actions WHERE id = ?1)";
            if tx.query_row(known, [&id], |row| row.get::<_, bool>(0))? {
                return Ok(Added::Known);
            }
            let queued = "SELECT count(*) FROM actions WHERE phase IN ('NEW', 'RUNNING')";
            if tx.query_row(queued, [], |row| row.get::<_, u32>(0))? >= MAX_QUEUED {
                return Ok(Added::QueueFull);
            }
            tx.execute(
                "INSERT INTO actions (id, kind, args, metadata, created_time, scheduled_time, phase)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'NEW')",
                params![
                    id,
                    action.kind,
                    action.args.to_string(),
                    Value::Object(action.metadata).to_string(),
                    action.created_time,
                    now.to_string(),
                ],
            )?;
            tx.commit()?;
            Ok(Added::Queued)
        })
        .await
    }

    /// One action.
    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Action>, StoreError> {
        self.call(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM actions WHERE id = ?1");
            Ok(connection.query_row(&sql, [id.to_string()], read).optional()?)
        })
        .await
    }

    /// Actions that have not ended, in the order in which they are worked on.
    pub(super) async fn queue(&self) -> Result<Vec<Action>, StoreError> {
        self.list("WHERE phase IN ('NEW', 'RUNNING') ORDER BY phase DESC, seq", MAX_QUEUED).await
    }

    /// Actions that have ended, the last ones first.
    pub(super) async fn finished(&self) -> Result<Vec<Action>, StoreError> {
        self.list("WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, seq DESC", MAX_LISTED)
            .await
    }

    async fn list(&self, rest: &'static str, limit: u32) -> Result<Vec<Action>, StoreError> {
        self.call(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM actions {rest} LIMIT {limit}");
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map([], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The action to work on: the one that is RUNNING, else the oldest NEW one, which is RUNNING
    /// from now on. The action returned has the phase that it had before.
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

    /// Writes how far an action is.
    pub(super) async fn progress(&self, id: Uuid, payload: Value) -> Result<(), StoreError> {
        self.call(move |connection| {
            let sql = "UPDATE actions SET payload = ?2 WHERE id = ?1";
            connection.execute(sql, params![id.to_string(), payload.to_string()])?;
            Ok(())
        })
        .await
    }

    /// Ends an action.
    pub(super) async fn finish(
        &self,
        id: Uuid,
        end: ActionEnd,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.call(move |connection| {
            let (phase, payload, error) = match end {
                ActionEnd::Done(payload) => ("DONE", Some(payload.to_string()), None),
                ActionEnd::Failed(message) => ("FAILED", None, Some(message)),
            };
            connection.execute(
                "UPDATE actions SET phase = ?2, payload = coalesce(?3, payload), error = ?4,
                 finished_time = ?5, finished_at = ?6 WHERE id = ?1",
                params![id.to_string(), phase, payload, error, now.to_string(), now.as_millis()],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets actions that ended before `before`, and returns how many.
    pub(super) async fn purge(&self, before: Timestamp) -> Result<usize, StoreError> {
        self.call(move |connection| {
            let sql = "DELETE FROM actions WHERE finished_at < ?1";
            Ok(connection.execute(sql, [before.as_millis()])?)
        })
        .await
    }

    async fn call<T: Send + 'static>(
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

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An action that was acknowledged must not be forgotten, also when the machine loses power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found });
    }
    tx.execute_batch(SCHEMA)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Action> {
    let json = |index: usize| -> rusqlite::Result<Value> {
        let text: String = row.get(index)?;
        serde_json::from_str(&text).map_err(|error| broken(index, error))
    };
    let id: String = row.get(0)?;
    let metadata = match json(3)? {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    let phase: String = row.get(7)?;
    Ok(Action {
        id: Uuid::parse_str(&id).map_err(|error| broken(0, error))?,
        kind: row.get(1)?,
        args: json(2)?,
        metadata,
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
        payload: json(8)?,
        error: row.get(9)?,
        executions: row.get(10)?,
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
            args: Value::Null,
            metadata: Map::new(),
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
        let end = ActionEnd::Done(Value::Null);
        store.finish(Uuid::from_u128(1), end, now).await.unwrap();
        assert_eq!(store.add(new_action(2), now).await.unwrap(), Added::Queued);
        assert_eq!(store.finished().await.unwrap().len(), 1);
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

    #[test]
    fn a_database_of_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sqlite");
        let later = Connection::open(&path).unwrap();
        later.pragma_update(None, "user_version", VERSION + 1).unwrap();
        drop(later);
        let error = ActionStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Version { found: 2, .. }), "{error}");
    }
}
