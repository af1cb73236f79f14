//! The task of one import: from a reference to a plugin in the store.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::table::{Imports, Started};
use super::vetting::{known, vet};
use crate::api::Code;
use crate::api::plugins::view;
use crate::api::state::ApiState;
use crate::api::wire::{ImportProblem, PluginView};
use crate::playbook::{OciReference, PluginInfo, Provenance};
use crate::plugin::PluginError;
use crate::policy::imported;
use crate::registry::{MAX_LAYER, RegistryError, Resolved};
use crate::run::Digest;
use crate::store::{Plugin, Put, StoreError};
use crate::web::Client;

/// How long an import goes on while nobody asks for it: clients ask several times a second.
pub(super) const UNASKED: Duration = Duration::from_secs(30);

/// What is to be imported, for whom.
pub(super) struct Wanted {
    pub(super) reference: OciReference,
    pub(super) source: String,
    pub(super) digest: Option<Digest>,
    pub(super) actor: Option<String>,
    pub(super) client: Client,
}

/// A plugin that may be put into the store.
struct Checked {
    info: PluginInfo,
    bytes: Bytes,
    manifest: Digest,
}

/// Makes an import. Until everything is checked it may be stopped at any point, and nothing is kept.
pub(super) async fn import(state: ApiState, wanted: Wanted, started: Started) {
    let imports = state.imports.clone();
    let checked = tokio::select! {
        biased;
        () = started.stop.cancelled() => return,
        () = unasked(&started) => {
            // It may have been removed at this moment, which comes to the same.
            let _ = imports.remove(started.id);
            return;
        }
        checked = check(&state, &imports, &wanted, &started) => checked,
    };
    let kept = match checked {
        Ok(checked) => keep(&state, &wanted, checked).await,
        Err(problem) => Err(problem),
    };
    match kept {
        Ok((plugin, put)) => {
            let (digest, brought) = (plugin.info.digest.clone(), put == Put::Created);
            let change = match put {
                Put::Created => "created",
                Put::Updated => "updated",
                Put::Unchanged => "unchanged",
            };
            let seen = PluginView { change: Some(change.to_owned()), ..view(&state, plugin) };
            let is_known = imports.done(started.id, seen, brought, state.clock.now());
            if !is_known && brought {
                take_back(&state, &digest).await;
            }
        }
        Err(problem) => {
            // What a policy refuses is judged again, since the policy may be another one by then.
            if !problem.retryable && problem.code != Code::PluginRefused.as_str() {
                imports.failed.remember(&key(&wanted), problem.clone());
            }
            imports.failed(started.id, problem, state.clock.now());
        }
    }
}

/// Removes what a cancelled import brought, unless something pins it by now.
pub(super) async fn take_back(state: &ApiState, digest: &Digest) {
    match state.store.delete_plugin(digest).await {
        Ok(_) | Err(StoreError::Pinned { .. }) => {}
        Err(error) => tracing::warn!(%digest, %error, "the plugin of a cancelled import stays"),
    }
}

/// What a failure is remembered by.
pub(super) fn key(wanted: &Wanted) -> String {
    let digest = wanted.digest.as_ref().map(Digest::as_str).unwrap_or_default();
    format!("{} {digest}", wanted.source)
}

/// Ends when nobody has asked for a while.
async fn unasked(started: &Started) {
    while timeout(UNASKED, started.asked.notified()).await.is_ok() {}
}

async fn check(
    state: &ApiState,
    imports: &Imports,
    wanted: &Wanted,
    started: &Started,
) -> Result<Checked, ImportProblem> {
    let mut share = imports.memory.of(wanted.client).take(MAX_LAYER).await;
    imports.pulling(started.id);
    let opened = imports.registries.open(&wanted.reference).await;
    let artefact = opened.map_err(|error| of_registry(&error))?;
    let found = artefact.found().clone();
    let Resolved { manifest, digest, size } = &found;
    imports.knows(started.id, manifest.clone());
    share.shrink_to(usize::try_from(*size).unwrap_or(MAX_LAYER));
    expected(wanted, &found)?;
    admitted(state, wanted, digest).await?;
    if let Some(error) = imports.refused.find(digest.as_str()) {
        return Err(of_plugin(&error));
    }
    let manifest = manifest.clone();
    if let Some((info, bytes)) = in_store(state, digest).await {
        return Ok(Checked { info, bytes, manifest });
    }
    let pulled = artefact.bytes(&started.progress).await;
    let bytes = pulled.map_err(|error| of_registry(&error))?;
    imports.checking(started.id);
    match vet(state, wanted.client, digest, bytes.clone(), share).await {
        Ok(info) => Ok(Checked { info, bytes, manifest }),
        Err(error) => Err(of_plugin(&error)),
    }
}

/// The digest in the document counts more than what the registry has now.
fn expected(wanted: &Wanted, found: &Resolved) -> Result<(), ImportProblem> {
    match wanted.digest.as_ref().filter(|digest| **digest != found.digest) {
        None => Ok(()),
        Some(digest) => {
            let (source, found) = (&wanted.source, &found.digest);
            let message = format!("{source} has the plugin {found} now, expected {digest}");
            Err(ImportProblem { code: "digest-mismatch".to_owned(), message, retryable: false })
        }
    }
}

/// Whether the policy lets the plugin in, before it is even pulled.
async fn admitted(state: &ApiState, wanted: &Wanted, digest: &Digest) -> Result<(), ImportProblem> {
    let Some(policy) = state.policy.now() else { return Ok(()) };
    let facts = imported(&wanted.source, digest, &policy, state.store.as_ref());
    let facts = facts.await.map_err(|error| of_store(&error))?;
    policy.admit(&facts).map_err(|refusal| {
        let code = Code::PluginRefused.as_str().to_owned();
        ImportProblem { code, message: refusal.to_string(), retryable: false }
    })
}

/// A plugin with its bytes, if the store has both whole.
async fn in_store(state: &ApiState, digest: &Digest) -> Option<(PluginInfo, Bytes)> {
    let plugin = known(state, digest).await.ok().flatten()?;
    let bytes = state.store.plugin_bytes(digest).await.ok().flatten()?;
    Some((plugin.info, bytes))
}

async fn keep(
    state: &ApiState,
    wanted: &Wanted,
    checked: Checked,
) -> Result<(Plugin, Put), ImportProblem> {
    let now = state.clock.now();
    let provenance = Provenance {
        source: wanted.source.clone(),
        manifest: Some(checked.manifest),
        at: now,
        by: wanted.actor.clone(),
    };
    let new = Plugin { provenance: vec![provenance], ..Plugin::new(checked.info, now) };
    let put =
        state.store.put_plugin(&new, checked.bytes).await.map_err(|error| of_store(&error))?;
    let kept = state.store.plugin(&new.info.digest).await.map_err(|error| of_store(&error))?;
    Ok((kept.unwrap_or(new), put))
}

fn of_registry(error: &RegistryError) -> ImportProblem {
    let (code, retryable) = (error.code().to_owned(), error.retryable());
    ImportProblem { code, message: error.to_string(), retryable }
}

fn of_plugin(error: &PluginError) -> ImportProblem {
    let (code, message) = (error.code.to_owned(), error.message.clone());
    ImportProblem { code, message, retryable: error.retryable() }
}

fn of_store(error: &StoreError) -> ImportProblem {
    let message = error.to_string();
    ImportProblem { code: "store".to_owned(), message, retryable: error.retryable() }
}
