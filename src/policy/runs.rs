//! The unfinished runs that a policy would not let start any more. They go on, and everybody who looks is told.

use std::sync::Arc;

use super::facts::{Known, facts_of_pins};
use crate::playbook::policy::{Policy, check_playbook};
use crate::plugin::PluginHost;
use crate::run::{RunId, RunStatus};
use crate::store::{Page, RunFilter, Store, StoreError};

/// The most unfinished runs that are looked at: more than a server drives at the same time.
const MAX_LOOKED_AT: usize = 2_000;

/// Runs that are read at once: the snapshot of each may have a megabyte.
const PAGE: u32 = 20;

/// How many runs are named.
const NAMED: usize = 10;

/// The unfinished runs that a policy would not let start any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Their number.
    pub runs: u32,
    /// The newest of them, at most ten.
    pub first: Vec<RunId>,
    /// Why the first of them would be refused.
    pub why: Option<String>,
}

/// Finds the unfinished runs that the policy would not let start any more.
///
/// # Errors
/// Those of the store.
pub async fn runs_outside(
    policy: &Arc<Policy>,
    store: &dyn Store,
    host: &PluginHost,
) -> Result<Outside, StoreError> {
    let unfinished = RunStatus::ALL.into_iter().filter(|status| !status.is_final());
    let filter = RunFilter { statuses: unfinished.collect(), ..RunFilter::default() };
    let mut outside = Outside::default();
    let mut page = Page { after: None, limit: PAGE };
    let mut looked_at = 0;
    // A run with a plugin that can't be read could not be started either. Most runs have the same plugins.
    let mut known = Known::skipping_damaged();
    while looked_at < MAX_LOOKED_AT {
        // Runs that can't be read do not go on.
        let found = store.read_runs(&filter, &page).await?.runs;
        looked_at += found.len();
        let is_last = found.len() < PAGE as usize;
        page.after = found.last().map(|run| match run {
            Ok(run) => run.id().to_string(),
            Err(damaged) => damaged.glance.id.to_string(),
        });
        for run in found.into_iter().flatten() {
            let playbook = &run.snapshot.playbook;
            let facts = facts_of_pins(playbook, policy, store, host, &mut known).await?;
            let refused = check_playbook(policy, playbook, &facts);
            let Some((name, refusal)) = refused.first() else { continue };
            outside.runs += 1;
            if outside.first.len() < NAMED {
                outside.first.push(run.id());
            }
            outside.why.get_or_insert_with(|| format!("plugin {name:?}: {refusal}"));
        }
        if is_last {
            break;
        }
    }
    Ok(outside)
}
