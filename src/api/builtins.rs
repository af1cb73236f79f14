//! The built-in plugins are kept in the store like everybody's, so that a run that pins one still
//! finds its bytes after the binary was replaced by a newer one.

use crate::clock::Clock;
use crate::plugin::PluginHost;
use crate::store::{Plugin, Result, Store};

/// Puts the built-in plugins into the store. Repeating it changes nothing; plugins that an older
/// binary brought stay.
///
/// # Errors
/// What the store says.
pub async fn install_builtins(
    store: &dyn Store,
    host: &PluginHost,
    clock: &dyn Clock,
) -> Result<()> {
    for builtin in host.builtins() {
        let plugin = Plugin { info: builtin.info.clone(), added_at: clock.now() };
        store.put_plugin(&plugin, builtin.bytes.clone()).await?;
    }
    Ok(())
}
