//! Whether somebody may change a cluster: what lets pass what a guard holds up is for those who may do everything, and so
//! is what the server shows to the cluster's agents.

use super::caller::Caller;
use super::deeds::Deed;
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::playbook::Cluster;
use crate::playbook::access::{Object, Verb, loosened};
use crate::store::StoreError;

/// Checks that they may apply a cluster as it is now.
///
/// # Errors
/// They may not.
pub(in crate::api) async fn may_apply(
    state: &ApiState,
    caller: &Caller,
    cluster: &Cluster,
) -> Result<(), ApiError> {
    may_change(state, caller, Deed::ApplyCluster, &cluster.name, Some(cluster)).await
}

/// Checks that they may delete a cluster.
///
/// # Errors
/// They may not.
pub(in crate::api) async fn may_delete(
    state: &ApiState,
    caller: &Caller,
    name: &str,
) -> Result<(), ApiError> {
    may_change(state, caller, Deed::DeleteCluster, name, None).await
}

async fn may_change(
    state: &ApiState,
    caller: &Caller,
    deed: Deed,
    name: &str,
    after: Option<&Cluster>,
) -> Result<(), ApiError> {
    let object = Object::Cluster(name);
    caller.may(deed, object)?;
    if caller.rights().may(Verb::Admin, object) {
        return Ok(());
    }
    let ways = match state.store.cluster(name).await {
        Ok(Some(before)) => ways(Some(&before.spec), after),
        Ok(None) => ways(None, after),
        // What nobody can read may have held up anything.
        Err(StoreError::Damaged(_)) => vec!["what it is now can't be read".to_owned()],
        Err(error) => return Err(error.into()),
    };
    if ways.is_empty() {
        return Ok(());
    }
    let mut refused = caller.refusal(Deed::LoosenCluster, Some(object));
    // They would tell what the cluster is like at present.
    if caller.views(object) {
        refused.detail.push_str(&format!(": {}", ways.join("; ")));
    }
    Err(refused)
}

fn ways(before: Option<&Cluster>, after: Option<&Cluster>) -> Vec<String> {
    let mut ways = before.map(|before| loosened(before, after)).unwrap_or_default();
    let of_agents = |one: &Cluster| one.credentials.clone();
    let of_platform =
        |one: &Cluster| one.discovery.as_ref().and_then(|platform| platform.credentials.clone());
    let pairs = [
        ("", before.and_then(of_agents), after.and_then(of_agents)),
        (" for the platform", before.and_then(of_platform), after.and_then(of_platform)),
    ];
    for (whose, old, new) in pairs {
        if after.is_some() && old != new {
            let name = |one: Option<String>| one.unwrap_or_else(|| "none".to_owned());
            ways.push(format!("the credentials{whose} were {} and are {}", name(old), name(new)));
        }
    }
    ways
}
