//! Where the API asks the policy: before a plugin is imported, when a playbook is applied, and when a run is started.

use std::collections::BTreeMap;

use super::error::{ApiError, Code};
use super::state::ApiState;
use crate::playbook::policy::{check_document, check_playbook};
use crate::playbook::{Playbook, PlaybookDocument, Problem};
use crate::policy::{Known, facts_of, facts_of_pins, uploaded};
use crate::run::Digest;
use crate::store::{Plugin, PluginSignature};

/// Refuses bytes that the policy does not let in, before anything of them runs.
pub(super) fn admit_upload(
    state: &ApiState,
    digest: &Digest,
    signatures: &[PluginSignature],
) -> Result<(), ApiError> {
    let Some(policy) = state.policy.now() else { return Ok(()) };
    let admitted = policy.admit(&uploaded(digest, signatures, &policy));
    admitted.map_err(|refusal| ApiError::new(Code::PluginRefused, refusal.to_string()))
}

/// What the policy refuses in a document. `plugins` has what the store has of the plugins that it declares, by the name
/// that they have there.
pub(super) async fn problems_of(
    state: &ApiState,
    document: &PlaybookDocument,
    plugins: &BTreeMap<String, Plugin>,
) -> Result<Vec<Problem>, ApiError> {
    let Some(policy) = state.policy.now() else { return Ok(Vec::new()) };
    let mut facts = BTreeMap::new();
    for declared in document.plugins() {
        let Some(plugin) = plugins.get(&declared.name) else { continue };
        let (store, source) = (state.store.as_ref(), declared.source.to_string());
        let found = facts_of(plugin, &source, &policy, store, &state.plugins).await?;
        facts.insert(declared.name, found);
    }
    Ok(check_document(&policy, document, &facts))
}

/// Refuses to start a run of a playbook that the policy would not let be applied any more.
pub(super) async fn admit_run(state: &ApiState, playbook: &Playbook) -> Result<(), ApiError> {
    let Some(policy) = state.policy.now() else { return Ok(()) };
    let (store, mut known) = (state.store.as_ref(), Known::default());
    let facts = facts_of_pins(playbook, &policy, store, &state.plugins, &mut known).await?;
    let refused = check_playbook(&policy, playbook, &facts);
    let Some((name, refusal)) = refused.first() else { return Ok(()) };
    let more = match refused.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let Playbook { name: playbook, version, .. } = playbook;
    let detail = format!("playbook {playbook} version {version}, plugin {name:?}: {refusal}{more}");
    Err(ApiError::new(Code::PluginRefused, detail))
}
