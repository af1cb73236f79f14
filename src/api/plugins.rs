//! `/api/v1/plugins`: uploading, listing, reading and removing plugins. A plugin is named by its digest, so an
//! upload can be repeated safely.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::access::{Caller, Deed};
use super::bodies::{self, check_length, off_loop};
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::imports::{known, vet};
use super::limits::{MAX_ACTOR, MAX_PLUGIN_BODY, MAX_REASON, PLUGIN_BYTES, UPLOAD_TIMEOUT};
use super::pages::{Key, List, Paged, page};
use super::params::{InPath, InQuery};
use super::policy;
use super::signatures::{self, SIGNATURES};
use super::state::ApiState;
use super::weigh::{Reads, Weighed, client_of};
use super::wire::{Listing, PluginView};
use crate::playbook::{Provenance, Source};
use crate::run::Digest;
use crate::store::{Page, Plugin, Put, StoreError};

const ALL: &str = "/api/v1/plugins";
const ONE: &str = "/api/v1/plugins/{digest}";
const BYTES: &str = "/api/v1/plugins/{digest}/bytes";

const WASM: &str = "application/wasm";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let digest = "`sha256:` and 64 lowercase hex digits.";
    vec![
        Endpoint::put(ALL, "uploadPlugin", "Uploads a plugin.", put)
            .does(Deed::UploadPlugin)
            .query::<Digest>("digest", "The digest that the bytes must have.")
            .query::<String>(
                "source",
                "Where they come from, for those who look later: `file:PATH`.",
            )
            .query::<String>("actor", "Who uploads them.")
            .header::<String>(SIGNATURES, signatures::HEADER_MEANS)
            .takes_bytes(WASM)
            .fails(&[Code::DigestMismatch, Code::InvalidPlugin, Code::PluginsUnavailable])
            .fails(&[Code::BadSignature, Code::PluginRefused])
            .within(UPLOAD_TIMEOUT)
            .answers::<PluginView>(201, "It is new.")
            .answers::<PluginView>(
                200,
                "The server already had this plugin, and keeps it as long as one that is new.",
            ),
        Endpoint::get(ALL, "listPlugins", "Lists plugins by digest.", list)
            .does(Deed::ViewPlugins)
            .paged()
            .answers::<Listing<PluginView>>(200, "A page."),
        Endpoint::get(ONE, "getPlugin", "Shows a plugin.", get)
            .does(Deed::ViewPlugins)
            .path::<Digest>("digest", digest)
            .fails(&[Code::PluginNotFound])
            .answers::<PluginView>(200, "The plugin."),
        Endpoint::get(BYTES, "getPluginBytes", "Gives the bytes of a plugin.", bytes)
            .does(Deed::ViewPlugins)
            .path::<Digest>("digest", digest)
            .fails(&[Code::PluginNotFound])
            .answers_other(200, "The component.", WASM),
        Endpoint::delete(ONE, "deletePlugin", "Removes a plugin that nothing pins.", delete)
            .does(Deed::DeletePlugin)
            .path::<Digest>("digest", digest)
            .fails(&[Code::PluginNotFound, Code::PluginPinned])
            .answers_nothing(204, "It is removed."),
    ]
}

async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    mut query: InQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let signatures = signatures::of_header(request.headers())?;
    let expected: Option<Digest> =
        query.take("digest", "\"sha256:\" and 64 lowercase hex digits")?;
    let mut said = said(&mut query)?;
    said.actor = caller.actor(said.actor);
    query.finish()?;
    let client = client_of(request.extensions());
    let received = Arc::new(bodies::read(request, MAX_PLUGIN_BODY, &state.bodies).await?);
    let bytes = received.bytes.clone();
    let hashed = bytes.clone();
    let digest = off_loop(move || Digest::of(&hashed)).await?;
    if let Some(expected) = expected.filter(|expected| *expected != digest) {
        let detail = format!("the bytes have digest {digest}, expected {expected}");
        return Err(ApiError::new(Code::DigestMismatch, detail));
    }
    let signatures = signatures::check(&state, bytes.clone(), signatures).await?;
    let (id, source) = (digest.to_string(), said.source.clone().unwrap_or_default());
    let about = [("plugin", id.as_str()), ("source", &source)];
    caller.begin(Deed::UploadPlugin, &about, false, state.own_clock.now())?;
    // Compiling takes long, and the plugin of a digest never changes.
    if let Some(known) = known(&state, &digest).await? {
        let before = known.signatures.clone();
        let known = signatures::keep(&state, known, &signatures).await?;
        let change = if known.signatures == before { "unchanged" } else { "updated" };
        return learn(&state, known, said, bytes, change).await;
    }
    // Nothing of the plugin runs before this, and it runs when it is asked to describe itself.
    policy::admit_upload(&state, &digest, &signatures)?;
    let still = async { policy::admit_upload(&state, &digest, &signatures) };
    let held = Arc::clone(&received);
    let info = vet(&state, client, &digest, bytes.clone(), held, still).await?;
    let mut plugin =
        Plugin { provenance: provenance(&state, said), ..Plugin::new(info, state.clock.now()) };
    plugin.sign(&signatures)?;
    let put = state.store.put_plugin(&plugin, bytes).await?;
    Ok(match put {
        Put::Created => answer(&state, StatusCode::CREATED, "created", plugin),
        // Somebody else has put it meanwhile, perhaps with other signatures.
        Put::Updated | Put::Unchanged => {
            let change = if put == Put::Updated { "updated" } else { "unchanged" };
            let plugin = signatures::keep(&state, plugin, &signatures).await?;
            answer(&state, StatusCode::OK, change, plugin)
        }
    })
}

/// What an upload says of itself.
struct Said {
    source: Option<String>,
    actor: Option<String>,
}

fn said(query: &mut InQuery) -> Result<Said, ApiError> {
    let source: Option<String> = query.take("source", FILE_EXPECTED)?;
    let actor: Option<String> = query.take("actor", "a name")?;
    check_length("actor", actor.as_deref(), MAX_ACTOR)?;
    check_length("source", source.as_deref(), MAX_REASON)?;
    match source.as_deref().map(|text| (text, Source::parse(text))) {
        // The server took the bytes from nowhere else, so an upload can't say so.
        Some((text, None | Some(Source::Store { .. } | Source::Oci(_)))) => {
            Err(ApiError::bad_parameter("query parameter `source`", text, FILE_EXPECTED))
        }
        Some((_, Some(Source::File(_)))) | None => Ok(Said { source, actor }),
    }
}

const FILE_EXPECTED: &str = "file:PATH";

fn provenance(state: &ApiState, said: Said) -> Vec<Provenance> {
    let (at, by) = (state.clock.now(), said.actor);
    let entry = said.source.map(|source| Provenance { source, manifest: None, at, by });
    entry.into_iter().collect()
}

/// Adds where a plugin that is known came from this time.
async fn learn(
    state: &ApiState,
    known: Plugin,
    said: Said,
    bytes: Bytes,
    change: &str,
) -> Result<Response, ApiError> {
    let mut learnt = known.clone();
    if learnt.learn(&provenance(state, said)) {
        state.store.put_plugin(&learnt, bytes).await?;
    }
    Ok(answer(state, StatusCode::OK, change, learnt))
}

pub(super) fn answer(
    state: &ApiState,
    status: StatusCode,
    change: &str,
    plugin: Plugin,
) -> Response {
    let location = format!("{ALL}/{}", plugin.info.digest);
    let body = PluginView { change: Some(change.to_owned()), ..view(state, plugin) };
    (status, [(header::LOCATION, location)], Json(body)).into_response()
}

async fn list(
    State(state): State<ApiState>,
    reads: Reads,
    mut query: InQuery,
) -> Result<Paged, ApiError> {
    let Page { after, limit } = query.page()?;
    query.finish()?;
    let store = &state.store;
    let list = List {
        read: async |after: Option<Key>, limit| {
            let after = after.map(|Key(key)| key);
            Ok(store.read_plugins(&Page { after, limit }).await?)
        },
        key: |one: &Plugin| one.info.digest.to_string(),
        view: |one| (view(&state, one), 0),
        heaviest: PLUGIN_BYTES,
    };
    page(&reads.0, after.map(Key), limit, list).await
}

async fn get(
    State(state): State<ApiState>,
    InPath(digest): InPath<Digest>,
    query: InQuery,
) -> Result<Json<PluginView>, ApiError> {
    query.finish()?;
    match state.store.plugin(&digest).await? {
        Some(plugin) => Ok(Json(view(&state, plugin))),
        None => Err(not_found(&digest)),
    }
}

async fn bytes(
    State(state): State<ApiState>,
    reads: Reads,
    InPath(digest): InPath<Digest>,
    query: InQuery,
) -> Result<Response, ApiError> {
    query.finish()?;
    let share = reads.0.take(MAX_PLUGIN_BODY).await;
    match state.store.plugin_bytes(&digest).await? {
        Some(bytes) => Ok(Weighed(([(header::CONTENT_TYPE, WASM)], bytes), share).into_response()),
        None => Err(not_found(&digest)),
    }
}

async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
    InPath(digest): InPath<Digest>,
    query: InQuery,
) -> Result<StatusCode, ApiError> {
    query.finish()?;
    let id = digest.to_string();
    caller.begin(Deed::DeletePlugin, &[("plugin", &id)], false, state.own_clock.now())?;
    if state.plugins.builtins().iter().any(|builtin| builtin.info.digest == digest) {
        let detail = format!("failed to delete plugin {digest}: it is built in");
        return Err(ApiError::new(Code::PluginPinned, detail));
    }
    match state.store.delete_plugin(&digest).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT),
        Ok(false) => Err(not_found(&digest)),
        // What pins it may be something that they may not view.
        Err(StoreError::Pinned { .. }) if !caller.views_all() => {
            let detail = format!("failed to delete plugin {digest}: it is pinned");
            Err(ApiError::new(Code::PluginPinned, detail))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn not_found(digest: &Digest) -> ApiError {
    ApiError::new(Code::PluginNotFound, format!("there is no plugin {digest}"))
}

pub(super) fn view(state: &ApiState, plugin: Plugin) -> PluginView {
    let Plugin { info, added_at, unpinned_at, provenance, signatures } = plugin;
    let signatures = signatures::views(state, &signatures);
    // One that is built into this server is renewed as long as the server runs.
    let is_built_in = state.plugins.builtins().iter().any(|one| one.info.digest == info.digest);
    let unpinned_at = unpinned_at.filter(|_| !is_built_in);
    let goes_at = unpinned_at.map(|since| since.plus(state.store.plugin_retention()));
    PluginView { info, added_at, unpinned_at, goes_at, provenance, signatures, change: None }
}
