//! `POST /api/v1/runs/plan`: tries a start. It checks everything that a start checks, and keeps nothing; the answer says
//! what the run would be.

use axum::Json;
use axum::extract::State;

use super::bodies::{InJson, check_length};
use super::driven::Drivers;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::MAX_ACTOR;
use super::params::InQuery;
use super::plan_stages::plan_stages;
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{RunPlan, StartRun};
use super::{clusters, start};
use crate::playbook::Concurrency;
use crate::run::{Membership, Run, RunId, RunStatus, StatusReason, in_order};
use crate::store::StoreError;
use crate::why::waits_in_words;

const PLAN: &str = "/api/v1/runs/plan";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Checks a start of a run, and says what the run would be, without starting it.";
    vec![
        Endpoint::post(PLAN, "planRun", summary, plan)
            .takes::<StartRun>()
            .fails(&start::FAILS)
            .fails(&[Code::ClusterNotFound])
            .answers::<RunPlan>(
                200,
                "The run could be started. Agents are selected as they are known now; up to 100 of them are \
                 asked about themselves if a selection depends on it.",
            ),
    ]
}

async fn plan(
    State(state): State<ApiState>,
    reads: Reads,
    query: InQuery,
    InJson(request): InJson<StartRun>,
) -> Result<Weighed<Json<RunPlan>>, ApiError> {
    query.finish()?;
    check_length("started_by", request.started_by.as_deref(), MAX_ACTOR)?;
    let share = reads.large().await;
    let (run, _) = start::prepared(&state, request).await?;
    start::check_secrets(&state, &run).await?;
    check_plugins(&state, &run).await?;
    let waits = waits(&state, &run).await?;
    let cluster = run.snapshot.cluster.clone();
    let known = state.followers.agents(&cluster).await?;
    let membership = known.ok_or_else(|| clusters::not_found(&cluster))?.view.membership;
    let members = in_order(&membership.members);
    let agents = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let stages = plan_stages(&state, run.snapshot.clone(), members).await?;
    let playbook = &run.snapshot.playbook;
    let plan = RunPlan {
        playbook: playbook.name.clone(),
        version: playbook.version.to_string(),
        status: run.progress.status,
        waits,
        params: run.snapshot.params.clone(),
        agents,
        members_problem: problem(&membership, &cluster),
        stages,
        plugins: playbook.plugins.clone(),
        cluster,
    };
    Ok(Weighed(Json(plan), share))
}

/// What is wrong with the members, for people.
fn problem(membership: &Membership, cluster: &str) -> Option<String> {
    match membership.problem() {
        Some(problem) => Some(format!("the platform of cluster {cluster:?}: {problem}")),
        None if membership.members.is_empty() => {
            Some(format!("cluster {cluster:?} has no agents: the run would fail"))
        }
        None => None,
    }
}

/// Refuses a run whose plugins are not there, as the store would.
async fn check_plugins(state: &ApiState, run: &Run) -> Result<(), ApiError> {
    for digest in run.snapshot.pins() {
        if state.store.plugin(digest).await?.is_none() {
            return Err(StoreError::MissingPlugin { digest: digest.clone() }.into());
        }
    }
    Ok(())
}

/// What would keep the run waiting.
///
/// # Errors
/// Its cluster is busy, and the playbook refuses that.
async fn waits(state: &ApiState, run: &Run) -> Result<Vec<String>, ApiError> {
    let mut waits = Vec::new();
    let needs_approval = run.progress.status == RunStatus::PendingApprove;
    if needs_approval {
        let reason = run.progress.reason.as_ref().map(|reason| reason.message.clone());
        waits.push(reason.unwrap_or_else(|| "waits for approval".to_owned()));
    }
    if let Some((holder, queued)) = busy(state, run).await? {
        match run.snapshot.playbook.concurrency {
            Concurrency::Reject if !needs_approval => {
                return Err(start::busy(state, &run.snapshot.cluster, holder).await);
            }
            Concurrency::Reject | Concurrency::Queue | Concurrency::Allow => {
                waits.push(StatusReason::cluster_busy(holder, queued).message);
            }
        }
    }
    // Once it is approved, it would wait for an engine.
    let mut pending = run.clone();
    pending.progress.status = RunStatus::Pending;
    let drivers = Drivers::of(state, &[run.id()]).await?;
    let of_engines = drivers.waits_of(state, &[&pending]).await?;
    waits.extend(of_engines.get(&run.id()).map(waits_in_words));
    Ok(waits)
}

/// The run that is first on the cluster, and how many others are before a new one; `None` if a new one would not have to
/// wait.
async fn busy(state: &ApiState, run: &Run) -> Result<Option<(RunId, u32)>, ApiError> {
    if !run.snapshot.locks_cluster() {
        return Ok(None);
    }
    let mut queues = state.store.queues(std::slice::from_ref(&run.snapshot.cluster)).await?;
    let Some(queue) = queues.pop() else { return Ok(None) };
    let mut before = queue.holder.into_iter().chain(queue.queued);
    let first = before.next();
    let queued = u32::try_from(before.count()).unwrap_or(u32::MAX);
    Ok(first.map(|first| (first, queued)))
}
