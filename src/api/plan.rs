//! `POST /api/v1/runs/plan`: tries a start. It checks everything that a start checks, and keeps nothing; the answer says
//! what the run would be.

use axum::Json;
use axum::extract::State;

use super::access::{Caller, Deed};
use super::bodies::{InJson, check_length};
use super::driven::Drivers;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::MAX_ACTOR;
use super::params::InQuery;
use super::plan_stages::{held_now, plan_stages};
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{GuardsPlan, RunPlan, StartRun};
use super::{clusters, credentials, start};
use crate::driver::View;
use crate::playbook::access::Object;
use crate::playbook::{Calendar, ClosedBy, ClusterGuards, Concurrency, Gate};
use crate::run::{Membership, Run, RunId, RunStatus, StatusReason, Timestamp, in_order};
use crate::store::StoreError;
use crate::why::waits_in_words;

const PLAN: &str = "/api/v1/runs/plan";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Checks a start of a run, and says what the run would be, without starting it.";
    vec![
        Endpoint::post(PLAN, "planRun", summary, plan)
            .does(Deed::ViewRuns)
            .takes::<StartRun>()
            .fails(&start::FAILS)
            .fails(&[Code::ClusterNotFound])
            .answers::<RunPlan>(
                200,
                "The run could be started. Agents are selected as they are known now; up to 100 of them are \
                 asked about themselves if a selection depends on it, or all of them if guards of the cluster count \
                 agents and there are no more than 100.",
            ),
    ]
}

async fn plan(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    query: InQuery,
    InJson(mut request): InJson<StartRun>,
) -> Result<Weighed<Json<RunPlan>>, ApiError> {
    query.finish()?;
    start::check_seen(&caller, &request)?;
    let playbook = start::read_reference(&request.playbook)?.0;
    caller.may(Deed::ViewRuns, Object::Run { playbook, cluster: &request.cluster })?;
    request.started_by = caller.actor(request.started_by);
    check_length("started_by", request.started_by.as_deref(), MAX_ACTOR)?;
    let share = reads.large().await;
    let (run, _) = start::prepared(&state, request).await?;
    start::check_secrets(&state, &run).await?;
    credentials::check_run(&state, &run).await?;
    check_plugins(&state, &run).await?;
    let cluster = run.snapshot.cluster.clone();
    let stored = state.store.cluster(&cluster).await?;
    let guards = &stored.ok_or_else(|| clusters::not_found(&cluster))?.spec.guards;
    let mut guards = plan_guards(guards, state.clock.now());
    let mut waits = waits(&state, &caller, &run, guards.as_ref()).await?;
    waits.extend(guards.as_ref().and_then(closed_in_words));
    let known = state.followers.agents(&cluster).await?;
    let View { membership, ways, .. } = known.ok_or_else(|| clusters::not_found(&cluster))?.view;
    let members = in_order(&membership.members);
    if let Some(plan) = &mut guards {
        plan.held = held_now(&state, &plan.guards, &members, &ways).await;
    }
    let agents = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let stages = plan_stages(&state, run.snapshot.clone(), members, &ways).await?;
    let playbook = &run.snapshot.playbook;
    let plan = RunPlan {
        playbook: playbook.name.clone(),
        version: playbook.version.to_string(),
        status: run.progress.status,
        waits,
        params: run.snapshot.params.clone(),
        agents,
        members_problem: problem(&membership, &cluster),
        guards,
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
async fn waits(
    state: &ApiState,
    caller: &Caller,
    run: &Run,
    guards: Option<&GuardsPlan>,
) -> Result<Vec<String>, ApiError> {
    let mut waits = Vec::new();
    let needs_approval = run.progress.status == RunStatus::PendingApprove;
    if needs_approval {
        let reason = run.progress.reason.as_ref().map(|reason| reason.message.clone());
        waits.push(reason.unwrap_or_else(|| "waits for approval".to_owned()));
    }
    let is_guarded = guards.is_some_and(|plan| !plan.guards.guards.is_empty());
    if let Some((holder, queued)) = busy(state, run, is_guarded).await? {
        match run.snapshot.playbook.concurrency {
            Concurrency::Reject if !needs_approval => {
                return Err(start::busy(state, caller, &run.snapshot.cluster, holder).await);
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
async fn busy(
    state: &ApiState,
    run: &Run,
    is_guarded: bool,
) -> Result<Option<(RunId, u32)>, ApiError> {
    let is_queued = run.snapshot.locks_cluster();
    if !is_queued && !is_guarded {
        return Ok(None);
    }
    let mut queues = state.store.queues(std::slice::from_ref(&run.snapshot.cluster)).await?;
    let Some(queue) = queues.pop() else { return Ok(None) };
    // A run that waits because of guards alone is in nobody's queue.
    let queued = if is_queued { queue.queued } else { Vec::new() };
    let mut before = queue.holder.into_iter().chain(queued);
    let first = before.next();
    let queued = u32::try_from(before.count()).unwrap_or(u32::MAX);
    Ok(first.map(|first| (first, queued)))
}

/// What the guards of a cluster would be for a run at a moment; `None` if there are none.
fn plan_guards(guards: &ClusterGuards, now: Timestamp) -> Option<GuardsPlan> {
    if guards.guard_nothing() {
        return None;
    }
    let calendar = Calendar::of(guards);
    let (open, until, freeze) = match calendar.gate(now, false, false) {
        Gate::Open => (true, calendar.closes(now), None),
        Gate::Closed { by: ClosedBy::Windows, until } => (false, until, None),
        // Only a run can be told that the cluster is closed to it.
        Gate::Closed { by: ClosedBy::Freeze(reason) | ClosedBy::Closed(reason), until } => {
            (false, until, Some(reason))
        }
    };
    Some(GuardsPlan { guards: guards.clone(), open, until, freeze, held: None })
}

/// What the run would wait for if windows or freezes keep agents from being started now.
fn closed_in_words(plan: &GuardsPlan) -> Option<String> {
    let until = plan.until.map_or_else(String::new, |until| format!(", until {until}"));
    let waits = match &plan.freeze {
        Some(reason) => format!("waits for the end of a freeze of the cluster{until}: {reason}"),
        None => format!("waits for a window of the cluster{until}"),
    };
    (!plan.open).then_some(waits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::{Freeze, Window};
    use crate::run::Millis;

    #[test]
    fn windows_and_freezes_say_whether_agents_may_start_and_until_when() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (every, zone) = ("0 22 * * *".to_owned(), "UTC".to_owned());
        let reason = "the fair".to_owned();
        let (from, to) = (at("2026-12-24T00:00:00Z"), at("2026-12-27T00:00:00Z"));
        let guards = ClusterGuards {
            windows: vec![Window { every, length: Millis::from_secs(4 * 3_600), zone }],
            freezes: vec![Freeze { from, to, reason }],
            ..ClusterGuards::default()
        };
        for (now, open, until, waits) in [
            ("2026-11-30T23:00:00Z", true, "2026-12-01T02:00:00Z", None),
            ("2026-12-23T23:00:00Z", true, "2026-12-24T00:00:00Z", None),
            (
                "2026-12-01T02:00:00Z",
                false,
                "2026-12-01T22:00:00Z",
                Some("waits for a window of the cluster, until 2026-12-01T22:00:00.000Z"),
            ),
            (
                "2026-12-25T23:00:00Z",
                false,
                "2026-12-27T00:00:00Z",
                Some(
                    "waits for the end of a freeze of the cluster, until 2026-12-27T00:00:00.000Z: \
                     the fair",
                ),
            ),
        ] {
            let plan = plan_guards(&guards, at(now)).unwrap();
            assert_eq!((plan.open, plan.until), (open, Some(at(until))), "{now}");
            assert_eq!(closed_in_words(&plan).as_deref(), waits, "{now}");
        }
        assert_eq!(plan_guards(&ClusterGuards::default(), from), None);
    }
}
