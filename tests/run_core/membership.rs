//! Agents that join, leave, move and return while a stage goes on.

use replibook_core::playbook::{Membership, OnAdded, OnRemoved};
use replibook_core::run::{
    AgentId, AgentRecord, AgentState, Effect, FailureReason, Happened, Input, MassAbsence,
    MembershipChange, Next, ReasonCode, RunStatus, Verb,
};

use crate::parts::{Setup, Work, member};
use crate::world::{Choice, World};

impl World {
    /// Makes one change of the members. `kind` decides which agent changes, and how.
    pub(crate) fn change_members(&mut self, kind: u16) {
        let agent = format!("node-{}", kind / 8 % 12);
        let absent = MassAbsence { absent: 3, known: 9 };
        let mut change = MembershipChange::default();
        match kind % 8 {
            0..=2 => change.joined.push(member(&agent)),
            3..=5 => change.left.push(AgentId(agent)),
            6 => change.moved.push((AgentId(agent), format!("http://127.0.0.1:{kind}"))),
            _ => change.mass_absence = Some(absent),
        }
        self.apply(Input::Membership(change));
    }

    /// The calls to agents that are in flight: the address, and whether the call may have been sent before.
    fn addresses(&self) -> Vec<(String, bool)> {
        let calls = self.effects().filter_map(|effect| match effect {
            Effect::Perform(perform) => Some((perform.address.clone(), perform.again)),
            _ => None,
        });
        calls.collect()
    }

    fn joins(&mut self, agent: &str) {
        let joined = vec![member(agent)];
        self.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
    }

    fn leaves(&mut self, agent: &str) {
        let left = vec![AgentId::from(agent)];
        self.apply(Input::Membership(MembershipChange { left, ..MembershipChange::default() }));
    }

    fn of(&self, agent: &str) -> &AgentRecord {
        self.records().find(|record| record.agent.as_str() == agent).unwrap()
    }

    fn states_of(&self, agent: &str) -> Vec<AgentState> {
        let states = self.events().filter_map(|event| match &event.what {
            Happened::Agent { agent: of, to, .. } if of.as_str() == agent => Some(*to),
            _ => None,
        });
        states.collect()
    }
}

pub(crate) fn policy(added: OnAdded, removed: OnRemoved) -> Setup {
    Setup { membership: Membership { added, removed }, ..Setup::plain(3, 0) }
}

pub(crate) const IGNORED: OnRemoved = OnRemoved::Ignore;

/// A run in which two of three agents are at work.
pub(crate) fn at_work(setup: Setup) -> World {
    let mut world = World::new(setup);
    world.until_in_flight(2);
    world
}

#[test]
fn an_agent_that_joins_is_added_and_then_takes_part() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    world.joins("node-9");
    assert_eq!(world.of("node-9").state, AgentState::Added);
    assert_eq!(world.progress().stage.selected, 3, "percentages stay those of the start");
    world.run_dry();
    use AgentState::{Added, Done, Pending, Running};
    assert_eq!(world.states_of("node-9"), [Added, Pending, Running, Done]);
    assert!(world.of("node-9").joined_at.is_some());
    assert_eq!((world.progress().status, world.progress().count(Done)), (RunStatus::Done, 4));
}

#[test]
fn an_agent_that_joins_in_the_last_batch_takes_part_too() {
    let mut world = at_work(Setup { agents: 2, ..policy(OnAdded::Include, IGNORED) });
    world.joins("node-9");
    world.crash_now();
    world.run_dry();
    assert_eq!(world.progress().count(AgentState::Done), 3);
}

#[test]
fn an_agent_that_joins_is_left_out_or_ends_the_run_where_the_stage_says_so() {
    let mut world = at_work(policy(OnAdded::Skip, IGNORED));
    world.joins("node-9");
    world.run_dry();
    assert_eq!(world.of("node-9").state, AgentState::Skipped);
    assert_eq!(world.progress().status, RunStatus::Done);
    let mut world = at_work(policy(OnAdded::Abort, IGNORED));
    world.joins("node-9");
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
    let reason = world.progress().reason.clone().unwrap();
    assert_eq!(reason.code, ReasonCode::MembershipChanged);
    assert!(reason.message.starts_with("agent node-9 joined"), "{}", reason.message);
    assert_eq!(world.progress().count(AgentState::Pending), 1, "nobody else was started");
}

#[test]
fn an_agent_at_work_is_removed_once_its_call_has_ended() {
    let mut world = at_work(Setup { steps: 2, ..policy(OnAdded::Include, IGNORED) });
    world.leaves("node-0");
    assert_eq!(world.of("node-0").state, AgentState::Running);
    world.run_dry();
    assert_eq!(world.of("node-0").state, AgentState::Removed);
    assert_eq!(world.of("node-0").attempts, [1, 0], "nothing further was asked of it");
    assert!(world.of("node-0").left_at.is_some());
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn an_agent_at_work_is_removed_once_its_action_is_given_up() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    world.leaves("node-0");
    world.command(Verb::GiveUp, Some("node-0"));
    world.until_calls();
    assert_eq!(world.of("node-0").state, AgentState::Removed);
}

#[test]
fn what_is_no_action_is_given_up_when_its_agent_leaves() {
    let mut world = World::new(policy(OnAdded::Include, IGNORED));
    world.work = Work::Sleep;
    world.until_in_flight(2);
    world.leaves("node-0");
    assert_eq!(world.of("node-0").state, AgentState::Removed);
}

#[test]
fn an_agent_that_leaves_counts_as_failed_or_ends_the_run_where_the_stage_says_so() {
    let mut world = at_work(policy(OnAdded::Include, OnRemoved::Fail));
    world.leaves("node-2");
    assert_eq!(world.progress().status, RunStatus::Paused);
    assert_eq!(world.progress().reason.clone().unwrap().code, ReasonCode::BudgetExceeded);
    let failure = world.of("node-2").error.clone().unwrap();
    assert_eq!(failure.reason, FailureReason::LeftCluster);
    let mut world = at_work(policy(OnAdded::Include, OnRemoved::Abort));
    world.leaves("node-2");
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
    assert_eq!(world.progress().reason.clone().unwrap().code, ReasonCode::MembershipChanged);
}

#[test]
fn an_agent_that_fails_as_it_leaves_ends_the_run_where_the_stage_says_so() {
    let work = |removed| {
        let setup = Setup { max_failed: 1, batch: 1, ..policy(OnAdded::Include, removed) };
        let mut world = World::new(Setup { timeout: Some(5), ..setup });
        world.until_in_flight(1);
        world.leaves("node-0");
        world
    };
    for (removed, status) in
        [(OnRemoved::Abort, RunStatus::Failed), (OnRemoved::Fail, RunStatus::Done)]
    {
        let mut failed = work(removed);
        failed.fail_next(1);
        let mut timed_out = work(removed);
        timed_out.wake();
        assert_eq!(timed_out.progress().failures, 1);
        for mut world in [failed, timed_out] {
            world.run_dry();
            assert_eq!(world.of("node-0").state, AgentState::Removed);
            assert_eq!(world.progress().status, status, "{removed:?}");
        }
    }
}

#[test]
fn a_run_that_members_end_ends_also_when_a_budget_did_and_its_agents_are_tried_again() {
    for budget_first in [true, false] {
        let setup = Setup { abort: true, ..policy(OnAdded::Abort, IGNORED) };
        let mut world = at_work(setup);
        world.until_calls();
        world.choose(&Choice::Command(Verb::Pause));
        if budget_first {
            world.fail_next(2);
            world.perform_all();
            world.until_calls();
            world.joins("node-9");
        } else {
            world.joins("node-9");
            world.fail_next(2);
            world.perform_all();
            world.until_calls();
        }
        assert_eq!(world.progress().count(AgentState::Failed), 2);
        world.choose(&Choice::Command(Verb::Retry));
        world.choose(&Choice::Command(Verb::Resume));
        world.run_dry();
        assert_eq!(world.progress().status, RunStatus::Failed);
        let code = world.progress().reason.clone().unwrap().code;
        assert_eq!(code, ReasonCode::MembershipChanged);
    }
}

#[test]
fn an_agent_that_was_done_may_leave_whatever_the_stage_says() {
    for removed in [OnRemoved::Ignore, OnRemoved::Fail, OnRemoved::Abort] {
        let mut world = World::new(Setup { batch: 1, ..policy(OnAdded::Include, removed) });
        while world.progress().count(AgentState::Done) == 0 {
            world.choose(&Choice::PerformWell(0));
        }
        world.leaves("node-0");
        world.run_dry();
        assert_eq!(world.of("node-0").state, AgentState::Removed);
        assert_eq!(world.progress().status, RunStatus::Done, "{removed:?}");
    }
}

#[test]
fn an_agent_that_returns_is_added_again_and_nothing_is_done_to_it_twice() {
    let mut world = World::new(Setup { batch: 1, ..policy(OnAdded::Include, IGNORED) });
    while world.progress().count(AgentState::Done) == 0 {
        world.choose(&Choice::PerformWell(0));
    }
    world.leaves("node-0");
    world.leaves("node-2");
    world.joins("node-2");
    world.joins("node-0");
    assert_eq!(world.of("node-0").skip_reason.as_deref(), Some("was done before it left"));
    world.run_dry();
    use AgentState::{Added, Done, Pending, Removed, Running, Skipped};
    assert_eq!(world.states_of("node-0"), [Pending, Running, Done, Removed, Added, Skipped]);
    assert_eq!(world.states_of("node-2"), [Pending, Removed, Added, Pending, Running, Done]);
    let record = world.of("node-2");
    assert!(record.left_at.is_some() && record.joined_at.is_some(), "both stay");
}

#[test]
fn what_was_wrong_with_an_agent_that_left_is_forgotten_once_it_returns() {
    let setup = Setup { max_failed: 3, ..policy(OnAdded::Include, OnRemoved::Fail) };
    let mut world = at_work(setup);
    world.leaves("node-2");
    assert!(world.of("node-2").error.is_some());
    world.joins("node-2");
    world.run_dry();
    assert_eq!(world.of("node-2").error, None);
    // Checks that the strategy saw the agent as it was at the time.
    crate::roster::check(&world);
}

#[test]
fn an_agent_that_comes_back_before_it_was_gone_goes_on() {
    let mut world = at_work(Setup { steps: 2, ..policy(OnAdded::Include, IGNORED) });
    world.leaves("node-0");
    world.joins("node-0");
    world.run_dry();
    assert_eq!(world.of("node-0").state, AgentState::Done);
}

#[test]
fn nothing_is_sent_to_an_agent_that_leaves_also_after_a_crash() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    world.leaves("node-0");
    world.leaves("node-1");
    world.crash_now();
    world.until_calls();
    let only_looks = world.effects().filter_map(|effect| match effect {
        Effect::Perform(perform) => Some(perform.look_only),
        _ => None,
    });
    assert_eq!(only_looks.collect::<Vec<_>>(), [true, true]);
}

#[test]
fn the_action_of_an_agent_that_comes_back_in_time_may_be_sent_again() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    world.leaves("node-0");
    world.joins("node-0");
    world.until_calls();
    let of_first = world.effects().filter_map(|effect| match effect {
        Effect::Perform(perform) if perform.agent.as_str() == "node-0" => Some(perform),
        _ => None,
    });
    let last = of_first.last().unwrap();
    assert_eq!((last.again, last.look_only), (true, false));
}

#[test]
fn an_agent_that_moves_is_asked_at_its_new_address_and_nothing_is_sent_twice() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    let to = "http://127.0.0.1:2".to_owned();
    let moved = vec![(AgentId::from("node-0"), to.clone())];
    world.apply(Input::Membership(MembershipChange { moved, ..MembershipChange::default() }));
    world.until_calls();
    assert_eq!(world.addresses(), [("http://127.0.0.1:1".to_owned(), false), (to, true)]);
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn what_changes_while_a_stage_is_entered_counts_once_it_is() {
    let setup = Setup { stages: 2, ..policy(OnAdded::Include, IGNORED) };
    let mut world = World::new(setup);
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.joins("node-8");
    world.joins("node-9");
    world.leaves("node-9");
    world.leaves("node-1");
    world.run_dry();
    assert_eq!(world.of("node-1").state, AgentState::Removed);
    assert_eq!(world.of("node-8").state, AgentState::Done);
    assert!(world.records().all(|record| record.agent.as_str() != "node-9"));
    assert_eq!(world.progress().status, RunStatus::Done);
}

#[test]
fn a_thousand_that_join_are_taken_in_chunks() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    world.choose(&Choice::Command(Verb::Pause));
    for part in 0..4 {
        let joined = (0..300).map(|n| member(&format!("new-{part}-{n}"))).collect();
        world.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
    }
    world.until_calls();
    assert_eq!(world.progress().count(AgentState::Added), 1_200);
    world.crash_now();
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.progress().count(AgentState::Done), 1_203);
}

#[test]
fn a_strategy_that_ends_the_run_ends_it_also_when_somebody_has_just_joined() {
    let mut world = World::new(Setup { batch: 1, ..policy(OnAdded::Include, IGNORED) });
    world.start();
    world.joins("node-9");
    world.decide_to(|decision, _| {
        decision.start.clear();
        decision.next = Next::Abort("ill".to_owned());
    });
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Failed);
}

#[test]
fn a_strategy_that_leaves_the_last_one_out_and_waits_for_nothing_is_refused() {
    let mut world = World::new(policy(OnAdded::Include, IGNORED));
    world.start();
    world.joins("node-9");
    let said = world.decide_to(|decision, _| {
        decision.start.clear();
        decision.skip = vec![(AgentId::from("node-9"), "late".to_owned())];
        decision.next = Next::Wait;
    });
    assert!(said.contains("waits though nothing is in flight"), "{said}");
}

#[test]
fn hundreds_that_left_and_return_are_taken_in_parts() {
    let mut world =
        World::new(Setup { batch: 250, agents: 300, ..policy(OnAdded::Include, IGNORED) });
    while world.progress().count(AgentState::Done) < 260 {
        world.choose(&Choice::PerformWell(0));
    }
    world.choose(&Choice::Command(Verb::Pause));
    let ids = || (0..300).map(|n| format!("node-{n}"));
    let left = ids().map(AgentId).collect();
    world.apply(Input::Membership(MembershipChange { left, ..MembershipChange::default() }));
    world.run_dry();
    let joined = ids().map(|id| member(&id)).collect();
    world.apply(Input::Membership(MembershipChange { joined, ..MembershipChange::default() }));
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.progress().status, RunStatus::Done);
    assert_eq!(world.progress().count(AgentState::Removed), 0);
}

#[test]
fn nothing_is_sent_to_a_returned_agent_whose_action_could_not_be_followed() {
    let mut world = at_work(policy(OnAdded::Include, IGNORED));
    world.leaves("node-0");
    assert!(world.calls().contains(&true), "nothing of it may be sent any more");
    world.unreachable = true;
    world.perform_all();
    world.until_calls();
    world.unreachable = false;
    assert_eq!(world.of("node-0").state, AgentState::Removed);
    assert!(world.of("node-0").outstanding.is_some());
    world.joins("node-0");
    world.run_dry();
    assert_eq!(world.of("node-0").skip_reason.as_deref(), Some("failed in stage stage-0"));
    assert_eq!(world.of("node-0").attempts, [1], "nothing more was sent to it");
}

#[test]
fn an_agent_that_left_on_hold_begins_its_step_anew_once_its_action_has_ended() {
    let mut world = at_work(policy(OnAdded::Include, OnRemoved::Fail));
    world.until_calls();
    world.choose(&Choice::Command(Verb::PauseNow));
    world.unreachable = true;
    world.perform_all();
    world.unreachable = false;
    world.leaves("node-0");
    assert_eq!(world.of("node-0").removed_from, Some(AgentState::Running));
    assert!(world.of("node-0").outstanding.is_some());
    world.joins("node-0");
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    // The other agent failed: its step was told that the agent could not be reached.
    world.choose(&Choice::Command(Verb::Resume));
    world.run_dry();
    assert_eq!(world.of("node-0").state, AgentState::Done);
    assert_eq!(world.of("node-0").attempts, [2]);
}

#[test]
fn an_agent_that_failed_and_left_takes_no_part_in_later_stages() {
    let setup = Setup { stages: 2, max_failed: 1, batch: 1, ..policy(OnAdded::Include, IGNORED) };
    let mut world = World::new(setup);
    world.fail_next(1);
    while world.progress().count(AgentState::Failed) == 0 {
        world.choose(&Choice::PerformWell(0));
    }
    // The same if the agent leaves twice.
    for _ in 0..2 {
        world.leaves("node-0");
        world.joins("node-0");
        assert_eq!(world.of("node-0").state, AgentState::Skipped);
    }
    world.leaves("node-0");
    world.run_dry();
    assert_eq!(world.progress().stage.index, 1);
    assert_eq!(world.of("node-0").skip_reason.as_deref(), Some("failed in stage stage-0"));
}

#[test]
fn an_agent_that_was_done_before_it_left_takes_part_in_the_next_stage() {
    let setup = Setup { stages: 2, batch: 1, ..policy(OnAdded::Include, IGNORED) };
    let mut world = World::new(setup);
    while world.progress().count(AgentState::Done) == 0 {
        world.choose(&Choice::PerformWell(0));
    }
    world.leaves("node-0");
    world.members = 0;
    while !world.progress().stage.entering {
        world.perform_all();
    }
    world.members = 3;
    world.run_dry();
    assert_eq!(world.of("node-0").state, AgentState::Done);
}
