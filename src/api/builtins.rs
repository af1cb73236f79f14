//! Keeps the built-in plugins in the store like all others, so that a run that pins one still finds its bytes
//! after a newer binary replaced the old one.

use crate::clock::Clock;
use crate::plugin::{Builtin, PluginHost};
use crate::store::{Plugin, Result, Store};

/// Puts the built-in plugins into the store. Doing this again writes nothing, so a server also starts on a
/// store that is full. Plugins of an older binary stay.
///
/// # Errors
/// Those of the store.
pub async fn install_builtins(
    store: &dyn Store,
    host: &PluginHost,
    clock: &dyn Clock,
) -> Result<()> {
    for builtin in host.builtins() {
        if is_kept(store, builtin).await {
            continue;
        }
        let plugin = Plugin::new(builtin.info.clone(), clock.now());
        store.put_plugin(&plugin, builtin.bytes.clone()).await?;
    }
    Ok(())
}

/// Whether the store has the whole plugin. One that can't be read is put there again.
async fn is_kept(store: &dyn Store, builtin: &Builtin) -> bool {
    let digest = &builtin.info.digest;
    let info = store.plugin(digest).await;
    let is_known = info.is_ok_and(|kept| kept.is_some_and(|kept| kept.info == builtin.info));
    let bytes = if is_known { store.plugin_bytes(digest).await } else { Ok(None) };
    bytes.is_ok_and(|bytes| bytes.as_ref() == Some(&builtin.bytes))
}
