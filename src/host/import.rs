//! From bytes to a plugin: what is checked before any of its code runs, and how it describes itself. Whatever
//! could never work is refused here, where its author can still see why.

use std::sync::Arc;

use semver::Version;
use serde_json::Value;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::bindings::step::StepPre;
use super::bindings::step::replicante::playbook::types::Description;
use super::bindings::strategy::StrategyPre;
use super::catalog::{Compiled, Loaded};
use super::code::Compiler;
use super::engine::Runtime;
use super::error::{Fault, PluginError, Stop, Unwound, cut};
use super::guest::{Guest, Role, Seed};
use super::interfaces::Interfaces;
use super::offered::{self, PACKAGE, VERSION};
use super::pace::Pace;
use super::{absent, json, limits};
use replibook_core::playbook::{PluginInfo, PluginKind, RUN_ACTION, check_arguments_schema};
use replibook_core::run::{Digest, FailureReason, Timestamp};

/// What steps and strategies export.
const STEP_EXPORT: &str = "working";
const STRATEGY_EXPORT: &str = "planning";

/// The moment at which plugins describe themselves. It is not zero, because programs in Go do not start then: they
/// take such a clock for a broken one.
const DESCRIBED_AT: Timestamp = Timestamp::from_millis(1);

/// Exports that the builds of some guests leave behind, and that nobody calls: QuickJS and Python are started
/// through them before their memory becomes part of the component.
const LEFT_OVER_EXPORTS: [&str; 2] = ["init", "exports"];

/// The first bytes of a component, and of a core module, which many tools make on the way to a component.
const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE_MAGIC: &[u8] = b"\0asm\x01\0\0\0";

/// Checks, compiles and links a plugin, and asks it to describe itself.
pub(super) fn import(
    runtime: &Runtime,
    compiler: &Compiler,
    bytes: &[u8],
) -> Result<Loaded, PluginError> {
    check_bytes(bytes)?;
    check_names(bytes)?;
    let digest = Digest::of(bytes);
    let component = compiler.compile(&runtime.engine, &digest, bytes).map_err(offered::explain)?;
    ready(runtime, &component, digest, bytes.len())
}

/// The same for a plugin whose compiled code is kept. None if no code is kept.
pub(super) fn load(
    runtime: &Runtime,
    compiler: &Compiler,
    digest: &Digest,
    size: usize,
) -> Option<Result<Loaded, PluginError>> {
    let component = compiler.load(&runtime.engine, digest)?;
    Some(ready(runtime, &component, digest.clone(), size))
}

/// Imports a plugin that came with this program.
fn import_own(runtime: &Runtime, compiler: &Compiler, bytes: &[u8]) -> Result<Loaded, PluginError> {
    let digest = Digest::of(bytes);
    if let Some(loaded) = load(runtime, compiler, &digest, bytes.len()) {
        return loaded;
    }
    let component = compiler.compile_own(&runtime.engine, &digest, bytes)?;
    ready(runtime, &component, digest, bytes.len())
}

/// Does everything that follows compiling. `size` is the size of the component in bytes.
fn ready(
    runtime: &Runtime,
    component: &Component,
    digest: Digest,
    size: usize,
) -> Result<Loaded, PluginError> {
    let kind = kind(runtime, component)?;
    check_exports(runtime, component, kind)?;
    check_imports(runtime, component, kind)?;
    let compiled = link(runtime, component, kind)?;
    let description = describe(runtime, &compiled)?;
    let arguments = check_description(&description)?;
    let info = PluginInfo {
        digest,
        kind,
        name: description.name,
        version: description.version,
        summary: description.summary,
        arguments,
        size: size as u64,
        calls: calls(runtime, component),
    };
    let code = component.image_range();
    let code_bytes = (code.end as usize).saturating_sub(code.start as usize) as u64;
    Ok(Loaded { info, compiled, pace: Pace::new(), code_bytes })
}

fn check_bytes(bytes: &[u8]) -> Result<(), PluginError> {
    if bytes.len() > limits::COMPONENT_BYTES {
        let (found, most) = (bytes.len(), limits::COMPONENT_BYTES >> 20);
        let message = format!("found {found} bytes, expected at most {most} MiB");
        return Err(PluginError::new("too-large", message));
    }
    if bytes.starts_with(COMPONENT_MAGIC) {
        return Ok(());
    }
    let found = match bytes.starts_with(MODULE_MAGIC) {
        true => {
            "a core module; `wasm-tools component new` makes a component of it (docs/tool-chains.md)"
        }
        false => "something that is not WebAssembly",
    };
    let message = format!("found {found}, expected a WebAssembly component");
    Err(PluginError::new("not-a-component", message))
}

/// Refuses imports that are not offered before time is spent on compiling. What can't be read from the bytes, and
/// names that no component may have, are left to the compiler, which says what is wrong.
fn check_names(bytes: &[u8]) -> Result<(), PluginError> {
    let Interfaces { imports, exports } = Interfaces::of(bytes);
    if !imports.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Ok(());
    }
    let has = |name: &str| exports.contains(&interface(name));
    match kind_of(has(STEP_EXPORT), has(STRATEGY_EXPORT)) {
        Some(kind) => offered::check(kind, imports.iter().map(String::as_str)),
        None => Ok(()),
    }
}

/// The kind of a plugin that exports what steps or what strategies do.
fn kind_of(step: bool, strategy: bool) -> Option<PluginKind> {
    match (step, strategy) {
        (true, false) => Some(PluginKind::Step),
        (false, true) => Some(PluginKind::Strategy),
        (true, true) | (false, false) => None,
    }
}

fn interface(name: &str) -> String {
    format!("{PACKAGE}{name}@{VERSION}")
}

fn kind(runtime: &Runtime, component: &Component) -> Result<PluginKind, PluginError> {
    let (step, strategy) = (interface(STEP_EXPORT), interface(STRATEGY_EXPORT));
    let has = |name: &str| component.get_export_index(None, name).is_some();
    let (is_step, is_strategy) = (has(&step), has(&strategy));
    if let Some(kind) = kind_of(is_step, is_strategy) {
        return Ok(kind);
    }
    let component = component.component_type();
    let exports = component.exports(&runtime.engine).map(|(name, _)| name.to_owned());
    let exports: Vec<_> = exports.collect();
    let advice = offered::of_exports(&exports);
    let found = if is_step && is_strategy { "both".to_owned() } else { list(exports) };
    let message = format!(
        "found the exports {found}; expected {step} of a step or {strategy} of a strategy{advice}"
    );
    Err(PluginError::new("wrong-world", message))
}

/// A component must implement its world and nothing more. An export that we would never call is a mistake, or is
/// meant for another host.
fn check_exports(
    runtime: &Runtime,
    component: &Component,
    kind: PluginKind,
) -> Result<(), PluginError> {
    let expected = match kind {
        PluginKind::Step => interface(STEP_EXPORT),
        PluginKind::Strategy => interface(STRATEGY_EXPORT),
    };
    let component = component.component_type();
    let exports = component.exports(&runtime.engine).map(|(name, _)| name);
    let unknown = |name: &&str| *name != expected && !LEFT_OVER_EXPORTS.contains(name);
    let others: Vec<_> = exports.filter(unknown).map(str::to_owned).collect();
    if others.is_empty() {
        return Ok(());
    }
    let advice = offered::of_exports(&others);
    let (kind, found) = (kind.as_str(), list(others));
    let message =
        format!("the component exports {found}; a {kind} exports {expected} only{advice}");
    Err(PluginError::new("unknown-export", message))
}

fn check_imports(
    runtime: &Runtime,
    component: &Component,
    kind: PluginKind,
) -> Result<(), PluginError> {
    let component = component.component_type();
    offered::check(kind, component.imports(&runtime.engine).map(|(name, _)| name))
}

/// The functions that the component imports and that need a grant.
fn calls(runtime: &Runtime, component: &Component) -> Vec<String> {
    let granted = |interface_name: &str, function: &str| {
        let (short, name) = RUN_ACTION.split_once('.').unwrap_or_default();
        interface_name == interface(short) && function == name
    };
    let component = component.component_type();
    let imports = component.imports(&runtime.engine);
    let has_agents_act = imports.into_iter().any(|(name, import)| match import.ty {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(&runtime.engine).any(|(function, _)| granted(name, function))
        }
        ComponentItem::ComponentFunc(_)
        | ComponentItem::CoreFunc(_)
        | ComponentItem::Module(_)
        | ComponentItem::Component(_)
        | ComponentItem::Type(_)
        | ComponentItem::Resource(_) => false,
    });
    if has_agents_act { vec![RUN_ACTION.to_owned()] } else { Vec::new() }
}

fn list(mut names: Vec<String>) -> String {
    names.sort();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        // Keep the message readable, however many names the component has.
        names => cut(names.join(", "), limits::MESSAGE_BYTES),
    }
}

fn link(
    runtime: &Runtime,
    component: &Component,
    kind: PluginKind,
) -> Result<Compiled, PluginError> {
    let compiled = match kind {
        PluginKind::Step => absent::link(&runtime.engine, &runtime.step, component)
            .and_then(|with| with.as_ref().unwrap_or(&runtime.step).instantiate_pre(component))
            .and_then(StepPre::new)
            .map(Compiled::Step),
        PluginKind::Strategy => runtime
            .strategy
            .instantiate_pre(component)
            .and_then(StrategyPre::new)
            .map(Compiled::Strategy),
    };
    compiled.map_err(|error| {
        let message = format!("the component does not fit {PACKAGE} at {VERSION}: {error:#}");
        PluginError::new("wrong-type", message)
    })
}

/// Asks a plugin to describe itself. It may call nothing but WASI.
pub(super) fn describe(runtime: &Runtime, compiled: &Compiled) -> Result<Description, PluginError> {
    let guest = Guest::new(Role::Describe, DESCRIBED_AT, Seed::Of([0; 32]));
    let mut store = guest.into_store(&runtime.engine);
    let described = match compiled {
        Compiled::Step(step) => step
            .instantiate(&mut store)
            .and_then(|step| step.replicante_playbook_working().call_describe(&mut store)),
        Compiled::Strategy(strategy) => strategy
            .instantiate(&mut store)
            .and_then(|it| it.replicante_playbook_planning().call_describe(&mut store)),
    };
    described.map_err(|error| match Unwound::from(error) {
        Unwound::Fault(fault) => fault.into(),
        Unwound::GaveUp(message) => Fault::from(Stop::GaveUp(message)).into(),
        Unwound::Blocked(_) => {
            let message = "the plugin waited while it described itself".to_owned();
            Fault::new("forbidden-call", FailureReason::PluginTrapped, message).into()
        }
    })
}

/// Checks a description, and returns the JSON Schema of the arguments.
fn check_description(description: &Description) -> Result<Value, PluginError> {
    let Description { name, version, summary, arguments } = description;
    let bad = |message: String| PluginError::new("bad-description", message);
    if !is_label(name) {
        let name = cut(name.clone(), limits::LABEL_CHARS);
        return Err(bad(format!(
            "found the name {name:?}; expected 1 to {} lowercase letters, digits and inner hyphens",
            limits::LABEL_CHARS
        )));
    }
    if version.len() > limits::LABEL_CHARS || Version::parse(version).is_err() {
        let version = cut(version.clone(), limits::LABEL_CHARS);
        return Err(bad(format!("found the version {version:?}, expected one such as 1.4.0")));
    }
    if summary.len() > limits::SUMMARY_BYTES {
        let (found, most) = (summary.len(), limits::SUMMARY_BYTES);
        return Err(bad(format!("found a summary of {found} bytes, expected at most {most}")));
    }
    let schema = json::read(arguments, limits::SCHEMA_BYTES)
        .map_err(|refused| bad(format!("found a schema of the arguments {refused}")))?;
    if let Some(reference) = remote_reference(&schema) {
        let expected = "expected one inside of the schema, such as #/$defs/…";
        return Err(bad(format!("found the reference {reference:?} in the schema, {expected}")));
    }
    if let Err(error) = jsonschema::draft202012::meta::validate(&schema) {
        let place = error.instance_path().to_string();
        let message = "found a schema of the arguments that is not valid at";
        return Err(bad(format!("{message} {place:?}: {error}")));
    }
    // What no playbook could use is refused when it is imported, and not when it is first used.
    match check_arguments_schema(&schema) {
        Ok(()) => Ok(schema),
        Err(why) => Err(bad(format!("found a schema of the arguments that can't be used: {why}"))),
    }
}

fn is_label(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.len() <= limits::LABEL_CHARS
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && ends(name.chars().next())
        && ends(name.chars().last())
}

/// Finds a `$ref` that leaves the schema: nothing may ever be fetched in order to check arguments.
fn remote_reference(schema: &Value) -> Option<&str> {
    match schema {
        Value::Object(members) => {
            members.iter().find_map(|(key, value)| match (key.as_str(), value) {
                ("$ref" | "$dynamicRef", Value::String(to)) if !to.starts_with('#') => {
                    Some(to.as_str())
                }
                _ => remote_reference(value),
            })
        }
        Value::Array(items) => items.iter().find_map(remote_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Imports the plugins that came with this program, each on a thread of its own.
pub(super) fn import_all(
    runtime: &Runtime,
    compiler: &Compiler,
    plugins: &[&[u8]],
) -> Result<Vec<Arc<Loaded>>, PluginError> {
    std::thread::scope(|scope| {
        let started: Vec<_> = plugins
            .iter()
            .map(|bytes| {
                std::thread::Builder::new()
                    .name("plugin-import".to_owned())
                    .stack_size(limits::THREAD_STACK_BYTES)
                    .spawn_scoped(scope, || import_own(runtime, compiler, bytes))
            })
            .collect();
        let gone = |message: String| PluginError::new("unavailable", message);
        let finish = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| {
            let thread =
                thread.map_err(|error| gone(format!("failed to start a thread: {error}")))?;
            thread.join().map_err(|_| gone("the host panicked in an import".to_owned()))?
        };
        started.into_iter().map(finish).map(|loaded| loaded.map(Arc::new)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(name: &str, version: &str, arguments: &str) -> Description {
        Description {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: "Does it.".to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    #[test]
    fn a_description_is_checked() {
        let check =
            |name, version, arguments| check_description(&description(name, version, arguments));
        assert!(check("step-1", "1.0.0", "{}").is_ok());
        assert!(check("s", "1.0.0-rc.1", r#"{"type": "object"}"#).is_ok());
        let long = ("s".repeat(64), format!("1.0.0-{}", "x".repeat(60)));
        for name in ["", "Step", "-s", "s-", "s_1", &long.0] {
            assert!(check(name, "1.0.0", "{}").is_err(), "{name}");
        }
        for version in ["", "1", "v1.0.0", &long.1] {
            assert!(check("s", version, "{}").is_err(), "{version}");
        }
        let large = format!("{}{{}}", " ".repeat(limits::SCHEMA_BYTES));
        let remote = r#"{"properties": {"a": {"$ref": "https://example.com/schema.json"}}}"#;
        let deep = format!("{}{{}}{}", r#"{"not": "#.repeat(64), "}".repeat(64));
        let regex = r#"{"pattern": "("}"#;
        for schema in ["", "{", r#"{"type": "objekt"}"#, "7", remote, regex, &large, &deep] {
            assert_eq!(
                check("s", "1.0.0", schema).unwrap_err().code,
                "bad-description",
                "{schema}"
            );
        }
        let long = Description { summary: "x".repeat(1_025), ..description("s", "1.0.0", "{}") };
        assert!(check_description(&long).is_err());
    }

    #[test]
    fn bytes_that_are_no_component_are_told_apart() {
        assert!(check_bytes(COMPONENT_MAGIC).is_ok());
        assert!(check_bytes(MODULE_MAGIC).unwrap_err().message.contains("core module"));
        assert!(check_bytes(b"#!/bin/sh").unwrap_err().message.contains("not WebAssembly"));
        let large = vec![0; limits::COMPONENT_BYTES + 1];
        assert_eq!(check_bytes(&large).unwrap_err().code, "too-large");
    }
    /// The beginning of a step that imports one function of this name. It is not a valid component.
    fn importing(name: &str) -> Vec<u8> {
        let named = |name: &str| [&[0, name.len() as u8], name.as_bytes()].concat();
        let section = |id: u8, content: Vec<u8>| [vec![id, content.len() as u8], content].concat();
        let import = [vec![1], named(name), vec![1, 0]].concat();
        let export = [vec![1], named(&interface(STEP_EXPORT)), vec![5, 0, 0]].concat();
        [COMPONENT_MAGIC.to_vec(), section(10, import), section(11, export)].concat()
    }

    #[test]
    fn imports_are_checked_before_anything_is_compiled() {
        let error = check_names(&importing("test:extra/secrets")).unwrap_err();
        assert_eq!(error.code, "unknown-import");
        assert!(error.message.contains("test:extra/secrets"), "{error}");
        assert!(check_names(&importing("wasi:io/poll@0.2.9")).is_ok());
        // The compiler refuses these, and does not repeat them as they are.
        for name in ["test:\u{1b}[2J/a", "test:a\nb/c", "ä"] {
            assert!(check_names(&importing(name)).is_ok(), "{name:?}");
        }
        assert!(check_names(b"garbage").is_ok());
    }
}
