//! `POST /api/v1/apply`: applies several documents, all or none of them. They are written in one transaction,
//! so nobody sees a part of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;

use super::access::{Caller, Deed, may_apply};
use super::bodies::{InJson, off_loop};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::params::InQuery;
use super::state::ApiState;
use super::wire::{
    AppliedDocument, AppliedDocuments, ApplyDocument, ApplyDocuments, ApplyPlaybook, ClusterView,
    DocumentProblems, PlaybookView,
};
use super::{apply, clusters, credentials, playbooks, side_by_side};
use crate::playbook::access::{self, access_not_applied};
use crate::playbook::inventory::inventory_not_applied;
use crate::playbook::policy::not_applied;
use crate::playbook::{Kind, Problem, kind_of};
use crate::run::Digest;
use crate::store::{Object, Put, StoreError};

const APPLY: &str = "/api/v1/apply";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let summary = "Applies playbooks and clusters, all of them or none.";
    vec![
        Endpoint::post(APPLY, "applyAll", summary, apply_all)
            .does(Deed::ApplyAny)
            .query::<bool>("dry_run", "With `true` the documents are checked and nothing is kept.")
            .takes::<ApplyDocuments>()
            .fails(&apply::FAILS)
            .fails(&[Code::ClusterInUse])
            .answers::<AppliedDocuments>(200, "What became of each, in the order of the request."),
    ]
}

async fn apply_all(
    State(state): State<ApiState>,
    caller: Caller,
    mut query: InQuery,
    InJson(ApplyDocuments { documents }): InJson<ApplyDocuments>,
) -> Result<Json<AppliedDocuments>, ApiError> {
    let dry_run = query.take("dry_run", "true or false")?.unwrap_or(false);
    query.finish()?;
    let (objects, warnings) = read_all(&state, documents).await?;
    may_apply_all(&state, &caller, &objects).await?;
    check_credentials(&state, &caller, &objects)?;
    check_together(&objects)?;
    check_clusters(&state, &objects).await?;
    match dry_run {
        true => caller.changes_nothing(),
        false => begin(&state, &caller, &objects)?,
    }
    let mut items = match dry_run {
        true => check_all(&state, &caller, objects).await?,
        false => put_all(&state, &caller, objects).await?,
    };
    for (item, warned) in items.iter_mut().zip(warnings) {
        match item {
            AppliedDocument::Playbook(view) => view.warnings = warned,
            AppliedDocument::Cluster(_) => {}
        }
    }
    Ok(Json(AppliedDocuments { items }))
}

/// Checks that they may apply each of the documents.
async fn may_apply_all(
    state: &ApiState,
    caller: &Caller,
    objects: &[Object],
) -> Result<(), ApiError> {
    for object in objects {
        let may = match object {
            Object::Playbook(stored) => {
                let name = &stored.playbook.name;
                caller.may(Deed::ApplyPlaybook, access::Object::Playbook(name))
            }
            Object::Cluster(cluster) => may_apply(state, caller, &cluster.spec).await,
        };
        may.map_err(|mut error| {
            error.detail.push_str("; nothing was applied");
            error
        })?;
    }
    Ok(())
}

/// Checks the credentials that the clusters name, and reports the problems of all of them at once.
fn check_credentials(
    state: &ApiState,
    caller: &Caller,
    objects: &[Object],
) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    for (number, object) in (0..).zip(objects) {
        let checked = match object {
            Object::Playbook(_) => Ok(()),
            Object::Cluster(cluster) => credentials::check_document(state, caller, cluster),
        };
        if let Err(error) = checked {
            wrong.push(DocumentProblems { document: number, problems: error.problems });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(ApiError::invalid_documents(wrong)) }
}

/// Notes each of the documents in an entry of its own: one for all of them would have to be cut. Without any, nothing changes.
fn begin(state: &ApiState, caller: &Caller, objects: &[Object]) -> Result<(), ApiError> {
    let all = objects.len();
    if all == 0 {
        caller.changes_nothing();
    }
    for (number, object) in (1..).zip(objects) {
        let which = if all > 1 { format!("{number} of {all}") } else { String::new() };
        let (kind, name, version) = match object {
            Object::Playbook(one) => {
                ("playbook", &one.playbook.name, one.playbook.version.to_string())
            }
            Object::Cluster(one) => ("cluster", &one.spec.name, String::new()),
        };
        let about = [(kind, name.as_str()), ("version", &version), ("document", &which)];
        caller.begin(Deed::ApplyAny, &about, false, state.own_clock.now())?;
    }
    Ok(())
}

/// Reads all documents, with the warnings of each, and reports the problems of all of them at once.
async fn read_all(
    state: &ApiState,
    documents: Vec<ApplyDocument>,
) -> Result<(Vec<Object>, Vec<Vec<Problem>>), ApiError> {
    let mut objects = Vec::with_capacity(documents.len());
    let mut warnings = Vec::with_capacity(documents.len());
    let mut wrong = Vec::new();
    for (number, document) in (0..).zip(documents) {
        match read(state, document).await {
            Ok((object, warned)) => {
                objects.push(object);
                warnings.push(warned);
            }
            Err(error) if error.code == Code::InvalidDocument => {
                wrong.push(DocumentProblems { document: number, problems: error.problems });
            }
            Err(error) => return Err(error),
        }
    }
    if wrong.is_empty() { Ok((objects, warnings)) } else { Err(ApiError::invalid_documents(wrong)) }
}

async fn read(
    state: &ApiState,
    document: ApplyDocument,
) -> Result<(Object, Vec<Problem>), ApiError> {
    let ApplyDocument { document, uploads } = document;
    let (document, kind) = off_loop(move || {
        let kind = kind_of(document.as_bytes());
        kind.map(|kind| (document, kind)).map_err(ApiError::invalid_document)
    })
    .await??;
    match kind {
        Kind::Playbook => {
            let read = apply::read(state, ApplyPlaybook { document, uploads }).await;
            read.map(|(playbook, warnings)| (Object::Playbook(playbook), warnings))
        }
        Kind::Cluster => {
            let read = clusters::read(state, document).await;
            read.map(|cluster| (Object::Cluster(cluster), Vec::new()))
        }
        Kind::Policy => Err(ApiError::invalid_document(not_applied(document.as_bytes()))),
        Kind::Access => Err(ApiError::invalid_document(access_not_applied(document.as_bytes()))),
        Kind::Inventory => {
            Err(ApiError::invalid_document(inventory_not_applied(document.as_bytes())))
        }
    }
}

/// Refuses a playbook that is twice in the request with different content.
fn check_together(objects: &[Object]) -> Result<(), ApiError> {
    let mut contents: BTreeMap<_, &Digest> = BTreeMap::new();
    for object in objects {
        let Object::Playbook(stored) = object else { continue };
        let key = (&stored.playbook.name, &stored.playbook.version);
        if contents.insert(key, &stored.content).is_some_and(|other| *other != stored.content) {
            let (name, version) = key;
            let detail = format!(
                "playbook {name} version {version} is in the request twice with different content; nothing was \
                 applied"
            );
            return Err(ApiError::new(Code::Conflict, detail));
        }
    }
    Ok(())
}

/// Refuses guards for a cluster on which runs go side by side.
async fn check_clusters(state: &ApiState, objects: &[Object]) -> Result<(), ApiError> {
    for object in objects {
        match object {
            Object::Playbook(_) => {}
            Object::Cluster(cluster) => {
                side_by_side::check(state, cluster).await.map_err(|mut error| {
                    error.detail.push_str("; nothing was applied");
                    error
                })?;
            }
        }
    }
    Ok(())
}

/// Ends a dry run with the checks that need the store.
async fn check_all(
    state: &ApiState,
    caller: &Caller,
    objects: Vec<Object>,
) -> Result<Vec<AppliedDocument>, ApiError> {
    for object in &objects {
        match object {
            Object::Playbook(stored) => apply::check_content(state, caller, stored).await?,
            Object::Cluster(_) => {}
        }
    }
    Ok(objects.iter().map(|object| view(object, "valid")).collect())
}

async fn put_all(
    state: &ApiState,
    caller: &Caller,
    mut objects: Vec<Object>,
) -> Result<Vec<AppliedDocument>, ApiError> {
    let put = state.store.put_all(&objects).await;
    let put = match put {
        Err(error @ StoreError::Conflict { .. }) => {
            let mut moved = String::new();
            for object in &objects {
                match object {
                    Object::Playbook(new) => {
                        moved.push_str(&apply::moved_since(state, caller, new).await);
                    }
                    Object::Cluster(_) => {}
                }
            }
            let mut refused = refused(error);
            refused.detail.push_str(&moved);
            return Err(refused);
        }
        put => put.map_err(refused)?,
    };
    let mut applied = Vec::with_capacity(objects.len());
    for (object, put) in objects.iter_mut().zip(put) {
        match object {
            Object::Cluster(cluster) => state.followers.changed(&cluster.spec.name),
            Object::Playbook(_) => {}
        }
        let change = match put {
            Put::Created => "created",
            Put::Updated => "updated",
            Put::Unchanged => {
                keep_moment(state, object).await;
                "unchanged"
            }
        };
        applied.push(view(object, change));
    }
    Ok(applied)
}

/// If a document existed already, it keeps the time at which it was first applied.
async fn keep_moment(state: &ApiState, object: &mut Object) {
    match object {
        Object::Playbook(stored) => apply::keep_moment(state, stored).await,
        Object::Cluster(cluster) => clusters::keep_moment(state, cluster).await,
    }
}

/// The store's error names only one document, so this adds that the others were not kept either.
fn refused(error: StoreError) -> ApiError {
    let none = match &error {
        StoreError::Conflict { .. }
        | StoreError::MissingPlugin { .. }
        | StoreError::ClusterInUse { .. } => "; nothing was applied",
        StoreError::Unavailable { .. }
        | StoreError::Unfit { .. }
        | StoreError::Fenced { .. }
        | StoreError::ClusterBusy { .. }
        | StoreError::MissingCluster { .. }
        | StoreError::Pinned { .. }
        | StoreError::BadCursor { .. }
        | StoreError::TooLarge { .. }
        | StoreError::Damaged(_)
        | StoreError::Broken { .. }
        | StoreError::Corrupt { .. }
        | StoreError::NewerSchema { .. } => "",
    };
    let mut refused = ApiError::from(error);
    refused.detail.push_str(none);
    refused
}

fn view(object: &Object, change: &str) -> AppliedDocument {
    let change = Some(change.to_owned());
    match object {
        Object::Playbook(stored) => {
            AppliedDocument::Playbook(PlaybookView { change, ..playbooks::view(stored) })
        }
        Object::Cluster(cluster) => {
            AppliedDocument::Cluster(ClusterView { change, ..clusters::view(cluster) })
        }
    }
}
