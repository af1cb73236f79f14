//! Builds plugins from source, once for all tests of a binary.

#[path = "root.rs"]
mod root;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;

pub(crate) use root::root;

/// Variables for the build of the tests. They must not reach the build of the plugins.
const FOREIGN: [&str; 5] =
    ["CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "RUSTC", "RUSTFLAGS"];

/// Builds the plugins of a workspace for `wasm32-wasip2`. Returns the folder of the components, which all
/// such workspaces share.
pub(crate) fn build(workspace: &str) -> PathBuf {
    let root = root();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root.join(workspace)).args(["build", "--release", "--locked"]);
    for name in FOREIGN {
        cargo.env_remove(name);
    }
    let output = cargo.output().expect("cargo should start");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "failed to build {workspace}:\n{said}");
    root.join("examples/plugins/rust/target/wasm32-wasip2/release")
}

/// The bytes of a component in that folder, by the name of its crate.
pub(crate) fn component(folder: &Path, name: &str) -> Bytes {
    let file = folder.join(format!("{}.wasm", name.replace('-', "_")));
    let bytes = std::fs::read(&file);
    bytes.unwrap_or_else(|error| panic!("failed to read {}: {error}", file.display())).into()
}
