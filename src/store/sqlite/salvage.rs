//! Finds runs of which some pages can't be read. A run's identifier, and what a list shows of it, is in the table
//! and in several indexes, which have pages of their own: what one of them has lost is looked for in the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::failure::reason;
use super::rows::{column, decode, each, first, run_id, run_key};
use super::runs::{self, RUN};
use crate::contract::Result;
use crate::damage::{Damage, DamagedRun, Glance, KeptRun, RunPage};
use crate::documents::RunFilter;
use crate::error::StoreError;
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::playbook::access::Sight;
use replibook_core::run::{RunId, Snapshot, Timestamp};

/// The most runs that are kept in memory for one page: the newest of those that may be on it. Each takes some
/// hundred bytes, and hardly any damaged file still has this many.
const MOST: usize = 100_000;

/// The places that have all runs: what to query there, and the columns by which the place is sorted. An index that
/// has everything comes first. From the table only the columns before its large one are read, which has pages of
/// its own.
const PLACES: [(&str, &str); 3] = [
    (
        "id, cluster, status, playbook, version \
         FROM runs INDEXED BY runs_by_version_and_cluster_and_status",
        "playbook, version, cluster, status, id",
    ),
    ("id, cluster, status, NULL, NULL FROM runs NOT INDEXED", "id"),
    (
        "id, cluster, status, NULL, NULL FROM runs INDEXED BY runs_by_cluster_and_status",
        "cluster, status, id",
    ),
];

/// What is known of a run without its documents. A field that is None may have any value.
#[derive(Clone, Debug, Default)]
struct Known {
    cluster: Option<String>,
    status: Option<String>,
    playbook: Option<String>,
    version: Option<String>,
}

impl Known {
    fn read(row: &Row<'_>) -> Self {
        let text = |index: usize| row.get::<_, Option<String>>(index).ok().flatten();
        Self { cluster: text(1), status: text(2), playbook: text(3), version: text(4) }
    }

    fn of(run: &KeptRun) -> Self {
        let (snapshot, cluster, status) = match run {
            Ok(run) => (Some(&run.snapshot), None, Some(run.progress.status)),
            Err(damaged) => {
                let Glance { snapshot, cluster, status, .. } = &damaged.glance;
                (snapshot.as_ref(), cluster.clone(), *status)
            }
        };
        Self {
            cluster: snapshot.map(|snapshot| snapshot.cluster.clone()).or(cluster),
            status: status.map(|status| status.as_str().to_owned()),
            playbook: snapshot.map(|snapshot| snapshot.playbook.name.clone()),
            version: snapshot.map(|snapshot| snapshot.playbook.version.to_string()),
        }
    }

    /// Whether one of these has the run for certain.
    fn is_seen(&self, seen: &[Sight]) -> bool {
        let (Some(playbook), Some(cluster)) = (&self.playbook, &self.cluster) else { return false };
        seen.iter().any(|sight| sight.has(playbook, cluster))
    }

    /// Whether the run may be one of those that are asked for.
    fn fits(&self, filter: &RunFilter) -> bool {
        let RunFilter { cluster, statuses, playbook, version, from: _, seen } = filter;
        let is = |known: &Option<String>, wanted: Option<&str>| {
            known.as_deref().is_none_or(|known| wanted.is_none_or(|wanted| wanted == known))
        };
        let has_status = |status: &str| statuses.iter().any(|wanted| wanted.as_str() == status);
        is(&self.cluster, cluster.as_deref())
            && is(&self.playbook, playbook.as_deref())
            && is(&self.version, version.as_ref().map(ToString::to_string).as_deref())
            && (statuses.is_empty() || self.status.as_deref().is_none_or(has_status))
            && seen.as_deref().is_none_or(|seen| self.is_seen(seen))
    }
}

/// Runs that were found and may be on a page.
struct Found {
    runs: BTreeMap<RunId, Known>,
    /// Whether one of the places was read to its end. If not, there may be other runs anywhere between these.
    is_sure: bool,
    /// Whether there were so many runs that only the newest are kept.
    is_cut: bool,
}

/// A page of runs, like [`run_lists::runs`](super::run_lists::runs) reads it from an intact file, including runs
/// that can't be read. It says so if there may be others.
pub(super) fn runs(
    connection: &Connection,
    filter: &RunFilter,
    after: Option<RunId>,
    limit: u32,
    at: &Moment,
) -> Result<RunPage> {
    let limit = page_limit(limit) as usize;
    let Found { runs, is_sure, is_cut } = find(connection, filter, after)?;
    let mut page = Vec::new();
    for (id, known) in runs.into_iter().rev() {
        if page.len() == limit {
            break;
        }
        let run = run(connection, id, known, at)?;
        page.extend(run.filter(|run| Known::of(run).fits(filter)));
    }
    let are_all = is_sure && (page.len() == limit || !is_cut);
    Ok(RunPage { runs: page, lost: (!are_all).then(lost) })
}

/// The identifiers of the newest runs, like [`run_lists::newest`](super::run_lists::newest).
///
/// # Errors
/// [`StoreError::Broken`] if there may be others: whoever asks for the newest run is about to do something to it.
pub(super) fn newest(
    connection: &Connection,
    seen: Option<Vec<Sight>>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<RunId>> {
    let filter = RunFilter { seen, ..RunFilter::default() };
    let RunPage { runs: page, lost } = runs(connection, &filter, None, limit, at)?;
    if let Some(lost) = lost {
        return Err(lost);
    }
    let id = |run: &KeptRun| match run {
        Ok(run) => run.id(),
        Err(damaged) => damaged.glance.id,
    };
    Ok(page.iter().map(id).collect())
}

/// One run. None if it certainly does not exist.
///
/// # Errors
/// [`StoreError::Broken`] if that is not certain.
pub(super) fn one(connection: &Connection, id: RunId, at: &Moment) -> Result<Option<KeptRun>> {
    // Mostly the row of the run is there, and only what belongs to it is lost.
    let sql = "SELECT 1 FROM runs WHERE id = ?1";
    if let Ok(Some(())) = first(connection, RUN, sql, params![run_key(id)], |_| Ok(())) {
        return run(connection, id, Known::default(), at);
    }
    let only = RunFilter { from: Some(id), ..RunFilter::default() };
    let next = RunId(uuid::Uuid::from_u128(id.0.as_u128().saturating_add(1)));
    let Found { mut runs, is_sure, is_cut: _ } = find(connection, &only, Some(next))?;
    match runs.remove(&id) {
        Some(known) => run(connection, id, known, at),
        None if is_sure => Ok(None),
        None => Err(lost()),
    }
}

fn lost() -> StoreError {
    let source = "neither their table nor any index of it can be read to its end";
    StoreError::Broken { doing: "find all runs".to_owned(), source: source.into() }
}

/// Reads the places, each from both ends up to what can't be read, until one of them was read completely.
fn find(connection: &Connection, filter: &RunFilter, after: Option<RunId>) -> Result<Found> {
    let mut found = Found { runs: BTreeMap::new(), is_sure: false, is_cut: false };
    for (place, order) in PLACES {
        for direction in ["ASC", "DESC"] {
            let order: Vec<_> =
                order.split(", ").map(|column| format!("{column} {direction}")).collect();
            let sql = format!("SELECT {place} ORDER BY {}", order.join(", "));
            let read = |row: &Row<'_>| {
                // `store check` reports runs whose identifier is damaged; nobody can ask for them.
                let Ok(id) = run_id(RUN, row, 0) else { return Ok(()) };
                let known = Known::read(row);
                let is_wanted = after.is_none_or(|after| id < after)
                    && filter.from.is_none_or(|from| id >= from)
                    && known.fits(filter);
                if is_wanted {
                    found.runs.entry(id).or_insert(known);
                }
                if found.runs.len() > MOST {
                    found.runs.pop_first();
                    found.is_cut = true;
                }
                Ok(())
            };
            match each(connection, RUN, &sql, [], read) {
                Ok(()) => {
                    found.is_sure = true;
                    return Ok(found);
                }
                Err(StoreError::Broken { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// A run, or what is known of it. None if it has expired.
fn run(connection: &Connection, id: RunId, known: Known, at: &Moment) -> Result<Option<KeptRun>> {
    let error = match runs::run(connection, id, at) {
        Err(error @ StoreError::Broken { .. }) => error,
        found => return found,
    };
    let sql = "SELECT cluster, status, finish_ts FROM runs WHERE id = ?1";
    let read = |row: &Row<'_>| {
        let known = Known {
            cluster: row.get(0).ok().or(known.cluster.clone()),
            status: row.get(1).ok().or(known.status.clone()),
            ..Known::default()
        };
        Ok((known, column::<Option<i64>>(RUN, row, 2)?))
    };
    let (kept, finish_ts) = match first(connection, RUN, sql, params![run_key(id)], read) {
        Ok(Some(kept)) => kept,
        Ok(None) | Err(_) => (known, None),
    };
    if finish_ts.is_some_and(|finish_ts| finish_ts < at.cutoff.as_millis()) {
        return Ok(None);
    }
    let snapshot = snapshot(connection, id);
    let glance = Glance {
        id,
        cluster: snapshot.as_ref().map(|snapshot| snapshot.cluster.clone()).or(kept.cluster),
        status: kept.status.and_then(|word| word.parse().ok()),
        finish_ts: finish_ts.map(Timestamp::from_millis),
        snapshot,
    };
    let damage = Damage::new(RUN, id.to_string(), &reason(&error));
    Ok(Some(Err(Box::new(DamagedRun { glance, damage }))))
}

/// What a run was started with, if that can be read.
fn snapshot(connection: &Connection, id: RunId) -> Option<Arc<Snapshot>> {
    let sql = "SELECT body FROM snapshots WHERE run = ?1";
    let read = |row: &Row<'_>| Ok(decode::<Snapshot>(row, 0).ok().map(Arc::new));
    first(connection, RUN, sql, params![run_key(id)], read).ok().flatten().flatten()
}
