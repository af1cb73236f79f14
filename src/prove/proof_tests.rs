//! What proofs find, with strategies that are closures. Those that are plugins are in `tests/cli/prove.rs`.

use std::sync::Arc;

use serde_json::json;

use super::bounds::Bounds;
use super::proof::{Proof, prove};
use super::property::{Property, Wanted};
use super::report::{Finding, Outcome};
use super::scene::{Scene, Strategy};
use crate::playbook::{Amount, ClusterGuards, Guard, Template};
use crate::run::{AgentId, AgentState, Decision, Next, PlanFailure, PlanInput, Roster};

/// A strategy that is a function.
struct Closure<F>(F);

impl<F: Fn(&PlanInput, &dyn Roster) -> Decision> Strategy for Closure<F> {
    fn plan(&self, input: &PlanInput, roster: Arc<dyn Roster>) -> Result<Decision, PlanFailure> {
        Ok((self.0)(input, &*roster))
    }
}

fn decide(start: Vec<AgentId>, next: Next) -> Decision {
    let (skip, refresh) = (Vec::new(), Vec::new());
    Decision { start, skip, next, memo: String::new(), label: None, refresh }
}

/// Starts agents as long as fewer than `most` are at work.
fn window(most: u32) -> impl Fn(&PlanInput, &dyn Roster) -> Decision {
    move |_, roster| {
        let free = most.saturating_sub(roster.count(AgentState::Running));
        let start = roster.page(AgentState::Pending, None, free.min(most));
        match start.is_empty() && roster.count(AgentState::Running) == 0 {
            true => decide(start, Next::Complete),
            false => decide(start, Next::Wait),
        }
    }
}

fn small() -> Bounds {
    Bounds { agents: 3, seeds: 20, largest: 12, ..Bounds::default() }
}

fn proof(
    wanted: Wanted,
    bounds: Bounds,
    strategy: impl Fn(&PlanInput, &dyn Roster) -> Decision,
) -> Proof {
    let arguments = Template::parse(json!({})).unwrap();
    let scene = Scene::new(arguments, vec!["zone".to_owned()], wanted, bounds);
    prove(scene, &Closure(strategy), &|_| {}).unwrap()
}

fn of(proof: &Proof, property: Property) -> &Finding {
    proof.findings.iter().find(|finding| finding.property == property).unwrap()
}

#[test]
fn a_strategy_without_a_mistake_is_proved() {
    let wanted = Wanted { in_flight: Some(2), ..Wanted::default() };
    let proof = proof(wanted, small(), window(2));
    assert!(proof.proved, "{proof:#?}");
    assert!(proof.findings.iter().all(|finding| finding.result == Outcome::Held));
    assert_eq!((proof.covered.fleets, proof.covered.agents, proof.covered.histories), (3, 3, 20));
    assert!(proof.merged.iter().any(|text| text.contains("never looks at an attribute")));
}

#[test]
fn a_limit_that_is_too_low_breaks_at_once_and_with_the_smallest_fleet() {
    let wanted = Wanted { in_flight: Some(1), ..Wanted::default() };
    let proof = proof(wanted, Bounds { joins: 0, ..small() }, window(2));
    let finding = of(&proof, Property::InFlight);
    let example = finding.counterexample.as_ref().unwrap();
    assert_eq!((finding.result, example.events, example.fleet.len()), (Outcome::Broken, 0, 2));
    assert_eq!(example.why, "2 are in flight, at most 1 may be: node-1, node-2");
    assert_eq!(of(&proof, Property::Ends).result, Outcome::Open, "larger fleets were not tried");
}

#[test]
fn a_strategy_that_sees_no_groups_is_asked_about_all_of_them_if_they_matter() {
    let wanted = Wanted { one_group: Some("zone".to_owned()), ..Wanted::default() };
    let proof = proof(wanted, Bounds { joins: 0, ..small() }, window(2));
    let example = of(&proof, Property::OneGroup).counterexample.clone().unwrap();
    let groups: Vec<_> = example.fleet.iter().map(|(_, group)| group.as_str()).collect();
    assert_eq!((groups, example.events), (vec!["a", "b"], 0));
}

#[test]
fn guards_are_those_of_the_host() {
    let guard = Guard {
        name: "one".to_owned(),
        by: Some("attributes.zone".to_owned()),
        max_out: Amount::Count(1),
        groups: None,
    };
    let guards = ClusterGuards { guards: vec![guard], ..ClusterGuards::default() };
    let wanted = Wanted { guards: Some(("eu".to_owned(), Arc::new(guards))), ..Wanted::default() };
    let two = proof(wanted.clone(), small(), window(2));
    let example = of(&two, Property::Guards).counterexample.clone().unwrap();
    assert_eq!(example.why, "it names node-2, which guard one holds");
    let one = proof(wanted, small(), window(1));
    assert!(one.proved, "{one:#?}");
}

#[test]
fn a_guard_that_never_lets_go_does_not_end() {
    let guard =
        Guard { name: "none".to_owned(), by: None, max_out: Amount::Count(0), groups: None };
    let guards = ClusterGuards { guards: vec![guard], ..ClusterGuards::default() };
    let wanted = Wanted { guards: Some(("eu".to_owned(), Arc::new(guards))), ..Wanted::default() };
    let proof = proof(wanted, Bounds { agents: 1, ..small() }, window(1));
    let example = of(&proof, Property::Ends).counterexample.clone().unwrap();
    assert_eq!(example.why, "guard none holds an agent for ever");
    assert!(example.events <= 10, "{example:#?}");
}

#[test]
fn who_waits_for_a_moment_again_and_again_waits_for_ever() {
    let wait = |input: &PlanInput, _: &dyn Roster| {
        decide(Vec::new(), Next::WaitUntil(input.now.plus(crate::run::Millis(60_000))))
    };
    let proof = proof(Wanted::default(), Bounds { agents: 1, ..small() }, wait);
    let example = of(&proof, Property::Ends).counterexample.clone().unwrap();
    assert!(example.why.starts_with("it waits for ever"), "{}", example.why);
    assert_eq!(example.events, 1, "waits in a row are shown once: {example:#?}");
    assert!(example.timeline[1].times > 10);
}

#[test]
fn too_many_states_leave_the_proof_open() {
    let bounds = Bounds { states: 20, ..small() };
    let proof = proof(Wanted::default(), bounds, window(3));
    assert!(!proof.proved);
    assert!(proof.findings.iter().all(|finding| finding.result == Outcome::Open));
    assert!(proof.not_covered[0].contains("more than 20 states"), "{:?}", proof.not_covered);
}

#[test]
fn what_breaks_only_in_large_fleets_is_found_by_a_seed_and_made_small() {
    // It takes two at a time once there are eight, which is more than is tried whole.
    let strategy = |input: &PlanInput, roster: &dyn Roster| {
        window(if roster.selected() >= 8 { 2 } else { 1 })(input, roster)
    };
    let wanted = Wanted { in_flight: Some(1), ..Wanted::default() };
    let proof = proof(wanted, small(), strategy);
    let example = of(&proof, Property::InFlight).counterexample.clone().unwrap();
    assert!(example.seed.is_some());
    assert_eq!((example.fleet.len(), example.events), (8, 0), "{example:#?}");
}

#[test]
fn merging_hides_nothing_that_the_strategy_can_see() {
    // It starts the third agent twice, but only if the first one failed before the second one ended.
    let strategy = |input: &PlanInput, roster: &dyn Roster| {
        let failed = roster.page(AgentState::Failed, None, 10);
        let done = roster.count(AgentState::Done);
        let first = failed == [AgentId::from("node-1")];
        let mut decision = window(2)(input, roster);
        if first && done == 0 && roster.count(AgentState::Running) == 2 {
            decision.start = vec![AgentId::from("node-3")];
        }
        decision
    };
    let proof = proof(Wanted::default(), Bounds { joins: 0, leaves: 0, ..small() }, strategy);
    let example = of(&proof, Property::Once).counterexample.clone().unwrap();
    let events: Vec<_> = example.timeline.iter().map(|moment| moment.event.as_str()).collect();
    assert!(events.contains(&"node-1 fails"), "{events:?}");
}
