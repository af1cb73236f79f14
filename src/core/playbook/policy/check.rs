//! Judges the plugins of a whole playbook: of a document, whose text has a place for each refusal, or of a playbook that
//! was resolved before.

use std::collections::BTreeMap;

use super::judge::{Facts, Refusal};
use super::model::Policy;
use crate::playbook::grants::Grants;
use crate::playbook::model::Playbook;
use crate::playbook::problem::{Problem, code};
use crate::playbook::read::PlaybookDocument;
use crate::playbook::spans::push_segment;

/// What the policy refuses in a document, each with its place. `facts` has what is known about the plugins that the
/// document declares, by the name that they have there; nothing is said about others. Built-in plugins need no entry.
pub fn check_document(
    policy: &Policy,
    doc: &PlaybookDocument,
    facts: &BTreeMap<String, Facts>,
) -> Vec<Problem> {
    let draft = doc.draft();
    let mut problems = Vec::new();
    let mut judge = |facts: &Facts, grants: &Grants, place: &dyn Fn(&Refusal) -> String| {
        let refusals = policy.judge(facts, doc.name(), grants).err().unwrap_or_default();
        for refusal in refusals {
            let problem = doc.problem_at(&place(&refusal), code::POLICY, refusal.message);
            problems
                .push(Problem { found: Some(refusal.found), ..problem.expected(refusal.expected) });
        }
    };
    for (name, declared) in &draft.plugins {
        let Some(facts) = facts.get(name) else { continue };
        let mut path = "/spec/plugins".to_owned();
        push_segment(&mut path, name);
        judge(facts, &declared.grants, &|refusal| match &refusal.ask {
            Some(ask) => format!("{path}/grants/{}/{}", ask.asked.key(), ask.index),
            None => format!("{path}/source"),
        });
    }
    for used in draft.uses.iter().filter(|used| !doc.may_declare(&used.name)) {
        let step = used.step.map(|step| &draft.playbook.stages[used.stage].steps[step]);
        let grants = step.map(|step| step.grants.clone()).unwrap_or_default();
        judge(&Facts::of_builtin(&used.name), &grants, &|_| used.name_pointer());
    }
    problems
}

/// What the policy refuses in a playbook that was resolved, by the name of the plugin. `facts` has what is known about the
/// plugins by the names that they have there; of one that has no entry nothing is known, so it is refused. Built-in plugins
/// need no entry.
pub fn check_playbook(
    policy: &Policy,
    playbook: &Playbook,
    facts: &BTreeMap<String, Facts>,
) -> Vec<(String, Refusal)> {
    let mut refused = Vec::new();
    for (name, pin) in &playbook.plugins {
        let builtin = pin.source.strip_prefix("builtin:").map(Facts::of_builtin);
        let Some(facts) = builtin.as_ref().or_else(|| facts.get(name)) else {
            let refusal = Refusal {
                message: format!("policy {:?} can't judge this plugin", policy.name),
                found: format!("nothing that is known about {}", pin.digest),
                expected: "a plugin that is in the store".to_owned(),
                ask: None,
            };
            refused.push((name.clone(), refusal));
            continue;
        };
        let steps = playbook.stages.iter().flat_map(|stage| &stage.steps);
        let mut grants = vec![&pin.grants];
        for step in steps.filter(|step| step.plugin == *name) {
            if !grants.contains(&&step.grants) {
                grants.push(&step.grants);
            }
        }
        let mut refusals = Vec::new();
        for grants in grants {
            refusals.extend(policy.judge(facts, &playbook.name, grants).err().unwrap_or_default());
        }
        refusals.dedup();
        refused.extend(refusals.into_iter().map(|refusal| (name.clone(), refusal)));
    }
    refused
}
