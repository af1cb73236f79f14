//! `/api/v1/clusters`: applying, listing, reading and deleting clusters.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::access::{Caller, Deed, may_apply, may_delete, read_seen};
use super::bodies::{InJson, off_loop};
use super::credentials;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::CLUSTER_BYTES;
use super::pages::{Key, List, Paged, page};
use super::params::{InPath, InQuery};
use super::side_by_side;
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{ApplyCluster, ClusterView, Listing};
use crate::playbook::access::Object;
use crate::playbook::parse_cluster;
use crate::store::{Cluster, Page, Put};

const ALL: &str = "/api/v1/clusters";
const ONE: &str = "/api/v1/clusters/{name}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(ALL, "applyCluster", "Applies a cluster; the last one counts.", apply)
            .does(Deed::ApplyCluster)
            .query::<bool>("dry_run", "With `true` the document is checked and nothing is kept.")
            .takes::<ApplyCluster>()
            .fails(&[Code::InvalidDocument, Code::ClusterInUse])
            .answers::<ClusterView>(201, "It is new.")
            .answers::<ClusterView>(
                200,
                "The cluster was updated or is unchanged, or it is valid (dry run).",
            ),
        Endpoint::get(ALL, "listClusters", "Lists clusters by name.", list)
            .does(Deed::ViewClusters)
            .paged()
            .answers::<Listing<ClusterView>>(200, "A page."),
        Endpoint::get(ONE, "getCluster", "Shows a cluster with its document.", get)
            .does(Deed::ViewClusters)
            .path::<String>("name", "The name.")
            .fails(&[Code::ClusterNotFound])
            .answers::<ClusterView>(200, "The cluster."),
        Endpoint::delete(ONE, "deleteCluster", "Removes a cluster.", delete)
            .does(Deed::DeleteCluster)
            .path::<String>("name", "The name.")
            .fails(&[Code::ClusterNotFound, Code::ClusterInUse])
            .answers_nothing(
                204,
                "It is removed. It can't be removed while a run on it has not ended.",
            ),
    ]
}

async fn apply(
    State(state): State<ApiState>,
    caller: Caller,
    mut query: InQuery,
    InJson(ApplyCluster { document: text }): InJson<ApplyCluster>,
) -> Result<Response, ApiError> {
    let dry_run = query.take("dry_run", "true or false")?.unwrap_or(false);
    query.finish()?;
    let mut cluster = read(&state, text).await?;
    may_apply(&state, &caller, &cluster.spec).await?;
    credentials::check_document(&state, &caller, &cluster)?;
    side_by_side::check(&state, &cluster).await?;
    if dry_run {
        caller.changes_nothing();
        let body = ClusterView { change: Some("valid".to_owned()), ..view(&cluster) };
        return Ok(Json(body).into_response());
    }
    let about = [("cluster", cluster.spec.name.as_str())];
    caller.begin(Deed::ApplyCluster, &about, false, state.own_clock.now())?;
    let put = state.store.put_cluster(&cluster).await?;
    state.followers.changed(&cluster.spec.name);
    let (status, change) = match put {
        Put::Created => (StatusCode::CREATED, "created"),
        Put::Updated => (StatusCode::OK, "updated"),
        Put::Unchanged => {
            keep_moment(&state, &mut cluster).await;
            (StatusCode::OK, "unchanged")
        }
    };
    let location = format!("{ALL}/{}", cluster.spec.name);
    let body = ClusterView { change: Some(change.to_owned()), ..view(&cluster) };
    Ok((status, [(header::LOCATION, location)], Json(body)).into_response())
}

/// If the cluster existed already, it keeps the time at which it was first applied. At this point it is
/// applied, so a failure to read it does not fail the request.
pub(super) async fn keep_moment(state: &ApiState, cluster: &mut Cluster) {
    let name = &cluster.spec.name;
    match state.store.cluster(name).await {
        Ok(Some(kept)) => *cluster = kept,
        Ok(None) => {}
        Err(error) => tracing::warn!(name, %error, "failed to read an applied cluster"),
    }
}

/// Reads the document, and reports all its problems at once. The credentials that it names are for who may apply it to know
/// of: they are checked after that.
pub(super) async fn read(state: &ApiState, text: String) -> Result<Cluster, ApiError> {
    let (text, spec) = off_loop(move || {
        let spec = parse_cluster(text.as_bytes());
        spec.map(|spec| (text, spec)).map_err(ApiError::invalid_document)
    })
    .await??;
    Ok(Cluster { text, spec, applied_at: state.clock.now() })
}

async fn list(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    mut query: InQuery,
) -> Result<Paged, ApiError> {
    let Page { after, limit } = query.page()?;
    query.finish()?;
    let store = &state.store;
    let seen = |one: &Cluster| caller.views(Object::Cluster(&one.spec.name));
    let read = async |after: Option<Key>, limit| {
        let after = after.map(|Key(key)| key);
        Ok(store.read_clusters(&Page { after, limit }).await?)
    };
    let list = List {
        read: async |after: Option<Key>, limit| {
            let seen = (!caller.views_all()).then_some(seen);
            read_seen(after, limit, read, |one| Key(one.spec.name.clone()), seen).await
        },
        key: |one: &Cluster| one.spec.name.clone(),
        // The values that are read from a text take several times its memory.
        view: |one| (view(&one), 4 * one.text.len()),
        heaviest: CLUSTER_BYTES,
    };
    page(&reads.0, after.map(Key), limit, list).await
}

async fn get(
    State(state): State<ApiState>,
    reads: Reads,
    InPath(name): InPath<String>,
    query: InQuery,
) -> Result<Weighed<Json<ClusterView>>, ApiError> {
    query.finish()?;
    let share = reads.0.take(CLUSTER_BYTES).await;
    let found = state.store.cluster(&name).await?.ok_or_else(|| not_found(&name))?;
    let view = ClusterView { document: Some(found.text.clone()), ..view(&found) };
    Ok(Weighed(Json(view), share))
}

async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(name): InPath<String>,
    query: InQuery,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    may_delete(&state, &caller, &name).await?;
    let about = [("cluster", name.as_str())];
    caller.begin(Deed::DeleteCluster, &about, false, state.own_clock.now())?;
    match state.store.delete_cluster(&name).await? {
        true => {
            state.followers.changed(&name);
            Ok(StatusCode::NO_CONTENT)
        }
        false => Err(not_found(&name)),
    }
}

pub(super) fn not_found(name: &str) -> ApiError {
    ApiError::new(Code::ClusterNotFound, format!("there is no cluster {name:?}"))
}

pub(super) fn view(cluster: &Cluster) -> ClusterView {
    ClusterView {
        name: cluster.spec.name.clone(),
        agents: u32::try_from(cluster.spec.agents.len()).unwrap_or(u32::MAX),
        guards: Some(&cluster.spec.guards).filter(|guards| !guards.guard_nothing()).cloned(),
        applied_at: cluster.applied_at,
        change: None,
        document: None,
    }
}
