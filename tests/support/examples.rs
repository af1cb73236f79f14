//! The example playbook, with the plugins that it names by their path.

#[allow(dead_code, reason = "each test binary uses a part of it")]
#[path = "plugins.rs"]
mod plugins;

use std::path::{Path, PathBuf};

/// Folder of the example, with its plugins built.
pub(crate) fn rolling_restart() -> PathBuf {
    plugins::build("examples/plugins/rust");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rolling-restart")
}
