//! What is known about plugins when they are judged. It comes from the store and from the bytes themselves, never from what
//! a document says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::playbook::policy::{
    Facts, MAX_SIGNATURES, Policy, Signature, SignatureError, read_signatures,
};
use crate::playbook::{Playbook, PluginPin, Provenance};
use crate::plugin::PluginHost;
use crate::run::Digest;
use crate::store::{Plugin, PluginSignature, Store, StoreError};

/// The source of what somebody uploaded.
const UPLOADED: &str = "file:";

/// Where a plugin came from, for a playbook that names it by this source. The same bytes may have come in several ways. The
/// way that the playbook names counts if it is one of them. Otherwise it is the first one: a document can't choose what
/// never happened.
fn source_of(plugin: &Plugin, named: &str, host: &PluginHost) -> String {
    let builtin = host.builtins().iter().find(|one| one.info.digest == plugin.info.digest);
    if let Some(builtin) = builtin {
        return format!("builtin:{}", builtin.info.name);
    }
    // Whoever uploads a file may call it anything, so one path is as good as another.
    let is_upload = named.starts_with(UPLOADED);
    let is_named =
        |came: &&Provenance| came.source == named || is_upload && came.source.starts_with(UPLOADED);
    let came = plugin.provenance.iter().find(is_named).or(plugin.provenance.first());
    // Whatever does not come from a registry was uploaded, also if nobody said from where.
    came.map_or_else(|| UPLOADED.to_owned(), |came| came.source.clone())
}

/// What is known about bytes that are being uploaded, with these signatures.
pub fn uploaded(digest: &Digest, signatures: &[PluginSignature], policy: &Policy) -> Facts {
    let signers = signers_in(signatures, policy);
    Facts { source: UPLOADED.to_owned(), digest: digest.clone(), signers }
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
    let signers = match store.plugin(digest).await {
        Ok(Some(known)) => signers_of(&known, policy, store).await?,
        // An import mends what can't be read, and so must not depend on it.
        Ok(None) | Err(StoreError::Damaged(_)) => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    Ok(Facts { source: source.to_owned(), digest: digest.clone(), signers })
}

/// What would be known if these signatures were by the keys that they say. Nothing is checked yet, so this only tells
/// whether it is worth while to get the bytes and check them.
pub fn claimed(facts: &Facts, signatures: &[Signature], policy: &Policy) -> Facts {
    let is_claimed = |id: &str| signatures.iter().any(|one| one.key_id() == id);
    let claimed = policy.keys.iter().filter(|(_, key)| is_claimed(key.id()));
    add_signers(facts, claimed.map(|(name, _)| name.clone()))
}

/// What would be known if every key of the policy had signed the plugin.
pub fn signed_by_all(facts: &Facts, policy: &Policy) -> Facts {
    add_signers(facts, policy.keys.keys().cloned())
}

/// What is known with these signatures, which were checked.
pub fn signed(facts: &Facts, signatures: &[PluginSignature], policy: &Policy) -> Facts {
    add_signers(facts, signers_in(signatures, policy))
}

fn add_signers(facts: &Facts, names: impl IntoIterator<Item = String>) -> Facts {
    let mut more = facts.clone();
    more.signers.extend(names);
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
    let signers = signers_of(plugin, policy, store).await?;
    let digest = plugin.info.digest.clone();
    Ok(Facts { source: source_of(plugin, named, host), digest, signers })
}

/// What is known about a plugin that a playbook pins. `None` if it is not in the store, and is not a built-in one.
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
    match store.plugin(&pin.digest).await? {
        Some(plugin) => facts_of(&plugin, &pin.source, policy, store, host).await.map(Some),
        None => Ok(None),
    }
}

/// The names of the keys that have signed a plugin of the store. Signatures that could not be checked before, because their keys were not
/// known then, are checked now if the policy has the keys, and that is kept.
async fn signers_of(
    plugin: &Plugin,
    policy: &Arc<Policy>,
    store: &dyn Store,
) -> Result<BTreeSet<String>, StoreError> {
    let digest = &plugin.info.digest;
    let checkable = |one: &&PluginSignature| {
        let known = one.checked.as_ref().and_then(|key| policy.name_of_key(key));
        known.is_none() && policy.knows_key_id(&one.key_id)
    };
    let later: Vec<PluginSignature> = plugin.signatures.iter().filter(checkable).cloned().collect();
    let mut signatures = plugin.signatures.clone();
    if !later.is_empty()
        && let Some(bytes) = store.plugin_bytes(digest).await?
    {
        let texts =
            later.into_iter().filter_map(|one| read_signatures(&one.text).ok()).flatten().collect();
        let found = check_each(bytes, texts, Arc::clone(policy)).await;
        let found: Vec<PluginSignature> = found.into_iter().filter_map(Result::ok).collect();
        if !found.is_empty()
            && let Some(signed) = store.sign_plugin(digest, &found).await?
        {
            signatures = signed.signatures;
        }
    }
    Ok(signers_in(&signatures, policy))
}

/// What is known about the plugins that a playbook pins, by the names that they have there. There is no entry for those that
/// are not in the store.
///
/// # Errors
/// Those of the store.
pub async fn facts_of_pins(
    playbook: &Playbook,
    policy: &Arc<Policy>,
    store: &dyn Store,
    host: &PluginHost,
) -> Result<BTreeMap<String, Facts>, StoreError> {
    let mut all = BTreeMap::new();
    for (name, pin) in &playbook.plugins {
        if let Some(facts) = facts_of_pin(pin, policy, store, host).await? {
            all.insert(name.clone(), facts);
        }
    }
    Ok(all)
}

/// Checks signatures that came with a plugin. Those of keys that the policy does not know are kept unchecked, since it may
/// know them later; without a policy all of them are.
///
/// # Errors
/// [`SignatureError::Wrong`] if a key that the policy knows has not signed these bytes.
pub async fn checked(
    bytes: Bytes,
    signatures: Vec<Signature>,
    policy: Option<Arc<Policy>>,
) -> Result<Vec<PluginSignature>, SignatureError> {
    let Some(policy) = policy else { return Ok(signatures.iter().map(unchecked).collect()) };
    let found = check_each(bytes, signatures.clone(), policy).await;
    let each = found.into_iter().zip(&signatures);
    each.map(|(found, signature)| match found {
        Err(SignatureError::UnknownKey { .. }) => Ok(unchecked(signature)),
        other => other,
    })
    .collect()
}

/// Checks signatures that a registry has for a plugin, of which at most [`MAX_SIGNATURES`] are kept: the last right one of each
/// key, and as many of unknown keys as there is room for, unchecked as [`checked`] keeps them. A wrong one stays in a
/// registry for ever, so it is passed over where the same key has signed rightly, too.
///
/// # Errors
/// [`SignatureError::Wrong`] if a key that the policy knows has signed other bytes, and not these.
pub async fn checked_of_registry(
    bytes: Bytes,
    signatures: Vec<Signature>,
    policy: Option<Arc<Policy>>,
) -> Result<Vec<PluginSignature>, SignatureError> {
    let found = match policy {
        Some(policy) => check_each(bytes, signatures.clone(), policy).await,
        None => Vec::new(),
    };
    let (mut right, mut unknown, mut wrong) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (index, signature) in signatures.iter().enumerate() {
        match found.get(index) {
            Some(Ok(one)) => {
                right.insert(one.checked.clone(), one.clone());
            }
            None | Some(Err(SignatureError::UnknownKey { .. })) => {
                unknown.push(unchecked(signature));
            }
            Some(Err(error)) => wrong.push((signature.key_id(), error.clone())),
        }
    }
    let has_right = |id: &str| right.values().any(|one| one.key_id == id);
    match wrong.into_iter().find(|(id, _)| !has_right(id)) {
        Some((_, error)) => Err(error),
        None => Ok(right.into_values().chain(unknown).take(MAX_SIGNATURES).collect()),
    }
}

/// Checks each signature. That takes some milliseconds for each megabyte of the plugin, so it is done on another thread.
async fn check_each(
    bytes: Bytes,
    signatures: Vec<Signature>,
    policy: Arc<Policy>,
) -> Vec<Result<PluginSignature, SignatureError>> {
    let check = move || {
        let each = signatures.iter().map(|signature| -> Result<PluginSignature, SignatureError> {
            let signer = signature.check(&bytes, &policy.keys)?;
            Ok(PluginSignature { checked: Some(signer.key), ..unchecked(signature) })
        });
        each.collect()
    };
    // Only a panic or the end of the process keeps the work from being done. Then nothing was checked.
    tokio::task::spawn_blocking(check).await.unwrap_or_default()
}

fn unchecked(signature: &Signature) -> PluginSignature {
    PluginSignature {
        text: signature.text().to_owned(),
        key_id: signature.key_id().to_owned(),
        trusted_comment: signature.trusted_comment().to_owned(),
        checked: None,
    }
}

/// The names of the keys of the policy that were found to have signed.
fn signers_in(signatures: &[PluginSignature], policy: &Policy) -> BTreeSet<String> {
    let keys = signatures.iter().filter_map(|one| one.checked.as_ref());
    keys.filter_map(|key| policy.name_of_key(key)).map(str::to_owned).collect()
}
