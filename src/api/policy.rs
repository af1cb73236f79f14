//! Where the API asks the policy: before a plugin is imported, when a playbook is applied, and when a run is started.

use std::collections::BTreeMap;

use super::error::{ApiError, Code};
use super::state::ApiState;
use crate::playbook::policy::{Facts, Policy, check_document, check_playbook};
use crate::playbook::{Playbook, PlaybookDocument, Problem, SignedBy};
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

/// What the policy says of a document.
#[derive(Default)]
pub(super) struct Judged {
    /// What it refuses.
    pub(super) problems: Vec<Problem>,
    /// Who signed each plugin that the document declares, by the name that it has there.
    pub(super) signers: BTreeMap<String, Vec<SignedBy>>,
}

/// Judges a document. `plugins` has what the store has of the plugins that it declares, by the name that they have there.
pub(super) async fn judge(
    state: &ApiState,
    document: &PlaybookDocument,
    plugins: &BTreeMap<String, Plugin>,
) -> Result<Judged, ApiError> {
    let Some(policy) = state.policy.now() else { return Ok(Judged::default()) };
    let mut facts = BTreeMap::new();
    for declared in document.plugins() {
        let Some(plugin) = plugins.get(&declared.name) else { continue };
        let (store, source) = (state.store.as_ref(), declared.source.to_string());
        let found = facts_of(plugin, &source, &policy, store, &state.plugins).await?;
        facts.insert(declared.name, found);
    }
    let signers = facts.iter().map(|(name, facts)| (name.clone(), signers(&policy, facts)));
    let signers = signers.collect();
    Ok(Judged { problems: check_document(&policy, document, &facts), signers })
}

/// Who signed a plugin, with their keys.
fn signers(policy: &Policy, facts: &Facts) -> Vec<SignedBy> {
    let keys = facts.signers.iter().filter_map(|name| policy.keys.get_key_value(name));
    keys.map(|(name, key)| SignedBy { name: name.clone(), key: key.as_str().to_owned() }).collect()
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
