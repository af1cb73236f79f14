//! Approvals by certain people: whose counts, how many are needed, of what, and until when.

use std::collections::BTreeSet;

use proptest::prelude::*;
use replibook_core::playbook::{AfterDeadline, ApprovalDeadline, Approvers};
use replibook_core::run::{
    ApprovalChange, Approves, Digest, Effect, Happened, Input, Millis, Next, Question, ReasonCode,
    RunStatus, Timestamp, Verb,
};

use crate::parts::Setup;
use crate::roster::roster;
use crate::world::{Choice, World};

const STARTER: &str = "user:id/eve";

/// Somebody who approves, and the groups that are known of them.
type Person = (&'static str, &'static [&'static str]);

const ALICE: Person = ("user:id/alice", &["group:id/dba"]);
const BOB: Person = ("user:id/bob", &["group:id/dba"]);
const MAL: Person = ("user:id/mal", &[]);
const EVE: Person = (STARTER, &["group:id/dba"]);

/// Two of the group must approve, within two hours, and not who started the run.
fn two(then: AfterDeadline) -> Approvers {
    let deadline = Some(ApprovalDeadline { after: Millis::from_secs(7_200), then });
    Approvers { by: vec!["group:id/dba".to_owned()], count: 2, not_by_starter: true, deadline }
}

/// A run that waits before its start.
fn waiting(approvers: Approvers) -> World {
    let world = World::new(Setup { approval: true, approvers, ..Setup::plain(4, 0) });
    assert_eq!(world.progress().status, RunStatus::PendingApprove);
    world
}

/// A run whose strategy asks.
fn asking(approvers: Approvers) -> World {
    let mut world = World::new(Setup { approvers, ..Setup::plain(4, 0) });
    world.start();
    ask(&mut world);
    world
}

/// The strategy asks instead of starting anybody.
fn ask(world: &mut World) {
    world.decide_to(|decision, _| {
        decision.start.clear();
        decision.next = Next::Approval("all well?".to_owned());
    });
    assert_eq!(world.progress().status, RunStatus::Paused);
}

impl World {
    fn question(&self) -> Option<&Question> {
        self.progress().question.as_ref()
    }

    /// Somebody approves what has this sum. Returns why it was refused.
    fn approve(&mut self, (by, groups): Person, seen: Option<Digest>) -> Option<String> {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let approves = (!by.is_empty()).then_some(Approves { seen, groups });
        let command = self.command_of(Verb::Approve, Some(by).filter(|by| !by.is_empty()));
        let id = command.id;
        self.apply(Input::Command(replibook_core::run::Command { approves, ..command }));
        self.events().find_map(|event| match &event.what {
            Happened::Command { id: known, refused, .. } if *known == id => refused.clone(),
            _ => None,
        })
    }

    /// The same for what is asked now.
    fn approve_it(&mut self, who: Person) -> Option<String> {
        let seen = self.question().map(|question| question.seen.clone());
        self.approve(who, seen)
    }

    /// What became of questions, as the history has it: how many had approved, and what it was.
    fn approvals(&self) -> Vec<(u32, &'static str)> {
        let told = self.events().filter_map(|event| match &event.what {
            Happened::Approval { given, approval, .. } => Some((
                *given,
                match approval {
                    ApprovalChange::Counted { .. } => "counted",
                    ApprovalChange::Overdue { .. } => "overdue",
                    ApprovalChange::AskedAgain => "asked again",
                },
            )),
            _ => None,
        });
        told.collect()
    }

    /// Reads the history back.
    fn check_history(&self) {
        let mut roster = roster(self);
        self.events().for_each(|event| roster.apply(event).unwrap());
    }
}

/// The reason of a refusal, without the name and status of the run.
fn why(refused: Option<String>) -> String {
    refused.map(|text| text.split_once(": ").unwrap().1.to_owned()).unwrap_or_default()
}

#[test]
fn only_who_is_wanted_approves_and_enough_of_them_let_it_go() {
    type Begin = fn(Approvers) -> World;
    let begins: [(Begin, RunStatus); 2] =
        [(waiting, RunStatus::Pending), (asking, RunStatus::Running)];
    for (begin, goes) in begins {
        let mut world = begin(two(AfterDeadline::Cancel));
        let waits = world.progress().status;
        let wants = "that of group:id/dba is wanted";
        let not = |by: &str| format!("the approval of {by} does not count: {wants}");
        let nobody = format!("nobody knows whose approval it is, and {wants}");
        let starter = format!("{STARTER} has started the run: somebody else has to approve it");
        for (who, expected) in [(MAL, not("user:id/mal")), (EVE, starter)] {
            assert_eq!(why(world.approve_it(who)), expected);
        }
        let asked = world.question().unwrap().seen.clone();
        let unseen = format!("it does not say what was seen: {asked} is asked");
        assert_eq!(why(world.approve(("", &[]), None)), unseen);
        let command = world.command_of(Verb::Approve, None);
        let approves = Some(Approves { seen: Some(asked.clone()), groups: Vec::new() });
        world.apply(Input::Command(replibook_core::run::Command { approves, ..command }));
        assert_eq!(why(world.refusals().pop()), nobody);
        let other = Digest::of(b"something else");
        let outdated = format!("it approves {other}, and {asked} is asked: look at it again");
        assert_eq!(why(world.approve(ALICE, Some(other))), outdated);

        assert_eq!(world.approve_it(ALICE), None);
        assert_eq!(world.progress().status, waits, "one of two");
        world.crash_now();
        let twice = "user:id/alice has approved it already: somebody else has to approve it too";
        assert_eq!(why(world.approve_it(ALICE)), twice);
        assert_eq!(world.approve_it(BOB), None);
        assert_eq!((world.progress().status, world.question()), (goes, None));
        assert_eq!(world.approvals(), [(1, "counted"), (2, "counted")]);
        let by = world.events().filter(|event| matches!(event.what, Happened::Approval { .. }));
        let by: Vec<_> = by.map(|event| event.actor.clone().unwrap()).collect();
        assert_eq!(by, [ALICE.0, BOB.0]);
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done);
        world.check_history();
    }
}

#[test]
fn what_is_asked_before_the_start_is_the_snapshot_as_people_see_it() {
    let world = waiting(Approvers::default());
    let shown = serde_json::to_value(&*world.snapshot()).unwrap();
    let text = replibook_core::run::canonical(&shown);
    assert_eq!(world.question().unwrap().seen, Digest::of(text.as_bytes()));
}

#[test]
fn anybody_approves_a_playbook_that_says_no_more_and_may_say_what_was_seen() {
    let mut world = waiting(Approvers::default());
    assert!(world.approve(MAL, Some(Digest::of(b"old"))).is_some());
    assert_eq!(world.approve(MAL, None), None);
    assert_eq!((world.progress().status, world.approvals()), (RunStatus::Pending, vec![]));
    let mut world = asking(Approvers::default());
    assert_eq!(world.approve_it(MAL), None);
    assert_eq!(world.progress().status, RunStatus::Running);
}

#[test]
fn an_approval_of_an_old_question_counts_for_no_other() {
    let mut world = asking(two(AfterDeadline::Pause));
    let old = world.question().unwrap().clone();
    for who in [ALICE, BOB] {
        assert_eq!(world.approve_it(who), None);
    }
    world.start();
    ask(&mut world);
    let new = world.question().unwrap().clone();
    assert!(new.number > old.number && new.seen != old.seen && new.given.is_empty(), "{new:?}");
    let refused = why(world.approve(ALICE, Some(old.seen.clone())));
    assert_eq!(
        refused,
        format!("it approves {}, and {} is asked: look at it again", old.seen, new.seen)
    );
    assert_eq!(world.question(), Some(&new));
}

#[test]
fn other_commands_approve_nothing_and_one_person_rejects() {
    let mut world = waiting(two(AfterDeadline::Cancel));
    let approves = Some(Approves::default());
    let command = world.command_of(Verb::Cancel, Some("ann"));
    world.apply(Input::Command(replibook_core::run::Command { approves, ..command }));
    assert_eq!(why(world.refusals().pop()), "cancel approves nothing");
    assert_eq!(world.approve_it(ALICE), None);
    world.choose(&Choice::Command(Verb::Resume));
    assert_eq!(world.progress().status, RunStatus::PendingApprove);
    world.choose(&Choice::Command(Verb::Reject));
    assert_eq!((world.progress().status, world.question()), (RunStatus::Finishing, None));
}

#[test]
fn a_run_that_is_not_approved_in_time_is_cancelled() {
    for crashes in [false, true] {
        for begin in [waiting, asking] {
            let mut world = begin(two(AfterDeadline::Cancel));
            assert_eq!(world.approve_it(ALICE), None);
            if crashes {
                world.crash_now();
            }
            world.wake();
            assert_eq!(world.approvals(), [(1, "counted"), (1, "overdue")]);
            world.run_dry();
            let progress = world.progress();
            assert_eq!(progress.status, RunStatus::Cancelled);
            let reason = progress.reason.clone().unwrap();
            let expected =
                "it was not approved by 1970-01-01T02:00:00Z: 1 of 2 approvals, by user:id/alice";
            assert_eq!(
                (reason.code, reason.message.as_str()),
                (ReasonCode::ApprovalOverdue, expected)
            );
            let last = world.events().last().unwrap();
            assert_eq!(last.actor, None, "nobody asked for it");
            world.check_history();
        }
    }
}

#[test]
fn a_run_that_is_not_approved_in_time_may_wait_and_asks_again() {
    for (begin, waits, goes) in [
        (waiting as fn(Approvers) -> World, RunStatus::PendingApprove, RunStatus::Pending),
        (asking as fn(Approvers) -> World, RunStatus::Paused, RunStatus::Running),
    ] {
        let mut world = begin(two(AfterDeadline::Pause));
        let old = world.question().unwrap().clone();
        assert_eq!(world.approve_it(ALICE), None);
        world.pass_minutes(120);
        // The engine was away, so the approval comes with the end of the time.
        let late = "it was not approved in time: resume it, and it asks again";
        assert_eq!(why(world.approve(BOB, Some(old.seen.clone()))), late);
        assert_eq!(world.approvals(), [(1, "counted"), (1, "overdue")]);
        let code = |world: &World| world.progress().reason.as_ref().map(|reason| reason.code);
        assert_eq!(
            (world.progress().status, code(&world)),
            (waits, Some(ReasonCode::ApprovalOverdue))
        );
        assert!(world.question().unwrap().overdue);
        world.crash_now();
        assert_eq!(why(world.approve(BOB, Some(old.seen.clone()))), late);
        world.choose(&Choice::Command(Verb::Resume));
        assert_eq!(world.approvals().pop(), Some((0, "asked again")));
        let asks = world.effects().any(|effect| matches!(effect, Effect::Plan { .. }));
        assert!(!asks, "a strategy that is asked again would go on");
        assert_ne!(code(&world), Some(ReasonCode::ApprovalOverdue));
        assert_eq!(world.question().unwrap().message, old.message);
        let new = world.question().unwrap().clone();
        assert!(new.number > old.number && new.given.is_empty() && new.until > old.until);
        for who in [BOB, ALICE] {
            assert_eq!(world.approve_it(who), None);
        }
        assert_eq!(world.progress().status, goes);
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Done);
        world.check_history();
    }
}

#[test]
fn a_wait_with_a_deadline_ends_with_it_and_others_rest_for_ever() {
    let none = Approvers { deadline: None, ..two(AfterDeadline::Pause) };
    for begin in [waiting, asking] {
        let world = begin(two(AfterDeadline::Pause));
        let until = world.question().unwrap().until;
        assert_eq!(world.rests_until(), until);
        assert_eq!(begin(none.clone()).rests_until(), Some(Timestamp::MAX));
    }
}

/// What somebody does in a random history.
#[derive(Clone, Debug)]
enum Act {
    /// This person approves what is asked, or what was asked first.
    Approve(usize, bool),
    Crash,
    /// So many minutes pass.
    Pass(i64),
    Reject,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0_usize..4, any::<bool>()).prop_map(|(who, old)| Act::Approve(who, old)),
        2 => Just(Act::Crash),
        2 => (1_i64..60).prop_map(Act::Pass),
        1 => Just(Act::Reject),
    ];
    prop::collection::vec(act, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The run goes on if, and only if, enough of those who are wanted have approved what it asks, in time.
    #[test]
    fn only_enough_approvals_of_the_question_open_it(acts in acts(), asks in any::<bool>(), anybody in any::<bool>()) {
        let by = if anybody { Vec::new() } else { two(AfterDeadline::Cancel).by };
        let approvers = Approvers { by, ..two(AfterDeadline::Cancel) };
        let mut world = if asks { asking(approvers) } else { waiting(approvers) };
        let waits = world.progress().status;
        let until = world.question().unwrap().until.unwrap();
        let mut given = BTreeSet::new();
        for act in acts {
            match act {
                Act::Approve(who, old) => {
                    let who = [ALICE, BOB, MAL, EVE][who];
                    let seen = world.question().map(|question| question.seen.clone());
                    let seen = if old { Some(Digest::of(b"before")) } else { seen };
                    let late = world.time() >= until;
                    let wanted = who != EVE && (anybody || who != MAL);
                    let counts = !late && !old && wanted && given.insert(who.0);
                    prop_assert_eq!(world.approve(who, seen).is_none(), counts);
                }
                Act::Crash => world.crash_now(),
                Act::Pass(minutes) => world.pass_minutes(minutes),
                Act::Reject => {
                    world.choose(&Choice::Command(Verb::Reject));
                    break;
                }
            }
            let still = world.progress().status == waits;
            prop_assert_eq!(given.len() < 2, still || world.time() >= until);
            if !still {
                break;
            }
        }
        world.check_history();
    }
}
