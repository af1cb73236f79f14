//! `/api/v1/runs/{id}/explanation`: why a run is as it is, for people. This only gathers what is known;
//! [`why`](crate::why) works out the explanation, for all who ask.

use axum::Json;
use axum::extract::State;

use super::access::{Caller, Deed};
use super::driven::{self, Drivers};
use super::endpoint::Endpoint;
use super::error::{ApiError, unless_broken};
use super::limits::{EXPLAINED_FAILED, EXPLAINED_RUNNING, FEW_RECORDS};
use super::params::{InPath, InQuery};
use super::runs;
use super::state::ApiState;
use super::weigh::Reads;
use crate::agent::Short;
use crate::run::{
    AgentRecord, AgentState, AttemptKey, ReasonCode, Run, RunId, RunStatus, StatusReason,
    Timestamp, Trouble, TroubleCode,
};
use crate::store::{DamagedRun, KeptRun};
use crate::why::{
    Explanation, InFlight, Known, OpenAttempt, explain, explain_behind, explain_commands,
    explain_trouble, most_telling,
};

const ONE: &str = "/api/v1/runs/{id}/explanation";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Says what a run waits for, since when, and what would move it.";
    vec![
        Endpoint::get(ONE, "explainRun", summary, get)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .answers::<Explanation>(200, "One paragraph for people, and commands to type."),
    ]
}

async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    InPath(id): InPath<RunId>,
    query: InQuery,
) -> Result<Json<Explanation>, ApiError> {
    query.finish()?;
    let now = state.clock.now();
    let kept = state.store.read_run(id).await?.ok_or_else(|| runs::not_found(id))?;
    let trouble = runs::trouble(&state, id).await?;
    let asked = unless_broken(state.store.unanswered(id).await)?;
    let mut explanation = match (kept, trouble) {
        (Ok(run), None) => {
            let asked = !asked.is_empty();
            let mut explanation = of_run(&state, &caller, &reads, &run, asked, now).await?;
            if let Some(trouble) = before(&state, &caller, &run).await? {
                explain_behind(&mut explanation, &trouble);
            }
            explanation
        }
        (kept, Some(trouble)) => {
            let since = runs::shown(&kept).since;
            let locks = locks_cluster(&kept);
            let status = match &kept {
                Ok(run) => Some(run.progress.status),
                Err(damaged) => damaged.glance.status,
            };
            explain_trouble(&trouble, status, since, locks, now)
        }
        (Err(damaged), None) => {
            let locks = locks_cluster(&Err(damaged.clone()));
            let DamagedRun { glance, damage } = *damaged;
            let trouble = Trouble {
                run: id,
                cluster: glance.cluster,
                code: TroubleCode::Damaged,
                message: damage.to_string(),
                since: now,
                // No engine has tried it yet.
                tries: 0,
                tried_at: now,
                engine: None,
                abandoned: None,
                finish_ts: glance.finish_ts,
            };
            explain_trouble(&trouble, glance.status, now, locks, now)
        }
    };
    explain_commands(&mut explanation, &asked, now);
    Ok(Json(explanation))
}

/// Explains a run that can be read. `asked` says whether a command waits for it.
async fn of_run(
    state: &ApiState,
    caller: &Caller,
    reads: &Reads,
    run: &Run,
    asked: bool,
    now: Timestamp,
) -> Result<Explanation, ApiError> {
    let known = known(state, reads, run).await?;
    let goes_on = driven::wants_engine(run);
    // A run that waits for a person needs an engine when a command arrives, but no place.
    let needs_engine = goes_on || asked && !run.progress.status.is_final();
    let waits = match needs_engine {
        true => Drivers::of(state, &[run.id()]).await?.waits_of_one(state, run).await?,
        false => None,
    };
    let waits = waits.filter(|waits| goes_on || !waits.is_for_place());
    let known = Known { waits, others_hidden: !caller.views_all(), ..known };
    let mut explanation = explain(run, &known, now);
    if let Some(Short { message, .. }) = state.shortage.now().filter(|_| asks_agents(run)) {
        let more =
            format!(" Requests to its agents may wait: {message}. No agent fails because of that.");
        explanation.text.push_str(&more);
    }
    Ok(explanation)
}

/// Whether something of the run may be on its way to agents.
fn asks_agents(run: &Run) -> bool {
    match run.progress.status {
        RunStatus::Starting | RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling => {
            true
        }
        RunStatus::PendingApprove
        | RunStatus::Pending
        | RunStatus::Finishing
        | RunStatus::Done
        | RunStatus::Failed
        | RunStatus::Cancelled => false,
    }
}

/// The trouble of the run for which `run` waits on its cluster, if that other run can't go on and may be viewed.
async fn before(state: &ApiState, caller: &Caller, run: &Run) -> Result<Option<Trouble>, ApiError> {
    let Some(StatusReason { code: ReasonCode::ClusterBusy, message }) = &run.progress.reason else {
        return Ok(None);
    };
    let Some(named) = message.split_whitespace().find_map(|word| word.parse().ok()) else {
        return Ok(None);
    };
    if !caller.views_run(state, named).await? {
        return Ok(None);
    }
    let trouble = runs::trouble(state, named).await?;
    Ok(trouble.filter(|trouble| trouble.finish_ts.is_none()))
}

/// Whether the run locks its cluster; if that can't be read, it is assumed to.
fn locks_cluster(run: &KeptRun) -> bool {
    match run {
        Ok(run) => run.snapshot.locks_cluster(),
        Err(damaged) => {
            damaged.glance.snapshot.as_ref().is_none_or(|snapshot| snapshot.locks_cluster())
        }
    }
}

/// What is known of a few of the run's agents: those in flight that tell most, with their attempts, some that
/// failed, and some that are silent.
async fn known(state: &ApiState, reads: &Reads, run: &Run) -> Result<Known, ApiError> {
    let (id, store) = (run.id(), &state.store);
    let _share = reads.large().await;
    let mut known = Known::default();
    if run.progress.count(AgentState::Failed) > 0 {
        let failed = store.read_records(id, Some(AgentState::Failed), None, EXPLAINED_FAILED);
        let failed = unless_broken(failed.await)?;
        known.failed = failed.into_iter().flatten().collect();
    }
    if run.progress.count(AgentState::Running) > 0 {
        for record in running(state, id).await? {
            let attempt = attempt(state, &record).await?;
            known.running.push(InFlight { record, attempt });
        }
    }
    // The run names only a few, however many are silent.
    for agent in &run.progress.silent.some {
        known.silent.extend(unless_broken(store.record(id, agent).await)?);
    }
    Ok(known)
}

/// The agents in flight that tell most. A few records are read at a time, since each may have results of a
/// megabyte.
async fn running(state: &ApiState, run: RunId) -> Result<Vec<AgentRecord>, ApiError> {
    let (mut telling, mut after) = (Vec::new(), None);
    for _ in 0..EXPLAINED_RUNNING / FEW_RECORDS {
        let state_of = Some(AgentState::Running);
        let found = state.store.read_records(run, state_of, after, FEW_RECORDS).await;
        let found = unless_broken(found)?;
        let is_last = found.len() < FEW_RECORDS as usize;
        let last = found.iter().rev().find_map(|one| one.as_ref().ok());
        after = last.map(|record| record.seq).or(after);
        telling.extend(found.into_iter().flatten());
        most_telling(&mut telling);
        if is_last {
            break;
        }
    }
    Ok(telling)
}

/// The attempt that is open, as far as the store knows it.
async fn attempt(state: &ApiState, record: &AgentRecord) -> Result<Option<OpenAttempt>, ApiError> {
    let key = record.present_attempt();
    let Some(before) = key.attempt.checked_sub(1) else { return Ok(None) };
    let after = Some(AttemptKey { attempt: before, ..key });
    let journals = state.store.read_journals(record.run, Some(record.seq), after, 1).await;
    let journals = unless_broken(journals)?;
    Ok(journals.iter().flatten().find(|journal| journal.key == key).map(OpenAttempt::from))
}
