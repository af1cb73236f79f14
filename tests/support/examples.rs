//! The example playbooks, with the plugins that they name by path already built.

use std::path::{Path, PathBuf};

use crate::plugins;

/// Folder of the examples, with their plugins built.
pub(crate) fn all() -> PathBuf {
    plugins::build("examples/plugins/rust");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Folder of the example that most tests play.
#[allow(dead_code, reason = "each test binary uses a part of it")]
pub(crate) fn rolling_restart() -> PathBuf {
    all().join("rolling-restart")
}
