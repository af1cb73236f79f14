//! Compiling in another process, with limits, and what is kept of the result.

use std::path::{Path, PathBuf};
use std::time::Duration;

use replibook_core::run::{ActivationEnd, Digest};
use replibook_host::{Compile, CompileApart, CompileLimits, HostConfig, PluginCounts, PluginHost};
use serde_json::json;

use crate::bytes::*;
use crate::fixtures::*;

/// A host that compiles in another process, within these limits.
fn apart(limits: CompileLimits, cache: Option<PathBuf>) -> PluginHost {
    PluginHost::start(config(limits, cache)).unwrap()
}

fn config(limits: CompileLimits, cache: Option<PathBuf>) -> HostConfig {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_replibook"));
    let compile = Compile::Apart(CompileApart { program, limits });
    HostConfig { threads: Some(1), compile, cache, ..HostConfig::default() }
}

/// Imports the hostile guest and has it do something harmless.
async fn works(host: &PluginHost) {
    let plugin = host.import(guest("hostile")).await.unwrap().digest;
    let end = host.activate(activate(&plugin, json!({ "do": "ok" }))).await.end;
    assert!(matches!(end, ActivationEnd::Done(_)), "{end:?}");
}

fn counts(host: &PluginHost) -> (u64, u64) {
    let PluginCounts { compiled, loaded } = host.counts();
    (compiled, loaded)
}

fn files(cache: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(cache).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    files
}

/// The built-in plugins, and the one that the tests import.
const COMPILED: u64 = 10;

#[tokio::test]
async fn what_was_compiled_apart_works_with_a_cache_and_without() {
    let host = apart(CompileLimits::default(), None);
    works(&host).await;
    assert_eq!(counts(&host), (COMPILED, 0));
    let error = host.import(component(1, 0, 1)).await.unwrap_err();
    assert_eq!(error.code, "wrong-world", "{error}");
    let error = host.import(b"\0asm\x0d\0\x01\0garbage".as_slice().into()).await.unwrap_err();
    assert_eq!(error.code, "invalid-component", "{error}");
    assert!(error.message.starts_with("failed to compile the component: "), "{error}");
    let error = host.import(component(65, 0, 0)).await.unwrap_err();
    assert_eq!(error.code, "invalid-component", "{error}");
    let error = host.import(made_elsewhere("wasi-0.3-functions")).await.unwrap_err();
    assert_eq!(error.code, "asynchronous", "{error}");
    assert_eq!(counts(&host), (COMPILED + 4, 0));
    // An import that is not offered is refused without the compiler.
    let error = host.import(made_elsewhere("wasi-0.3-imports")).await.unwrap_err();
    assert_eq!(error.code, "unknown-import", "{error}");
    assert_eq!(counts(&host), (COMPILED + 4, 0));
}

#[tokio::test]
async fn a_host_that_starts_again_loads_and_does_not_compile() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().join("made");
    let start = || apart(CompileLimits::default(), Some(cache.clone()));
    let host = start();
    works(&host).await;
    assert_eq!(counts(&host), (COMPILED, 0));
    drop(host);
    let host = start();
    works(&host).await;
    assert_eq!(counts(&host), (0, COMPILED));
    drop(host);

    // A damaged file is compiled again, and nobody notices.
    let kept = files(&cache);
    assert_eq!(kept.len(), COMPILED as usize);
    let largest = kept.iter().max_by_key(|it| it.metadata().unwrap().len()).unwrap();
    let mut code = std::fs::read(largest).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(largest, code).unwrap();
    let host = start();
    works(&host).await;
    assert_eq!(counts(&host), (1, COMPILED - 1));
    assert_eq!(files(&cache), kept);
}

#[tokio::test]
async fn a_cache_that_somebody_removed_only_costs_time() {
    let folder = tempfile::tempdir().unwrap();
    let host = apart(CompileLimits::default(), Some(folder.path().join("made")));
    folder.close().unwrap();
    works(&host).await;
}

#[tokio::test]
async fn a_full_cache_makes_room_but_takes_nothing_that_is_in_use() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().join("made");
    // Nothing fits.
    let small = |limits| {
        let config = HostConfig { cache_bytes: Some(1), ..config(limits, Some(cache.clone())) };
        PluginHost::start(config).unwrap()
    };
    let host = small(CompileLimits::default());
    assert_eq!(files(&cache), Vec::<PathBuf>::new());
    works(&host).await;
    assert_eq!(files(&cache), Vec::<PathBuf>::new());
    drop(host);

    let host = small(CompileLimits::default());
    let held = host.hold([Digest::of(&guest("hostile"))]);
    works(&host).await;
    let kept = files(&cache);
    assert_eq!(kept.len(), 1, "{kept:?}");
    host.import(component(1, 0, 1)).await.unwrap_err();
    assert_eq!(files(&cache), kept);
    drop(held);
    host.import(component(2, 0, 1)).await.unwrap_err();
    assert_eq!(files(&cache), Vec::<PathBuf>::new());
    works(&host).await;
}

#[test]
fn a_compiler_says_that_it_can_not_write() {
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("plugin.wasm");
    std::fs::write(&input, guest("hostile")).unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_replibook"))
        .args(["compile-plugin", "60", "2147483648", "268435456"])
        .stdin(Stdio::from(std::fs::File::open(&input).unwrap()))
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(12), "{said}");
    assert!(said.starts_with("failed to write: "), "{said}");
}

#[tokio::test]
async fn a_component_that_compiles_for_ever_is_stopped_and_holds_up_nobody() {
    let cpu = Duration::from_secs(1);
    let host = apart(CompileLimits { cpu, ..CompileLimits::default() }, None);
    let bytes = endless_to_compile();
    assert!(bytes.len() < 1 << 20, "found {} bytes", bytes.len());
    let import = tokio::spawn({
        let host = host.clone();
        async move { host.import(bytes.into()).await }
    });
    let plugin = host.builtins()[0].info.digest.clone();
    for _ in 0..20 {
        host.activate(activate(&plugin, json!({ "kind": "a/b" }))).await;
    }
    let error = import.await.unwrap().unwrap_err();
    assert_eq!(error.code, "compile-time", "{error}");
    works(&host).await;
}

#[tokio::test]
async fn compiling_has_limits_on_memory_and_code() {
    let refused = async |limits: CompileLimits| {
        let error = apart(limits, None).import(guest("hostile")).await.unwrap_err();
        assert!(!error.retryable(), "{error}");
        error.code
    };
    let limits = CompileLimits::default();
    let (memory, code) = (64 << 20, 64 << 10);
    assert_eq!(refused(CompileLimits { memory, ..limits }).await, "compile-memory");
    assert_eq!(refused(CompileLimits { code, ..limits }).await, "compile-size");
}

#[tokio::test]
async fn a_compiler_that_can_not_start_says_nothing_about_the_plugin() {
    let program = PathBuf::from("/does/not/exist");
    let compile = Compile::Apart(CompileApart { program, limits: CompileLimits::default() });
    let config = HostConfig { compile, threads: Some(1), ..HostConfig::default() };
    let error = PluginHost::start(config).unwrap().import(guest("hostile")).await.unwrap_err();
    assert_eq!((error.code, error.retryable()), ("unavailable", true));
}
