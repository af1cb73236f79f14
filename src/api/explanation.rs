//! `/api/v1/runs/{id}/explanation`: why a run is as it is, for people.

use axum::Json;
use axum::extract::State;

use super::endpoint::Endpoint;
use super::error::ApiError;
use super::limits::{EXPLAINED_FAILED, EXPLAINED_RUNNING};
use super::params::{InPath, InQuery};
use super::runs;
use super::state::ApiState;
use crate::run::{
    AgentRecord, AgentState, AttemptKey, Explanation, InFlight, Known, OpenAttempt, Run, RunId,
    explain, most_telling,
};

const ONE: &str = "/api/v1/runs/{id}/explanation";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Says what a run waits for, since when, and what would move it.";
    vec![
        Endpoint::get(ONE, "explainRun", summary, get)
            .path::<RunId>("id", "The run.")
            .answers::<Explanation>(200, "One paragraph for people, and commands to type."),
    ]
}

async fn get(
    State(state): State<ApiState>,
    InPath(id): InPath<RunId>,
    query: InQuery,
) -> Result<Json<Explanation>, ApiError> {
    query.finish()?;
    let run = runs::find(&state, id).await?;
    let known = known(&state, &run).await?;
    Ok(Json(explain(&run, &known, state.clock.now())))
}

/// A few of the run's agents: a page of those in flight, of which the most telling are looked at more
/// closely, and a few that failed.
async fn known(state: &ApiState, run: &Run) -> Result<Known, ApiError> {
    let (id, store) = (run.id(), &state.store);
    let mut known = Known::default();
    if run.progress.count(AgentState::Failed) > 0 {
        known.failed = store.records(id, Some(AgentState::Failed), None, EXPLAINED_FAILED).await?;
    }
    if run.progress.count(AgentState::Running) > 0 {
        let mut running =
            store.records(id, Some(AgentState::Running), None, EXPLAINED_RUNNING).await?;
        most_telling(&mut running);
        for record in running {
            let attempt = attempt(state, &record).await?;
            known.running.push(InFlight { record, attempt });
        }
    }
    // The run names a few, of however many there are.
    for agent in &run.progress.silent.some {
        known.silent.extend(store.record(id, agent).await?);
    }
    Ok(known)
}

/// The attempt that goes on, as far as the store knows of it already.
async fn attempt(state: &ApiState, record: &AgentRecord) -> Result<Option<OpenAttempt>, ApiError> {
    let key = record.present_attempt();
    let Some(before) = key.attempt.checked_sub(1) else { return Ok(None) };
    let after = Some(AttemptKey { attempt: before, ..key });
    let journals = state.store.journals(record.run, Some(record.seq), after, 1).await?;
    Ok(journals.iter().find(|journal| journal.key == key).map(OpenAttempt::from))
}
