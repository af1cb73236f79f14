//! Which engine drives a run, and what a run waits for that no engine drives, or that has no place in the
//! engine that drives it. All of it is read from the store, so any server can tell it of any run.

use std::collections::{BTreeSet, HashMap};

use super::credentials;
use super::engines;
use super::error::{ApiError, unless_broken};
use super::state::ApiState;
use super::wire::{EngineRef, EngineState, EngineView};
use crate::run::{
    KnownSecrets, OnEngine, ReasonCode, Run, RunId, RunStatus, SecretError, SecretText, WaitsFor,
};
use crate::store::{CREDENTIALS_FOLDER, Holder, Locked, Queue, SECRETS_FOLDER, Skew, StoreError};

/// What each of `runs` waits for, as far as it could go on. The store is asked as often for all of them
/// together as for one, and not at all if none of them needs an engine.
///
/// # Errors
/// Those of the store.
pub(super) async fn waits_of(
    state: &ApiState,
    runs: &[&Run],
) -> Result<HashMap<RunId, WaitsFor>, ApiError> {
    let runs: Vec<&Run> = runs.iter().copied().filter(|run| wants_engine(run)).collect();
    if runs.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<RunId> = runs.iter().map(|run| run.id()).collect();
    Drivers::of(state, &ids).await?.waits_of(state, &runs).await
}

/// Whether the run would go on if an engine took it up. A run that waits for a person needs no engine until the
/// person acts.
pub(super) fn wants_engine(run: &Run) -> bool {
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

/// Which engines drive some runs at the moment, and all engines.
pub(super) struct Drivers {
    holders: HashMap<RunId, Holder>,
    engines: Vec<EngineView>,
    /// Whether everything could be read. If not, nothing may be concluded from what is missing.
    are_known: bool,
}

impl Drivers {
    /// # Errors
    /// Those of the store.
    pub(super) async fn of(state: &ApiState, runs: &[RunId]) -> Result<Self, ApiError> {
        let (holders, engines) = (state.store.holders(runs).await, engines::views(state).await);
        let are_known = !is_broken(&holders) && !is_broken(&engines);
        let holders = unless_broken(holders)?;
        let holders = holders.into_iter().map(|holder| (holder.run, holder)).collect();
        Ok(Self { holders, engines: unless_broken(engines)?, are_known })
    }

    /// The engine that drives a run, if one does.
    pub(super) fn engine_of(&self, run: RunId) -> Option<EngineRef> {
        let holder = self.holders.get(&run)?;
        let name = self.known(holder).map(|engine| engine.name.clone());
        Some(EngineRef { id: holder.engine.clone(), name, since: holder.since })
    }

    /// What the engine of a holder says about itself, if that is known.
    fn known(&self, holder: &Holder) -> Option<&EngineView> {
        self.engines.iter().find(|engine| engine.id == holder.engine)
    }

    /// What each of `runs` waits for. All of them must need an engine.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn waits_of(
        &self,
        state: &ApiState,
        runs: &[&Run],
    ) -> Result<HashMap<RunId, WaitsFor>, ApiError> {
        match self.are_known {
            true => unless_broken(self.find_waits(state, runs).await),
            false => Ok(HashMap::new()),
        }
    }

    async fn find_waits(
        &self,
        state: &ApiState,
        runs: &[&Run],
    ) -> Result<HashMap<RunId, WaitsFor>, StoreError> {
        let queues = queues_of(state, runs).await?;
        let mut waits = HashMap::new();
        let mut unclaimed = Vec::new();
        let mut own = Own { state, read: HashMap::new(), clusters: HashMap::new() };
        let is_any_active = self.engines.iter().any(|one| one.state == EngineState::Active);
        for run in runs {
            let Some(holder) = self.holders.get(&run.id()) else {
                // Without an engine that takes runs, what this one lacks would not make it go on.
                let left = match is_any_active {
                    true => own.why_left(run).await?,
                    false => None,
                };
                match left {
                    Some(left) => drop(waits.insert(run.id(), left)),
                    None => unclaimed.push(*run),
                }
                continue;
            };
            let engine =
                self.known(holder).map(on_engine).filter(|engine| has_no_place(engine, run));
            let starts = run.progress.status == RunStatus::Pending && may_start(run, &queues);
            if let Some(engine) = engine.filter(|_| starts) {
                waits.insert(run.id(), WaitsFor::Place(engine));
            }
        }
        if !unclaimed.is_empty()
            && let Some(why) = self.why_unclaimed(state).await?
        {
            // A run is not claimed while others come first on its cluster.
            let waiting =
                unclaimed.iter().filter(|run| !why.is_for_place() || may_start(run, &queues));
            waits.extend(waiting.map(|run| (run.id(), why.clone())));
        }
        Ok(waits)
    }

    /// What one run waits for, which must need an engine: also if its engine keeps it waiting.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn waits_of_one(
        &self,
        state: &ApiState,
        run: &Run,
    ) -> Result<Option<WaitsFor>, ApiError> {
        match self.waits_of(state, &[run]).await?.remove(&run.id()) {
            Some(waits) => Ok(Some(waits)),
            None => self.why_kept(state, run).await,
        }
    }

    /// What a run waits for that an engine keeps, because it lacks something for the run that no other engine has either.
    /// What this server's engine lacks says it, if all engines have the same names.
    ///
    /// # Errors
    /// Those of the store.
    async fn why_kept(&self, state: &ApiState, run: &Run) -> Result<Option<WaitsFor>, ApiError> {
        let active = self.engines.iter().filter(|one| one.state == EngineState::Active);
        let active: Vec<&EngineView> = active.collect();
        let are_same = |file: &str| {
            let mut sums = active.iter().map(|engine| engine.files.get(file));
            let first = sums.next().flatten();
            first.is_some() && sums.all(|sum| sum == first)
        };
        let is_kept = self.are_known && self.holders.contains_key(&run.id()) && active.len() > 1;
        if !is_kept || ![SECRETS_FOLDER, CREDENTIALS_FOLDER].into_iter().all(are_same) {
            return Ok(None);
        }
        let mut own = Own { state, read: HashMap::new(), clusters: HashMap::new() };
        unless_broken(own.why_left(run).await)
    }

    /// Why no engine takes up a run that could go on; `None` when one should do so at any moment.
    async fn why_unclaimed(&self, state: &ApiState) -> Result<Option<WaitsFor>, StoreError> {
        let in_state = |state| self.engines.iter().filter(move |engine| engine.state == state);
        let active: Vec<OnEngine> = in_state(EngineState::Active).map(on_engine).collect();
        if active.is_empty() {
            return Ok(Some(self.why_none_is_active()));
        }
        let waiting = state.store.unclaimed().await?;
        let is_full = active.iter().all(OnEngine::is_full);
        // Where an engine has a place, a single unclaimed run will be claimed at any moment: it waits for nothing.
        let is_held_back = is_full || waiting > 1;
        Ok(is_held_back.then_some(WaitsFor::AnyPlace { engines: active, waiting }))
    }

    /// Why no engine takes runs: the cause that a person can repair comes first.
    fn why_none_is_active(&self) -> WaitsFor {
        let in_state = |state| self.engines.iter().filter(move |engine| engine.state == state);
        if let Some(full) = in_state(EngineState::CantWrite).next() {
            let why = full.problem.clone().unwrap_or_default();
            return WaitsFor::CanWrite { name: full.name.clone(), why };
        }
        if let Some(off) = in_state(EngineState::ClockOff).next() {
            let name = off.name.clone();
            return WaitsFor::RightClock {
                name,
                off: Skew::from_millis(off.clock_ahead).to_string(),
            };
        }
        match in_state(EngineState::Draining).count() {
            0 => WaitsFor::Engine,
            draining => WaitsFor::Undrained(draining),
        }
    }
}

/// The secrets and credentials that the engine of this server can use. Each is looked at once, however many runs need it.
struct Own<'s> {
    state: &'s ApiState,
    /// Why it can't reach a cluster.
    clusters: HashMap<String, Option<String>>,
    read: HashMap<String, Result<SecretText, SecretError>>,
}

impl Own<'_> {
    /// What this server's engine lacks, so that it leaves a run to others; `None` if it does not.
    async fn why_left(&mut self, run: &Run) -> Result<Option<WaitsFor>, StoreError> {
        match run.progress.status {
            RunStatus::Pending | RunStatus::Starting | RunStatus::Running => {}
            RunStatus::PendingApprove
            | RunStatus::Paused
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => return Ok(None),
        }
        let unread = self.why_unread(run).await;
        let unreachable = self.why_unreachable(&run.snapshot.cluster).await?;
        Ok(match (unread, unreachable) {
            (Some(unread), Some(unreachable)) => {
                Some(WaitsFor::SecretsAndCredentials { why: format!("{unread}; {unreachable}") })
            }
            (Some(why), None) => Some(WaitsFor::Secrets { why }),
            (None, Some(why)) => Some(WaitsFor::Credentials { why }),
            (None, None) => None,
        })
    }

    /// Why the credentials of a cluster can't be used.
    async fn why_unreachable(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        if let Some(known) = self.clusters.get(name) {
            return Ok(known.clone());
        }
        let stored = self.state.store.cluster(name).await?;
        let why = stored.and_then(|stored| credentials::why_unusable(self.state, &stored.spec));
        self.clusters.insert(name.to_owned(), why.clone());
        Ok(why)
    }

    /// Why a secret of the run can't be read.
    async fn why_unread(&mut self, run: &Run) -> Option<String> {
        let mut known = KnownSecrets::default();
        for name in run.snapshot.secrets() {
            if !self.read.contains_key(name) {
                self.read.insert(name.to_owned(), self.state.secrets.read(name).await);
            }
            let taken = match self.read.get(name) {
                Some(Ok(value)) => known.take(name, value).map(drop),
                Some(Err(error)) => Err(error.clone()),
                None => Ok(()),
            };
            if let Err(error) = taken {
                return Some(error.to_string());
            }
        }
        None
    }
}

fn on_engine(engine: &EngineView) -> OnEngine {
    let EngineView { name, runs, max_runs, .. } = engine;
    OnEngine { name: name.clone(), runs: *runs, max_runs: *max_runs }
}

/// Whether an engine may have no place for a run. Other runs on its cluster may have taken the cluster's share,
/// unless the run locks its cluster and so is the only one there.
fn has_no_place(engine: &OnEngine, run: &Run) -> bool {
    engine.is_full() || (!run.snapshot.locks_cluster() && engine.runs >= engine.cluster_share())
}

fn is_broken<T>(read: &Result<T, StoreError>) -> bool {
    matches!(read, Err(StoreError::Broken { .. }))
}

async fn queues_of(state: &ApiState, runs: &[&Run]) -> Result<HashMap<String, Queue>, StoreError> {
    let queued = runs.iter().filter(|run| queues(run));
    let clusters: BTreeSet<String> = queued.map(|run| run.snapshot.cluster.clone()).collect();
    let clusters: Vec<String> = clusters.into_iter().collect();
    if clusters.is_empty() {
        return Ok(HashMap::new());
    }
    let queues = state.store.queues(&clusters).await?;
    Ok(clusters.into_iter().zip(queues).collect())
}

/// Whether a run takes turns with others on its cluster. While the cluster has guards, so does a run whose playbook allows
/// others beside it, and its reason says so.
fn queues(run: &Run) -> bool {
    let Run { snapshot, progress } = run;
    let reason = progress.reason.as_ref().map(|reason| reason.code);
    progress.status == RunStatus::Pending
        && (snapshot.locks_cluster() || reason == Some(ReasonCode::ClusterBusy))
}

/// Whether it is the run's turn: no run comes before it on its cluster, or it takes no turns.
fn may_start(run: &Run, of_clusters: &HashMap<String, Queue>) -> bool {
    let queue = of_clusters.get(&run.snapshot.cluster);
    !queues(run) || queue.and_then(|queue| queue.place_of(run.id())) == Some(Locked::Held)
}
