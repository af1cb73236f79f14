//! Who drives a run, and what a run waits for that nobody drives, or that has no place where it is driven.

use std::collections::{BTreeSet, HashMap};

use super::engines;
use super::error::ApiError;
use super::state::ApiState;
use super::wire::{EngineRef, EngineState, EngineView};
use crate::run::{OnEngine, Run, RunId, RunStatus, WaitsFor, cluster_share};
use crate::store::{Engine, Holder, Locked, Queue, Skew, StoreError};

/// The engine that drives a run, if there is one.
pub(super) async fn driver_of(state: &ApiState, run: RunId) -> Result<Option<EngineRef>, ApiError> {
    let Some(holder) = state.store.holders(&[run]).await?.pop() else { return Ok(None) };
    let engines = state.store.engines().await?;
    let name = engine_of(&engines, &holder).map(|engine| engine.report.name.clone());
    Ok(Some(EngineRef { id: holder.engine, name, since: holder.since }))
}

/// What those of some runs wait for that could go on. For all of them together the store is asked as often as for
/// one, and not at all where no engine is needed.
///
/// # Errors
/// Those of the store.
pub(super) async fn waits_of(
    state: &ApiState,
    runs: &[&Run],
) -> Result<HashMap<RunId, WaitsFor>, StoreError> {
    let runs: Vec<&Run> = runs.iter().copied().filter(|run| wants_engine(run)).collect();
    if runs.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
    let (holders, engines) = (state.store.holders(&ids).await?, state.store.engines().await?);
    let holders: HashMap<RunId, Holder> =
        holders.into_iter().map(|holder| (holder.run, holder)).collect();
    let mut waits = HashMap::new();
    let queues = queues_of(state, &runs).await?;
    for run in &runs {
        let Some(holder) = holders.get(&run.id()) else { continue };
        let engine = engine_of(&engines, holder).map(on_engine).filter(has_no_place);
        let starts = run.progress.status == RunStatus::Pending && may_start(run, &queues);
        if let Some(engine) = engine.filter(|_| starts) {
            waits.insert(run.id(), WaitsFor::Place(engine));
        }
    }
    if holders.len() < runs.len()
        && let Some(why) = why_unclaimed(state, engines).await?
    {
        let unclaimed = runs.iter().filter(|run| !holders.contains_key(&run.id()));
        // Engines with places leave a run alone while others come first on its cluster.
        let waiting = unclaimed.filter(|run| !has_room(&why) || may_start(run, &queues));
        waits.extend(waiting.map(|run| (run.id(), why.clone())));
    }
    Ok(waits)
}

/// Whether an engine has places left, which not every cluster may have.
fn has_room(waits: &WaitsFor) -> bool {
    match waits {
        WaitsFor::AnyPlace { engines, .. } => {
            engines.iter().any(|engine| engine.runs < engine.max_runs)
        }
        WaitsFor::Place(_)
        | WaitsFor::Engine
        | WaitsFor::Undrained(_)
        | WaitsFor::RightClock { .. } => false,
    }
}

/// Whether the run would go on if an engine took it up. Those that wait for a person need none.
fn wants_engine(run: &Run) -> bool {
    match run.progress.status {
        RunStatus::Pending
        | RunStatus::Starting
        | RunStatus::Running
        | RunStatus::Cancelling
        | RunStatus::Finishing => true,
        RunStatus::PendingApprove
        | RunStatus::Paused
        | RunStatus::Done
        | RunStatus::Failed
        | RunStatus::Cancelled => false,
    }
}

fn engine_of<'e>(engines: &'e [Engine], holder: &Holder) -> Option<&'e Engine> {
    engines.iter().find(|engine| engine.report.id == holder.engine)
}

fn on_engine(engine: &Engine) -> OnEngine {
    let report = &engine.report;
    OnEngine { name: report.name.clone(), runs: report.runs, max_runs: report.max_runs }
}

/// Whether an engine may be without a place for a run. One with fewer runs than a cluster may have has one, and is
/// about to start the run.
fn has_no_place(engine: &OnEngine) -> bool {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let share = cluster_share(size(engine.max_runs)).min(size(engine.max_runs));
    size(engine.runs) >= share
}

async fn queues_of(state: &ApiState, runs: &[&Run]) -> Result<HashMap<String, Queue>, StoreError> {
    let is_queued =
        |run: &&&Run| run.progress.status == RunStatus::Pending && run.snapshot.locks_cluster();
    let clusters: BTreeSet<String> =
        runs.iter().filter(is_queued).map(|run| run.snapshot.cluster.clone()).collect();
    let clusters: Vec<String> = clusters.into_iter().collect();
    if clusters.is_empty() {
        return Ok(HashMap::new());
    }
    let queues = state.store.queues(&clusters).await?;
    Ok(clusters.into_iter().zip(queues).collect())
}

/// Whether it is the turn of a run: none comes before it on its cluster, or it goes beside others.
fn may_start(run: &Run, queues: &HashMap<String, Queue>) -> bool {
    let queue = queues.get(&run.snapshot.cluster);
    let queues = run.progress.status == RunStatus::Pending && run.snapshot.locks_cluster();
    !queues || queue.and_then(|queue| queue.place_of(run.id())) == Some(Locked::Held)
}

/// Why no engine takes up a run that could go on; none when one should at any moment.
async fn why_unclaimed(
    state: &ApiState,
    engines: Vec<Engine>,
) -> Result<Option<WaitsFor>, StoreError> {
    let now = state.store.time();
    let views: Vec<EngineView> =
        engines.into_iter().map(|engine| engines::view(engine, now)).collect();
    let in_state = |state| views.iter().filter(move |view| view.state == state);
    let active: Vec<OnEngine> = in_state(EngineState::Active)
        .map(|view| OnEngine { name: view.name.clone(), runs: view.runs, max_runs: view.max_runs })
        .collect();
    if active.is_empty() {
        let off = in_state(EngineState::ClockOff).next();
        let draining = in_state(EngineState::Draining).count();
        return Ok(Some(match (off, draining) {
            (Some(off), _) => WaitsFor::RightClock {
                name: off.name.clone(),
                off: Skew::from_millis(off.clock_ahead).to_string(),
            },
            (None, 0) => WaitsFor::Engine,
            (None, draining) => WaitsFor::Undrained(draining),
        }));
    }
    let waiting = state.store.unclaimed().await?;
    let is_full = active.iter().all(|engine| engine.runs >= engine.max_runs);
    // Those that are claimed at any moment wait for nothing.
    let is_held_back = is_full || waiting > 1;
    Ok(is_held_back.then_some(WaitsFor::AnyPlace { engines: active, waiting }))
}
