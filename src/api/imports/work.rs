//! The task of one import: from a reference to a plugin in the store.

use std::slice;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::signed::{admitted, before_bytes, with_bytes};
use super::table::{Brought, Imports, Started};
use super::vetting::{known, vet};
use crate::api::Code;
use crate::api::plugins::view;
use crate::api::state::ApiState;
use crate::api::wire::{ImportProblem, PluginView};
use crate::playbook::{OciReference, PluginInfo, Provenance};
use crate::plugin::PluginError;
use crate::registry::{MAX_LAYER, MAX_MANIFEST, RegistryError, Resolved};
use crate::run::Digest;
use crate::store::{Plugin, PluginSignature, Put, StoreError};
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
    /// Those that the registry has, as far as they were checked.
    signatures: Vec<PluginSignature>,
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
            let is_new = put == Put::Created;
            let change = match put {
                Put::Created => "created",
                Put::Updated => "updated",
                Put::Unchanged => "unchanged",
            };
            let seen = PluginView { change: Some(change.to_owned()), ..view(&state, plugin) };
            let brought = Brought::of(&seen);
            let is_known = imports.done(started.id, seen, is_new, state.clock.now());
            if !is_known && is_new {
                take_back(&state, &brought).await;
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

/// Removes what a cancelled import brought, unless something pins it by now, or somebody else found it meanwhile and counts
/// on it.
pub(super) async fn take_back(state: &ApiState, brought: &Brought) {
    let Brought { digest, unpinned_at } = brought;
    let taken = match state.store.plugin(digest).await {
        Ok(Some(plugin)) if plugin.unpinned_at == *unpinned_at => {
            state.store.delete_plugin(digest).await.map(drop)
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    match taken {
        Ok(()) | Err(StoreError::Pinned { .. }) => {}
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
    let mut artefact = opened.map_err(|error| of_registry(&error))?;
    let found = artefact.found().clone();
    let Resolved { manifest, digest, size } = &found;
    imports.knows(started.id, manifest.clone());
    expected(wanted, &found)?;
    // A list of signatures is read whole as well.
    let size = usize::try_from(*size).unwrap_or(MAX_LAYER);
    share.shrink_to(size.max(MAX_MANIFEST));
    let signatures = before_bytes(state, wanted, &mut artefact).await?;
    share.shrink_to(size);
    if let Some(error) = imports.refused.find(digest.as_str()) {
        return Err(error.into());
    }
    let manifest = manifest.clone();
    if let Some((info, bytes)) = in_store(state, digest).await {
        let signatures = with_bytes(state, wanted, digest, bytes.clone(), signatures).await?;
        return Ok(Checked { info, bytes, manifest, signatures });
    }
    let pulled = artefact.bytes(&started.progress).await;
    let bytes = pulled.map_err(|error| of_registry(&error))?;
    imports.checking(started.id);
    // Nothing of the plugin runs before this, and it runs when it is asked to describe itself.
    let signatures = with_bytes(state, wanted, digest, bytes.clone(), signatures).await?;
    let still = admitted(state, wanted, digest, &signatures);
    let info = vet(state, wanted.client, digest, bytes.clone(), share, still).await?;
    Ok(Checked { info, bytes, manifest, signatures })
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
    let Checked { info, bytes, signatures, .. } = checked;
    let new = Plugin { provenance: vec![provenance], signatures, ..Plugin::new(info, now) };
    let put = state.store.put_plugin(&new, bytes).await.map_err(|error| of_store(&error))?;
    match put {
        Put::Created => {}
        Put::Updated | Put::Unchanged => sign(state, &new).await?,
    }
    let kept = state.store.plugin(&new.info.digest).await.map_err(|error| of_store(&error))?;
    Ok((kept.unwrap_or(new), put))
}

/// Adds signatures to a plugin that was in the store before. Those that were checked are the first ones.
async fn sign(state: &ApiState, plugin: &Plugin) -> Result<(), ImportProblem> {
    for one in &plugin.signatures {
        match state.store.sign_plugin(&plugin.info.digest, slice::from_ref(one)).await {
            // Those that are kept are worth as much.
            Ok(_) | Err(StoreError::TooLarge { .. }) => {}
            Err(error) => return Err(of_store(&error)),
        }
    }
    Ok(())
}

pub(super) fn of_registry(error: &RegistryError) -> ImportProblem {
    let (code, retryable) = (error.code().to_owned(), error.retryable());
    ImportProblem { code, message: error.to_string(), retryable }
}

impl From<PluginError> for ImportProblem {
    fn from(error: PluginError) -> Self {
        let retryable = error.retryable();
        Self { code: error.code.to_owned(), message: error.message, retryable }
    }
}

pub(super) fn of_store(error: &StoreError) -> ImportProblem {
    let message = error.to_string();
    ImportProblem { code: "store".to_owned(), message, retryable: error.retryable() }
}
