//! The requests: start an import, look at it, cancel it.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use uuid::Uuid;

use super::table::REFERENCE_FAILS;
use super::work::{self, Wanted};
use crate::api::access::{Caller, Deed};
use crate::api::bodies::{InJson, check_length};
use crate::api::endpoint::Endpoint;
use crate::api::error::{ApiError, Code};
use crate::api::limits::MAX_ACTOR;
use crate::api::params::{InPath, InQuery};
use crate::api::state::ApiState;
use crate::api::wire::{ImportView, StartImport};
use crate::playbook::Source;
use crate::web::Client;

const ALL: &str = "/api/v1/imports";
const ONE: &str = "/api/v1/imports/{id}";

/// What is expected as the source of an import.
const EXPECTED: &str = "oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:DIGEST";

pub(in crate::api) fn endpoints() -> Vec<Endpoint> {
    let id = "The import.";
    vec![
        Endpoint::post(ALL, "startImport", "Brings a plugin from a registry.", start)
            .does(Deed::ImportPlugin)
            .takes::<StartImport>()
            .answers::<ImportView>(202, "It has begun; ask for it until it has ended."),
        Endpoint::get(ONE, "getImport", "Shows how far an import is.", get)
            .does(Deed::ViewPlugins)
            .path::<Uuid>("id", id)
            .fails(&[Code::ImportNotFound])
            .answers::<ImportView>(200, "The import."),
        Endpoint::delete(ONE, "cancelImport", "Cancels an import; it leaves nothing.", cancel)
            .does(Deed::ImportPlugin)
            .path::<Uuid>("id", id)
            .fails(&[Code::ImportNotFound])
            .answers_nothing(
                204,
                "It is gone. If it had ended, and nothing pins its plugin, so is that.",
            ),
    ]
}

async fn start(
    State(state): State<ApiState>,
    caller: Caller,
    client: Option<Extension<Client>>,
    query: InQuery,
    InJson(request): InJson<StartImport>,
) -> Result<Response, ApiError> {
    query.finish()?;
    check_length("actor", request.actor.as_deref(), MAX_ACTOR)?;
    let StartImport { source, digest, actor } = request;
    let actor = caller.actor(actor);
    let reference = match Source::parse(&source) {
        Some(Source::Oci(reference)) => reference,
        Some(Source::File(_) | Source::Store { .. }) | None => {
            return Err(ApiError::bad_parameter("`source`", &source, EXPECTED));
        }
    };
    let about = [("source", source.as_str())];
    caller.begin(Deed::ImportPlugin, &about, false, state.own_clock.now())?;
    let client = client.map_or(Client::unknown(), |Extension(client)| client);
    let imports = &state.imports;
    let created_at = state.clock.now();
    let started = imports.start(client, source.clone(), created_at, &state.stopping)?;
    let (id, location) = (started.id, format!("{ALL}/{}", started.id));
    let wanted = Wanted { reference, source, digest, actor, client };
    match imports.failed.find(&work::key(&wanted)) {
        Some(mut problem) => {
            let seconds = REFERENCE_FAILS.as_secs();
            let again = format!(" (as a moment ago; not tried again within {seconds} s)");
            problem.message.push_str(&again);
            imports.failed(id, problem, created_at);
        }
        None => {
            tokio::spawn(work::import(state.clone(), wanted, started));
        }
    }
    let view = imports.view(id)?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response())
}

async fn get(
    State(state): State<ApiState>,
    InPath(id): InPath<Uuid>,
    query: InQuery,
) -> Result<Json<ImportView>, ApiError> {
    query.finish()?;
    state.imports.view(id).map(Json)
}

async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(id): InPath<Uuid>,
    query: InQuery,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let about = [("import", &*id.to_string()), ("asks", "cancel")];
    caller.begin(Deed::ImportPlugin, &about, false, state.own_clock.now())?;
    if let Some(brought) = state.imports.remove(id)? {
        work::take_back(&state, &brought).await;
    }
    Ok(StatusCode::NO_CONTENT)
}
