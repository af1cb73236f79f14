//! Rules about documents and other text.

use crate::root::root;
use crate::source::{Finding, Source};

/// What declarations in WIT begin with that need documentation; functions have `: func(`.
const WIT_ITEMS: [&str; 6] = ["interface ", "world ", "record ", "variant ", "enum ", "resource "];

/// The page that names a test for each kind of bad input, after a link to its file.
const BAD_INPUT: &str = "docs/bad-input.md";

/// No file names a path on somebody's machine.
pub(crate) fn machine_paths(sources: &[Source]) -> Vec<Finding> {
    // In pieces, so that the rule does not find this file.
    let homes = ["root", "home", "Users", "work"].map(|name| format!("/{name}/"));
    let mut findings = Vec::new();
    for source in sources {
        for (text, line) in source.text.lines().zip(1..) {
            for home in homes.iter().filter(|home| starts_a_path(text, home)) {
                findings.push(source.finding(line, format!("found a path in {home}")));
            }
        }
    }
    findings
}

/// Whether `home` is at the beginning of a path: `x/home/y` is another kind of path.
fn starts_a_path(text: &str, home: &str) -> bool {
    text.match_indices(home).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
    })
}

/// Every function and type in `wit/` has a documentation comment just above it.
pub(crate) fn wit_docs(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.is_in(&["wit/"]) && s.path.ends_with(".wit")) {
        let mut documented = false;
        for (text, line) in source.text.lines().zip(1..) {
            let text = text.trim();
            let declares = WIT_ITEMS.iter().any(|item| text.starts_with(item));
            if (declares || text.contains(": func(")) && !documented {
                findings.push(source.finding(line, format!("found no documentation of `{text}`")));
            }
            documented = text.starts_with("///") || (documented && text.starts_with('@'));
        }
    }
    findings
}

/// Every link from a document to a file of the project leads to a file that exists.
pub(crate) fn links(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        let folder = root().join(&source.path);
        let folder = folder.parent().unwrap();
        for (text, line) in source.text.lines().zip(1..) {
            for target in link_targets(text) {
                if !folder.join(target).exists() {
                    findings.push(source.finding(line, format!("found nothing at {target}")));
                }
            }
        }
    }
    findings
}

/// Targets of links in one line, without those to the web and within the page.
fn link_targets(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap());
    files.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// Every test that the page about bad input names is there.
pub(crate) fn named_tests(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path == BAD_INPUT) {
        for (text, line) in source.text.lines().zip(1..) {
            for (file, test) in tests_in(text) {
                let wanted = format!("fn {test}(");
                let has_it = |source: &Source| source.path == file && source.text.contains(&wanted);
                if !sources.iter().any(has_it) {
                    findings.push(source.finding(line, format!("found no `{test}` in {file}")));
                }
            }
        }
    }
    findings
}

/// The tests that a line names, each after a link to its file.
fn tests_in(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let named = line.split("](../").skip(1).filter_map(|rest| {
        let (file, rest) = rest.split_once(") `")?;
        Some((file, rest.split('`').next()?))
    });
    named.filter(|(file, _)| !file.contains(')'))
}

/// Every folder in `src/` is in ARCHITECTURE.md. What a folder holds is said in its `mod.rs`.
pub(crate) fn code_map(sources: &[Source]) -> Vec<Finding> {
    let Some(map) = sources.iter().find(|source| source.path == "ARCHITECTURE.md") else {
        return vec![Source::new("ARCHITECTURE.md", "").finding(1, "found no such file")];
    };
    let folder = |source: &Source| {
        let mut parts = source.path.splitn(3, '/');
        let (src, folder, file) = (parts.next()?, parts.next()?, parts.next()?);
        let within = file.split_once('/').map(|(within, _)| within);
        match (src, folder, within) {
            ("src", "core", Some(within)) => Some(format!("src/core/{within}/")),
            ("src", folder, _) => Some(format!("src/{folder}/")),
            _ => None,
        }
    };
    let mut folders: Vec<String> = sources.iter().filter_map(folder).collect();
    folders.sort();
    folders.dedup();
    folders.retain(|folder| !map.text.contains(&format!("`{folder}`")));
    folders.iter().map(|folder| map.finding(1, format!("found no `{folder}`"))).collect()
}

#[test]
fn a_path_of_a_machine_is_found() {
    let bad = format!("let a = \"/{}/me/x\";", "home");
    assert_eq!(machine_paths(&[Source::new("src/a.rs", &bad)]).len(), 1);
    let good = format!("GET http://example.com/a/{}/b and /tmp/x", "home");
    assert_eq!(machine_paths(&[Source::new("README.md", &good)]), []);
}

#[test]
fn an_undocumented_function_is_found() {
    let good = "/// A.\ninterface a {\n    /// B.\n    b: func() -> u32;\n}\n";
    assert_eq!(wit_docs(&[Source::new("wit/a.wit", good)]), []);
    let bad = "/// A.\ninterface a {\n    /// B.\n    b: func() -> u32;\n    c: func();\n}\n";
    let found = wit_docs(&[Source::new("wit/a.wit", bad)]);
    assert_eq!(found[0].to_string(), "wit/a.wit:5: found no documentation of `c: func();`");
    assert_eq!(wit_docs(&[Source::new("wit/a.wit", "interface a {\n}\n")]).len(), 1);
}

#[test]
fn a_dead_link_is_found() {
    let text = "[a](Cargo.toml#x) [b](https://example.com/c) [d](#e) [f](no/such/file.md)";
    let found = links(&[Source::new("README.md", text)]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "README.md:1: found nothing at no/such/file.md");
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let row =
        |test: &str| format!("| what comes | what it gets | [x.rs](../tests/x.rs) `{test}` |\n");
    let text = format!("{}{}[y](../tests/y.rs) has (some) `y`", row("there"), row("gone"));
    let there = Source::new("tests/x.rs", "async fn there() {}");
    let found = named_tests(&[Source::new(BAD_INPUT, &text), there]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "docs/bad-input.md:2: found no `gone` in tests/x.rs");
}

#[test]
fn a_folder_that_is_not_in_the_map_is_found() {
    let map = Source::new("ARCHITECTURE.md", "- `src/core/run/` the core");
    let run = Source::new("src/core/run/a.rs", "");
    let driver = Source::new("src/driver/a.rs", "");
    let found = code_map(&[map, run, driver]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "ARCHITECTURE.md:1: found no `src/driver/`");
    assert_eq!(code_map(&[]).len(), 1);
}
