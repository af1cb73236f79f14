//! Maps in the documentation of a module, which are to name each of its modules and nothing else.

use std::collections::BTreeSet;

use crate::source::{Finding, Source};

/// The files that have one: after the arrow, or below it, each line begins with the name of a module.
const MAPS: [&str; 1] = ["src/core/run/machine/mod.rs"];

/// Modules that are not there, and modules that are missing.
pub(crate) fn modules(sources: &[Source]) -> Vec<Finding> {
    let is_map = |source: &&Source| MAPS.contains(&source.path.as_str());
    sources.iter().filter(is_map).flat_map(compared).collect()
}

fn compared(source: &Source) -> Vec<Finding> {
    let map = source.text.split("```text").nth(1).and_then(|rest| rest.split("```").next());
    let named: BTreeSet<&str> = map.unwrap_or_default().lines().filter_map(name).collect();
    let there = source.text.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let there: BTreeSet<&str> = there.collect();
    let missing = there.difference(&named).map(|name| format!("the map has no `{name}`"));
    let gone = named.difference(&there).map(|name| format!("found no `mod {name};`"));
    missing.chain(gone).map(|what| source.finding(1, what)).collect()
}

/// The module that a line of the map names.
fn name(line: &str) -> Option<&str> {
    let line = line.strip_prefix("//!")?;
    let after = line.split_once('▶').map_or(line, |(_, after)| after);
    after.split_whitespace().next()
}

#[test]
fn a_module_that_is_not_there_and_one_that_is_missing_are_found() {
    let map = "//! ```text\n//! input ─▶ calls  what\n//!          gone   what\n//! ```\nmod calls;\nmod new;\n";
    let found = modules(&[Source::new(MAPS[0], map)]);
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let path = MAPS[0];
    assert_eq!(
        found,
        [format!("{path}:1: the map has no `new`"), format!("{path}:1: found no `mod gone;`")]
    );
}
