//! Checks signatures over the bytes of plugins. Each check has a whole plugin in memory, so those of plugins in the store
//! are made one at a time, and what was found wrong is remembered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::playbook::policy::{
    MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Policy, Signature, SignatureError, StrategyProof, Vouched,
    read_signatures,
};
use crate::run::Digest;
use crate::store::{Plugin, PluginSignature, Store, StoreError};

/// How many signatures that were found wrong are remembered: more than a store has in practice, and few bytes each.
const MAX_WRONG: usize = 1_024;

/// Held while a plugin of the store is in memory to be checked. It is that of the process, as its memory is.
static CHECKING: Semaphore = Semaphore::const_new(1);

/// The signatures that were found wrong. A plugin and the signature beside it never change, so neither does the answer.
static WRONG: Mutex<VecDeque<Digest>> = Mutex::new(VecDeque::new());

/// What identifies a check: the plugin, the signature, and the keys that it is checked with.
fn check_id(plugin: &Digest, signature: &PluginSignature, policy: &Policy) -> Digest {
    let mut text = format!("{plugin}\n{}", signature.text);
    for key in policy.keys.values().filter(|key| key.id() == signature.key_id) {
        text.push_str(key.as_str());
    }
    Digest::of(text.as_bytes())
}

fn was_wrong(id: &Digest) -> bool {
    WRONG.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
}

fn remember_wrong(id: Digest) {
    let mut wrong = WRONG.lock().unwrap_or_else(PoisonError::into_inner);
    if wrong.len() >= MAX_WRONG {
        wrong.pop_front();
    }
    wrong.push_back(id);
}

/// The signatures of a plugin of the store. Those that could not be checked before, because their keys were not known then,
/// are checked now if the policy has the keys, and that is kept.
pub(super) async fn settled(
    plugin: &Plugin,
    policy: &Arc<Policy>,
    store: &dyn Store,
) -> Result<Vec<PluginSignature>, StoreError> {
    if unsettled(plugin, policy).is_empty() {
        return Ok(plugin.signatures.clone());
    }
    // The semaphore is never closed.
    let _turn = CHECKING.acquire().await;
    let digest = &plugin.info.digest;
    // Whoever had the turn before may have checked them.
    let Some(mut plugin) = store.plugin(digest).await? else { return Ok(Vec::new()) };
    let later = unsettled(&plugin, policy);
    if !later.is_empty()
        && let Some(bytes) = store.plugin_bytes(digest).await?
    {
        let found = check_kept(digest, bytes, later, policy).await;
        if !found.is_empty()
            && let Some(signed) = store.sign_plugin(digest, &found).await?
        {
            plugin = signed;
        }
    }
    Ok(plugin.signatures)
}

/// The signatures of which the policy may learn more.
fn unsettled(plugin: &Plugin, policy: &Policy) -> Vec<PluginSignature> {
    let is_unsettled = |one: &&PluginSignature| {
        let known = one.checked.as_ref().and_then(|key| policy.name_of_key(key));
        known.is_none()
            && policy.knows_key_id(&one.key_id)
            && !was_wrong(&check_id(&plugin.info.digest, one, policy))
    };
    plugin.signatures.iter().filter(is_unsettled).cloned().collect()
}

/// Checks signatures that are kept beside a plugin. Gives those that are right.
async fn check_kept(
    digest: &Digest,
    bytes: Bytes,
    kept: Vec<PluginSignature>,
    policy: &Arc<Policy>,
) -> Vec<PluginSignature> {
    let mut right = Vec::new();
    for one in kept {
        // What is kept was read when it came.
        let texts = read_signatures(&one.text).unwrap_or_default();
        for found in check_each(bytes.clone(), texts, Arc::clone(policy)).await {
            match found {
                Ok(found) => right.push(found),
                Err(SignatureError::Wrong { .. }) => {
                    remember_wrong(check_id(digest, &one, policy));
                }
                Err(
                    SignatureError::UnknownKey { .. }
                    | SignatureError::Malformed { .. }
                    | SignatureError::TooLarge { .. },
                ) => {}
            }
        }
    }
    right
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

/// Checks signatures that a registry has for a plugin. Of each key the last right one is kept, and after them as many of unknown
/// keys as there is room for, unchecked as [`checked`] keeps them. Whoever may push can put a wrong one there, and it stays for ever, so
/// wrong ones are passed over where there is a right one.
///
/// # Errors
/// [`SignatureError::Wrong`] if there is none that is right, and one says that it is by a key of the policy.
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
            Some(Err(error)) => wrong.push(error.clone()),
        }
    }
    match wrong.into_iter().next() {
        Some(error) if right.is_empty() => Err(error),
        Some(_) | None => Ok(within_limits(right.into_values().chain(unknown))),
    }
}

/// As many of these signatures as one plugin may have, the first ones first.
fn within_limits(signatures: impl Iterator<Item = PluginSignature>) -> Vec<PluginSignature> {
    let mut room = MAX_SIGNATURE_BYTES;
    let fitting = signatures.filter(|one| {
        let left = room.checked_sub(one.text.len());
        room = left.unwrap_or(room);
        left.is_some()
    });
    fitting.take(MAX_SIGNATURES).collect()
}

/// Checks each signature. That takes some milliseconds for each megabyte of the plugin, so it is done on another thread.
async fn check_each(
    bytes: Bytes,
    signatures: Vec<Signature>,
    policy: Arc<Policy>,
) -> Vec<Result<PluginSignature, SignatureError>> {
    let count = signatures.len();
    let check = move || {
        let each = signatures.iter().map(|signature| -> Result<PluginSignature, SignatureError> {
            let signer = signature.check(&bytes, &policy.keys)?;
            Ok(PluginSignature { checked: Some(signer.key), ..unchecked(signature) })
        });
        each.collect()
    };
    // Only a panic or the end of the process keeps the work from being done.
    tokio::task::spawn_blocking(check).await.unwrap_or_else(|_| {
        let found = "a signature at which the check broke off".to_owned();
        vec![Err(SignatureError::Malformed { found }); count]
    })
}

/// A signature that is kept without having been checked.
pub fn unchecked(signature: &Signature) -> PluginSignature {
    PluginSignature {
        text: signature.text().to_owned(),
        key_id: signature.key_id().to_owned(),
        trusted_comment: signature.trusted_comment().to_owned(),
        checked: None,
    }
}

/// The names of the keys of the policy that were found to have signed.
pub(super) fn signers_in(signatures: &[PluginSignature], policy: &Policy) -> BTreeSet<String> {
    let keys = signatures.iter().filter_map(|one| one.checked.as_ref());
    keys.filter_map(|key| policy.name_of_key(key)).map(str::to_owned).collect()
}

/// What was proved, by the certificates among the signatures that were found to be by keys of the policy.
pub(super) fn proofs_in(signatures: &[PluginSignature], policy: &Policy) -> Vec<Vouched> {
    let vouched = |one: &PluginSignature| {
        let by = policy.name_of_key(one.checked.as_ref()?)?.to_owned();
        Some(Vouched { by, proof: StrategyProof::read(&one.trusted_comment)? })
    };
    signatures.iter().filter_map(vouched).collect()
}
