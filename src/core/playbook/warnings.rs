//! Finds what is not wrong with a playbook but is hardly what its author meant. Warnings are apart from problems
//! because they never refuse a playbook.

use std::collections::BTreeMap;

use super::model::PluginKind;
use super::plugin_info::{PluginInfo, RUN_ACTION};
use super::problem::{Problem, code};
use super::read::PlaybookDocument;
use super::spans::push_segment;

/// Warnings about a playbook, each with its place. `plugins` has what is known about the plugins that the document
/// declares.
pub fn warnings(doc: &PlaybookDocument, plugins: &BTreeMap<String, PluginInfo>) -> Vec<Problem> {
    let declared = doc.draft().plugins.iter();
    let without = declared.filter(|(name, declared)| {
        let calls = |info: &PluginInfo| {
            info.kind == PluginKind::Step && info.calls.iter().any(|call| call == RUN_ACTION)
        };
        declared.grants.actions.is_empty() && plugins.get(*name).is_some_and(calls)
    });
    let warned = without.map(|(name, _)| {
        let mut path = "/spec/plugins".to_owned();
        push_segment(&mut path, name);
        let message = "this step may have agents run actions, but none are granted to it: each would be \
                       refused as not-granted";
        let problem = doc.problem_at(&path, code::NOT_GRANTED, message.to_owned());
        problem.expected("grants: { actions: [\"KIND\"] }")
    });
    warned.collect()
}
