//! What is told of calls that do not go on as they should, and of actions that may still be running.

use super::samples::*;
use super::*;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, CallName, Notice, Outstanding, Run,
    RunStatus, SentAction, Silent, StepPhase, Unheard, UnheardAgent,
};

fn running(count: u32) -> Run {
    with(RunStatus::Running, |progress| {
        progress.counts = [(AgentState::Done, 3), (AgentState::Running, count)].into();
    })
}

fn silent(number: u32, errors: bool, message: &str) -> AgentRecord {
    let message = message.to_owned();
    let notice = Some(Notice::NoAnswer { since: at(200 + u64::from(number)), message, errors });
    let agent = in_flight(number, StepPhase::Trying, None);
    AgentRecord { notice, ..agent.record }
}

#[test]
fn agents_that_do_not_answer_are_named_with_what_came_last() {
    let mut run = running(40);
    run.progress.silent = Silent { agents: 37, some: vec![AgentId::from("node-1")] };
    let refused = "failed to connect to http://x: connection refused.";
    let known = Known {
        silent: vec![silent(1, false, refused), silent(2, true, "http://x answered 503: busy")],
        ..NOBODY
    };
    let told = explain(&run, &known, at(245));
    let expected = " 37 agents do not answer: node-1 (since 09:03:21: failed to connect to http://x: \
                    connection refused); node-2 (since 09:03:22, only errors: http://x answered \
                    503: busy); and 35 more. Strategy rolling";
    assert!(told.text.contains(expected), "{}", told.text);
    run.progress.silent.agents = 1;
    let told = explain(&run, &NOBODY, at(245));
    assert!(told.text.contains(" 1 agent does not answer. "), "{}", told.text);
    for status in [RunStatus::Paused, RunStatus::Cancelling] {
        run.progress.status = status;
        assert!(explain(&run, &NOBODY, at(245)).text.contains(" 1 agent does not answer. "));
    }
}

#[test]
fn agents_that_gave_a_strategy_no_answer_are_named_since_when() {
    let mut run = running(0);
    let (agent, message) = (AgentId::from("node-1"), "http://x answered 401: who?".to_owned());
    let some = vec![UnheardAgent { agent, since: at(200), message }];
    run.progress.stage.unheard = Unheard { agents: 3, some };
    let told = explain(&run, &NOBODY, at(245));
    let expected = " 3 agents gave no good answer when the strategy had them asked last: node-1 (since \
                    09:03:20: http://x answered 401: who?); and 2 more. ";
    assert!(told.text.contains(expected), "{}", told.text);
}

#[test]
fn an_action_behind_others_says_how_many_and_which_goes_first() {
    for (before, behind, words) in [
        (0, None, "the agent has not begun it, and no other comes before)"),
        (1, Some("demo/backup"), "behind 1 other in the agent's queue: demo/backup goes first)"),
        (3, None, "behind 3 others in the agent's queue)"),
    ] {
        let mut agent = in_flight(1, StepPhase::Trying, Some((CallName::RunAction, 240, true)));
        let behind = behind.map(str::to_owned);
        agent.record.notice = Some(Notice::Queued { since: at(230), before, behind });
        let told = explain(&running(1), &known(vec![agent]), at(245));
        let words = words.trim_start();
        assert!(told.text.contains("at the latest (NEW since 09:03:50"), "{}", told.text);
        assert!(told.text.contains(words), "{}", told.text);
    }
}

#[test]
fn actions_that_may_still_be_running_are_told_by_what_their_agents_know_them_by() {
    let key = AttemptKey { agent: AgentSeq(1), stage: 0, step: 0, attempt: 1 };
    let sent = |number: u32| {
        let id = AgentId(format!("node-{number}"));
        Some(SentAction::of(RUN, &id, AttemptKey { agent: AgentSeq(number), ..key }, 0))
    };
    let mut going = in_flight(1, StepPhase::Trying, Some((CallName::RunAction, 240, true)));
    going.record.action = sent(1);
    // Its present attempt has sent nothing yet.
    let mut next = in_flight(2, StepPhase::Trying, None);
    (next.record.action, next.record.step) = (sent(2), 1);
    let retried = in_flight(3, StepPhase::RetryAt { at: at(305) }, None);
    let mut left = failed(4, "out of time");
    left.outstanding = outstanding().map(|out| Outstanding { key, ..out });
    let mut over = failed(5, "no space");
    over.action = sent(5);
    let known = Known {
        running: vec![going.clone(), next, retried],
        failed: vec![left.clone(), over],
        silent: vec![going.record],
        ..NOBODY
    };
    let told = explain(&running(3), &known, at(245));
    let ids: Vec<_> = told.actions.iter().map(|a| (a.agent.as_str(), a.action_id)).collect();
    let of_left = key.action_id(RUN, &left.agent, 0);
    assert_eq!(ids, [("node-1", sent(1).unwrap().action_id), ("node-4", of_left)]);
}
