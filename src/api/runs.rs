//! `/api/v1/runs`: listing and reading runs. Starting one is in `start`. A run whose documents can't be read is
//! shown all the same, in the form that all runs have, since people have to find it to abandon it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use semver::Version;
use serde_json::Map;
use uuid::Uuid;

use super::access::{Caller, Deed, sights};
use super::driven::{self, Drivers};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code, unless_broken};
use super::limits::PLAYBOOK_BYTES;
use super::pages::{self, Key, List, Paged, json_bytes};
use super::params::{InPath, InQuery};
use super::selector::{RUN_ROOTS, SELECTOR, Selector};
use super::shapes::Statuses;
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{Listing, RunView, TroubleView};
use crate::playbook::Narrowing;
use crate::run::{
    Held, Progress, ReasonCode, Run, RunId, RunStatus, Silent, Snapshot, Timestamp, Trouble,
    TroubleCode, WaitsFor,
};
use crate::store::{DamagedRun, Found, KeptRun, Page, RunFilter, RunPage, StoreError};
use crate::why::waits_in_words;

pub(super) const ALL: &str = "/api/v1/runs";
const ONE: &str = "/api/v1/runs/{id}";
const SNAPSHOT: &str = "/api/v1/runs/{id}/snapshot";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(ALL, "listRuns", "Lists runs, newest first.", list)
            .does(Deed::ViewRuns)
            .query::<String>("cluster", "Only runs of this cluster.")
            .query::<Statuses>(
                "status",
                "Only runs with one of these statuses, separated by commas.",
            )
            .query::<String>("playbook", "Only runs of this playbook: its name, or NAME@VERSION.")
            .query::<Timestamp>("since", "Only runs that were created at this moment or later.")
            .query::<String>(
                SELECTOR,
                "Only runs for which this CEL expression is true, such as `run.status == \"PAUSED\" && \
                 run.failures > 0`; `run` is the run as this list shows it. A run that lacks what the \
                 expression looks at is left out. A page looks at 1,000 runs at most, and may have none \
                 though its `next` leads to some.",
            )
            .paged_by::<RunId>()
            .answers::<Listing<RunView>>(200, "A page."),
        Endpoint::get(ONE, "getRun", "Shows a run.", get)
            .does(Deed::ViewRuns)
            .urgent()
            .path::<RunId>("id", "The run.")
            .answers::<RunView>(200, "The run."),
        Endpoint::get(SNAPSHOT, "getSnapshot", "Shows what a run was started with.", snapshot)
            .does(Deed::ViewRuns)
            .path::<RunId>("id", "The run.")
            .answers::<Snapshot>(200, "The whole playbook, its plugins' digests, the parameters."),
    ]
}

async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    mut query: InQuery,
) -> Result<Paged, ApiError> {
    let of = query.take::<String>("playbook", "a name, perhaps with @VERSION")?;
    let (playbook, version) = of.map(|of| read_playbook(&of)).transpose()?.unzip();
    let since = query.take::<Timestamp>("since", "a moment such as 2026-11-22T09:00:00Z")?;
    let filter = RunFilter {
        cluster: query.take("cluster", "a name")?,
        statuses: query.take_list("status")?,
        playbook,
        version: version.flatten(),
        from: since.map(first_of),
        seen: sights(&caller),
    };
    let mut page = query.page()?;
    let selector = Selector::take(&mut query, &RUN_ROOTS)?;
    query.finish()?;
    if let Some(after) = page.after.take() {
        let id: RunId = read_id("query parameter `after`", &after)?;
        page.after = Some(id.to_string());
    }
    let (state, filter, lost) = (&state, &filter, &Mutex::new(None));
    let list = List {
        read: async |after: Option<Key>, limit| {
            let page = Page { after: after.map(|Key(key)| key), limit };
            read_views(state, filter, &page, lost).await
        },
        key: |(run, _): &(RunView, usize)| run.id.to_string(),
        view: |run| run,
        heaviest: PLAYBOOK_BYTES,
    };
    let lost = || lost.lock().unwrap_or_else(PoisonError::into_inner).take().map(ApiError::from);
    pages::page_of_wanted(&reads.0, page.after.map(Key), page.limit, list, lost, selector).await
}

/// A playbook's name, and its version if one is given.
fn read_playbook(text: &str) -> Result<(String, Option<Version>), ApiError> {
    let Some((name, version)) = text.split_once('@') else { return Ok((text.to_owned(), None)) };
    let version = version.parse().map_err(|_| {
        ApiError::bad_parameter(
            "query parameter `playbook`",
            text,
            "a version such as 1.4.0 after the @",
        )
    })?;
    Ok((name.to_owned(), Some(version)))
}

/// The smallest identifier of a run created at this time.
fn first_of(moment: Timestamp) -> RunId {
    // Identifiers begin with the time of creation, in 48 bits.
    let millis = u128::try_from(moment.as_millis()).unwrap_or(0);
    RunId(Uuid::from_u128(millis << 80))
}

/// Reads runs in the form in which they are shown, with the bytes of their snapshots. Stores in `lost` why
/// others may be missing.
async fn read_views(
    state: &ApiState,
    filter: &RunFilter,
    page: &Page,
    lost: &Mutex<Option<StoreError>>,
) -> Result<Found<(RunView, usize)>, ApiError> {
    let RunPage { runs: found, lost: may_lack } = state.store.read_runs(filter, page).await?;
    if may_lack.is_some() {
        *lost.lock().unwrap_or_else(PoisonError::into_inner) = may_lack;
    }
    let sizes: Vec<_> = found.iter().map(snapshot_bytes).collect();
    let mut views: Vec<_> = found.iter().map(shown).collect();
    let ids: Vec<_> = views.iter().map(|view| view.id).collect();
    let troubles = unless_broken(state.store.troubles_of(&ids).await)?;
    let is_set_aside = |run: &&Run| troubles.iter().any(|trouble| trouble.run == run.id());
    let readable = found.iter().filter_map(|run| run.as_ref().ok());
    let going: Vec<&Run> = readable.filter(|run| !is_set_aside(run)).collect();
    let waits = driven::waits_of(state, &going).await?;
    for view in &mut views {
        show_waits(view, waits.get(&view.id));
        let trouble = troubles.iter().find(|trouble| trouble.run == view.id);
        view.trouble = trouble.map(view_of_trouble).or(view.trouble.take());
    }
    Ok(views.into_iter().zip(sizes).map(Ok).collect())
}

fn snapshot_bytes(run: &KeptRun) -> usize {
    run.as_ref().map_or(0, |run| json_bytes(run.snapshot.as_ref()))
}

async fn get(
    State(state): State<ApiState>,
    InPath(id): InPath<RunId>,
    query: InQuery,
) -> Result<Json<RunView>, ApiError> {
    query.finish()?;
    Ok(Json(look(&state, id).await?))
}

async fn snapshot(
    State(state): State<ApiState>,
    reads: Reads,
    InPath(id): InPath<RunId>,
    query: InQuery,
) -> Result<Weighed<Json<Snapshot>>, ApiError> {
    query.finish()?;
    let share = reads.large().await;
    let snapshot = find(&state, id).await?.snapshot.as_ref().clone();
    // Whoever has the seed can make tokens of secrets.
    Ok(Weighed(Json(Snapshot { seed: None, ..snapshot }), share))
}

fn read_id(place: &str, text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|_| ApiError::bad_parameter(place, text, "the identifier of a run"))
}

/// A run as the API shows it, even if its documents can't be read.
pub(super) async fn look(state: &ApiState, id: RunId) -> Result<RunView, ApiError> {
    let run = state.store.read_run(id).await?.ok_or_else(|| not_found(id))?;
    let mut view = shown(&run);
    if let Some(trouble) = trouble(state, id).await? {
        view.trouble = Some(view_of_trouble(&trouble));
    }
    if view.status.is_final() {
        return Ok(view);
    }
    let drivers = Drivers::of(state, &[id]).await?;
    view.engine = drivers.engine_of(id);
    if let (Ok(run), None) = (&run, &view.trouble)
        && driven::wants_engine(run)
        // If the store can't tell what the run waits for, the run is shown without that.
        && let Ok(waits) = drivers.waits_of_one(state, run).await
    {
        show_waits(&mut view, waits.as_ref());
    }
    Ok(view)
}

/// Shows what a run waits for that could go on otherwise.
fn show_waits(view: &mut RunView, waits: Option<&WaitsFor>) {
    match waits {
        // What the run waited for before is over.
        Some(WaitsFor::Place(_)) => view.reason = None,
        None
        | Some(
            WaitsFor::AnyPlace { .. }
            | WaitsFor::Engine
            | WaitsFor::Undrained(_)
            | WaitsFor::RightClock { .. }
            | WaitsFor::CanWrite { .. }
            | WaitsFor::Secrets { .. }
            | WaitsFor::Credentials { .. }
            | WaitsFor::SecretsAndCredentials { .. },
        ) => {}
    }
    view.waits = waits.map(waits_in_words);
}

/// Why a run can't go on, or could not; `None` if it has never been in trouble.
pub(super) async fn trouble(state: &ApiState, id: RunId) -> Result<Option<Trouble>, ApiError> {
    Ok(unless_broken(state.store.troubles_of(&[id]).await)?.pop())
}

pub(super) fn not_found(id: RunId) -> ApiError {
    ApiError::new(Code::RunNotFound, format!("there is no run {id}, or it has expired"))
}

/// A run with its snapshot, which must be readable.
pub(super) async fn find(state: &ApiState, id: RunId) -> Result<Run, ApiError> {
    state.store.run(id).await?.ok_or_else(|| not_found(id))
}

/// Tells an empty list of a run from a run that does not exist, which is an error. A list with items needs no
/// second look.
pub(super) async fn check_known(
    state: &ApiState,
    id: RunId,
    is_empty: bool,
) -> Result<(), ApiError> {
    match is_empty {
        true => look(state, id).await.map(drop),
        false => Ok(()),
    }
}

fn view_of_trouble(trouble: &Trouble) -> TroubleView {
    TroubleView {
        code: trouble.code,
        message: trouble.message.clone(),
        since: Some(trouble.since),
        tries: trouble.tries,
        abandoned: trouble.abandoned.clone(),
    }
}

/// A run as the API shows it, whether its documents can be read or not.
pub(super) fn shown(run: &KeptRun) -> RunView {
    match run {
        Ok(run) => view(run),
        Err(damaged) => view_of_damaged(damaged),
    }
}

/// What is known of a run that can't be read, in the form that all runs have. If its status is not known, it is
/// shown as PAUSED, since the run does nothing.
fn view_of_damaged(damaged: &DamagedRun) -> RunView {
    let DamagedRun { glance, damage } = damaged;
    let created_at = created_at(glance.id);
    let progress = Progress {
        finish_ts: glance.finish_ts,
        ..Progress::new(glance.status.unwrap_or(RunStatus::Paused), created_at)
    };
    let trouble = TroubleView {
        code: TroubleCode::Damaged,
        message: damage.to_string(),
        since: None,
        tries: 0,
        abandoned: None,
    };
    let known = match &glance.snapshot {
        Some(snapshot) => view(&Run { snapshot: snapshot.clone(), progress }),
        None => RunView {
            id: glance.id,
            playbook: UNKNOWN.to_owned(),
            version: UNKNOWN.to_owned(),
            vcs: None,
            cluster: glance.cluster.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            status: progress.status,
            reason: None,
            asks: None,
            engine: None,
            waits: None,
            trouble: None,
            since: created_at,
            last_event: 0,
            stage: String::new(),
            stage_index: 0,
            stages: Vec::new(),
            hold: false,
            selected: 0,
            counts: BTreeMap::new(),
            held: Held::default(),
            held_agents: Vec::new(),
            overridden: Default::default(),
            failures: 0,
            all_failures: 0,
            passed_over: Default::default(),
            outcomes: BTreeMap::new(),
            nobody: false,
            gone: None,
            dropped_lines: BTreeMap::new(),
            params: Map::new(),
            plugins: BTreeMap::new(),
            retry_of: None,
            narrowed: Narrowing::default(),
            closing: None,
            once: false,
            started_by: None,
            created_at,
            silent: Silent::default(),
            started_at: None,
            finish_ts: progress.finish_ts,
        },
    };
    RunView { trouble: Some(trouble), ..known }
}

/// Shown in place of a name that can't be read.
const UNKNOWN: &str = "?";

/// The time that an identifier contains.
fn created_at(id: RunId) -> Timestamp {
    let (seconds, nanos) = id.0.get_timestamp().map_or((0, 0), |moment| moment.to_unix());
    let millis = seconds.saturating_mul(1_000).saturating_add(u64::from(nanos) / 1_000_000);
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// A run that can be read, as the API shows it; what only the store knows is not filled in.
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
        asks: run.asks(),
        engine: None,
        waits: None,
        trouble: None,
        since: progress.since,
        last_event: progress.next_event.saturating_sub(1),
        stage: stage.map(|stage| stage.name.clone()).unwrap_or_default(),
        stage_index: progress.stage.index,
        stages: playbook.stages.iter().map(|stage| stage.name.clone()).collect(),
        hold: progress.hold,
        selected: progress.stage.selected,
        counts: progress.counts.clone(),
        silent: progress.silent.clone(),
        held: progress.held_agents.clone(),
        held_agents: progress.stage.held.clone(),
        overridden: progress.overridden.clone(),
        failures: progress.stage.failures,
        all_failures: progress.failures,
        passed_over: progress.passed_over,
        outcomes: progress.outcomes.clone(),
        nobody: progress.status == RunStatus::Done
            && progress.reason.as_ref().is_some_and(|r| r.code == ReasonCode::NobodySelected),
        gone: progress.gone.clone(),
        dropped_lines: progress.log.dropped.clone(),
        params: snapshot.params.clone(),
        plugins: playbook.plugins.clone(),
        retry_of: snapshot.retry_of,
        narrowed: snapshot.narrowed.clone(),
        closing: progress.closing.clone(),
        once: progress.stage.once,
        started_by: snapshot.started_by.clone(),
        created_at: snapshot.created_at,
        started_at: progress.started_at,
        finish_ts: progress.finish_ts,
    }
}
