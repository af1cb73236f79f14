//! Clusters that name credentials: they are checked against what this server has, before anything is connected.

use super::access::Caller;
use super::error::{ApiError, Code};
use super::state::ApiState;
use crate::credentials::{NotUsed, Use};
use crate::driver::lacking;
use crate::playbook::access::{Object, Verb};
use crate::playbook::{self, Limits, Problem, Text, code};
use crate::run::Run;
use crate::store::Cluster;

/// How many agents are named whose addresses credentials are not for: with one wrong origin all of them are wrong.
const NAMED: usize = 10;

/// What is expected, to those who may not know which credentials there are and where they may go.
const USABLE: &str = "credentials that this server has for this, and addresses that they are for";

/// Checks a Cluster document, which the caller may apply: the credentials that it names are there, and are for the addresses
/// that it names.
///
/// # Errors
/// All that is wrong, with line and column. Only who may change credentials is told what exactly.
pub(super) fn check_document(
    state: &ApiState,
    caller: &Caller,
    Cluster { text, spec: cluster, .. }: &Cluster,
) -> Result<(), ApiError> {
    let kept = state.followers.credentials();
    let is_told = caller.may_do(Verb::Admin, Object::Cluster(&cluster.name));
    let mut problems = Vec::new();
    let mut wrong = |path: String, why: &NotUsed| {
        let message = "these credentials can't be used";
        let expected = if is_told { why.to_string() } else { USABLE.to_owned() };
        problems.push(Problem::new(code::BAD_VALUE, path, message).expected(expected));
    };
    if let Some(name) = &cluster.credentials {
        match kept.get(name, Use::Agent) {
            Err(why) => wrong("/spec/credentials".to_owned(), &why),
            Ok(kept) => {
                let addresses = cluster.agents.iter().enumerate();
                let refused = addresses.filter_map(|(index, agent)| {
                    Some((index, kept.client_for(&agent.address).err()?))
                });
                for (index, why) in refused.take(NAMED) {
                    wrong(format!("/spec/agents/{index}/address"), &why);
                }
            }
        }
    }
    if let Some(discovery) = &cluster.discovery
        && let Some(name) = &discovery.credentials
    {
        match kept.get(name, Use::Platform) {
            Err(why) => wrong("/spec/discovery/credentials".to_owned(), &why),
            Ok(kept) => {
                if let Err(why) = kept.client_for(&discovery.url) {
                    wrong("/spec/discovery/url".to_owned(), &why);
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let placed = Text::read(text.as_bytes(), Limits::CLUSTER).and_then(|text| text.check(problems));
    placed.map_err(ApiError::invalid_document)
}

/// Refuses a run on a cluster whose credentials this server's engine does not have, or that can't be used as it is stored.
pub(super) async fn check_run(state: &ApiState, run: &Run) -> Result<(), ApiError> {
    let stored = state.store.cluster(&run.snapshot.cluster).await?;
    let Some(cluster) = stored.map(|stored| stored.spec) else { return Ok(()) };
    match why_unusable(state, &cluster) {
        Some(why) => Err(ApiError::new(Code::CredentialsUnavailable, why)),
        None => Ok(()),
    }
}

/// Why this server's engine can't reach a cluster; `None` if it can.
pub(super) fn why_unusable(state: &ApiState, cluster: &playbook::Cluster) -> Option<String> {
    if let Some(outdated) = cluster.outdated() {
        return Some(outdated);
    }
    let (agents, discovery) = (cluster.credentials.as_deref(), cluster.discovery.as_ref());
    lacking(state.followers.credentials(), agents, discovery).map(|why| why.to_string())
}
