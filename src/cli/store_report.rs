//! The lines that `replibook store check` prints.

use crate::store::Checked;
use crate::store::mongodb::StoreReport;

/// Runs with orphaned documents that a report names; more names would be of no use.
const NAMED: usize = 20;

/// The lines about a database.
pub(super) fn lines(report: &StoreReport) -> Vec<String> {
    let StoreReport {
        schema,
        missing_indexes,
        orphans,
        unlocked,
        files_left_behind,
        documents: all,
    } = report;
    let mut lines = match schema {
        Some(version) => vec![format!("schema version {version}")],
        None => {
            vec!["the database was never used; `replibook store migrate` sets it up".to_owned()]
        }
    };
    if schema.is_some() {
        lines.extend(missing_indexes.iter().map(|index| {
            format!("the index {index} is missing; `replibook store migrate` makes it")
        }));
    }
    lines.extend(orphans.iter().take(NAMED).map(|found| {
        let (records, collection, run) = (found.records, &found.collection, found.run);
        format!(
            "{records} documents in {collection} have no finish_ts, although their run {run} is over"
        )
    }));
    if orphans.len() > NAMED {
        lines.push(format!("and {} more like these", orphans.len() - NAMED));
    }
    lines.extend(unlocked.iter().take(NAMED).map(|run| {
        format!(
            "run {run} goes on without the lock of its cluster; cancel it, or the run beside it"
        )
    }));
    if unlocked.len() > NAMED {
        lines.push(format!("and {} more such runs", unlocked.len() - NAMED));
    }
    if *files_left_behind > 0 {
        lines.push(format!(
            "{files_left_behind} files in plugins.files are named by no plugin; the next start of a \
             server removes them"
        ));
    }
    if schema.is_some() {
        lines.extend(documents(all));
    }
    if report.is_fine() {
        lines.push("all indexes are there, and no record is left without its run".to_owned());
    }
    lines
}

/// The lines about the documents of a store.
pub(super) fn documents(checked: &Checked) -> Vec<String> {
    let Checked { read, flaws, found } = checked;
    let all: u64 = read.values().sum();
    let kinds = read.iter().filter(|(_, documents)| **documents > 0);
    let kinds: Vec<_> = kinds.map(|(place, documents)| format!("{documents} {place}")).collect();
    let mut lines = vec![match kinds.is_empty() {
        true => "no documents".to_owned(),
        false => format!("{all} documents read: {}", kinds.join(", ")),
    }];
    lines.extend(flaws.iter().map(ToString::to_string));
    let more = found.saturating_sub(flaws.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more like these"));
    }
    lines.push(match found {
        0 => "every document can be read".to_owned(),
        found => format!("{found} of them can't be read, or don't fit the others"),
    });
    lines
}
