//! Starts a run: `POST /api/v1/runs`.
//!
//! Nothing here depends on the number of agents: whoever drives the run makes their records, so a request on a
//! large cluster takes no longer.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use semver::Version;
use serde_json::to_value;
use uuid::Builder;

use super::access::{Caller, Deed};
use super::approving::check_startable;
use super::bodies::{InJson, check_length, off_loop};
use super::credentials;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::exec::deed_of_start;
use super::limits::{MAX_ACTOR, MAX_IDEMPOTENCY_KEY};
use super::params::{self, InQuery};
use super::shapes::IdempotencyKey;
use super::state::ApiState;
use super::wire::{RunView, StartRun};
use super::{clusters, playbooks, policy, runs};
use crate::playbook::access::Object;
use crate::playbook::{Narrowing, NarrowingAsked, check_params};
use crate::run::{
    Digest, KnownSecrets, Run, RunEvent, RunId, RunSeed, RunStatus, Timestamp, canonical, guarded,
    narrowed, new_run, seeded,
};
use crate::store::{Created, NewRun, StoreError, StoredPlaybook};

/// The header that names a request, so that it can be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the header means, for the description of the API.
pub(super) const KEY_MEANS: &str = "Names the request: repeating it returns the run that it started, whatever became of the playbook and \
     the cluster since. With another request it is refused.";

/// The errors that starting a run can have, whichever way it is started.
pub(super) const FAILS: [Code; 10] = [
    Code::PluginRefused,
    Code::PlaybookNotFound,
    Code::InvalidParams,
    Code::IdempotencyKeyReused,
    Code::Conflict,
    Code::ClusterBusy,
    Code::PluginMissing,
    Code::SecretUnavailable,
    Code::CredentialsUnavailable,
    Code::AccessNeeded,
];

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(runs::ALL, "startRun", "Starts a run.", start)
            .does(Deed::StartRun)
            .header::<IdempotencyKey>("Idempotency-Key", KEY_MEANS)
            .takes::<StartRun>()
            .fails(&FAILS)
            .fails(&[Code::ClusterNotFound, Code::RunNotFound])
            .answers::<RunView>(201, "It is created.")
            .answers::<RunView>(200, "An earlier request with the same key had created it."),
    ]
}

async fn start(
    State(state): State<ApiState>,
    caller: Caller,
    headers: HeaderMap,
    query: InQuery,
    InJson(mut request): InJson<StartRun>,
) -> Result<Response, ApiError> {
    query.finish()?;
    let key = read_key(&headers)?;
    check_length("started_by", request.started_by.as_deref(), MAX_ACTOR)?;
    check_seen(&caller, &request)?;
    let (playbook, cluster) = (read_reference(&request.playbook)?.0, request.cluster.as_str());
    let deed = deed_of_start(playbook);
    caller.may(deed, Object::Run { playbook, cluster })?;
    let about = [("playbook", request.playbook.as_str()), ("cluster", cluster)];
    caller.begin(deed, &about, false, state.own_clock.now())?;
    request.started_by = caller.actor(request.started_by);
    let asked = to_value(&request).map_err(ApiError::internal)?;
    let asked = Digest::of(canonical(&asked).as_bytes());
    if let Some(before) = before(&state, key.as_deref(), &asked).await? {
        return Ok(before);
    }
    let (run, events) = prepared(&state, request).await?;
    create(&state, &caller, NewRun { run, events, idempotency_key: key, request: asked }).await
}

/// Refuses what somebody may not view as if it did not exist.
pub(super) fn check_seen(caller: &Caller, request: &StartRun) -> Result<(), ApiError> {
    let (name, version) = read_reference(&request.playbook)?;
    playbooks::check_seen(caller, name, version.as_ref())?;
    match caller.views(Object::Cluster(&request.cluster)) {
        true => Ok(()),
        false => Err(clusters::not_found(&request.cluster)),
    }
}

/// The run that a request asks for, with its first events, if playbook, cluster and parameters fit and the policy lets its
/// plugins in. Nothing is kept yet.
pub(super) async fn prepared(
    state: &ApiState,
    request: StartRun,
) -> Result<(Run, Vec<RunEvent>), ApiError> {
    let (name, version) = read_reference(&request.playbook)?;
    let stored = playbooks::find(state, name, version.as_ref()).await?;
    prepared_of(state, stored, request).await
}

/// The same for a playbook that need not be kept anywhere.
pub(super) async fn prepared_of(
    state: &ApiState,
    stored: StoredPlaybook,
    request: StartRun,
) -> Result<(Run, Vec<RunEvent>), ApiError> {
    if state.store.cluster(&request.cluster).await?.is_none() {
        return Err(clusters::not_found(&request.cluster));
    }
    let StartRun { cluster, params, select, limit, skip_stages, start_at, started_by, .. } =
        request;
    let narrowing = NarrowingAsked { select, limit, skip_stages, start_at };
    let (playbook, params, narrowing) = off_loop(move || {
        let StoredPlaybook { playbook, .. } = stored;
        let params = check_params(&playbook, params).map_err(ApiError::invalid_params)?;
        let narrowing = Narrowing::check(&playbook, narrowing);
        let narrowing = narrowing.map_err(ApiError::invalid_narrowing)?;
        Ok::<_, ApiError>((playbook, params, narrowing))
    })
    .await??;
    policy::admit_run(state, &playbook).await?;
    check_startable(state, &playbook)?;
    let now = state.clock.now();
    let id = new_id(now);
    Ok(narrowed(new_run(id, &playbook, params, &cluster, started_by, now), narrowing))
}

/// The answer to a request whose key is known: the run that it created before. Nothing else is checked, since
/// the playbook and the cluster may have been removed or changed since.
pub(super) async fn before(
    state: &ApiState,
    key: Option<&str>,
    asked: &Digest,
) -> Result<Option<Response>, ApiError> {
    let Some(key) = key else { return Ok(None) };
    match state.store.run_of_request(key, asked).await {
        Ok(run) => Ok(run.map(|run| answer_with(StatusCode::OK, &run))),
        Err(StoreError::Conflict { .. }) => Err(reused(key)),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a run with secrets that this server's engine can't read: it would only fail later, on some of its agents.
pub(super) async fn check_secrets(state: &ApiState, run: &Run) -> Result<(), ApiError> {
    let mut known = KnownSecrets::default();
    for name in run.snapshot.secrets() {
        let value = state.secrets.read(name).await;
        if let Err(error) = value.and_then(|value| known.take(name, &value)) {
            return Err(ApiError::new(Code::SecretUnavailable, error.to_string()));
        }
    }
    Ok(())
}

/// Creates the run and answers with it, or with the run that the same request created before.
pub(super) async fn create(
    state: &ApiState,
    caller: &Caller,
    mut new: NewRun,
) -> Result<Response, ApiError> {
    check_secrets(state, &new.run).await?;
    credentials::check_run(state, &new.run).await?;
    new.run = seeded(new.run, || RunSeed::new(rand::random()));
    let cluster = state.store.cluster(&new.run.snapshot.cluster).await?;
    if let Some(cluster) = cluster {
        new.run = guarded(new.run, &cluster.spec.guards);
    }
    let created = state.store.create_run(&new).await;
    answer(state, caller, new, created).await
}

async fn answer(
    state: &ApiState,
    caller: &Caller,
    new: NewRun,
    created: Result<Created, StoreError>,
) -> Result<Response, ApiError> {
    let (status, run) = match created {
        Ok(Created::New(_)) => {
            state.metrics.run_started();
            state.signals.work();
            (StatusCode::CREATED, new.run)
        }
        Ok(Created::Before(id)) => (StatusCode::OK, runs::find(state, id).await?),
        Err(StoreError::Conflict { .. }) => {
            return Err(reused(&new.idempotency_key.unwrap_or_default()));
        }
        Err(StoreError::ClusterBusy { cluster, run }) => {
            return Err(busy(state, caller, &cluster, run).await);
        }
        Err(error) => return Err(error.into()),
    };
    Ok(answer_with(status, &run))
}

fn object_of(run: &Run) -> Object<'_> {
    Object::Run { playbook: &run.snapshot.playbook.name, cluster: &run.snapshot.cluster }
}

fn answer_with(status: StatusCode, run: &Run) -> Response {
    let location = format!("{}/{}", runs::ALL, run.id());
    (status, [(header::LOCATION, location)], Json(runs::view(run))).into_response()
}

fn reused(key: &str) -> ApiError {
    let detail = format!("the idempotency key {key:?} was used for another request");
    ApiError::new(Code::IdempotencyKeyReused, detail)
}

/// The error when `run` holds the cluster or is queued for it, and the playbook does not want to queue.
pub(super) async fn busy(state: &ApiState, caller: &Caller, cluster: &str, run: RunId) -> ApiError {
    let detail = match state.store.run(run).await {
        Ok(Some(found)) if caller.views(object_of(&found)) => {
            let (playbook, status) = (&found.snapshot.playbook.name, found.progress.status);
            let does = if status == RunStatus::Pending { "queued for" } else { "held" };
            format!(
                "cluster {cluster:?} is {does} by run {run} of playbook {playbook}, which is {status}"
            )
        }
        // That run has ended by now, which the caller may find out.
        Ok(Some(_) | None) | Err(_) => format!("cluster {cluster:?} is held by run {run}"),
    };
    ApiError::new(Code::ClusterBusy, detail)
}

/// The identifier of a new run; identifiers sort by time of creation.
pub(super) fn new_id(now: Timestamp) -> RunId {
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    RunId(Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
}

pub(super) fn read_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = params::header(headers, IDEMPOTENCY_KEY)? else { return Ok(None) };
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY {
        let found = key.len();
        let detail = format!(
            "header `{IDEMPOTENCY_KEY}`: found {found} bytes, expected 1 to {MAX_IDEMPOTENCY_KEY}"
        );
        return Err(ApiError::new(Code::BadHeader, detail));
    }
    Ok(Some(key.to_owned()))
}

/// Reads `NAME` or `NAME@VERSION`.
pub(super) fn read_reference(text: &str) -> Result<(&str, Option<Version>), ApiError> {
    let Some((name, version)) = text.split_once('@') else { return Ok((text, None)) };
    match version.parse() {
        Ok(version) => Ok((name, Some(version))),
        Err(error) => {
            let detail =
                format!("`playbook`: found {text:?}, expected NAME or NAME@VERSION: {error}");
            Err(ApiError::new(Code::BadBody, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_playbook_and_perhaps_a_version() {
        assert_eq!(read_reference("team/restart").unwrap(), ("team/restart", None));
        let version = Some(Version::new(1, 4, 0));
        assert_eq!(read_reference("restart@1.4.0").unwrap(), ("restart", version));
        let error = read_reference("restart@new").unwrap_err();
        assert!(error.detail.contains("expected NAME or NAME@VERSION"), "{error}");
    }

    #[test]
    fn identifiers_sort_by_the_moment() {
        let at = |millis| Timestamp::from_millis(millis);
        assert!(new_id(at(1_000)) < new_id(at(1_001)));
        assert_ne!(new_id(at(1_000)), new_id(at(1_000)));
        assert_eq!(new_id(at(1_000)).0.get_version_num(), 7);
    }

    #[test]
    fn a_key_has_a_longest_length() {
        let key = |length: usize| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, "k".repeat(length).parse().unwrap());
            read_key(&headers)
        };
        assert_eq!(key(MAX_IDEMPOTENCY_KEY).unwrap().map(|key| key.len()), Some(255));
        assert_eq!(key(MAX_IDEMPOTENCY_KEY + 1).unwrap_err().code, Code::BadHeader);
        assert_eq!(key(0).unwrap_err().code, Code::BadHeader);
        assert_eq!(read_key(&HeaderMap::new()).unwrap(), None);
    }
}
