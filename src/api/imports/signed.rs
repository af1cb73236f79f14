//! Judges a plugin of a registry by the policy. First by what its signatures say of themselves, so that what would be refused
//! anyway is not pulled; then by its signatures over its bytes, and only then is anything of it compiled.

use std::sync::Arc;

use bytes::Bytes;

use super::work::{Wanted, of_registry, of_store};
use crate::api::Code;
use crate::api::state::ApiState;
use crate::api::wire::ImportProblem;
use crate::playbook::policy::{Facts, Policy, Refusal, Signature};
use crate::policy::{checked_of_registry, claimed, imported, signed, signed_by_all};
use crate::registry::Artefact;
use crate::run::Digest;
use crate::store::PluginSignature;

/// The signatures that the registry has for a plugin, unless the policy would refuse it also if they were right. They are
/// read whether or not the policy asks for any, since it may do so later.
pub(super) async fn before_bytes(
    state: &ApiState,
    wanted: &Wanted,
    artefact: &mut Artefact,
) -> Result<Vec<Signature>, ImportProblem> {
    let Some(policy) = state.policy.now() else { return Ok(unasked(wanted, artefact).await) };
    let digest = artefact.found().digest.clone();
    let facts = facts(state, wanted, &digest, &policy).await?;
    if policy.admit(&facts).is_ok() {
        return Ok(unasked(wanted, artefact).await);
    }
    policy.admit(&signed_by_all(&facts, &policy)).map_err(|refusal| refused(&refusal))?;
    let signatures = artefact.signatures().await.map_err(|error| of_registry(&error))?;
    let admitted = policy.admit(&claimed(&facts, &signatures, &policy));
    admitted.map_err(|refusal| refused(&refusal))?;
    Ok(signatures)
}

/// Checks the signatures over the bytes, and judges the plugin by them, by the policy that counts now.
pub(super) async fn with_bytes(
    state: &ApiState,
    wanted: &Wanted,
    digest: &Digest,
    bytes: Bytes,
    signatures: Vec<Signature>,
) -> Result<Vec<PluginSignature>, ImportProblem> {
    let checked = checked_of_registry(bytes, signatures, state.policy.now()).await;
    let checked = checked.map_err(|error| {
        let (code, source) = (Code::BadSignature.as_str().to_owned(), &wanted.source);
        ImportProblem { code, message: format!("{source}: {error}"), retryable: false }
    })?;
    admitted(state, wanted, digest, &checked).await?;
    Ok(checked)
}

/// Judges a plugin by signatures that were checked, by the policy that counts now.
pub(super) async fn admitted(
    state: &ApiState,
    wanted: &Wanted,
    digest: &Digest,
    checked: &[PluginSignature],
) -> Result<(), ImportProblem> {
    let Some(policy) = state.policy.now() else { return Ok(()) };
    let facts = facts(state, wanted, digest, &policy).await?;
    policy.admit(&signed(&facts, checked, &policy)).map_err(|refusal| refused(&refusal))
}

/// Signatures on which nothing depends: a registry that can't list them has none.
async fn unasked(wanted: &Wanted, artefact: &mut Artefact) -> Vec<Signature> {
    artefact.signatures().await.unwrap_or_else(|error| {
        let source = &wanted.source;
        tracing::warn!(%source, %error, "failed to read a plugin's signatures; going on without them");
        Vec::new()
    })
}

async fn facts(
    state: &ApiState,
    wanted: &Wanted,
    digest: &Digest,
    policy: &Arc<Policy>,
) -> Result<Facts, ImportProblem> {
    let facts = imported(&wanted.source, digest, policy, state.store.as_ref());
    facts.await.map_err(|error| of_store(&error))
}

fn refused(refusal: &Refusal) -> ImportProblem {
    let code = Code::PluginRefused.as_str().to_owned();
    ImportProblem { code, message: refusal.to_string(), retryable: false }
}
