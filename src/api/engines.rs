//! `/api/v1/engines`: the engines that share the store, as they describe themselves there, and making one hand
//! over its runs.

use axum::Json;
use axum::extract::State;

use super::access::{Caller, Deed};
use super::bodies::{InJson, check_length};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::{MAX_ACTOR, MAX_REASON};
use super::params::{InPath, InQuery};
use super::state::ApiState;
use super::wire::{DrainEngine, EngineState, EngineView, Listing};
use crate::driver::Unwritten;
use crate::run::{EngineId, Millis, Timestamp};
use crate::store::{DEFAULT_LEASE, Engine, StoreError};

const ALL: &str = "/api/v1/engines";

const DRAIN: &str = "/api/v1/engines/{id}/drain";

/// An engine that has reported nothing for this long has lost its runs, or will at any moment.
const SILENT: Millis = DEFAULT_LEASE;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary =
        "Makes an engine hand over its runs and take no more, or lets it take runs again.";
    let drained = "The engine as it is known now; it does what it was told within seconds.";
    vec![
        Endpoint::get(ALL, "listEngines", "Lists the engines that share the store.", list)
            .does(Deed::ViewServer)
            .answers::<Listing<EngineView>>(
                200,
                "All engines, including those that have reported nothing for some minutes.",
            ),
        Endpoint::put(DRAIN, "drainEngine", summary, set_drain)
            .does(Deed::DrainEngine)
            .path::<String>("id", "The identifier of the engine.")
            .takes::<DrainEngine>()
            .fails(&[Code::EngineNotFound])
            .urgent()
            .answers::<EngineView>(200, drained),
    ]
}

async fn list(
    State(state): State<ApiState>,
    query: InQuery,
) -> Result<Json<Listing<EngineView>>, ApiError> {
    query.finish()?;
    let mut items = views(&state).await?;
    items.sort_by(|one, other| (&one.name, &one.id.0).cmp(&(&other.name, &other.id.0)));
    Ok(Json(Listing { items, next: None, damaged: Vec::new() }))
}

/// All engines that are known. This server's own engine is known here best, even when it can't write its report
/// to the store.
pub(super) async fn views(state: &ApiState) -> Result<Vec<EngineView>, StoreError> {
    let now = state.store.time();
    let engines = state.store.engines().await?;
    let mut views: Vec<_> = engines.into_iter().map(|engine| view(engine, now)).collect();
    let own = state.activity.as_ref().and_then(|activity| activity.unwritten());
    if let Some(Unwritten { report, since, why }) = own {
        let known = views.iter().position(|view| view.id == report.id);
        let before = known.map(|index| views.swap_remove(index));
        let own = view(Engine { report, seen: since, draining: None }, now);
        views.push(unwritten(own, before, why));
    }
    Ok(views)
}

/// An engine that can't write: what it says now, combined with what only the store knows about it.
fn unwritten(own: EngineView, before: Option<EngineView>, why: String) -> EngineView {
    let EngineView { seen, draining_since, drained_by, drain_reason, .. } =
        before.unwrap_or_else(|| own.clone());
    let (state, problem) = (EngineState::CantWrite, Some(why));
    EngineView { state, problem, seen, draining_since, drained_by, drain_reason, ..own }
}

async fn set_drain(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(id): InPath<String>,
    query: InQuery,
    InJson(request): InJson<DrainEngine>,
) -> Result<Json<EngineView>, ApiError> {
    query.finish()?;
    check_length("actor", request.actor.as_deref(), MAX_ACTOR)?;
    check_length("reason", request.reason.as_deref(), MAX_REASON)?;
    let DrainEngine { drain, actor, reason } = request;
    let actor = caller.actor(actor);
    let asks = if drain { "drain" } else { "undrain" };
    let about = [("engine", id.as_str()), ("asks", asks)];
    caller.begin(Deed::DrainEngine, &about, false, state.own_clock.now())?;
    let id = EngineId(id);
    let (actor, reason) = (actor.as_deref(), reason.as_deref());
    let engine = state.store.drain_engine(&id, drain, actor, reason).await?;
    let engine = engine.ok_or_else(|| {
        let detail = format!("there is no engine {:?}, or it has been gone for long", id.0);
        ApiError::new(Code::EngineNotFound, detail)
    })?;
    tracing::info!(engine = %id.0, drain, "an engine was told to hand over its runs, or to take some again");
    state.signals.work();
    Ok(Json(view(engine, state.store.time())))
}

pub(super) fn view(engine: Engine, now: Timestamp) -> EngineView {
    let Engine { report, seen, draining } = engine;
    let state = match (&draining, now.since(seen) > SILENT) {
        (_, true) => EngineState::Silent,
        (Some(_), false) => EngineState::Draining,
        (None, false) if report.skew().is_too_large() => EngineState::ClockOff,
        (None, false) => EngineState::Active,
    };
    EngineView {
        id: report.id,
        name: report.name,
        state,
        runs: report.runs,
        queued: report.queued,
        max_runs: report.max_runs,
        version: report.version,
        host: report.host,
        address: report.address,
        clock_ahead: report.clock_ahead,
        started: report.started,
        seen,
        files: report.files,
        draining_since: draining.as_ref().map(|draining| draining.since),
        drained_by: draining.as_ref().and_then(|draining| draining.actor.clone()),
        drain_reason: draining.and_then(|draining| draining.reason),
        problem: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::samples::report;
    use crate::store::Draining;

    #[test]
    fn an_engine_that_can_not_write_is_shown_as_it_is_with_what_the_store_knows_of_it() {
        let at = Timestamp::from_millis;
        let report = |runs| report("a", runs, 9);
        let draining = Draining {
            since: at(2),
            actor: Some("ann".to_owned()),
            reason: Some("new disk".to_owned()),
        };
        let known = Engine { report: report(1), seen: at(3), draining: Some(draining) };
        let own = || view(Engine { report: report(2), seen: at(4), draining: None }, at(5));
        let shown = unwritten(own(), Some(view(known, at(5))), "full".to_owned());
        assert_eq!((shown.state, shown.runs, shown.seen), (EngineState::CantWrite, 2, at(3)));
        assert_eq!(shown.draining_since, Some(at(2)));
        let told = (shown.drained_by.as_deref(), shown.drain_reason.as_deref());
        assert_eq!(told, (Some("ann"), Some("new disk")));
        assert_eq!(shown.problem.as_deref(), Some("full"));
        let shown = unwritten(own(), None, "full".to_owned());
        assert_eq!((shown.seen, shown.draining_since), (at(4), None));
    }
}
