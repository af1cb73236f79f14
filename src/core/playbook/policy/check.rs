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
    let mut problems = strategies_of(policy, doc, facts);
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

/// Strategies that were not proved with the arguments that the document gives them, each with its place.
fn strategies_of(
    policy: &Policy,
    doc: &PlaybookDocument,
    facts: &BTreeMap<String, Facts>,
) -> Vec<Problem> {
    let draft = doc.draft();
    let mut problems = Vec::new();
    for used in draft.uses.iter().filter(|used| used.step.is_none()) {
        let Some(facts) = facts.get(&used.name) else { continue };
        let Some(stage) = draft.playbook.stages.get(used.stage) else { continue };
        if let Err(refusal) = policy.judge_arguments(facts, stage.strategy.with.source()) {
            let problem = doc.problem_at(&used.name_pointer(), code::POLICY, refusal.message);
            problems
                .push(Problem { found: Some(refusal.found), ..problem.expected(refusal.expected) });
        }
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
        let mut grants: Vec<&Grants> = Vec::new();
        for step in steps.filter(|step| step.plugin == *name) {
            if !grants.contains(&&step.grants) {
                grants.push(&step.grants);
            }
        }
        // What a built-in step is granted is what its steps are, all together.
        if (builtin.is_none() || grants.is_empty()) && !grants.contains(&&pin.grants) {
            grants.insert(0, &pin.grants);
        }
        let mut refusals = Vec::new();
        for grants in grants {
            refusals.extend(policy.judge(facts, &playbook.name, grants).err().unwrap_or_default());
        }
        let stages = playbook.stages.iter().filter(|stage| stage.strategy.plugin == *name);
        for stage in stages {
            let arguments = stage.strategy.with.source();
            refusals.extend(policy.judge_arguments(facts, arguments).err().map(|refusal| *refusal));
        }
        refusals.dedup();
        refused.extend(refusals.into_iter().map(|refusal| (name.clone(), refusal)));
    }
    refused
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::playbook::policy::samples::{info, policy};
    use crate::playbook::policy::{ALWAYS_PROVED, PROOF_FORM, StrategyProof, Vouched};
    use crate::playbook::{PluginKind, parse_playbook, resolve};

    #[test]
    fn a_strategy_is_refused_with_other_arguments_than_those_that_were_proved() {
        let stage = |name: &str, with: serde_json::Value| {
            json!({"name": name, "strategy": {"use": "mine", "with": with},
                "steps": [{"name": "ok", "action": "x/y"}]})
        };
        let stages = [stage("a", json!({"batch": 2})), stage("b", json!({"batch": 3}))];
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": {"name": "tell", "version": "1.0.0"},
            "spec": {"plugins": {"mine": {"source": "file:mine.wasm"}}, "stages": stages},
        });
        let document = parse_playbook(text.to_string().as_bytes()).unwrap();
        let mine = info(PluginKind::Strategy, "mine");
        let proof = StrategyProof {
            form: PROOF_FORM.to_owned(),
            digest: mine.digest.clone(),
            arguments: json!({"batch": 2}),
            properties: ALWAYS_PROVED.map(str::to_owned).to_vec(),
            seeds: 10,
            bounds: BTreeMap::new(),
            version: "0.1.0".to_owned(),
        };
        let proofs = vec![Vouched { by: "ops".to_owned(), proof }];
        let (source, digest) = ("file:".to_owned(), mine.digest.clone());
        let facts = Facts { source, digest, signers: ["ops".to_owned()].into(), proofs };
        let facts = BTreeMap::from([("mine".to_owned(), facts)]);
        let house = policy("{ match: 'file:*', proved: { seeds: 10 } }");
        let problems = check_document(&house, &document, &facts);
        let places: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(places, ["/spec/stages/1/strategy/use"], "{problems:?}");
        let plugins = BTreeMap::from([("mine".to_owned(), mine)]);
        let builtins = [info(PluginKind::Step, "action")];
        let playbook = resolve(&document, &plugins, &builtins).unwrap();
        let refused = check_playbook(&house, &playbook, &facts);
        let told: Vec<_> = refused.iter().map(|(name, one)| format!("{name}: {one}")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(r#"found {"batch":3}; expected {"batch":2}"#), "{told:?}");
    }

    #[test]
    fn a_secret_of_built_in_steps_is_refused_once_for_each_destination() {
        let step = |name: &str, host: &str| {
            let with = json!({"url": format!("https://{host}/"), "body": "${{ secret('pager') }}"});
            json!({"name": name, "use": "http", "with": with})
        };
        let steps = [step("a", "a.example"), step("b", "b.example"), step("c", "a.example")];
        let text = json!({
            "apiVersion": "replicante.io/v1", "kind": "Playbook",
            "metadata": {"name": "tell", "version": "1.0.0"},
            "spec": {"stages": [{"name": "all", "strategy": {"use": "rolling"}, "steps": steps}]},
        });
        let document = parse_playbook(text.to_string().as_bytes()).unwrap();
        let builtins = [info(PluginKind::Strategy, "rolling"), info(PluginKind::Step, "http")];
        let playbook = resolve(&document, &BTreeMap::new(), &builtins).unwrap();
        let refused = |rules: &str| {
            let refused = check_playbook(&policy(rules), &playbook, &BTreeMap::new());
            refused.into_iter().map(|(name, one)| format!("{name}: {one}")).collect::<Vec<_>>()
        };
        for rules in ["", "{ match: 'builtin:http', may: { http: ['*'] } }"] {
            let refused = refused(rules);
            let secrets = refused.iter().filter(|one| one.contains("secrets pager"));
            assert_eq!(secrets.count(), 2, "{refused:?}");
        }
        // A built-in strategy has no step.
        let lab = refused("{ match: 'builtin:rolling', playbooks: [lab] }");
        assert!(lab.iter().any(|one| one.starts_with("rolling: rule 1")), "{lab:?}");
    }
}
