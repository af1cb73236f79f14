//! What is known about plugins when they are judged. It comes from the store and from the bytes themselves, never from what
//! a document says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::signatures::{proofs_in, settled, signers_in};
use crate::playbook::policy::{Facts, PROOF_FORM, Policy, Signature, StrategyProof, Vouched};
use crate::playbook::{Playbook, PluginPin};
use crate::plugin::PluginHost;
use crate::run::Digest;
use crate::store::{Came, Plugin, PluginSignature, Store, StoreError, UPLOADED};

/// Where a plugin came from, for a playbook that names it by this source. The same bytes may have come in several ways; if
/// the one that the playbook names is none of them, another one counts.
fn source_of(plugin: &Plugin, named: &str, host: &PluginHost) -> String {
    let builtin = host.builtins().iter().find(|one| one.info.digest == plugin.info.digest);
    if let Some(builtin) = builtin {
        return format!("builtin:{}", builtin.info.name);
    }
    match plugin.came(named) {
        Came::AsNamed(came) | Came::Otherwise(came) => came.source.clone(),
        // Whatever does not come from a registry was uploaded, also if nobody said from where.
        Came::Unknown => UPLOADED.to_owned(),
    }
}

/// What is known about bytes that are being uploaded, with these signatures.
pub fn uploaded(digest: &Digest, signatures: &[PluginSignature], policy: &Policy) -> Facts {
    from(UPLOADED.to_owned(), digest.clone(), signatures, policy)
}

/// What is known about a plugin with these signatures, which were checked.
fn from(source: String, digest: Digest, signatures: &[PluginSignature], policy: &Policy) -> Facts {
    let (signers, proofs) = (signers_in(signatures, policy), proofs_in(signatures, policy));
    Facts { source, digest, signers, proofs }
}

/// What is known about a plugin that is about to be imported from `source`, without the signatures that its registry has: those
/// count that the store has for its digest.
///
/// # Errors
/// Those of the store.
pub async fn imported(
    source: &str,
    digest: &Digest,
    policy: &Arc<Policy>,
    store: &dyn Store,
) -> Result<Facts, StoreError> {
    let signatures = match store.plugin(digest).await {
        // An import mends what can't be read, and so must not depend on it.
        Ok(Some(known)) => match settled(&known, policy, store).await {
            Err(StoreError::Damaged(_)) => known.signatures,
            found => found?,
        },
        Ok(None) | Err(StoreError::Damaged(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(from(source.to_owned(), digest.clone(), &signatures, policy))
}

/// What would be known if these signatures were by the keys that they say. Nothing is checked yet, so this only tells
/// whether it is worth while to get the bytes and check them.
pub fn claimed(facts: &Facts, signatures: &[Signature], policy: &Policy) -> Facts {
    let mut more = facts.clone();
    for (name, key) in &policy.keys {
        for one in signatures.iter().filter(|one| one.key_id() == key.id()) {
            more.signers.insert(name.clone());
            let proof = StrategyProof::read(one.trusted_comment());
            more.proofs.extend(proof.map(|proof| Vouched { by: name.clone(), proof }));
        }
    }
    more
}

/// What would be known if every key of the policy had signed the plugin, with the best of certificates.
pub fn signed_by_all(facts: &Facts, policy: &Policy) -> Facts {
    let mut more = facts.clone();
    for name in policy.keys.keys() {
        more.signers.insert(name.clone());
        let proof = StrategyProof {
            form: PROOF_FORM.to_owned(),
            digest: facts.digest.clone(),
            arguments: serde_json::Value::Null,
            properties: policy.all_properties(),
            seeds: u32::MAX,
            bounds: BTreeMap::new(),
            version: String::new(),
        };
        more.proofs.push(Vouched { by: name.clone(), proof });
    }
    more
}

/// What is known with these signatures, which were checked.
pub fn signed(facts: &Facts, signatures: &[PluginSignature], policy: &Policy) -> Facts {
    let mut more = facts.clone();
    more.signers.extend(signers_in(signatures, policy));
    more.proofs.extend(proofs_in(signatures, policy));
    more
}

/// What is known about a plugin of the store, which a playbook names by the source `named`.
///
/// # Errors
/// Those of the store.
pub async fn facts_of(
    plugin: &Plugin,
    named: &str,
    policy: &Arc<Policy>,
    store: &dyn Store,
    host: &PluginHost,
) -> Result<Facts, StoreError> {
    let signatures = settled(plugin, policy, store).await?;
    let digest = plugin.info.digest.clone();
    Ok(from(source_of(plugin, named, host), digest, &signatures, policy))
}

/// What is known about a plugin that a playbook pins. Where it came from was recorded with the pin when the playbook was
/// applied: of the ways in which the same bytes came later, the store keeps the latest only. `None` if it is not in the
/// store, and is not a built-in one.
///
/// # Errors
/// Those of the store.
pub async fn facts_of_pin(
    pin: &PluginPin,
    policy: &Arc<Policy>,
    store: &dyn Store,
    host: &PluginHost,
) -> Result<Option<Facts>, StoreError> {
    if let Some(name) = pin.source.strip_prefix("builtin:") {
        return Ok(Some(Facts::of_builtin(name)));
    }
    let Some(plugin) = store.plugin(&pin.digest).await? else { return Ok(None) };
    let mut facts = facts_of(&plugin, &pin.source, policy, store, host).await?;
    if let Some(came) = pin.provenance.as_ref().filter(|_| !facts.is_builtin()) {
        facts.source.clone_from(&came.source);
    }
    Ok(Some(facts))
}

/// What was found out about pinned plugins under one policy, so that nothing is looked for twice. None: not in the store.
#[derive(Debug, Default)]
pub struct Known {
    facts: BTreeMap<(Digest, String), Option<Facts>>,
    /// Whether a plugin that can't be read counts as one that is not in the store.
    skips_damaged: bool,
}

impl Known {
    /// Nothing is known yet, and a plugin that can't be read will count as one that is not in the store.
    pub(super) fn skipping_damaged() -> Self {
        Self { skips_damaged: true, ..Self::default() }
    }
}

/// What is known about the plugins that a playbook pins, by the names that they have there. There is no entry for those that
/// are not in the store. `known` has what was found out for other playbooks, and learns what is found out for this one.
///
/// # Errors
/// Those of the store.
pub async fn facts_of_pins(
    playbook: &Playbook,
    policy: &Arc<Policy>,
    store: &dyn Store,
    host: &PluginHost,
    known: &mut Known,
) -> Result<BTreeMap<String, Facts>, StoreError> {
    let mut all = BTreeMap::new();
    for (name, pin) in &playbook.plugins {
        let came = pin.provenance.as_ref().map_or(&pin.source, |came| &came.source);
        let key = (pin.digest.clone(), came.clone());
        if !known.facts.contains_key(&key) {
            let found = match facts_of_pin(pin, policy, store, host).await {
                Err(StoreError::Damaged(_)) if known.skips_damaged => None,
                other => other?,
            };
            known.facts.insert(key.clone(), found);
        }
        if let Some(Some(facts)) = known.facts.get(&key) {
            all.insert(name.clone(), facts.clone());
        }
    }
    Ok(all)
}
