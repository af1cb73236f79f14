//! Interfaces of WASI that are still drafts, and that plugins get nevertheless, since libraries are built on them:
//! `wasi:logging` writes to the log of the plugin, and `wasi:config` has the arguments of the step. Neither is an
//! effect: what they do follows from what the attempt began with, so it is the same in each activation.
//!
//! A draft is compatible with no other version, so each one that is offered is linked by its own name.

use std::collections::BTreeMap;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use super::guest::{Guest, Role};
use replibook_core::playbook::PluginKind;
use replibook_core::run::{JsonText, LogLevel};

/// The names of the interface for logs. The first one is from before it had a version.
const LOGGING: [&str; 2] = ["wasi:logging/logging", "wasi:logging/logging@0.1.0-draft"];

/// The names of the interface for configuration. The first one is from before it was renamed.
const CONFIG: [&str; 4] = [
    "wasi:config/runtime@0.2.0-draft",
    "wasi:config/store@0.2.0-draft",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:config/store@0.2.0-rc.1",
];

/// What to do about other versions and interfaces of these packages, by how their names begin.
const OTHERS: [(&str, &str); 2] = [
    (
        "wasi:logging/",
        "`wasi:logging/logging` is offered without a version and at 0.1.0-draft; `log` of replicante:playbook/logging, \
         standard output and standard error are the log, too",
    ),
    (
        "wasi:config/",
        "a step is offered `wasi:config/store` at 0.2.0-draft, 0.2.0-draft-2024-09-27 and 0.2.0-rc.1, and \
         `wasi:config/runtime` at 0.2.0-draft, which have its arguments; a step gets these as its input, too, and a \
         strategy gets its arguments with each plan",
    ),
];

/// Whether a plugin may import this, by its name with the version.
pub(super) fn offers(kind: PluginKind, import: &str) -> bool {
    let of_a_step = || kind == PluginKind::Step && CONFIG.contains(&import);
    LOGGING.contains(&import) || of_a_step()
}

/// What to do about an import of these packages that is not offered.
pub(super) fn instead(import: &str) -> Option<&'static str> {
    OTHERS.iter().find(|(begins, _)| import.starts_with(begins)).map(|(_, advice)| *advice)
}

/// Links what plugins of this kind are offered.
pub(super) fn link(kind: PluginKind, linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for name in LOGGING {
        linker.instance(name)?.func_wrap(
            "log",
            |guest: StoreContextMut<'_, Guest>,
             (level, context, message): (Level, String, String)| {
                log(guest.data(), level, &context, message)
            },
        )?;
    }
    match kind {
        PluginKind::Step => CONFIG.iter().try_for_each(|name| link_config(name, linker)),
        PluginKind::Strategy => Ok(()),
    }
}

fn link_config(name: &str, linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut config = linker.instance(name)?;
    config.func_wrap("get", |guest: StoreContextMut<'_, Guest>, (key,): (String,)| {
        let found = settings(guest.data()).and_then(|all| all.get(&key)).cloned();
        Ok((Ok::<_, Error>(found),))
    })?;
    config.func_wrap("get-all", |guest: StoreContextMut<'_, Guest>, (): ()| {
        let all: Vec<_> = settings(guest.data()).cloned().into_iter().flatten().collect();
        Ok((Ok::<_, Error>(all),))
    })
}

/// A severity, as `wasi:logging` has it.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[cfg_attr(not(test), expect(dead_code, reason = "only guests make them"))]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

impl Level {
    fn of_log(self) -> LogLevel {
        match self {
            Self::Trace | Self::Debug => LogLevel::Debug,
            Self::Info => LogLevel::Info,
            Self::Warn => LogLevel::Warn,
            Self::Error | Self::Critical => LogLevel::Error,
        }
    }
}

fn log(guest: &Guest, level: Level, context: &str, message: String) -> wasmtime::Result<()> {
    let line = if context.is_empty() { message } else { format!("{context}: {message}") };
    Ok(guest.log.push(level.of_log(), line)?)
}

/// Why `wasi:config` may fail, which it never does here.
#[derive(ComponentType, Lower)]
#[component(variant)]
#[expect(dead_code, reason = "the interface has them")]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

/// The arguments of a step, each as text. They may be large and are asked for one by one, so they are read once. A guest
/// that only describes itself has none.
fn settings(guest: &Guest) -> Option<&BTreeMap<String, String>> {
    match &guest.role {
        Role::Step(attempt) => {
            Some(attempt.settings.get_or_init(|| texts(attempt.replay.arguments())))
        }
        Role::Describe | Role::Strategy(_) => None,
    }
}

/// The members of an object: texts as they are, and anything else as JSON. No other value has any.
fn texts(value: &JsonText) -> BTreeMap<String, String> {
    let members: BTreeMap<String, JsonText> =
        serde_json::from_str(value.as_str()).unwrap_or_default();
    let text = |value: &JsonText| {
        serde_json::from_str(value.as_str()).unwrap_or_else(|_| value.as_str().to_owned())
    };
    members.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::guest::{Attempt, Seed};
    use crate::replay::Replay;
    use replibook_core::playbook::Grants;
    use replibook_core::run::{AgentId, AgentSeq, AttemptKey, Journal, RunId, Timestamp};

    const DOCUMENT: &str = include_str!("../../docs/tool-chains.md");

    #[test]
    fn scalars_are_texts_and_anything_else_is_json() {
        let value = json!({
            "text": "a \"b\"\n", "number": 30, "fraction": 0.5, "yes": true, "none": null,
            "list": [1, "x"], "object": { "a": {} }, "empty": "",
        });
        let found = texts(&value.into());
        for (key, text) in [
            ("text", "a \"b\"\n"),
            ("number", "30"),
            ("fraction", "0.5"),
            ("yes", "true"),
            ("none", "null"),
            ("list", "[1,\"x\"]"),
            ("object", "{\"a\":{}}"),
            ("empty", ""),
        ] {
            assert_eq!(found[key], text, "{key}");
        }
        assert_eq!(found.len(), 8);
        for other in [json!(null), json!("text"), json!([["a", "b"]])] {
            assert_eq!(texts(&other.into()), BTreeMap::new());
        }
    }

    #[test]
    fn lines_have_their_context_and_the_limits_of_the_log() {
        let guest = Guest::new(Role::Describe, Timestamp::default(), Seed::Of([0; 32]));
        let levels =
            [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];
        for level in levels {
            log(&guest, level, "", "plain".to_owned()).unwrap();
        }
        log(&guest, Level::Info, "drain", "moved 3".to_owned()).unwrap();
        let large = "x".repeat(crate::limits::LOG_LINE_BYTES);
        assert!(log(&guest, Level::Info, "drain", large).is_err());
        let lines = guest.log.take();
        let levels: Vec<&str> = lines.iter().map(|line| line.level.as_str()).collect();
        assert_eq!(levels, ["debug", "debug", "info", "warn", "error", "error", "info"]);
        assert_eq!(
            (lines[0].message.as_str(), lines[6].message.as_str()),
            ("plain", "drain: moved 3")
        );
        assert_eq!(settings(&guest), None);
    }

    #[test]
    fn arguments_are_read_once_in_an_activation() {
        let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
        let (run, agent) = (RunId(uuid::Uuid::from_u128(7)), AgentId::from("node-1"));
        let (started, arguments) = (Timestamp::default(), json!({ "grace": 30 }));
        let journal = Journal::new(run, key, agent.clone(), "own".to_owned(), started, arguments);
        let (grants, replay) = (Grants::default(), Replay::new(journal));
        let attempt = Attempt::new(agent, Arc::default(), grants, replay);
        let guest = Guest::new(Role::Step(Box::new(attempt)), started, Seed::Of([0; 32]));
        let first = settings(&guest).unwrap();
        assert_eq!(first["grace"], "30");
        assert!(std::ptr::eq(first, settings(&guest).unwrap()));
    }

    #[test]
    fn the_page_and_the_advice_have_each_draft_that_is_offered() {
        use PluginKind::{Step, Strategy};
        for name in LOGGING {
            assert!(offers(Step, name) && offers(Strategy, name), "{name}");
        }
        for name in CONFIG {
            assert!(offers(Step, name) && !offers(Strategy, name), "{name}");
        }
        for other in
            ["wasi:config/store", "wasi:config/runtime@0.2.0-rc.1", "wasi:logging/logging@0.2.0"]
        {
            assert!(!offers(Step, other) && instead(other).is_some(), "{other}");
        }
        assert_eq!(instead("wasi:keyvalue/store@0.2.0-draft"), None);
        for name in LOGGING.into_iter().chain(CONFIG) {
            let (interface, version) = name.split_once('@').unwrap_or((name, "without a version"));
            let (package, short) = interface.split_once('/').unwrap();
            let is_of = |row: &&str| row.contains(&format!("`{package}`: "));
            let row = DOCUMENT.lines().find(is_of).unwrap();
            let advice = instead(name).unwrap();
            for (text, named) in [(row, short), (advice, interface)] {
                let has = |end: char| text.contains(&format!(" {version}{end}"));
                assert!(text.contains(&format!("`{named}`")), "{name} in {text}");
                assert!([' ', ',', ';'].into_iter().any(has), "{name} in {text}");
            }
        }
    }
}
