//! Strategies that have agents asked afresh: what they see then, and that this can be worked out again later.

use std::collections::BTreeMap;

use replibook_core::run::{
    About, AgentId, AgentRecord, AgentSeq, AgentState, AskAgain, Effect, Happened, Input, Machine,
    Millis, Next, Refreshed, Roster, RunEvent, RunStatus, Timestamp, Verb,
};
use serde_json::{Map, Value, json};

use super::parts::{Setup, Work};
use super::world::{Choice, World};

/// What strategies saw, and which agents they wanted to be asked.
#[derive(Default)]
pub(crate) struct Looks {
    /// What was known of each agent when the strategy was last asked.
    asked: Vec<About>,
    /// The same for each time that the strategy gave an answer, with the number of the last event before it.
    seen: Vec<(u64, Vec<About>)>,
    /// The agents of the last wish, and since when what they say counts: since the wish, or since the run
    /// went on after a pause.
    wished: Option<(Vec<AgentId>, Timestamp)>,
}

impl Looks {
    /// The strategy is asked, and answers from what is known now.
    pub(crate) fn asked(&mut self, machine: &Machine) {
        self.asked = machine.records().map(AgentRecord::about).collect();
    }

    /// Checks, before the strategy is asked, that all agents of its wish have been asked.
    pub(crate) fn is_fresh(&self, machine: &Machine) {
        let Some((agents, at)) = &self.wished else { return };
        for id in agents {
            let record = Roster::record(machine, id).unwrap();
            if record.state == AgentState::Removed {
                // The agent is gone, and nothing is known of what answers at its address now.
                continue;
            }
            let seen_at = record.node_seen_at;
            assert!(seen_at > Some(*at), "{id} was wished for at {at} and asked at {seen_at:?}");
        }
    }

    /// Takes notice of a decision that was carried out.
    pub(crate) fn event(&mut self, event: &RunEvent) {
        if let Happened::Decision { roster, .. } | Happened::NoDecision { roster, .. } = event.what
        {
            self.seen.push((roster, self.asked.clone()));
        }
        if let Happened::Decision { refresh, .. } = &event.what {
            self.wished = Some((refresh.clone(), event.at));
        }
        if let Happened::Stage { .. } = &event.what {
            // All agents were asked when the stage began.
            self.wished = None;
        }
        if let Happened::Status { from: Some(RunStatus::Paused), to: RunStatus::Running, .. } =
            event.what
            && let Some((_, since)) = &mut self.wished
        {
            *since = event.at;
        }
    }

    /// Checks that what a strategy saw at any moment follows from the records and the events after that
    /// moment.
    pub(crate) fn check_the_past(
        &self,
        records: &BTreeMap<AgentSeq, AgentRecord>,
        events: &[RunEvent],
    ) {
        for (after, seen) in &self.seen {
            for (record, expected) in records.values().zip(seen) {
                let mut about = record.about();
                for event in events.iter().rev().filter(|event| event.seq > *after) {
                    if let Happened::AgentInfo { agent, was } = &event.what
                        && *agent == record.agent
                    {
                        about.take_back(was);
                    }
                }
                assert_eq!(about, *expected, "{} after {after} events", record.agent);
            }
        }
    }
}

/// Some agents of every state.
pub(crate) fn some_agents(roster: &dyn Roster) -> Vec<AgentId> {
    AgentState::ALL.into_iter().flat_map(|state| roster.page(state, None, 2)).collect()
}

/// The answers of agents; if `badly`, none of them answers.
pub(crate) fn answers(agents: Vec<AskAgain>, now: Timestamp, badly: bool) -> Input {
    let answer = |asked: AskAgain| {
        let seen_at = Some(now);
        let about = if badly {
            About {
                attributes: asked.attributes,
                node: Value::Null.into(),
                datastore: Default::default(),
                seen_at,
            }
        } else {
            let attributes = Map::from_iter([("looked".to_owned(), json!(now.as_millis()))]);
            let node = json!({"node_status": "HEALTHY", "looked": now.as_millis()});
            About {
                attributes: attributes.into(),
                node: node.into(),
                datastore: Default::default(),
                seen_at,
            }
        };
        Refreshed { agent: asked.seq, about, silence: None }
    };
    Input::Refreshed(agents.into_iter().map(answer).collect())
}

/// A world with three agents at a time: it has agents asked afresh with each decision.
fn wishing(agents: usize) -> World {
    World::new(Setup { batch: 3, ..Setup::plain(agents, 0) })
}

/// Goes on until agents are to be asked afresh.
fn until_asked_afresh(world: &mut World) {
    while asked(world).is_none() {
        world.choose(&Choice::PerformWell(0));
    }
}

fn asked(world: &World) -> Option<usize> {
    world.effects().find_map(|effect| match effect {
        Effect::Refresh(agents) => Some(agents.len()),
        _ => None,
    })
}

#[test]
fn a_strategy_is_asked_once_the_agents_that_it_wished_for_were() {
    let mut world = wishing(9);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert!(world.progress().stage.refresh.is_empty());
    let looked = world.records().filter(|record| record.node_status() == Some("HEALTHY"));
    assert!(looked.count() >= 4, "those that the last decisions wished for");
    let events = world.events().filter(|e| matches!(e.what, Happened::AgentInfo { .. })).count();
    assert!(events >= 9);
    world.check_the_end();
}

#[test]
fn a_paused_run_asks_again_when_it_goes_on() {
    let mut world = wishing(9);
    until_asked_afresh(&mut world);
    let wish = asked(&world).unwrap();
    world.choose(&Choice::Command(Verb::Pause));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Paused);
    assert_eq!(world.progress().stage.refresh.len(), wish, "the wish stands");
    world.choose(&Choice::Command(Verb::Resume));
    assert_eq!(asked(&world), Some(wish));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    world.check_the_end();
}

#[test]
fn what_agents_said_before_a_pause_is_old_when_the_run_goes_on() {
    // The agents have answered, but the strategy fails to give a decision.
    let mut world = wishing(9);
    until_asked_afresh(&mut world);
    let wish = asked(&world);
    let answers = some_answer(&world, &[], 10);
    world.give_refresh(answers);
    world.choose(&Choice::BadDecision(0));
    assert_eq!(world.progress().status, RunStatus::Paused);
    world.pass_minutes(60);
    world.choose(&Choice::Command(Verb::Resume));
    assert_eq!(asked(&world), wish);
    world.run_dry();
    world.check_the_end();

    // The run is paused and resumed while the agents are asked, so their answers may be from before.
    let mut world = wishing(9);
    until_asked_afresh(&mut world);
    world.choose(&Choice::Command(Verb::Pause));
    world.choose(&Choice::Command(Verb::Resume));
    let answers = some_answer(&world, &[], 10);
    world.give_refresh(answers);
    assert_eq!(asked(&world), wish, "they are asked once more");
    world.run_dry();
    world.check_the_end();
}

/// The answers of all agents that are asked, at this second. Those in `silent` do not answer.
fn some_answer(world: &World, silent: &[&str], second: i64) -> Input {
    let found = world.effects().find_map(|effect| match effect {
        Effect::Refresh(agents) => Some(agents.clone()),
        _ => None,
    });
    let asked = found.unwrap();
    let is_silent: Vec<_> = asked.iter().map(|a| silent.contains(&a.agent.as_str())).collect();
    let now = Timestamp::from_millis(second * 1_000);
    let Input::Refreshed(mut answers) = answers(asked, now, false) else { panic!() };
    for (answer, _) in answers.iter_mut().zip(is_silent).filter(|(_, is_silent)| *is_silent) {
        answer.about.node = Value::Null.into();
        answer.silence = Some((now, format!("no answer at {second}")));
    }
    Input::Refreshed(answers)
}

#[test]
fn who_gives_a_strategy_no_answer_is_named_since_when_until_it_does_or_nobody_asks() {
    let mut world = World::new(Setup::plain(6, 0));
    world.start();
    let wish = |world: &mut World, most: u32| {
        world.decide_to(|decision, machine| {
            decision.start.clear();
            decision.next = Next::WaitUntil(Timestamp::from_millis(0));
            decision.refresh = Roster::page(machine, AgentState::Pending, None, most);
        });
        let told = world.progress().stage.unheard.clone();
        world.wake();
        told
    };
    let told = |world: &World| {
        let unheard = &world.progress().stage.unheard;
        let named = unheard.some.iter().map(|agent| {
            (agent.agent.to_string(), agent.since.as_millis() / 1_000, agent.message.clone())
        });
        (unheard.agents, named.collect::<Vec<_>>())
    };
    let named =
        |agent: &str, since, at: i64| (agent.to_owned(), since, format!("no answer at {at}"));
    wish(&mut world, 6);
    let answers = some_answer(&world, &["node-3"], 10);
    world.answer_refresh(answers);
    assert_eq!(told(&world), (1, vec![named("node-3", 10, 10)]));
    assert_eq!(wish(&mut world, 6).agents, 1, "it is asked again");
    let all = ["node-0", "node-1", "node-2", "node-3", "node-4", "node-5"];
    let answers = some_answer(&world, &all, 20);
    world.answer_refresh(answers);
    let (agents, some) = told(&world);
    assert_eq!((agents, some.len(), &some[0]), (6, 4, &named("node-3", 10, 20)));
    assert!(some[1..].iter().all(|(_, since, _)| *since == 20), "{some:?}");
    wish(&mut world, 6);
    let answers = some_answer(&world, &["node-0"], 30);
    world.answer_refresh(answers);
    assert_eq!(told(&world), (1, vec![named("node-0", 20, 30)]));
    world.decide_to(|decision, _| {
        decision.start.clear();
        decision.next = Next::WaitUntil(Timestamp::from_millis(0));
    });
    assert_eq!(told(&world), (0, vec![]), "nobody asks it any more");
}

#[test]
fn a_machine_that_is_loaded_anew_asks_again() {
    let mut world = wishing(9);
    until_asked_afresh(&mut world);
    let wish = asked(&world);
    world.choose(&Choice::Crash);
    assert_eq!(asked(&world), wish);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn as_many_answers_as_there_may_be_are_taken_over_in_parts() {
    let mut world = World::new(Setup::plain(1_200, 0));
    world.start();
    let page = |machine: &Machine, most| Roster::page(machine, AgentState::Pending, None, most);
    let message = world.decide_to(|decision, machine| {
        decision.start.clear();
        decision.refresh = page(machine, 1_001);
    });
    assert!(message.contains("1001 agents asked afresh, at most 1000"), "{message}");

    world.choose(&Choice::Command(Verb::Resume));
    world.decide_to(|decision, machine| {
        decision.start.clear();
        decision.next = Next::WaitUntil(Timestamp::from_millis(0));
        decision.refresh = page(machine, 1_000);
    });
    world.wake();
    assert_eq!(asked(&world), Some(1_000));
    let commits = world.written.len();
    world.start();
    assert!(world.written.len() - commits >= 4, "a commit is bounded");
    let seen = world.records().filter(|record| record.node_status().is_some()).count();
    assert_eq!(seen, 1_000);
}

#[test]
fn what_is_known_anew_of_agents_with_large_journals_is_taken_over_in_parts() {
    let mut world = World::new(Setup { batch: 6, ..Setup::plain(6, 6) });
    world.work = Work::LargeAnswers;
    world.start();
    world.decide_to(|decision, _| decision.next = Next::WaitUntil(Timestamp::from_millis(0)));
    world.until_in_flight(6);
    // By then each journal has an answer of a megabyte, and a call in flight.
    world.perform_all();
    world.until_in_flight(6);
    world.wake();
    world.decide_to(|decision, machine| {
        decision.next = Next::WaitUntil(Timestamp::from_millis(0));
        decision.refresh = Roster::page(machine, AgentState::Running, None, 6);
    });
    world.wake();
    let commits = world.written.len();
    world.until_calls();
    assert!(world.written.len() - commits >= 3, "a commit is bounded");
    assert!(world.journals().all(|journal| journal.attributes.is_some()));
    world.run_dry();
    world.check_the_end();
}

#[test]
fn answers_that_nobody_asked_for_are_a_mistake_of_the_program() {
    let mut world = wishing(3);
    world.start();
    let message = world.refuse(Input::Refreshed(Vec::new()));
    assert!(message.contains("fresh information"), "{message}");
}

#[test]
fn a_strategy_that_asks_for_ever_waits_longer_and_longer() {
    let mut world = World::new(Setup::plain(2, 0));
    world.start();
    let mut waits = Vec::new();
    for _ in 0..50 {
        let (now, until) = world.wait_for_nothing();
        waits.push(until.since(now));
        world.wake();
        world.start();
    }
    assert!(waits[..41].iter().all(|wait| *wait == Millis(100)), "{waits:?}");
    let later = [200, 400, 800, 1_600, 3_200, 6_400, 6_400, 6_400, 6_400].map(Millis);
    assert_eq!(waits[41..], later);
}
