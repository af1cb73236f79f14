//! Rules about what code may use, and where.

use crate::source::{Finding, Source, imports, lines_with};

/// Where the large dependencies of the root package may be used. Other code reaches them through what those
/// folders offer. The dependencies of the other crates are not listed: no other package depends on them.
const HOMES: [(&str, &[&str]); 12] = [
    ("bindgen!", &["src/host/bindings.rs"]),
    (
        "axum",
        &[
            "src/api/",
            "src/web/",
            "src/agent/gateway/",
            // It hands requests to the router of the gateway, and its answers back.
            "src/agent/inside.rs",
            "src/agent/server/",
            "src/agent/output_call.rs",
            "src/agent/platform/server/",
            "src/cli/serve",
        ],
    ),
    ("reqwest", &["src/access/oidc/", "src/agent/", "src/cli/", "src/outbound/", "src/registry/"]),
    ("ring", &["src/access/oidc/", "src/cli/demo/certificate.rs"]),
    ("x509_cert", &["src/credentials/", "src/cli/demo/"]),
    ("rusqlite", &["src/store/sqlite/", "src/agent/server/"]),
    ("mongodb", &["src/store/mongodb/"]),
    ("tar", &["src/replay/archive.rs"]),
    ("zstd", &["src/replay/archive.rs"]),
    ("serde_json_path", &["src/cli/pick/path.rs"]),
    ("indicatif", &["src/cli/"]),
    ("unicode_width", &["src/cli/"]),
];

/// Files that may sleep, and why. All other files wait for a condition, or ask the clock that they were
/// given.
const SLEEPERS: [(&str, &str); 23] = [
    ("src/agent/server/command.rs", "its test looks for a process until a deadline"),
    ("src/api/serve.rs", "requests get a deadline when the process stops"),
    ("src/cli/client.rs", "a client waits before it tries again"),
    ("src/cli/feed.rs", "a client waits before it connects again"),
    ("src/cli/imports.rs", "a client asks again and again how far an import is"),
    ("src/cli/run/abandon.rs", "a client asks again and again until a deadline"),
    ("src/cli/run/list.rs", "a client that watches asks again and again"),
    ("src/cli/run/logs_follow.rs", "a client that follows asks again and again"),
    ("src/cli/run/output.rs", "a client that follows asks again and again"),
    ("src/cli/run/steer.rs", "a client asks again and again until a deadline"),
    ("src/base/clock.rs", "it is the clock"),
    ("src/host/engine.rs", "its thread makes the epochs of the plugins' engine"),
    ("src/registry/waiting.rs", "a registry that is busy says how long to wait"),
    ("src/store/mongodb/transaction.rs", "two transactions that met wait before they try again"),
    ("src/web/serve.rs", "a server tries again when it can accept no connection"),
    ("tests/agent/process.rs", "it looks for processes until a deadline, and kills at odd moments"),
    ("tests/agent/support.rs", "it looks at an action until a deadline"),
    ("tests/crash/server.rs", "a random moment of a run is what it waits for"),
    ("tests/fixtures/toolchains/rust/src/lib.rs", "the host has to make it a journaled wait"),
    ("tests/plugins/hostile-strategy/src/lib.rs", "the host has to refuse it"),
    ("tests/plugins/hostile/src/lib.rs", "the host has to make it a journaled wait"),
    ("tests/support/mongodb.rs", "it looks until a deadline whether the server listens"),
    ("tests/support/wait.rs", "it looks for a condition again and again until a deadline"),
];

/// Large dependencies are used only where [`HOMES`] says.
pub(crate) fn boundaries(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust() && source.is_in(&["src/"])) {
        let shipped = source.shipped();
        for (dependency, home) in HOMES.iter().filter(|(_, home)| !source.is_in(home)) {
            for (line, what) in uses(&shipped, dependency) {
                let expected = home.join(", ");
                findings.push(
                    source.finding(line, format!("found `{what}`, expected only in {expected}")),
                );
            }
        }
    }
    findings
}

/// Lines where code imports `path` or something in it, or names it.
fn uses(code: &str, path: &str) -> Vec<(usize, String)> {
    let within = |found: &str| {
        let rest = found.strip_prefix("::").unwrap_or(found).strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::") || rest.starts_with(' '))
    };
    let mut found = imports(code);
    found.retain(|(_, import)| within(import));
    let named = if path.ends_with('!') { path.to_owned() } else { format!("{path}::") };
    for line in lines_with(code, &named) {
        let other = !path.ends_with('!') && is_a_tail(code, line, &named);
        if !other && !found.iter().any(|(known, _)| *known == line) {
            found.push((line, path.to_owned()));
        }
    }
    found
}

/// Whether each `name` on the line belongs to another path, like the `store::` in `other::store::`.
fn is_a_tail(code: &str, line: usize, name: &str) -> bool {
    let text = code.lines().nth(line - 1).unwrap_or_default();
    text.match_indices(name)
        .all(|(at, _)| text[..at].ends_with("::") && !text[..at].ends_with(" ::"))
}

/// Nothing is marked as to be done later: what is not finished returns an error or does not exist.
pub(crate) fn leftovers(sources: &[Source]) -> Vec<Finding> {
    // In pieces, so that the rule does not find this file.
    let words = ["TO", "FIX", "XX"].iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let macros = ["todo", "unimplemented"].map(|name| format!("{name}!"));
    let ignored = [["#[ig", "nore"].concat()];
    let leftovers: Vec<String> = words.chain(macros).chain(ignored).collect();
    let mut findings = Vec::new();
    for source in sources {
        for word in &leftovers {
            for line in lines_with(&source.text, word) {
                findings.push(source.finding(line, format!("found `{word}`")));
            }
        }
    }
    findings
}

/// Only the files in [`SLEEPERS`] sleep, and each of them does. Benchmarks may sleep: they play work that
/// takes time.
pub(crate) fn sleeps(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bound = |source: &&Source| source.is_rust() && !source.is_in(&["benches/"]);
    for source in sources.iter().filter(bound) {
        let code = source.code();
        let mut lines = Vec::new();
        for call in ["thread::sleep", "time::sleep", "time::sleep_until"] {
            lines.extend(lines_with(&code, call));
        }
        lines
            .extend(imports(&code).iter().filter(|(_, p)| p.ends_with("::sleep")).map(|(l, _)| *l));
        lines.sort_unstable();
        lines.dedup();
        match SLEEPERS.iter().find(|(path, _)| *path == source.path) {
            Some((_, why)) if lines.is_empty() => {
                let what = format!("does not sleep, but is allowed to because {why}");
                findings.push(source.finding(1, what));
            }
            Some(_) => {}
            None => findings.extend(lines.into_iter().map(|line| {
                source.finding(line, "found a sleep, expected a wait for a condition")
            })),
        }
    }
    findings
}

#[cfg(test)]
fn found(rule: fn(&[Source]) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
    rule(&[Source::new(path, text)]).iter().map(ToString::to_string).collect()
}

#[test]
fn a_dependency_outside_of_its_home_is_found() {
    let sqlite = "use rusqlite::Connection;";
    assert!(found(boundaries, "src/store/sqlite/rows.rs", sqlite).is_empty());
    let expected = "src/driver/a.rs:1: found `rusqlite::Connection`, expected only in src/store/sqlite/, src/agent/server/";
    assert_eq!(found(boundaries, "src/driver/a.rs", sqlite), [expected]);
    let bindgen = "wasmtime::component::bindgen!({});";
    assert_eq!(found(boundaries, "src/host/host.rs", bindgen).len(), 1);
    assert!(found(boundaries, "src/host/bindings.rs", bindgen).is_empty());
    assert_eq!(found(boundaries, "src/cli/a.rs", "fn a(x: ::axum::Router) {}").len(), 1);
    assert!(found(boundaries, "src/cli/a.rs", "use crate::tar::X; mod axum_like {}").is_empty());
}

#[test]
fn leftovers_are_found_in_code_and_in_comments() {
    for word in ["TO\tDO", "FIX\tME", "XX\tX", "to\tdo!()", "unimple\tmented!()", "#[ig\tnore]"] {
        let bad = format!("// {}\n", word.replace('\t', ""));
        assert_eq!(found(leftovers, "src/a.rs", &bad).len(), 1, "{bad}");
    }
    let good = format!("mktemp {}", "X".repeat(6));
    assert!(found(leftovers, ".ci/run", &good).is_empty());
}

#[test]
fn a_sleep_is_found_unless_it_is_allowed() {
    let tokio = "async fn a() { tokio::time::sleep(b).await }";
    assert_eq!(found(sleeps, "tests/a.rs", tokio).len(), 1);
    assert_eq!(found(sleeps, "src/a.rs", "use std::thread::sleep;").len(), 1);
    assert!(found(sleeps, "src/base/clock.rs", tokio).is_empty());
    assert_eq!(found(sleeps, "src/base/clock.rs", "fn a() {}").len(), 1, "a stale permission");
    assert!(found(sleeps, "tests/a.rs", "async fn a() { clock.sleep(b).await }").is_empty());
}
