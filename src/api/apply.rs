//! Applies a playbook: from the document's text to a playbook in the store, with every plugin pinned. A dry run
//! goes the same way and stops before the store is written, so it finds what applying would.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::access::{Caller, Deed};
use super::bodies::{InJson, off_loop};
use super::error::{ApiError, Code};
use super::exec::check_not_reserved;
use super::params::{InQuery, listing};
use super::playbooks::view;
use super::policy::{self, Judged};
use super::state::ApiState;
use super::wire::{ApplyPlaybook, PlaybookView};
use crate::playbook::access::Object;
use crate::playbook::{
    Playbook, PlaybookDocument, PluginInfo, PluginPin, PluginSource, Problem, Problems, Provenance,
    Source, parse_playbook, resolve, warnings,
};
use crate::run::{Digest, canonical};
use crate::store::{Came, MAX_PAGE, Page, Plugin, Put, StoreError, StoredPlaybook};

/// The errors that applying a playbook can have.
pub(super) const FAILS: [Code; 3] = [Code::InvalidDocument, Code::Conflict, Code::PluginMissing];

pub(super) async fn playbook(
    State(state): State<ApiState>,
    caller: Caller,
    mut query: InQuery,
    InJson(request): InJson<ApplyPlaybook>,
) -> Result<Response, ApiError> {
    let dry_run = query.take("dry_run", "true or false")?.unwrap_or(false);
    query.finish()?;
    let (mut stored, warnings) = read(&state, request).await?;
    caller.may(Deed::ApplyPlaybook, Object::Playbook(&stored.playbook.name))?;
    if dry_run {
        caller.changes_nothing();
        return check(&state, &caller, stored, warnings).await;
    }
    let version = stored.playbook.version.to_string();
    let about = [("playbook", stored.playbook.name.as_str()), ("version", &version)];
    caller.begin(Deed::ApplyPlaybook, &about, false, state.own_clock.now())?;
    let put = match state.store.put_playbook(&stored).await {
        Err(error @ StoreError::Conflict { .. }) => {
            let mut refused = ApiError::from(error);
            refused.detail.push_str(&moved_since(&state, &caller, &stored).await);
            return Err(refused);
        }
        put => put?,
    };
    let (status, change) = match put {
        Put::Created => (StatusCode::CREATED, "created"),
        // It existed, but could not be read any more.
        Put::Updated => (StatusCode::OK, "updated"),
        Put::Unchanged => {
            keep_moment(&state, &mut stored).await;
            (StatusCode::OK, "unchanged")
        }
    };
    let name = stored.playbook.name.replace('/', "%2F");
    let location = format!("/api/v1/playbooks/{name}?version={}", stored.playbook.version);
    let body = PlaybookView { change: Some(change.to_owned()), warnings, ..view(&stored) };
    Ok((status, [(header::LOCATION, location)], Json(body)).into_response())
}

/// If the playbook existed already, it keeps the time at which it was first applied. At this point it is
/// applied, so a failure to read it does not fail the request.
pub(super) async fn keep_moment(state: &ApiState, stored: &mut StoredPlaybook) {
    let (name, version) = (&stored.playbook.name, &stored.playbook.version);
    match state.store.playbook(name, Some(version)).await {
        Ok(Some(kept)) => *stored = kept,
        Ok(None) => {}
        Err(error) => tracing::warn!(name, %version, %error, "failed to read an applied playbook"),
    }
}

/// Ends a dry run with the checks that need the store.
async fn check(
    state: &ApiState,
    caller: &Caller,
    stored: StoredPlaybook,
    warnings: Vec<Problem>,
) -> Result<Response, ApiError> {
    check_content(state, caller, &stored).await?;
    let body = PlaybookView { change: Some("valid".to_owned()), warnings, ..view(&stored) };
    Ok(Json(body).into_response())
}

/// Refuses a playbook that already exists with different content.
pub(super) async fn check_content(
    state: &ApiState,
    caller: &Caller,
    stored: &StoredPlaybook,
) -> Result<(), ApiError> {
    let (name, version) = (&stored.playbook.name, &stored.playbook.version);
    match state.store.playbook(name, Some(version)).await {
        Ok(Some(known)) if known.content != stored.content => {
            let detail =
                format!("playbook {name} version {version} already exists with different content");
            let moved = match caller.views(Object::Playbook(name)) {
                true => moved(&known.playbook, &stored.playbook),
                false => String::new(),
            };
            Err(ApiError::new(Code::Conflict, detail + &moved))
        }
        // Applying a playbook repairs one that can't be read.
        Ok(Some(_) | None) | Err(StoreError::Damaged(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Which plugins are others than when this version was applied first, for the refusal of a conflict: a document says
/// nothing of that if a tag was moved. Nothing for those who may not view the playbook.
pub(super) async fn moved_since(state: &ApiState, caller: &Caller, new: &StoredPlaybook) -> String {
    let (name, version) = (&new.playbook.name, &new.playbook.version);
    if !caller.views(Object::Playbook(name)) {
        return String::new();
    }
    match state.store.playbook(name, Some(version)).await {
        Ok(Some(known)) => moved(&known.playbook, &new.playbook),
        Ok(None) | Err(_) => String::new(),
    }
}

/// The plugins that have the same source in both playbooks and another digest, for people.
fn moved(known: &Playbook, new: &Playbook) -> String {
    let both = known.plugins.iter().filter_map(|(name, known)| {
        let new = new.plugins.get(name).filter(|new| new.source == known.source)?;
        (new.digest != known.digest && !known.source.starts_with("builtin:"))
            .then_some((name, known, new))
    });
    let said = both.map(|(name, known, new)| {
        let what =
            if known.source.starts_with("oci:") { "the tag was moved" } else { "other bytes" };
        let manifest = |pin: &PluginPin| {
            let manifest = pin.provenance.as_ref().and_then(|came| came.manifest.as_ref());
            manifest.map(|digest| format!(" (manifest {digest})")).unwrap_or_default()
        };
        let (then, now) = (manifest(known), manifest(new));
        format!(
            "; plugin {name}, {}, was {}{then} and is {}{now} now: {what}",
            known.source, known.digest, new.digest
        )
    });
    said.collect()
}

/// Reads, pins and resolves the document of a playbook that somebody has written. Also returns the warnings.
pub(super) async fn read(
    state: &ApiState,
    request: ApplyPlaybook,
) -> Result<(StoredPlaybook, Vec<Problem>), ApiError> {
    let read = read_any(state, request).await?;
    check_not_reserved(&read.0.playbook.name)?;
    Ok(read)
}

/// Reads, pins and resolves a document, and reports all its problems at once. Also returns the warnings.
pub(super) async fn read_any(
    state: &ApiState,
    request: ApplyPlaybook,
) -> Result<(StoredPlaybook, Vec<Problem>), ApiError> {
    let ApplyPlaybook { document: text, uploads } = request;
    let (text, document) = off_loop(move || {
        let document = parse_playbook(text.as_bytes());
        document.map(|document| (text, document)).map_err(ApiError::invalid_document)
    })
    .await??;
    let Found { plugins, mut problems } = find_plugins(state, &document, &uploads).await?;
    let Judged { problems: refused, mut signers } =
        policy::judge(state, &document, &plugins).await?;
    problems.extend(refused);
    let mut provenance = provenance_of(&document, &plugins);
    let plugins = plugins.into_iter().map(|(name, plugin)| (name, plugin.info)).collect();
    let builtins: Vec<_> = state.plugins.builtins().iter().map(|one| one.info.clone()).collect();
    let (document, resolved, warned) = off_loop(move || {
        let resolved = resolve(&document, &plugins, &builtins);
        let warned = warnings(&document, &plugins);
        (document, resolved, warned)
    })
    .await?;
    let mut playbook = merge(resolved, problems).map_err(ApiError::invalid_document)?;
    for (name, pin) in &mut playbook.plugins {
        pin.provenance = provenance.remove(name);
        pin.signers = signers.remove(name).unwrap_or_default();
    }
    let content = content_digest(&document, &playbook);
    let applied_at = state.clock.now();
    Ok((StoredPlaybook { text, playbook, content, applied_at }, warned))
}

/// The digest of what the playbook does. Comments, layout and time do not count; the digests of its plugins do,
/// except those of built-in plugins: a newer binary brings other ones, and a playbook that nobody changed must
/// not conflict with itself.
fn content_digest(document: &PlaybookDocument, playbook: &Playbook) -> Digest {
    let own = playbook.plugins.iter().filter(|(_, pin)| !pin.source.starts_with("builtin:"));
    let pins = own.map(|(name, pin)| (name.as_str(), pin.digest.as_str()));
    let pins: BTreeMap<_, _> = pins.collect();
    let content = json!({ "document": document.content(), "plugins": pins });
    Digest::of(canonical(&content).as_bytes())
}

/// The plugins of a document that were found, and what is wrong with the others.
#[derive(Default)]
struct Found {
    plugins: BTreeMap<String, Plugin>,
    problems: Vec<Problem>,
}

async fn find_plugins(
    state: &ApiState,
    document: &PlaybookDocument,
    uploads: &BTreeMap<String, Digest>,
) -> Result<Found, ApiError> {
    let mut found = Found::default();
    let sources = document.plugins();
    for name in uploads.keys().filter(|name| !sources.iter().any(|one| one.name == **name)) {
        let message = format!("an upload is given for plugin {name:?}, which is not listed here");
        found.problems.push(document.problem_at("/spec/plugins", "unknown-upload", message));
    }
    for source in sources {
        match find_plugin(state, &source, uploads).await? {
            Ok(plugin) => {
                found.plugins.insert(source.name, plugin);
            }
            Err((code, message)) => {
                let pointer = format!("{}/source", pointer(&source.name));
                found.problems.push(document.problem_at(&pointer, code, message));
            }
        }
    }
    Ok(found)
}

/// A problem code and a message for people.
type Missing = (&'static str, String);

async fn find_plugin(
    state: &ApiState,
    source: &PluginSource,
    uploads: &BTreeMap<String, Digest>,
) -> Result<Result<Plugin, Missing>, ApiError> {
    let found = match &source.source {
        Source::File(path) => {
            // The server never opens the path. A digest in the document is as good as an upload
            // when the store has the bytes.
            let Some(digest) = uploads.get(&source.name).or(source.digest.as_ref()) else {
                let message = format!("the bytes of {path:?} were not uploaded");
                return Ok(Err(("plugin-not-uploaded", message)));
            };
            let found = state.store.plugin(digest).await?;
            found.ok_or_else(|| {
                ("plugin-missing", format!("the store has no plugin {digest}; upload it first"))
            })
        }
        Source::Store { name, version } => {
            let pinned = match &source.digest {
                Some(digest) => state.store.plugin(digest).await?,
                None => None,
            };
            // The pinned bytes are still found after other bytes were uploaded under the same name.
            let named = |info: &PluginInfo| info.name == *name && info.version == *version;
            match pinned.filter(|plugin| named(&plugin.info)) {
                Some(plugin) => Ok(plugin),
                None => only_one(all_named(state, name, version).await?, name, version),
            }
        }
        Source::Oci(_) => {
            let digest = uploads.get(&source.name).or(source.digest.as_ref());
            imported(state, &source.source.to_string(), digest).await?
        }
    };
    Ok(found)
}

/// The plugin that was imported for a source: the one with this digest, or else the last one.
async fn imported(
    state: &ApiState,
    source: &str,
    digest: Option<&Digest>,
) -> Result<Result<Plugin, Missing>, ApiError> {
    let when = |plugin: &Plugin| {
        plugin.provenance.iter().find(|came| came.source == source).map(|came| came.at)
    };
    let found = match digest {
        Some(digest) => state.store.plugin(digest).await?.filter(|plugin| when(plugin).is_some()),
        None => {
            all_where(state, |plugin| when(plugin).is_some()).await?.into_iter().max_by_key(when)
        }
    };
    Ok(found.ok_or_else(|| {
        let digest = digest.map(|digest| format!(" with digest {digest}")).unwrap_or_default();
        let message = format!(
            "no plugin{digest} was imported for {source}; `replictl apply` and `POST /api/v1/imports` do that"
        );
        ("plugin-not-imported", message)
    }))
}

/// Where each plugin of a document came from, as far as that is known, by the name that it has there.
fn provenance_of(
    document: &PlaybookDocument,
    plugins: &BTreeMap<String, Plugin>,
) -> BTreeMap<String, Provenance> {
    let each = document.plugins().into_iter().filter_map(|declared| {
        match plugins.get(&declared.name)?.came(&declared.source.to_string()) {
            Came::AsNamed(came) => Some((declared.name, came.clone())),
            Came::Otherwise(_) | Came::Unknown => None,
        }
    });
    each.collect()
}

/// All plugins that declare this name and version.
async fn all_named(state: &ApiState, name: &str, version: &str) -> Result<Vec<Plugin>, ApiError> {
    all_where(state, |one| one.info.name == name && one.info.version == version).await
}

async fn all_where(
    state: &ApiState,
    fits: impl Fn(&Plugin) -> bool,
) -> Result<Vec<Plugin>, ApiError> {
    let mut named = Vec::new();
    let mut after = None;
    loop {
        let found = state.store.read_plugins(&Page { after, limit: MAX_PAGE }).await?;
        // A plugin that can't be read may have this name; the others are found all the same.
        let page = listing(found, MAX_PAGE, |one| one.info.digest.to_string(), |one| one);
        named.extend(page.items.into_iter().filter(&fits));
        if page.next.is_none() {
            return Ok(named);
        }
        after = page.next;
    }
}

/// The one plugin that a name stands for. If there are several, nobody could say which one is meant: only their
/// authors know whether plugins with the same name and version are the same.
fn only_one(mut named: Vec<Plugin>, name: &str, version: &str) -> Result<Plugin, Missing> {
    match named.len() {
        0 => {
            Err(("plugin-missing", format!("the store has no plugin {name:?} version {version:?}")))
        }
        1 => Ok(named.remove(0)),
        found => {
            named.sort_by_key(|plugin| plugin.added_at);
            let digests = named
                .iter()
                .take(NAMED_DIGESTS)
                .map(|plugin| format!("{} (added {})", plugin.info.digest, plugin.added_at));
            let digests = digests.collect::<Vec<_>>().join(", ");
            let message = format!(
                "the store has {found} plugins {name:?} version {version:?}, so it is not clear which one \
                 is meant; add the `digest` of one of them: {digests}"
            );
            Err(("plugin-ambiguous", message))
        }
    }
}

/// Digests of plugins with the same name that a message lists: nobody compares more.
const NAMED_DIGESTS: usize = 10;

/// Merges the problems of finding plugins with those of resolving. A plugin that was not found has its problem
/// already, so the one about its absence when the document is resolved is left out.
fn merge(
    resolved: Result<Playbook, Problems>,
    mut problems: Vec<Problem>,
) -> Result<Playbook, Problems> {
    let further = match resolved {
        Ok(playbook) if problems.is_empty() => return Ok(playbook),
        Ok(_) => Vec::new(),
        Err(Problems(further)) => further,
    };
    let known: Vec<_> = problems.iter().map(|problem| problem.path.clone()).collect();
    let said = |problem: &Problem| {
        let own = |path: &String| {
            let plugin = path.strip_suffix("/source").unwrap_or(path);
            problem.path == plugin || problem.path == *path
        };
        known.iter().any(own)
    };
    problems.extend(further.into_iter().filter(|problem| !said(problem)));
    problems.sort_by_key(|problem| (problem.line, problem.column));
    Err(Problems(problems))
}

/// The JSON pointer of a plugin in the document.
fn pointer(name: &str) -> String {
    format!("/spec/plugins/{}", name.replace('~', "~0").replace('/', "~1"))
}
