//! House rules that no compiler checks. Beside each rule, a test shows that it finds a bad snippet; here the
//! rules are applied to the whole project.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The core itself does no I/O (src/core/clippy.toml).
#![allow(clippy::disallowed_methods, reason = "these tests read files")]

mod code;
mod maps;
#[path = "../support/root.rs"]
mod root;
mod shape;
mod source;
mod text;

use source::{Finding, Source};

type Rule = fn(&[Source]) -> Vec<Finding>;

/// Fails with every finding of the rule, not only with the first one.
fn holds(rule: Rule) {
    let sources = source::project();
    assert!(sources.len() > 30, "found only {} files: looked in the wrong place?", sources.len());
    let findings: Vec<String> = rule(&sources).iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn files_are_short() {
    holds(shape::lengths);
}

#[test]
fn mod_files_hold_documentation_and_reexports_only() {
    holds(shape::mod_files);
}

#[test]
fn each_large_dependency_stays_in_its_folders() {
    holds(code::boundaries);
}

#[test]
fn nothing_is_left_for_later() {
    holds(code::leftovers);
}

#[test]
fn nothing_sleeps_to_wait() {
    holds(code::sleeps);
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    holds(text::machine_paths);
}

#[test]
fn every_item_of_the_wit_package_is_documented() {
    holds(text::wit_docs);
}

#[test]
fn links_in_documents_lead_somewhere() {
    holds(text::links);
}

#[test]
fn tests_of_bad_input_are_where_they_are_said_to_be() {
    holds(text::named_tests);
}

#[test]
fn the_code_map_has_every_folder() {
    holds(text::code_map);
}

#[test]
fn maps_of_modules_are_true() {
    holds(maps::modules);
}
