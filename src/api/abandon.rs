//! `/api/v1/runs/{id}/abandon`: the way out for a run that can't go on.
//!
//! The store itself abandons the run, since the run's own documents may be unreadable. Engines finish what this
//! request leaves undone.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::access::{Caller, Deed};
use super::bodies::{InJson, check_length};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::{COMMAND_POLL, COMMAND_WAIT, MAX_ACTOR, MAX_REASON};
use super::params::{InPath, InQuery};
use super::runs;
use super::state::ApiState;
use super::wire::{AbandonRun, RunView};
use crate::run::{Millis, RunId};
use crate::store::{Abandon, Abandonment, Ending, StoreError};

const PATH: &str = "/api/v1/runs/{id}/abandon";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Gives up a run that can't go on; it ends as FAILED, and its cluster is free.";
    vec![
        Endpoint::post(PATH, "abandonRun", summary, abandon)
            .does(Deed::SteerRun)
            .path::<RunId>("id", "The run.")
            .takes::<AbandonRun>()
            .fails(&[Code::CommandRefused, Code::RunNotTroubled])
            .urgent()
            .answers::<RunView>(200, "It has ended.")
            .answers::<RunView>(202, "The run is given up and will end by itself soon."),
    ]
}

async fn abandon(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(id): InPath<RunId>,
    query: InQuery,
    InJson(request): InJson<AbandonRun>,
) -> Result<Response, ApiError> {
    query.finish()?;
    check_length("actor", request.actor.as_deref(), MAX_ACTOR)?;
    check_length("reason", Some(&request.reason), MAX_REASON)?;
    if request.reason.trim().is_empty() {
        let detail = "`reason`: found nothing, expected a reason why the run is given up";
        return Err(ApiError::new(Code::BadBody, detail));
    }
    let of = caller.run_of(&state, id).await?;
    let deed = if request.force { Deed::ForceAbandon } else { Deed::SteerRun };
    caller.may_with_run(deed, of.as_deref())?;
    let about = [("run", &*id.to_string()), ("command", "abandon"), ("reason", &request.reason)];
    caller.begin(deed, &about, false, state.own_clock.now())?;
    let AbandonRun { reason, actor, force } = request;
    let actor = caller.actor(actor);
    match state.store.abandon(id, &Abandon { actor, why: reason, force }).await? {
        Abandonment::Begun(_) => {}
        Abandonment::Unknown => return Err(runs::not_found(id)),
        Abandonment::Finished => {
            let status = runs::look(&state, id).await?.status;
            let detail = format!("run {id} has ended as {status}");
            return Err(ApiError::new(Code::CommandRefused, detail));
        }
        Abandonment::NotTroubled => {
            let status = runs::look(&state, id).await?.status;
            let detail = format!(
                "run {id} is {status} and in no trouble: cancel it, which waits for what is out; \
                 only with `force` it is given up all the same"
            );
            return Err(ApiError::new(Code::RunNotTroubled, detail));
        }
    }
    state.signals.changed(id);
    // The run is abandoned whatever the result of this; engines do the rest.
    let status = match end(&state, id).await {
        Ok(true) => StatusCode::OK,
        Ok(false) => StatusCode::ACCEPTED,
        Err(error) => {
            tracing::warn!(run = %id, %error, "failed to end an abandoned run at once");
            StatusCode::ACCEPTED
        }
    };
    state.signals.changed(id);
    state.signals.ended(id);
    Ok((status, Json(runs::look(&state, id).await?)).into_response())
}

/// Whether the run has ended within [`COMMAND_WAIT`].
async fn end(state: &ApiState, id: RunId) -> Result<bool, StoreError> {
    let from = state.clock.now();
    let in_time = || state.clock.now().since(from) < Millis(COMMAND_WAIT.as_millis() as u64);
    // An engine does what is left after this time.
    while in_time() && !state.stopping.is_cancelled() {
        match state.store.end_abandoned(id).await? {
            Ending::Ended => return Ok(true),
            Ending::Going => {}
            Ending::Waits(_) => state.clock.sleep(COMMAND_POLL).await,
        }
    }
    Ok(false)
}
