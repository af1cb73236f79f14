//! `POST /api/v1/runs/{id}/retry`: works on agents of a finished run again, in a new run of their own. The old
//! run stays as it ended.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use semver::Version;
use serde_json::json;

use super::access::{Caller, Deed};
use super::approving::check_startable;
use super::bodies::{InJson, check_length, off_loop};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::exec::deed_of_start;
use super::limits::{FEW_RECORDS, MAX_ACTOR, MAX_REASON, RETRY_PAGES};
use super::params::{InPath, InQuery};
use super::shapes::IdempotencyKey;
use super::state::ApiState;
use super::wire::{RetryRun, RunView};
use super::{playbooks, policy, runs, start};
use crate::playbook::access::Object;
use crate::playbook::{Narrowing, Playbook, check_params};
use crate::run::{AgentState, Digest, RetryOf, Run, RunId, Snapshot, canonical, new_retry};
use crate::store::{NewRun, StoredPlaybook};

const RETRY: &str = "/api/v1/runs/{id}/retry";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary =
        "Starts a run over agents of a finished one, with the same snapshot or a mended playbook.";
    vec![
        Endpoint::post(RETRY, "retryRun", summary, retry)
            .does(Deed::StartRun)
            .path::<RunId>("id", "The finished run.")
            .header::<IdempotencyKey>("Idempotency-Key", start::KEY_MEANS)
            .takes::<RetryRun>()
            .fails(&start::FAILS)
            .fails(&[Code::RunNotFinished, Code::NothingToRetry, Code::ClusterGone])
            .urgent()
            .answers::<RunView>(201, "The new run is created.")
            .answers::<RunView>(200, "An earlier request with the same key had created it."),
    ]
}

async fn retry(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(of): InPath<RunId>,
    headers: HeaderMap,
    query: InQuery,
    InJson(mut request): InJson<RetryRun>,
) -> Result<Response, ApiError> {
    query.finish()?;
    let key = start::read_key(&headers)?;
    check_length("started_by", request.started_by.as_deref(), MAX_ACTOR)?;
    check_length("reason", request.reason.as_deref(), MAX_REASON)?;
    may_retry(&state, &caller, of, &request).await?;
    request.started_by = caller.actor(request.started_by);
    let retry = chosen(of, &request);
    let reference = request.playbook.as_deref().map(start::read_reference).transpose()?;
    let mut asked = json!({ "retry": retry, "by": request.started_by, "reason": request.reason });
    if let Some(playbook) = &request.playbook {
        asked["playbook"] = json!(playbook);
    }
    let asked = Digest::of(canonical(&asked).as_bytes());
    if let Some(before) = start::before(&state, key.as_deref(), &asked).await? {
        return Ok(before);
    }
    let finished = runs::find(&state, of).await?;
    check(&state, &finished, &retry, reference.is_some()).await?;
    let mended = match reference {
        Some((name, version)) => Some(mended(&state, &finished, name, version.as_ref()).await?),
        None => None,
    };
    let now = state.clock.now();
    let id = start::new_id(now);
    let RetryRun { started_by, reason, .. } = request;
    let reason = match &mended {
        Some(Snapshot { playbook: Playbook { name, version, .. }, .. }) => {
            let why = reason.map(|reason| format!("; {reason}")).unwrap_or_default();
            Some(format!("with playbook {name}@{version}{why}"))
        }
        None => reason,
    };
    let snapshot = mended.as_ref().unwrap_or(&finished.snapshot);
    policy::admit_run(&state, &snapshot.playbook).await?;
    check_startable(&state, &snapshot.playbook)?;
    let (run, events) = new_retry(id, snapshot, retry, started_by, reason.as_deref(), now);
    let new = NewRun { run, events, idempotency_key: key, request: asked };
    match start::create(&state, &caller, new).await {
        // The cluster was removed in the meantime.
        Err(error) if error.code == Code::ClusterNotFound => {
            Err(cluster_gone(of, &finished.snapshot.cluster))
        }
        answer => answer,
    }
}

/// Checks that they may start the new run: one of the mended playbook, if there is one.
async fn may_retry(
    state: &ApiState,
    caller: &Caller,
    of: RunId,
    request: &RetryRun,
) -> Result<(), ApiError> {
    let run = caller.run_of(state, of).await?;
    let deed = run.as_ref().map_or(Deed::StartRun, |run| deed_of_start(&run.playbook));
    caller.may_with_run(deed, run.as_deref())?;
    let mended = request.playbook.as_deref().map(start::read_reference).transpose()?;
    if let (Some((name, version)), Some(run)) = (&mended, &run) {
        playbooks::check_seen(caller, name, version.as_ref())?;
        caller.may(deed_of_start(name), Object::Run { playbook: name, cluster: &run.cluster })?;
    }
    let id = of.to_string();
    let with = request.playbook.as_deref().unwrap_or_default();
    let about = [("run", id.as_str()), ("playbook", with)];
    caller.begin(deed, &about, false, state.own_clock.now())
}

/// The snapshot that the new run begins with when a repaired playbook is given; the parameters of the old run
/// have to fit that playbook.
async fn mended(
    state: &ApiState,
    run: &Run,
    name: &str,
    version: Option<&Version>,
) -> Result<Snapshot, ApiError> {
    let StoredPlaybook { playbook, .. } = playbooks::find(state, name, version).await?;
    let old = Snapshot::clone(&run.snapshot);
    let id = run.id();
    off_loop(move || {
        let (name, version) = (playbook.name.clone(), playbook.version.clone());
        let params = check_params(&playbook, old.params).map_err(|problems| {
            let mut error = ApiError::invalid_params(problems);
            let whose = format!("the parameters of run {id}");
            error.detail = error.detail.replacen("the parameters", &whose, 1);
            error.detail.push_str(&format!(" with playbook {name}@{version}"));
            error
        })?;
        let narrowed = Narrowing::check(&playbook, old.narrowed.asked()).map_err(|problems| {
            let mut error = ApiError::invalid_narrowing(problems);
            error
                .detail
                .push_str(&format!(" with playbook {name}@{version}: run {id} was started so"));
            error
        })?;
        Ok(Snapshot { playbook, params, narrowed, ..old })
    })
    .await?
}

fn chosen(run: RunId, request: &RetryRun) -> RetryOf {
    let RetryRun { failed, skipped, unfinished, .. } = request;
    let none = !(*failed || *skipped || *unfinished);
    RetryOf { run, failed: *failed || none, skipped: *skipped, unfinished: *unfinished }
}

/// Refuses a run that has not finished, whose cluster is gone, or that has no agent to retry. Whether its
/// plugins exist is checked when the new run is created.
async fn check(
    state: &ApiState,
    run: &Run,
    retry: &RetryOf,
    is_mended: bool,
) -> Result<(), ApiError> {
    let (id, status) = (run.id(), run.progress.status);
    if !status.is_final() && is_mended {
        let detail = format!("run {id} is {status}, expected one that has ended: cancel it first");
        return Err(ApiError::new(Code::RunNotFinished, detail));
    }
    if !status.is_final() {
        let detail = format!(
            "run {id} is {status}, expected one that has ended; the command `retry` puts the failed \
             agents of a paused run back"
        );
        return Err(ApiError::new(Code::RunNotFinished, detail));
    }
    let cluster = &run.snapshot.cluster;
    if state.store.cluster(cluster).await?.is_none() {
        return Err(cluster_gone(id, cluster));
    }
    if has_such(state, run, retry).await? {
        return Ok(());
    }
    Err(ApiError::new(Code::NothingToRetry, format!("run {id} left no {retry} agents")))
}

fn cluster_gone(run: RunId, cluster: &str) -> ApiError {
    let detail = format!("cluster {cluster:?} of run {run} is no longer there");
    ApiError::new(Code::ClusterGone, detail)
}

/// Whether the run has an agent to retry. At most [`RETRY_PAGES`] pages are searched; if those don't tell,
/// whoever drives the new run finds out.
async fn has_such(state: &ApiState, run: &Run, retry: &RetryOf) -> Result<bool, ApiError> {
    let (progress, came_to) = (&run.progress, run.came_to());
    let takes_failed = retry.failed;
    let but_failed = RetryOf { failed: false, ..*retry };
    let worth_a_look = |state: AgentState| {
        // If nothing failed, no agent was skipped because of a failure.
        let may_have_failed = state != AgentState::Skipped || progress.failures > 0;
        let looks = but_failed.may_take(state, &came_to) || takes_failed && may_have_failed;
        // In a stage on the run no agent is counted.
        let has_any = progress.stage.once || progress.count(state) > 0;
        retry.may_take(state, &came_to) && has_any && looks
    };
    let mut pages = 0;
    for agents in AgentState::ALL {
        if !worth_a_look(agents) {
            continue;
        }
        let mut after = None;
        loop {
            if pages == RETRY_PAGES {
                return Ok(true);
            }
            pages += 1;
            let page = state.store.records(run.id(), Some(agents), after, FEW_RECORDS).await?;
            if page.iter().any(|record| retry.takes(record, &came_to)) {
                return Ok(true);
            }
            after = page.last().map(|record| record.seq);
            if page.len() < FEW_RECORDS as usize {
                break;
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn where_no_kind_is_chosen_it_is_those_that_failed() {
        let run = RunId(Uuid::nil());
        assert_eq!(chosen(run, &RetryRun::default()).to_string(), "failed");
        let request = RetryRun { skipped: true, unfinished: true, ..RetryRun::default() };
        assert_eq!(chosen(run, &request).to_string(), "skipped and unfinished");
    }
}
