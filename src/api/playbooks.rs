//! `/api/v1/playbooks`: listing, reading and removing playbooks. Applying one is in `apply`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use semver::Version;

use super::access::{Caller, Deed, read_seen};
use super::apply;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::PLAYBOOK_BYTES;
use super::pages::{Key, List, Paged, page};
use super::params::{InPath, InQuery};
use super::shapes::VersionText;
use super::state::ApiState;
use super::weigh::{Reads, Weighed};
use super::wire::{ApplyPlaybook, ApprovalView, Listing, PlaybookView};
use crate::playbook::access::Object;
use crate::store::{Page, StoredPlaybook};

const ALL: &str = "/api/v1/playbooks";
const ONE: &str = "/api/v1/playbooks/{name}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let name = "The name; a slash in it is written as `%2F`.";
    vec![
        Endpoint::post(ALL, "applyPlaybook", "Applies a playbook.", apply::playbook)
            .does(Deed::ApplyPlaybook)
            .query::<bool>("dry_run", "With `true` the document is checked and nothing is kept.")
            .takes::<ApplyPlaybook>()
            .fails(&apply::FAILS)
            .answers::<PlaybookView>(201, "It is new.")
            .answers::<PlaybookView>(
                200,
                "The playbook is unchanged, was repaired, or is valid (dry run).",
            ),
        Endpoint::get(ALL, "listPlaybooks", "Lists playbooks by name and version.", list)
            .does(Deed::ViewPlaybooks)
            .paged()
            .answers::<Listing<PlaybookView>>(200, "A page."),
        Endpoint::get(ONE, "getPlaybook", "Shows a playbook with its document.", get)
            .does(Deed::ViewPlaybooks)
            .path::<String>("name", name)
            .query::<VersionText>("version", "The version; by default the highest one.")
            .fails(&[Code::PlaybookNotFound])
            .answers::<PlaybookView>(200, "The playbook."),
        Endpoint::delete(ONE, "deletePlaybook", "Removes one version of a playbook.", delete)
            .does(Deed::DeletePlaybook)
            .path::<String>("name", name)
            .required_query::<VersionText>("version", "The version.")
            .fails(&[Code::PlaybookNotFound])
            .answers_nothing(204, "It is removed; its runs are not affected."),
    ]
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
    let key = |one: &StoredPlaybook| format!("{}@{}", one.playbook.name, one.playbook.version);
    let seen = |one: &StoredPlaybook| caller.views(Object::Playbook(&one.playbook.name));
    let read = async |after: Option<Key>, limit| {
        let after = after.map(|Key(key)| key);
        Ok(store.read_playbooks(&Page { after, limit }).await?)
    };
    let list = List {
        read: async |after: Option<Key>, limit| {
            let seen = (!caller.views_all()).then_some(seen);
            read_seen(after, limit, read, |one| Key(key(one)), seen).await
        },
        key,
        // The resolved playbook takes about as much memory as its text.
        view: |one| (view(&one), 2 * one.text.len()),
        heaviest: PLAYBOOK_BYTES,
    };
    page(&reads.0, after.map(Key), limit, list).await
}

async fn get(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    InPath(name): InPath<String>,
    mut query: InQuery,
) -> Result<Weighed<Json<PlaybookView>>, ApiError> {
    let version = take_version(&mut query)?;
    query.finish()?;
    check_seen(&caller, &name, version.as_ref())?;
    let share = reads.large().await;
    let found = find(&state, &name, version.as_ref()).await?;
    let view = PlaybookView { document: Some(found.text.clone()), ..view(&found) };
    Ok(Weighed(Json(view), share))
}

async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(name): InPath<String>,
    mut query: InQuery,
) -> Result<StatusCode, ApiError> {
    let version = take_version(&mut query)?;
    query.finish()?;
    let Some(version) = version else {
        let place = "query parameter `version`";
        return Err(ApiError::bad_parameter(place, "", "the version to remove"));
    };
    check_seen(&caller, &name, Some(&version))?;
    let deed = Deed::DeletePlaybook;
    caller.may(deed, Object::Playbook(&name))?;
    let about = [("playbook", name.as_str()), ("version", &version.to_string())];
    caller.begin(deed, &about, false, state.own_clock.now())?;
    if state.store.delete_playbook(&name, &version).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(not_found(&name, Some(&version)))
}

/// Refuses what somebody may not view as if it did not exist.
pub(super) fn check_seen(
    caller: &Caller,
    name: &str,
    version: Option<&Version>,
) -> Result<(), ApiError> {
    match caller.views(Object::Playbook(name)) {
        true => Ok(()),
        false => Err(not_found(name, version)),
    }
}

fn take_version(query: &mut InQuery) -> Result<Option<Version>, ApiError> {
    query.take("version", "a semantic version, for example 1.4.0")
}

/// The playbook of that name and version; without a version, the one with the highest.
pub(super) async fn find(
    state: &ApiState,
    name: &str,
    version: Option<&Version>,
) -> Result<StoredPlaybook, ApiError> {
    let found = state.store.playbook(name, version).await?;
    found.ok_or_else(|| not_found(name, version))
}

fn not_found(name: &str, version: Option<&Version>) -> ApiError {
    let version = version.map(|version| format!(" version {version}")).unwrap_or_default();
    ApiError::new(Code::PlaybookNotFound, format!("there is no playbook {name:?}{version}"))
}

/// The playbook as the API shows it, without its document.
pub(super) fn view(stored: &StoredPlaybook) -> PlaybookView {
    let playbook = &stored.playbook;
    PlaybookView {
        name: playbook.name.clone(),
        version: playbook.version.to_string(),
        summary: playbook.summary.clone(),
        vcs: playbook.vcs.clone(),
        stages: playbook.stages.iter().map(|stage| stage.name.clone()).collect(),
        plugins: playbook.plugins.clone(),
        approval: ApprovalView::of(playbook),
        applied_at: stored.applied_at,
        change: None,
        document: None,
        warnings: Vec::new(),
    }
}
