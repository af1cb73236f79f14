//! The example plugins, which the example playbooks name by their path.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of `examples/rolling-restart`.
pub(crate) fn rolling_restart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rolling-restart")
}

/// Builds the example plugins where they are not up to date. Cargo's own lock makes it safe to call
/// from several tests at once.
pub(crate) fn build_plugins() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/plugins/rust");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2"])
        .arg("--manifest-path")
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("target"))
        // Flags that are meant for this machine do not fit WebAssembly.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}
