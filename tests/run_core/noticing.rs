//! What is noticed about calls in flight: it is kept while they are in flight, and changes nothing else.

use std::collections::BTreeSet;

use replibook_core::run::{
    AgentId, AgentRecord, AgentState, AttemptKey, Effect, Happened, Input, Notice, RunStatus,
    SentAction, StepPhase, Timestamp, Verb,
};

use super::parts::Setup;
use super::world::{Choice, World};

/// A call that waits for its answer; with none it is the precondition of the attempt.
type Waiting = (AttemptKey, Option<u32>);

impl World {
    fn waiting(&self) -> Vec<Waiting> {
        let of = |effect: &Effect| match effect {
            Effect::Perform(perform) => Some((perform.key, Some(perform.call))),
            Effect::Check { key, .. } => Some((*key, None)),
            _ => None,
        };
        self.effects().filter_map(of).collect()
    }

    fn notice(&mut self, (key, call): Waiting, notice: Option<Notice>) {
        self.apply(Input::Noticed { key, call, notice });
    }

    /// Notices something about some call, which may be one that is no longer in flight.
    fn notice_something(&mut self, nth: usize) {
        let waiting = self.waiting();
        let Some((key, call)) = waiting.get(nth % waiting.len().max(1)).copied() else { return };
        let call = if nth % 7 == 6 { call.map(|call| call + 1) } else { call };
        self.notice((key, call), some_notice(nth));
    }

    /// Everything that is kept, without what was noticed.
    fn without_notices(&self) -> String {
        let mut progress = self.progress().clone();
        progress.silent = Default::default();
        // How often a waiting strategy repeats itself is written with something else, and a crash loses it until then.
        progress.stage.idle = 0;
        let plain = |record: &AgentRecord| AgentRecord { notice: None, ..record.clone() };
        let records: Vec<_> = self.records().map(plain).collect();
        let journals: Vec<_> = self.journals().collect();
        let events: Vec<_> = self.events().collect();
        format!("{progress:?}\n{records:?}\n{journals:?}\n{events:?}")
    }

    /// Checks that a notice is kept only while its call is in flight, and that it is counted.
    pub(crate) fn check_notices(&self) {
        let progress = self.progress();
        let over = progress.status.is_settled();
        let noticed = self.records().filter(|record| record.notice.is_some());
        for record in noticed.filter(|_| !over) {
            let tries = record.state == AgentState::Running && record.phase == StepPhase::Trying;
            assert!(tries || record.outstanding.is_some(), "{record:?}");
        }
        let is_silent =
            |record: &&AgentRecord| !over && record.notice.as_ref().is_some_and(Notice::is_silence);
        let silent: Vec<&AgentId> = self.records().filter(is_silent).map(|r| &r.agent).collect();
        assert_eq!(progress.silent.agents as usize, silent.len());
        let named: Vec<_> = progress.silent.some.iter().collect();
        assert_eq!(named, silent[..silent.len().min(4)]);
    }
}

fn some_notice(nth: usize) -> Option<Notice> {
    let since = Timestamp::from_millis(nth as i64);
    match nth % 4 {
        0 | 1 => {
            let message = format!("connection refused {nth}");
            Some(Notice::NoAnswer { since, message, errors: nth.is_multiple_of(3) })
        }
        2 => Some(Notice::Queued { since, before: 2, behind: Some("demo/x".to_owned()) }),
        _ => None,
    }
}

/// Plays the same choices twice, with notices now and then and without any. Returns what is kept of each
/// otherwise, which must be the same.
pub(crate) fn changes_nothing(setup: &Setup, choices: &[Choice]) -> (String, String) {
    let kept = |notices: bool| {
        let mut world = World::new(setup.clone());
        for (nth, choice) in choices.iter().enumerate() {
            if notices {
                world.notice_something(nth);
                world.check_notices();
            }
            world.choose(choice);
            world.check_notices();
        }
        world.run_dry();
        world.check_notices();
        world.without_notices()
    };
    (kept(true), kept(false))
}

/// A run with one agent whose action is in flight, and that call.
fn one(setup: Setup) -> (World, Waiting) {
    let mut world = World::new(setup);
    world.start();
    world.until_in_flight(1);
    let waiting = world.waiting()[0];
    (world, waiting)
}

fn record(world: &World) -> &AgentRecord {
    world.records().next().unwrap()
}

#[test]
fn what_is_noticed_is_kept_until_the_call_is_answered_also_over_a_crash() {
    let (mut world, call) = one(Setup::plain(1, 0));
    world.notice(call, some_notice(0));
    assert_eq!(record(&world).notice, some_notice(0));
    assert_eq!(world.progress().silent.some, [AgentId::from("node-0")]);
    world.crash_now();
    world.until_calls();
    let told = world.effects().find_map(|effect| match effect {
        Effect::Perform(perform) => Some(perform.noticed.clone()),
        _ => None,
    });
    assert_eq!(told, Some(some_notice(0)), "whoever follows it next knows what was told");
    let events = world.events().count();
    world.notice(call, None);
    assert_eq!((record(&world).notice.clone(), world.progress().silent.agents), (None, 0));
    world.notice(call, some_notice(2));
    assert_eq!(world.events().count(), events, "the history is silent about it");
    world.run_dry();
    assert_eq!(record(&world).notice, None);
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn the_same_twice_and_what_comes_too_late_write_nothing() {
    let (mut world, call) = one(Setup::plain(1, 0));
    world.notice(call, some_notice(0));
    let written = world.written.len();
    let is_empty = |text: &String| text.contains("progress: None");
    world.notice(call, some_notice(0));
    world.notice((call.0, Some(7)), some_notice(1));
    world.notice((AttemptKey { attempt: 9, ..call.0 }, call.1), some_notice(1));
    world.notice((call.0, None), some_notice(1));
    assert!(world.written[written..].iter().all(is_empty));
    world.run_dry();
    let written = world.written.len();
    world.notice(call, some_notice(1));
    assert!(world.written[written..].iter().all(is_empty), "the run has ended");
}

#[test]
fn what_was_noticed_goes_with_an_attempt_that_is_given_up_and_stays_with_an_action_that_is_not() {
    for (minutes, stays) in [(Some(5), true), (None, false)] {
        let (mut world, call) = one(Setup { timeout: minutes, ..Setup::plain(1, 0) });
        world.notice(call, some_notice(0));
        if stays {
            world.pass_minutes(6);
            world.wake();
        } else {
            world.command(Verb::GiveUp, Some("node-0"));
        }
        assert_eq!(record(&world).notice.is_some(), stays);
        world.check_notices();
    }
}

#[test]
fn thousands_of_silent_agents_are_counted_and_a_few_are_named() {
    let mut world = World::new(Setup { batch: 250, ..Setup::plain(250, 0) });
    world.start();
    world.until_in_flight(250);
    for call in world.waiting() {
        world.notice(call, some_notice(0));
    }
    assert_eq!((world.progress().silent.agents, world.progress().silent.some.len()), (250, 4));
    world.check_notices();
    world.run_dry();
    assert!(world.progress().silent.is_nobody());
}

#[test]
fn records_and_events_say_by_what_the_agent_knows_an_action() {
    let (mut world, (key, call)) = one(Setup { attempts: 2, ..Setup::plain(1, 0) });
    let agent = record(&world).agent.clone();
    let id = |key| SentAction::of(record(&world).run, &agent, key, call.unwrap());
    let (first, second) = (id(key), id(AttemptKey { attempt: 2, ..key }));
    assert_eq!(record(&world).action, Some(first));
    world.retryable = true;
    world.fail_next(1);
    world.run_dry();
    let ended = world.events().filter_map(|event| match &event.what {
        Happened::StepEnded { action_id, .. } => *action_id,
        _ => None,
    });
    let ended: BTreeSet<_> = ended.collect();
    assert_eq!(ended, [first.action_id, second.action_id].into());
    assert_eq!(record(&world).last_action(), Some(second));
    let actions: Vec<_> = world.journals().flat_map(|journal| journal.actions()).collect();
    assert_eq!(actions, [first, second]);
}

#[test]
fn an_action_that_ends_late_is_told_by_what_the_agent_knows_it_by() {
    let (mut world, (key, call)) = one(Setup { timeout: Some(5), ..Setup::plain(1, 0) });
    let sent = SentAction::of(record(&world).run, &record(&world).agent, key, call.unwrap());
    world.pass_minutes(6);
    world.wake();
    assert_eq!(record(&world).last_action(), Some(sent));
    world.run_dry();
    let late = world.events().find_map(|event| match &event.what {
        Happened::LateAction { action_id, .. } => *action_id,
        _ => None,
    });
    assert_eq!(late, Some(sent.action_id));
}
