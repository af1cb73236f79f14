//! The locks of clusters, and the queues for them.

use rusqlite::{Connection, params};

use super::rows::{all, change, column, first, integer, run_id, run_key};
use crate::contract::{MAX_PAGE, Result};
use crate::documents::{
    GOING_KNOWN, Locked, QUEUED_KNOWN, Queue, going_statuses, locked_with_guards,
};
use crate::error::StoreError;
use crate::options::Moment;
use replibook_core::playbook::Concurrency;
use replibook_core::run::{Run, RunId, RunStatus};

const LOCK: &str = "the lock of a cluster";

/// What [`lock_cluster`] would answer now. Mostly the run has to wait, and then nothing needs to be written.
pub(super) fn look(connection: &Connection, run: RunId, epoch: u64, at: &Moment) -> Result<Locked> {
    let cluster = cluster_of(connection, run, epoch, at)?;
    answer(connection, &cluster, run)
}

/// Gives the lock of its cluster to a run, or says which run comes first.
pub(super) fn lock_cluster(
    connection: &Connection,
    run: RunId,
    epoch: u64,
    at: &Moment,
) -> Result<Locked> {
    let cluster = cluster_of(connection, run, epoch, at)?;
    let answer = answer(connection, &cluster, run)?;
    match answer {
        Locked::Held => give(connection, &cluster, run)?,
        Locked::Waits { .. } => {}
    }
    Ok(answer)
}

/// Refuses a new run that rejects a busy cluster, if it is busy; otherwise gives such a run the lock.
pub(super) fn lock_at_once(connection: &Connection, run: &Run) -> Result<()> {
    match run.snapshot.playbook.concurrency {
        Concurrency::Queue | Concurrency::Allow => return Ok(()),
        Concurrency::Reject => {}
    }
    let cluster = &run.snapshot.cluster;
    let before = match holder(connection, cluster)? {
        Some(holder) => Some(holder),
        None => queued(connection, cluster, None)?.first().copied(),
    };
    if let Some(run) = before {
        return Err(StoreError::ClusterBusy { cluster: cluster.clone(), run });
    }
    if run.progress.status == RunStatus::Pending {
        give(connection, cluster, run.id())?;
    }
    Ok(())
}

/// Gives the lock of a cluster that gets guards to the only run that goes on it.
pub(super) fn lock_with_guards(connection: &Connection, cluster: &str) -> Result<()> {
    let statuses = RunStatus::ALL.into_iter().filter(|status| status.holds_cluster());
    let words: Vec<_> = statuses.map(|status| format!("'{}'", status.as_str())).collect();
    let words = words.join(", ");
    let sql = format!(
        "SELECT id FROM runs INDEXED BY runs_by_cluster_and_status WHERE cluster = ?1 \
         AND status IN ({words}) AND finish_ts IS NULL ORDER BY id LIMIT ?2"
    );
    let row = params![cluster, GOING_KNOWN];
    let going = all(connection, LOCK, &sql, row, |row| run_id(LOCK, row, 0))?;
    match locked_with_guards(cluster, holder(connection, cluster)?, &going)? {
        Some(run) => give(connection, cluster, run),
        None => Ok(()),
    }
}

/// Which runs come first on these clusters.
pub(super) fn queues(connection: &Connection, clusters: &[String]) -> Result<Vec<Queue>> {
    let queue = |cluster: &String| {
        let (holder, queued) = (holder(connection, cluster)?, queued(connection, cluster, None)?);
        Ok(Queue { cluster: cluster.clone(), holder, queued })
    };
    clusters.iter().take(MAX_PAGE as usize).map(queue).collect()
}

fn answer(connection: &Connection, cluster: &str, run: RunId) -> Result<Locked> {
    let holder = holder(connection, cluster)?;
    if holder == Some(run) {
        return Ok(Locked::Held);
    }
    let before = queued(connection, cluster, Some(run))?;
    Ok(Locked::behind(holder, &before))
}

/// The unfinished run that holds the lock of a cluster, if any.
fn holder(connection: &Connection, cluster: &str) -> Result<Option<RunId>> {
    let sql = "SELECT l.run, r.id IS NOT NULL AND r.finish_ts IS NULL \
               FROM locks l LEFT JOIN runs r ON r.id = l.run WHERE l.cluster = ?1";
    let known = first(connection, LOCK, sql, params![cluster], |row| {
        Ok((run_id(LOCK, row, 0).ok(), column::<bool>(LOCK, row, 1)?))
    })?;
    match known {
        None | Some((Some(_), false)) => Ok(None),
        Some((Some(holder), true)) => Ok(Some(holder)),
        // The lock can't be read. It belongs to the run that goes on.
        Some((None, _)) => going(connection, cluster),
    }
}

/// The run on a cluster that goes on and needs its lock.
fn going(connection: &Connection, cluster: &str) -> Result<Option<RunId>> {
    let words = going_statuses().map(|status| format!("'{}'", status.as_str()));
    let words: Vec<_> = words.collect();
    let words = words.join(", ");
    let sql = format!(
        "SELECT id FROM runs INDEXED BY runs_by_cluster_and_status WHERE cluster = ?1 \
         AND status IN ({words}) AND locks_cluster = 1 AND finish_ts IS NULL ORDER BY id LIMIT 1"
    );
    first(connection, LOCK, &sql, params![cluster], |row| run_id(LOCK, row, 0))
}

/// Removes locks of clusters that are gone, if no run holds them.
pub(super) fn remove_gone(connection: &Connection) -> Result<usize> {
    let sql = "DELETE FROM locks WHERE cluster NOT IN (SELECT name FROM clusters) \
               AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run AND finish_ts IS NULL)";
    change(connection, LOCK, sql, [])
}

/// The runs that are queued for a cluster, oldest first, as many as have to be known. If `before` is given, only
/// runs before it.
fn queued(connection: &Connection, cluster: &str, before: Option<RunId>) -> Result<Vec<RunId>> {
    let sql = "SELECT id FROM runs INDEXED BY runs_queued \
               WHERE status = 'PENDING' AND locks_cluster = 1 AND cluster = ?1 AND id < ?2 \
               ORDER BY id LIMIT ?3";
    let before = before.map_or([u8::MAX; 16], run_key);
    let row = params![cluster, before, QUEUED_KNOWN];
    all(connection, LOCK, sql, row, |row| run_id(LOCK, row, 0))
}

fn give(connection: &Connection, cluster: &str, run: RunId) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO locks (cluster, run) VALUES (?1, ?2)";
    change(connection, LOCK, sql, params![cluster, run_key(run)]).map(drop)
}

/// The cluster of a run, if `epoch` is that of its lease.
fn cluster_of(connection: &Connection, run: RunId, epoch: u64, at: &Moment) -> Result<String> {
    let sql = "SELECT cluster FROM runs WHERE id = ?1 AND epoch = ?2 AND engine IS NOT NULL \
               AND (finish_ts IS NULL OR finish_ts >= ?3)";
    let row = params![run_key(run), integer(epoch), at.cutoff.as_millis()];
    let cluster = first(connection, LOCK, sql, row, |row| column(LOCK, row, 0))?;
    cluster.ok_or(StoreError::Fenced { run, epoch })
}
