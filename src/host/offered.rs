//! What components may import, and for everything else what to use instead. The page that explains it all is
//! `docs/tool-chains.md`.

use semver::Version;

use super::error::{PluginError, cut};
use super::{absent, drafts, limits, wasi, wasi_http};
use replibook_core::playbook::PluginKind;

/// The WIT package of both worlds, and the version of it that this host speaks.
pub(super) const PACKAGE: &str = "replicante:playbook/";
pub(super) const VERSION: &str = "0.1.0";

/// What steps and strategies may import besides WASI.
const STEP_IMPORTS: [&str; 8] =
    ["agent", "entropy", "failing", "http", "logging", "signal", "timer", "types"];
const STRATEGY_IMPORTS: [&str; 4] = ["failing", "logging", "roster", "types"];

/// What strategies may import besides, and the version of the package that has it. It is a version of its own, so that
/// nothing changes for components that were built before, or that do without it.
const LATER: (&str, &str) = ("held", "0.2.0");

/// The page with all of this, which every refusal names.
const PAGE: &str = "docs/tool-chains.md";

/// The names of one reason that a message lists, in bytes: a component may import thousands of interfaces.
const NAMES_BYTES: usize = 512;

/// What to do about WASI 0.3, whose functions may be asynchronous.
const NEWER: &str = "WASI 0.3 is not offered; build for WASI 0.2: `--sync` of componentize-qjs, target \
    `wasm32-wasip2` of Rust and clang, `-target=wasip2` of TinyGo";

/// What to do about WASI of preview 1, or of a draft of preview 2.
const OLDER: &str = "only WASI 0.2 is offered, and this is older; build with tools that make components of \
    WASI 0.2, or encode the core module again with an adapter of today (`wasm-tools component new --adapt`)";

/// Interfaces that a step may miss, by how their names begin, and what to use instead.
const STEP_INSTEAD: [(&str, &str); 5] = [
    (
        "wasi:sockets/",
        "a step reaches its agent through `agent` and other servers through `http` of replicante:playbook; what \
         only the language's runtime imports is left out by `--stub-wasi` of componentize-py, unless the step has an \
         HTTP client: that flag stubs it as well",
    ),
    (
        "wasi:http/",
        "a step sends requests through `wasi:http/outgoing-handler` or `send` of replicante:playbook/http, and serves \
         none; what only the engine imports is left out by `--disable fetch-event` of componentize-js and jco",
    ),
    (
        "wasi:keyvalue/",
        "state beside the journal would break its replay; keep what is needed later in the result of the step",
    ),
    (
        "wasi:blobstore/",
        "a step keeps nothing but its result; bytes go to other servers through `http`",
    ),
    ("wasi:messaging/", "`wait` of replicante:playbook/signal receives, and `http` sends"),
];

/// What a strategy may miss of WASI.
const STRATEGY_WASI: &str = "a strategy reaches nothing but `roster` and `logging` of replicante:playbook, and \
    keeps what it needs later in its memo; what only the language's runtime imports is left out by `--stub-wasi` \
    of componentize-py and by `--disable http --disable fetch-event` of componentize-js and jco";

/// What is left of WASI, such as `wasi:nn`.
const OTHER_WASI: &str = "of WASI only what language runtimes need to start and what HTTP clients are built on is offered";

const OTHER_VERSION: &str = "another version of the package is offered, 0.1.0; build with the WIT files of this \
    version of Replibook";
const ONLY_STEPS: &str = "only steps may import it; do this in a step";
const ONLY_STRATEGIES: &str = "only strategies may import it";
const UNKNOWN: &str = "the package has no such interface";
const FOREIGN: &str = "no host function is of this name; compose the component with one that exports it \
    (`wac plug`), so that no such import is left";

fn own_imports(kind: PluginKind) -> &'static [&'static str] {
    match kind {
        PluginKind::Step => &STEP_IMPORTS,
        PluginKind::Strategy => &STRATEGY_IMPORTS,
    }
}

/// Checks the names that a component imports.
///
/// # Errors
/// `unknown-import`, with each name that is not offered and what to do about it.
pub(super) fn check<'a>(
    kind: PluginKind,
    imports: impl IntoIterator<Item = &'a str>,
) -> Result<(), PluginError> {
    let imports: Vec<_> = imports.into_iter().collect();
    // Runtimes of languages bring sockets along beside such a client. None of them works.
    let with_sockets = kind == PluginKind::Step && imports.iter().any(|import| is_client(import));
    let mut groups: Vec<(&'static str, Vec<&str>)> = Vec::new();
    for import in imports {
        let Some(advice) = missing(kind, import, with_sockets) else { continue };
        match groups.iter_mut().find(|(known, _)| *known == advice) {
            Some((_, names)) => names.push(import),
            None => groups.push((advice, vec![import])),
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let found: Vec<_> = groups
        .into_iter()
        .map(|(advice, mut names)| {
            names.sort_unstable();
            format!("{} ({advice})", cut(names.join(", "), NAMES_BYTES))
        })
        .collect();
    let own = own_imports(kind).join(", ");
    let later = match kind {
        PluginKind::Step => String::new(),
        PluginKind::Strategy => format!(", {} at {}", LATER.0, LATER.1),
    };
    let found = cut(found.join("; "), limits::MESSAGE_BYTES);
    let of_wasi = match kind {
        PluginKind::Step => "what language runtimes and HTTP clients need",
        PluginKind::Strategy => "what language runtimes need",
    };
    let kind = kind.as_str();
    let message = format!(
        "found imports that a {kind} is not offered: {found}. A {kind} may import {own} of {PACKAGE} at {VERSION}{later}, \
         and {of_wasi} of WASI 0.2; {PAGE} says more"
    );
    Err(PluginError::new("unknown-import", message))
}

fn is_client(import: &str) -> bool {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    name == "wasi:http/outgoing-handler" && matches!(wasi_version(version), Wasi::Spoken)
}

/// What to do about an import. None if it is offered.
fn missing(kind: PluginKind, import: &str, with_sockets: bool) -> Option<&'static str> {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    if let Some(interface) = name.strip_prefix(PACKAGE) {
        return missing_of_ours(kind, interface, version);
    }
    if !name.starts_with("wasi:") {
        return Some(FOREIGN);
    }
    if drafts::offers(kind, import) {
        return None;
    }
    if let Some(advice) = drafts::instead(import) {
        return Some(advice);
    }
    match wasi_version(version) {
        Wasi::Newer => Some(NEWER),
        Wasi::Older => Some(OLDER),
        Wasi::Spoken if wasi::INTERFACES.contains(&name) => None,
        Wasi::Spoken if kind == PluginKind::Step && wasi_http::INTERFACES.contains(&name) => None,
        Wasi::Spoken if with_sockets && name.starts_with(absent::SOCKETS) => None,
        Wasi::Spoken => Some(match kind {
            PluginKind::Strategy => STRATEGY_WASI,
            PluginKind::Step => STEP_INSTEAD
                .iter()
                .find(|(begins, _)| name.starts_with(*begins))
                .map_or(OTHER_WASI, |found| found.1),
        }),
    }
}

fn missing_of_ours(kind: PluginKind, interface: &str, version: &str) -> Option<&'static str> {
    if (interface, version) == LATER {
        return match kind {
            PluginKind::Step => Some(ONLY_STRATEGIES),
            PluginKind::Strategy => None,
        };
    }
    let (step, strategy) =
        (STEP_IMPORTS.contains(&interface), STRATEGY_IMPORTS.contains(&interface));
    if version != VERSION {
        return Some(OTHER_VERSION);
    }
    match kind {
        PluginKind::Step if step => None,
        PluginKind::Strategy if strategy => None,
        PluginKind::Step if strategy => Some(ONLY_STRATEGIES),
        PluginKind::Strategy if step => Some(ONLY_STEPS),
        PluginKind::Step | PluginKind::Strategy => Some(UNKNOWN),
    }
}

/// How a version of WASI relates to those that are offered: 0.2 with any patch.
enum Wasi {
    Older,
    Spoken,
    Newer,
}

fn wasi_version(version: &str) -> Wasi {
    // A proposal without a version number of its own, or with a draft's, is from before WASI 0.2.
    let Ok(version) = Version::parse(version) else { return Wasi::Older };
    match (version.major, version.minor) {
        (0, 0 | 1) => Wasi::Older,
        (0, 2) if version.pre.is_empty() => Wasi::Spoken,
        (0, 2) => Wasi::Older,
        _ => Wasi::Newer,
    }
}

/// What the compiler says of a component whose functions are asynchronous.
const ASYNCHRONOUS: &str = "component model async";

/// Says what to do about a component that the compiler refused because of something that only WASI 0.3 has.
/// All its imports may well be those of WASI 0.2. Other errors are handed on as they are.
pub(super) fn explain(error: PluginError) -> PluginError {
    if error.code != "invalid-component" || !error.message.contains(ASYNCHRONOUS) {
        return error;
    }
    let said = cut(error.message, NAMES_BYTES);
    let message = format!(
        "found a component with asynchronous functions: {NEWER}; {PAGE} says more ({said})"
    );
    PluginError::new("asynchronous", message)
}

/// What to do about exports of other worlds: nothing if they say nothing about how the component was built.
pub(super) fn of_exports(exports: &[String]) -> &'static str {
    let has = |begins: &str| exports.iter().any(|export| export.starts_with(begins));
    if has("wasi:cli/run@") {
        return "; it was built as a program: build a library (crate type `cdylib` in Rust, `-mexec-model=reactor` \
            in C, `-buildmode=c-shared` in Go, the adapter for reactors)";
    }
    if has("wasi:http/incoming-handler@") {
        return "; it was built to serve HTTP: leave that out with `--disable fetch-event` of componentize-js and jco";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use PluginKind::{Step, Strategy};

    const DOCUMENT: &str = include_str!("../../docs/tool-chains.md");

    fn refused(kind: PluginKind, imports: &[&str]) -> String {
        let error = check(kind, imports.iter().copied()).unwrap_err();
        assert_eq!(error.code, "unknown-import");
        assert!(error.message.contains(PAGE), "{error}");
        error.message
    }

    #[test]
    fn every_patch_of_wasi_0_2_is_offered_and_no_other_version() {
        let patches = ["0.2.0", "0.2.3", "0.2.12", "0.2.99"];
        for name in wasi::INTERFACES {
            for kind in [Step, Strategy] {
                let names: Vec<_> = patches.iter().map(|patch| format!("{name}@{patch}")).collect();
                assert!(check(kind, names.iter().map(String::as_str)).is_ok(), "{name}");
            }
        }
        for (version, advice) in [
            ("@0.3.0", NEWER),
            ("@0.3.0-rc-2025-09-16", NEWER),
            ("@1.0.0", NEWER),
            ("@0.2.0-rc-2023-11-10", OLDER),
            ("@0.1.0", OLDER),
            ("@x", OLDER),
            ("", OLDER),
        ] {
            let message = refused(Step, &[&format!("wasi:io/poll{version}")]);
            assert!(message.contains(advice), "{version}: {message}");
        }
    }

    #[test]
    fn each_import_is_named_once_with_what_to_do_instead() {
        let imports = [
            "wasi:sockets/udp@0.2.9",
            "wasi:io/poll@0.2.9",
            "wasi:sockets/tcp@0.2.9",
            "test:extra/secrets",
            "wasi:clocks/monotonic-clock@0.3.0",
        ];
        let message = refused(Step, &imports);
        let begin = "found imports that a step is not offered: \
            wasi:sockets/tcp@0.2.9, wasi:sockets/udp@0.2.9 (a step reaches its agent";
        assert!(message.starts_with(begin), "{message}");
        let stubbed = "`--stub-wasi` of componentize-py, unless the step has an HTTP client: that";
        for part in [stubbed, "test:extra/secrets (no host", "`wac plug`", "`--sync`"] {
            assert_eq!(message.matches(part).count(), 1, "{part}: {message}");
        }
        assert!(!message.contains("wasi:io/poll"), "{message}");
    }

    #[test]
    fn interfaces_of_the_other_world_and_of_other_versions_are_told_apart() {
        let ours = |name: &str| format!("{PACKAGE}{name}@{VERSION}");
        let cases = [
            (Step, ours("roster"), ONLY_STRATEGIES),
            (Strategy, ours("agent"), ONLY_STEPS),
            (Strategy, "wasi:http/outgoing-handler@0.2.3".to_owned(), STRATEGY_WASI),
            (Strategy, "wasi:http/types@0.2.3".to_owned(), STRATEGY_WASI),
            (Step, "wasi:http/outgoing-handler@0.3.0".to_owned(), NEWER),
            (Step, "wasi:http/outgoing-handler@0.2.0-rc-2023-12-05".to_owned(), OLDER),
            (Step, ours("secrets"), UNKNOWN),
            (Step, "replicante:playbook/agent@0.9.0".to_owned(), OTHER_VERSION),
            (Step, "replicante:playbook/held@0.2.0".to_owned(), ONLY_STRATEGIES),
            (Strategy, "replicante:playbook/held@0.1.0".to_owned(), UNKNOWN),
            (Strategy, "replicante:playbook/roster@0.2.0".to_owned(), OTHER_VERSION),
            (Step, "wasi:nn/graph@0.2.0".to_owned(), OTHER_WASI),
            (Step, "print".to_owned(), FOREIGN),
        ];
        for (kind, import, advice) in cases {
            let message = refused(kind, &[&import]);
            assert!(message.contains(&format!("{import} ({advice})")), "{message}");
        }
        for name in STEP_IMPORTS {
            assert!(check(Step, [ours(name).as_str()]).is_ok(), "{name}");
        }
        assert!(check(Strategy, ["replicante:playbook/held@0.2.0"]).is_ok());
        for (name, patch) in wasi_http::INTERFACES.into_iter().zip([0, 99]) {
            assert!(check(Step, [format!("{name}@0.2.{patch}").as_str()]).is_ok(), "{name}");
        }
        let message = refused(Step, &["wasi:http/incoming-handler@0.2.3"]);
        assert!(message.contains("and serves none"), "{message}");
    }

    #[test]
    fn sockets_may_come_along_with_an_http_client_of_a_step() {
        let imports = ["wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.12"];
        assert!(check(Step, imports).is_ok());
        assert!(refused(Strategy, &imports).contains("wasi:sockets/tcp@0.2.0"));
        for other in ["wasi:http/types@0.2.12", "wasi:http/outgoing-handler@0.3.0"] {
            let message = refused(Step, &["wasi:sockets/tcp@0.2.0", other]);
            assert!(message.contains("wasi:sockets/tcp@0.2.0 (a step reaches"), "{message}");
        }
    }

    #[test]
    fn a_message_stays_readable_however_much_is_imported() {
        let names: Vec<_> = (0..10_000).map(|n| format!("test:flood/name-{n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let message = refused(Step, &names);
        assert!(message.len() < 2 * limits::MESSAGE_BYTES, "{}", message.len());
    }

    #[test]
    fn asynchronous_components_are_told_from_broken_ones() {
        let said = "failed to compile the component: `task.cancel` requires the component model async feature";
        let error = explain(PluginError::new("invalid-component", said));
        assert_eq!(error.code, "asynchronous");
        assert!(error.message.contains("`--sync`") && error.message.contains(said), "{error}");
        for (code, said) in [("invalid-component", "unexpected end"), ("compile-time", said)] {
            assert_eq!(explain(PluginError::new(code, said)).code, code);
        }
    }

    #[test]
    fn exports_tell_how_a_component_was_built() {
        let advice = |export: &str| of_exports(&["init".to_owned(), export.to_owned()]);
        assert!(advice("wasi:cli/run@0.2.3").contains("`-mexec-model=reactor`"));
        assert!(advice("wasi:http/incoming-handler@0.2.3").contains("`--disable fetch-event`"));
        assert_eq!(advice("test:other/run@0.2.3"), "");
    }

    #[test]
    fn the_page_has_every_interface_that_is_offered_or_has_a_substitute() {
        let substitutes = STEP_INSTEAD.iter().map(|(begins, _)| begins.trim_end_matches('/'));
        let own = STEP_IMPORTS.iter().chain(&STRATEGY_IMPORTS).copied().chain([LATER.0]);
        let of_wasi = wasi::INTERFACES.into_iter().chain(wasi_http::INTERFACES);
        for name in of_wasi.chain(substitutes).chain(own) {
            let short = name.rsplit('/').next().unwrap_or(name);
            assert!(DOCUMENT.contains(&format!("`{short}`")), "{PAGE} lacks {name}");
        }
        for flag in
            ["`--sync`", "`--stub-wasi`", "`wac plug`", "`--disable http --disable fetch-event`"]
        {
            assert!(DOCUMENT.contains(flag), "{PAGE} lacks {flag}");
        }
    }
}
