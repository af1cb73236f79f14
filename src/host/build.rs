//! Builds the built-in plugins: compiles the crates of `plugins/` for wasm32 and encodes them as components, which
//! `builtin.rs` includes. So these plugins always match the WIT and the SDK of the same commit.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_component::ComponentEncoder;

/// The names of the plugins' crates.
const PLUGINS: [&str; 9] = [
    "action",
    "all-at-once",
    "canary",
    "grouped",
    "http",
    "metric",
    "rolling",
    "wait-healthy",
    "wait-signal",
];

const TARGET: &str = "wasm32-unknown-unknown";

/// Settings of this build that must not reach the build of the plugins, which has another target and other flags.
const FOREIGN: [&str; 7] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
];

fn main() -> Result<(), Box<dyn Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = here.ancestors().nth(2).ok_or("found no folder two levels up")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let plugins = root.join("plugins");
    for path in ["Cargo.toml", "Cargo.lock", "sdk"].iter().chain(&PLUGINS) {
        println!("cargo::rerun-if-changed={}", plugins.join(path).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("wit").display());

    compile(&plugins)?;
    for name in PLUGINS {
        let file = format!("{}.wasm", name.replace('-', "_"));
        let module = plugins.join("target").join(TARGET).join("release").join(file);
        let component = encode(&module)
            .map_err(|error| format!("failed to encode {}: {error:#}", module.display()))?;
        fs::write(out.join(format!("{name}.wasm")), component)?;
    }
    Ok(())
}

fn compile(plugins: &Path) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("found no CARGO in the environment")?);
    cargo.current_dir(plugins);
    cargo.args(["build", "--release", "--locked", "--target", TARGET]);
    cargo.arg("--target-dir").arg(plugins.join("target"));
    for name in FOREIGN {
        cargo.env_remove(name);
    }
    if cargo.status()?.success() {
        return Ok(());
    }
    let advice = "rustup target add wasm32-unknown-unknown wasm32-wasip2";
    Err(format!("failed to build the plugins; if the target is missing: {advice}").into())
}

fn encode(module: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let module = fs::read(module)?;
    Ok(ComponentEncoder::default().module(&module)?.validate(true).encode()?)
}
