//! Lists of runs. For every combination of filters there is an index with just those runs in their order, so that
//! a page reads no others, even if few runs fit.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::rows::{all, run_id, run_key};
use super::runs::{COLUMNS, RUN, read_run};
use crate::contract::Result;
use crate::damage::KeptRun;
use crate::documents::RunFilter;
use crate::keys::page_limit;
use crate::options::Moment;
use replibook_core::playbook::access::Sight;
use replibook_core::run::RunId;

pub(super) fn runs(
    connection: &Connection,
    filter: &RunFilter,
    after: Option<RunId>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<KeptRun>> {
    let (ids, values) = ids_of(filter, after, limit, at);
    let sql = format!("SELECT {COLUMNS} WHERE id IN ({ids}) ORDER BY id DESC");
    all(connection, RUN, &sql, params_from_iter(values), read_run)
}

/// The identifiers of the newest runs of those that are seen.
pub(super) fn newest(
    connection: &Connection,
    seen: Option<&[Sight]>,
    limit: u32,
    at: &Moment,
) -> Result<Vec<RunId>> {
    let filter = RunFilter { seen: seen.map(<[Sight]>::to_vec), ..RunFilter::default() };
    let (ids, values) = ids_of(&filter, None, limit, at);
    all(connection, RUN, &ids, params_from_iter(values), |row| run_id(RUN, row, 0))
}

/// A query for the identifiers of these runs, newest first, and its values.
fn ids_of(
    filter: &RunFilter,
    after: Option<RunId>,
    limit: u32,
    at: &Moment,
) -> (String, Vec<Value>) {
    let RunFilter { cluster, statuses, playbook, version, from, seen } = filter;
    let mut sql = format!("SELECT id FROM runs{} WHERE", index_for(filter));
    let mut values = Vec::new();
    let mut and = |condition: &str, value: Value| {
        let and = if values.is_empty() { "" } else { " AND" };
        sql.push_str(&format!("{and} {condition}"));
        values.push(value);
    };
    and("(finish_ts IS NULL OR finish_ts >= ?)", Value::Integer(at.cutoff.as_millis()));
    for (column, wanted) in [("playbook", playbook), ("cluster", cluster)] {
        if let Some(wanted) = wanted {
            and(&format!("{column} = ?"), Value::Text(wanted.clone()));
        }
    }
    if let (Some(_), Some(version)) = (playbook, version) {
        and("version = ?", Value::Text(version.to_string()));
    }
    if let Some(after) = after {
        and("id < ?", Value::Blob(run_key(after).to_vec()));
    }
    if let Some(from) = from {
        and("id >= ?", Value::Blob(run_key(*from).to_vec()));
    }
    // `store check` reports runs whose identifier is damaged; nobody can ask for them.
    sql.push_str(" AND length(id) = 16");
    if let Some(seen) = seen {
        let (condition, patterns) = seen_by(seen);
        sql.push_str(&format!(" AND {condition}"));
        values.push(Value::Text(patterns));
    }
    // Each status gets a part of its own, and SQLite merges the parts as it goes. For a list of statuses, it would
    // sort.
    let statuses: BTreeSet<_> = statuses.iter().map(|status| status.as_str()).collect();
    let (mut all, mut bound) = (Vec::new(), Vec::new());
    for status in &statuses {
        all.push(format!("{sql} AND status = ?"));
        bound.extend(values.iter().cloned().chain([Value::Text((*status).to_owned())]));
    }
    if statuses.is_empty() {
        (all, bound) = (vec![sql], values);
    }
    bound.push(Value::Integer(page_limit(limit).into()));
    (format!("{} ORDER BY id DESC LIMIT ?", all.join(" UNION ALL ")), bound)
}

/// The condition that one of these has a run, and its value. Patterns have no signs that GLOB knows, but for the `*` at
/// their end, which means the same there. All are one value, since SQLite bounds how deep a condition may be.
fn seen_by(seen: &[Sight]) -> (String, String) {
    let patterns = |column: &str| {
        format!(
            "(json_type(sight.value, '$.{column}') = 'null' OR EXISTS (SELECT 1 FROM \
             json_each(sight.value, '$.{column}') AS pattern WHERE {column} GLOB pattern.value))"
        )
    };
    let has = format!("{} AND {}", patterns("playbook"), patterns("cluster"));
    let each = seen.iter().map(|Sight { playbooks, clusters }| {
        serde_json::json!({"playbook": playbooks, "cluster": clusters})
    });
    let all: serde_json::Value = each.collect();
    (format!("EXISTS (SELECT 1 FROM json_each(?) AS sight WHERE {has})"), all.to_string())
}

/// Names the index to use, since SQLite would guess without statistics.
fn index_for(filter: &RunFilter) -> &'static str {
    let RunFilter { cluster, statuses, playbook, version, from: _, seen: _ } = filter;
    let (cluster, status) = (cluster.is_some(), !statuses.is_empty());
    match (playbook.is_some(), version.is_some(), cluster, status) {
        (false, _, false, false) => "",
        (false, _, false, true) => " INDEXED BY runs_by_status",
        (false, _, true, false) => " INDEXED BY runs_by_cluster",
        (false, _, true, true) => " INDEXED BY runs_by_cluster_and_status",
        (true, false, false, false) => " INDEXED BY runs_by_playbook",
        (true, false, false, true) => " INDEXED BY runs_by_playbook_and_status",
        (true, false, true, false) => " INDEXED BY runs_by_playbook_and_cluster",
        (true, false, true, true) => " INDEXED BY runs_by_playbook_and_cluster_and_status",
        (true, true, false, false) => " INDEXED BY runs_by_version",
        (true, true, false, true) => " INDEXED BY runs_by_version_and_status",
        (true, true, true, false) => " INDEXED BY runs_by_version_and_cluster",
        (true, true, true, true) => " INDEXED BY runs_by_version_and_cluster_and_status",
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;
    use replibook_core::run::{RunStatus, Timestamp};

    fn sight(playbooks: Option<&str>, clusters: Option<&str>) -> Sight {
        let patterns = |one: Option<&str>| one.map(|pattern| vec![pattern.to_owned()]);
        Sight { playbooks: patterns(playbooks), clusters: patterns(clusters) }
    }

    fn every_filter() -> Vec<RunFilter> {
        let mut filters = Vec::new();
        for n in 0..64_u32 {
            let has = |bit: u32| n & (1 << bit) != 0;
            let text = |bit: u32| has(bit).then(|| "x".to_owned());
            let statuses = vec![RunStatus::Paused, RunStatus::Running, RunStatus::Paused];
            filters.push(RunFilter {
                cluster: text(0),
                playbook: text(1),
                version: has(2).then(|| "1.0.0".parse().unwrap()),
                statuses: if has(3) { statuses } else { Vec::new() },
                from: has(4).then(|| RunId(uuid::Uuid::nil())),
                seen: has(5)
                    .then(|| vec![sight(Some("ops/*"), Some("mongo-*")), sight(None, Some("x"))]),
            });
        }
        filters
    }

    /// No step of the plan sorts, and each step looks everything up in an index.
    #[test]
    fn a_page_reads_the_runs_that_fit_and_no_others() {
        let connection = Connection::open_in_memory().unwrap();
        schema::migrate(&connection).unwrap();
        let now = Timestamp::from_millis(0);
        let at =
            Moment { now, cutoff: now, plugins_cutoff: now, lease_until: now, engines_since: now };
        for filter in every_filter() {
            // A version without a playbook is ignored.
            if filter.version.is_some() && filter.playbook.is_none() {
                continue;
            }
            for after in [None, Some(RunId(uuid::Uuid::max()))] {
                let (sql, values) = ids_of(&filter, after, 10, &at);
                let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let steps = plan.query_map(params_from_iter(values), |row| row.get(3)).unwrap();
                let steps: Vec<String> = steps.map(|step| step.unwrap()).collect();
                let plan = steps.join("; ");
                assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
                let wanted = [
                    ("cluster=?", filter.cluster.is_some()),
                    ("playbook=?", filter.playbook.is_some()),
                    ("version=?", filter.version.is_some()),
                    ("status=?", !filter.statuses.is_empty()),
                    ("id>?", filter.from.is_some()),
                    ("id<?", after.is_some()),
                ];
                let reads = steps.iter().filter(|step| step.contains(" runs"));
                for step in reads {
                    for (term, is_wanted) in wanted {
                        assert_eq!(step.contains(term), is_wanted, "{filter:?}: {plan}");
                    }
                }
            }
        }
    }
}
