//! Refuses guards for a cluster on which runs go side by side. Guards count who is out in one run, so no run could
//! keep them there. The store refuses that as well, and gives a run that goes alone the lock of the cluster together
//! with the guards, so that none begins beside it. Here the runs are named, also where nothing is kept.

use super::error::{ApiError, Code};
use super::state::ApiState;
use crate::run::{Run, RunStatus};
use crate::store::{Cluster, KeptRun, Page, RunFilter};

/// How many runs are named: with more than one they go side by side.
const NAMED: u32 = 2;

/// Refuses the cluster if it has guards, had none, and several runs go on it. A run that begins at this moment is held
/// by its engine until it has the cluster for itself.
pub(super) async fn check(state: &ApiState, new: &Cluster) -> Result<(), ApiError> {
    let name = &new.spec.name;
    if new.spec.guards.guards.is_empty() {
        return Ok(());
    }
    let stored = state.store.cluster(name).await;
    // Applying the document mends a cluster that can't be read, and which had no guards until now.
    if stored.is_ok_and(|stored| stored.is_some_and(|one| !one.spec.guards.guards.is_empty())) {
        return Ok(());
    }
    let going = RunStatus::ALL.into_iter().filter(|status| status.holds_cluster());
    let filter = RunFilter {
        cluster: Some(name.clone()),
        statuses: going.collect(),
        ..RunFilter::default()
    };
    let page = Page { after: None, limit: NAMED };
    let found = state.store.read_runs(&filter, &page).await?.runs;
    let mut ids: Vec<String> = found.iter().map(id).collect();
    // A run that has the lock and has not begun yet goes beside those that went without.
    let mut queues = state.store.queues(std::slice::from_ref(name)).await?;
    let holder = queues.pop().and_then(|queue| queue.holder).map(|holder| holder.to_string());
    let other = holder.filter(|holder| !ids.contains(holder));
    ids.extend(other);
    if ids.len() < NAMED as usize {
        return Ok(());
    }
    let detail = format!(
        "cluster {name:?} can't be given guards now: runs {} go on it side by side, and guards count who is out in \
         one run; apply it again when at most one of them has not ended",
        ids.iter().take(NAMED as usize).map(String::as_str).collect::<Vec<_>>().join(" and ")
    );
    Err(ApiError::new(Code::ClusterInUse, detail))
}

fn id(run: &KeptRun) -> String {
    match run {
        Ok(Run { snapshot, .. }) => snapshot.id.to_string(),
        Err(damaged) => damaged.glance.id.to_string(),
    }
}
