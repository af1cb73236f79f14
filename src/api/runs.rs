//! `/api/v1/runs`: looking at runs. Starting one is in `start`.

use axum::Json;
use axum::extract::State;

use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::params::{InPath, InQuery, listing};
use super::state::ApiState;
use super::wire::{Listing, RunView};
use crate::run::{ReasonCode, Run, RunId, RunStatus, Snapshot};
use crate::store::RunFilter;

pub(super) const ALL: &str = "/api/v1/runs";
const ONE: &str = "/api/v1/runs/{id}";
const SNAPSHOT: &str = "/api/v1/runs/{id}/snapshot";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let statuses = RunStatus::ALL.map(RunStatus::as_str).join(", ");
    let status = format!("Only runs with one of these, with commas: {statuses}.");
    vec![
        Endpoint::get(ALL, "listRuns", "Lists runs, newest first.", list)
            .query::<String>("cluster", "Only runs of this cluster.")
            .query::<String>("status", status)
            .paged()
            .answers::<Listing<RunView>>(200, "A page."),
        Endpoint::get(ONE, "getRun", "Shows a run.", get)
            .path::<RunId>("id", "The run.")
            .answers::<RunView>(200, "The run."),
        Endpoint::get(SNAPSHOT, "getSnapshot", "Shows what a run was started with.", snapshot)
            .path::<RunId>("id", "The run.")
            .answers::<Snapshot>(200, "The whole playbook, its plugins' digests, the parameters."),
    ]
}

async fn list(
    State(state): State<ApiState>,
    mut query: InQuery,
) -> Result<Json<Listing<RunView>>, ApiError> {
    let filter = RunFilter {
        cluster: query.take("cluster", "a name")?,
        statuses: query.take_list("status")?,
    };
    let mut page = query.page()?;
    query.finish()?;
    if let Some(after) = page.after.take() {
        let id: RunId = read_id("query parameter `after`", &after)?;
        page.after = Some(id.to_string());
    }
    let found = state.store.runs(&filter, &page).await?;
    Ok(Json(listing(found, page.limit, |run| run.id().to_string(), |run| view(&run))))
}

async fn get(
    State(state): State<ApiState>,
    InPath(id): InPath<RunId>,
    query: InQuery,
) -> Result<Json<RunView>, ApiError> {
    query.finish()?;
    Ok(Json(view(&find(&state, id).await?)))
}

async fn snapshot(
    State(state): State<ApiState>,
    InPath(id): InPath<RunId>,
    query: InQuery,
) -> Result<Json<Snapshot>, ApiError> {
    query.finish()?;
    Ok(Json(find(&state, id).await?.snapshot.as_ref().clone()))
}

fn read_id(place: &str, text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|_| ApiError::bad_parameter(place, text, "the identifier of a run"))
}

/// The run.
pub(super) async fn find(state: &ApiState, id: RunId) -> Result<Run, ApiError> {
    let not_found =
        || ApiError::new(Code::RunNotFound, format!("there is no run {id}, or it has expired"));
    state.store.run(id).await?.ok_or_else(not_found)
}

/// An empty list of a run that is not there is an error; a list with items needs no second look.
pub(super) async fn check_known(
    state: &ApiState,
    id: RunId,
    is_empty: bool,
) -> Result<(), ApiError> {
    if is_empty {
        find(state, id).await?;
    }
    Ok(())
}

/// The run as it is shown.
pub(super) fn view(run: &Run) -> RunView {
    let (snapshot, progress) = (&run.snapshot, &run.progress);
    let playbook = &snapshot.playbook;
    let stage = playbook.stages.get(usize::from(progress.stage.index));
    RunView {
        id: snapshot.id,
        playbook: playbook.name.clone(),
        version: playbook.version.to_string(),
        vcs: playbook.vcs.clone(),
        cluster: snapshot.cluster.clone(),
        status: progress.status,
        reason: progress.reason.clone(),
        since: progress.since,
        stage: stage.map(|stage| stage.name.clone()).unwrap_or_default(),
        stage_index: progress.stage.index,
        stages: playbook.stages.iter().map(|stage| stage.name.clone()).collect(),
        hold: progress.hold,
        selected: progress.stage.selected,
        counts: progress.counts.clone(),
        silent: progress.silent.clone(),
        failures: progress.stage.failures,
        all_failures: progress.failures,
        passed_over: progress.passed_over,
        outcomes: progress.outcomes.clone(),
        nobody: progress.status == RunStatus::Done
            && progress.reason.as_ref().is_some_and(|r| r.code == ReasonCode::NobodySelected),
        gone: progress.gone.clone(),
        params: snapshot.params.clone(),
        plugins: playbook.plugins.clone(),
        retry_of: snapshot.retry_of,
        started_by: snapshot.started_by.clone(),
        created_at: snapshot.created_at,
        started_at: progress.started_at,
        finish_ts: progress.finish_ts,
    }
}
