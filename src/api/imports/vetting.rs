//! Has plugins checked and compiled: one at a time for each client, and the same bytes once, whoever sends them and
//! whether or not anybody waits for the result.

use std::slice;

use bytes::Bytes;

use crate::api::state::ApiState;
use crate::playbook::PluginInfo;
use crate::plugin::PluginError;
use crate::run::Digest;
use crate::store::{Plugin, Result, StoreError};
use crate::web::Client;

/// Has a plugin checked when it is its client's turn, if it is `still` admitted by then: the policy may have become a
/// stricter one meanwhile. Bytes that were refused a while ago are refused at once.
///
/// What has begun goes on to its end, even if the caller is gone by then: a compiler can't be called off, so whoever sends
/// something that compiles for long must not get another turn meanwhile, and the refusal is remembered. `held` is what
/// the bytes take of the server's memory; it is given back at that end.
pub(in crate::api) async fn vet<E: From<PluginError>>(
    state: &ApiState,
    client: Client,
    digest: &Digest,
    bytes: Bytes,
    held: impl Send + 'static,
    still: impl Future<Output = std::result::Result<(), E>>,
) -> std::result::Result<PluginInfo, E> {
    let imports = &state.imports;
    let turn = imports.turns.take(client).await;
    // Others may have sent the same bytes, and are waited for, so that these are not compiled twice.
    let alone = imports.vetted.take(digest.clone()).await;
    still.await?;
    if let Some(error) = imports.refused.find(digest.as_str()) {
        return Err(error.into());
    }
    let (plugins, refused) = (state.plugins.clone(), imports.refused.clone());
    let digest = digest.clone();
    let vetting = tokio::spawn(async move {
        let vetted = plugins.import(bytes).await;
        if let Err(error) = vetted.as_ref()
            && !error.retryable()
        {
            refused.remember(digest.as_str(), error.clone());
        }
        drop((turn, alone, held));
        vetted
    });
    let vetted = vetting.await.unwrap_or_else(|error| {
        let message = format!("the check of the plugin broke off: {error}");
        Err(PluginError { code: "unavailable", message })
    });
    Ok(vetted?)
}

/// The plugin, if the store has it and can read it. From now on it is kept as long as one that is new, so it is still
/// there when its playbook is applied.
pub(in crate::api) async fn known(state: &ApiState, digest: &Digest) -> Result<Option<Plugin>> {
    state.store.renew_plugins(slice::from_ref(digest)).await?;
    match state.store.plugin(digest).await {
        // Putting a plugin repairs one that can't be read.
        Err(StoreError::Damaged(_)) => Ok(None),
        found => found,
    }
}
