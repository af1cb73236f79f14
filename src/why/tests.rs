//! Every status and situation, with the whole text that is told.

use std::sync::Arc;

use super::samples::*;
use super::*;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, CallName, KNOWN_FORMAT, LateEnd, MassAbsence,
    Millis, PlannedNext, ReasonCode, RetryOf, Run, RunStatus, StepPhase,
};

#[test]
fn a_run_that_has_not_started() {
    let waits = with(RunStatus::PendingApprove, |progress| {
        because(progress, ReasonCode::ApprovalRequired, "the playbook asks for approval");
    });
    let text = "The run has been PENDING_APPROVE since 2025-11-22T09:00:00Z (4m05s). It waits for a \
                person: the playbook asks for approval. Nothing was done yet.";
    check(&waits, &NOBODY, text, &["run approve RUN", "run reject RUN"]);

    let queued = with(RunStatus::Pending, |progress| {
        because(progress, ReasonCode::ClusterBusy, "waits for run 7 to end");
    });
    let text = "The run has been PENDING since 2025-11-22T09:00:00Z (4m05s). It is queued for cluster \
                eu: it waits for run 7 to end. It starts by itself when its turn comes.";
    check(&queued, &NOBODY, text, &["run cancel RUN"]);

    let text = "The run has been PENDING since 2025-11-22T09:00:00Z (4m05s). It is queued for cluster \
                eu, and starts by itself once an engine takes it up.";
    check(&run(RunStatus::Pending), &NOBODY, text, &["run cancel RUN"]);

    let newer = with(RunStatus::Pending, |progress| progress.needs = KNOWN_FORMAT + 1);
    let told = explain(&newer, &NOBODY, at(245)).text;
    let known = format!("engines of this version know up to {KNOWN_FORMAT}: they leave it alone");
    assert!(told.contains(&known), "{told}");

    let starting = with(RunStatus::Starting, |progress| {
        progress.counts = [(AgentState::Pending, 300), (AgentState::Skipped, 1)].into();
    });
    let text = "The run has been STARTING since 2025-11-22T09:00:00Z (4m05s). It asks the agents of \
                cluster eu about themselves and makes a record for each, 301 agents so far; then stage \
                secondaries begins by itself.";
    check(&starting, &NOBODY, text, &["run cancel RUN"]);
}

fn running(count: u32, next: Option<PlannedNext>) -> Run {
    with(RunStatus::Running, |progress| {
        progress.counts = [(AgentState::Done, 3), (AgentState::Pending, 6)].into();
        if count > 0 {
            progress.counts.insert(AgentState::Running, count);
        }
        progress.stage.next = next;
    })
}

const GOES: [&str; 2] = ["run pause RUN", "run cancel RUN"];

#[test]
fn a_run_that_goes_with_agents_in_every_phase() {
    let run = running(7, Some(PlannedNext::Wait));
    let mut retried = in_flight(3, StepPhase::RetryAt { at: at(305) }, None);
    retried.record.error = Some(failure("no space"));
    let mut settling = in_flight(1, StepPhase::Settling { until: at(600), again: true }, None);
    settling.record.outstanding = outstanding();
    let mut silent = in_flight(2, StepPhase::Trying, Some((CallName::RunAction, 70, false)));
    silent.record.node_seen_at = Some(at(5));
    silent.record.tries = 2;
    let waiting = in_flight(4, StepPhase::Waiting, None);
    let text = "The run has been RUNNING since 2025-11-22T09:00:00Z (4m05s), in stage secondaries (1 of \
                2): 3 done, 7 running, 6 pending. It waits for agents that are in flight: node-1 has had \
                an action of step drain out since 09:00:30 (3m35s) whose attempt is over; that is waited \
                for until 09:10:00 at the latest; node-2 has had an action of step drain, attempt 2 of 3 \
                out since 09:01:10 (2m55s), not confirmed by the agent yet, until 09:06:00 at the latest \
                (it gave no good answer when it was asked about its node); node-3 tries step drain again at \
                09:05:05 (in 1m00s), attempt 2 of 3, after action-failed; node-4 begins step drain next; \
                and 3 more. Strategy rolling is asked who goes next when one of them has ended.";
    check(&run, &known(vec![settling, silent, retried, waiting]), text, &GOES);
}

#[test]
fn a_run_that_goes_with_every_call() {
    let phrases = [
        (
            Some((CallName::RunAction, 240, false)),
            "has had an action of step drain, attempt 1 of 3 out since 09:04:00 (5s), until 09:06:00 at \
             the latest",
        ),
        (
            Some((CallName::WaitStatus, 240, false)),
            "waits in step drain, attempt 1 of 3 for its status since 09:04:00 (5s), until 09:06:00 at \
             the latest",
        ),
        (
            Some((CallName::Sleep, 240, false)),
            "sleeps in step drain, attempt 1 of 3 since 09:04:00 (5s), until 09:06:00 at the latest",
        ),
        (
            Some((CallName::Info, 240, false)),
            "is asked about its node in step drain, attempt 1 of 3 since 09:04:00 (5s), until 09:06:00 \
             at the latest",
        ),
        (None, "is in step drain, attempt 1 of 3, since 09:01:00 (3m05s)"),
    ];
    for (call, phrase) in phrases {
        let agent = in_flight(1, StepPhase::Trying, call);
        let told = explain(&running(1, None), &known(vec![agent]), at(245));
        assert!(told.text.contains(&format!("flight: node-1 {phrase}. ")), "{}", told.text);
    }
}

#[test]
fn what_the_strategy_wants_next() {
    let (wait, until) = (Some(PlannedNext::Wait), Some(PlannedNext::WaitUntil { at: at(305) }));
    let past = Some(PlannedNext::WaitUntil { at: at(185) });
    let (code, reason) = (ReasonCode::StrategyAborted, "zone a is down.".to_owned());
    for (count, next, expected) in [
        (0, None, "No agent is in flight: strategy rolling is asked who goes next."),
        (0, wait, "No agent is in flight: strategy rolling is asked who goes next."),
        (
            0,
            until.clone(),
            "No agent is in flight: strategy rolling wanted to wait, and is asked again at 09:05:05 \
             (in 1m00s).",
        ),
        (
            2,
            until,
            "Strategy rolling is asked who goes next when one of them has ended, or at 09:05:05 (in \
             1m00s).",
        ),
        (
            0,
            past.clone(),
            "No agent is in flight: strategy rolling waits, and is asked again and again; nothing has \
             changed since 09:03:05 (1m00s).",
        ),
        (
            2,
            past,
            "Strategy rolling is asked who goes next when one of them has ended, and now and then: \
             nothing has changed since 09:03:05 (1m00s).",
        ),
        (
            2,
            Some(PlannedNext::Complete),
            "Strategy rolling has called the stage complete: stage primary comes next.",
        ),
        (
            2,
            Some(PlannedNext::Abort { code, reason }),
            "It starts no further agent and ends as FAILED: zone a is down.",
        ),
    ] {
        let told = explain(&running(count, next), &NOBODY, at(245));
        assert!(told.text.ends_with(expected), "{}", told.text);
        assert_eq!(told.text.contains("in flight: 2."), count == 2, "{}", told.text);
    }
    let mut last = running(1, Some(PlannedNext::Complete));
    last.progress.stage.index = 1;
    let told = explain(&last, &NOBODY, at(245));
    assert!(told.text.contains("in stage primary (2 of 2): "), "{}", told.text);
    assert!(told.text.ends_with("it is the last one: the run ends then."), "{}", told.text);
}

#[test]
fn a_run_between_two_stages_and_one_that_puts_agents_back() {
    let mut entering = running(0, None);
    (entering.progress.stage.index, entering.progress.stage.entering) = (1, true);
    let text = "The run has been RUNNING since 2025-11-22T09:00:00Z (4m05s), in stage primary (2 of 2): \
                3 done, 6 pending. It takes the agents of the cluster into the stage, which begins by \
                itself then.";
    check(&entering, &NOBODY, text, &GOES);
    let mut retrying = running(0, None);
    retrying.progress.stage.retrying = Some(AgentSeq(0));
    let told = explain(&retrying, &NOBODY, at(245));
    assert!(told.text.contains("It puts failed agents back in the queue."), "{}", told.text);
}

#[test]
fn an_action_that_is_out_for_long_can_be_given_up() {
    let old = in_flight(1, StepPhase::Trying, Some((CallName::RunAction, 60, true)));
    let young = in_flight(2, StepPhase::Trying, Some((CallName::RunAction, 600, true)));
    let mut odd = in_flight(3, StepPhase::Trying, Some((CallName::RunAction, 60, true)));
    odd.record.agent = AgentId::from("it's 3");
    let told = explain(&running(3, None), &known(vec![old, young, odd]), at(700));
    let commands: Vec<_> = told.next.iter().map(|next| next.command.as_str()).collect();
    assert_eq!(
        commands[1..3],
        [
            format!("run give-up {RUN} --agent node-1"),
            format!(r"run give-up {RUN} --agent 'it'\''s 3'"),
        ]
    );
}

const PAUSED: &str = "The run has been PAUSED since 2025-11-22T09:00:00Z (4m05s), in stage secondaries \
                      (1 of 2): 3 done, 6 pending. ";

/// What is typed to go on with a mended version.
const MENDED: &str = "run retry RUN --unfinished --playbook upgrade@VERSION";

#[test]
fn a_paused_run_by_its_reason() {
    let (resume, cancel) = ("run resume RUN", "run cancel RUN");
    for (code, message, text, commands) in [
        (
            ReasonCode::BudgetExceeded,
            "2 agents failed, the budget allows 1",
            "Its budget is exceeded: 2 agents failed, the budget allows 1.",
            vec![resume, cancel],
        ),
        (
            ReasonCode::Operator,
            "pause by ada: lunch",
            "A person asked for that: pause by ada: lunch.",
            vec![resume, cancel],
        ),
        (
            ReasonCode::Approval,
            "the canary is well; go on?",
            "The strategy asks for approval: the canary is well; go on?",
            vec!["run approve RUN", "run reject RUN"],
        ),
        (
            ReasonCode::StrategyFailed,
            "strategy rolling gave no decision (trapped): unreachable",
            "The strategy is at fault, not an agent: strategy rolling gave no decision (trapped): \
             unreachable. If it is asked the same again, it \
                 answers the same: only a new version of the playbook or of the plugin mends that, in a \
                 new run over the agents that are left.",
            vec!["run logs RUN", cancel, MENDED, resume],
        ),
        (
            ReasonCode::DecisionRefused,
            "agent x is unknown",
            "The strategy is at fault, not an agent: agent x is unknown. If it is asked the same again, it \
                 answers the same: only a new version of the playbook or of the plugin mends that, in a \
                 new run over the agents that are left.",
            vec!["run logs RUN", cancel, MENDED, resume],
        ),
        (
            ReasonCode::ExpressionFailed,
            "failed to select agents: agent x: there is no \"role\"",
            "The playbook is at fault, not an agent: failed to select agents: agent x: there is no \"role\". \
             As long as the cluster and its agents say the same, it comes again: only a new \
                 version of the playbook mends that, in a new run over the agents that are left.",
            vec![cancel, MENDED, resume],
        ),
        (
            ReasonCode::StrategyUnavailable,
            "strategy rolling gave no decision (unavailable): no memory",
            "The strategy could not be asked: strategy rolling gave no decision (unavailable): no memory. \
             It is asked again when the run goes on.",
            vec![resume, cancel],
        ),
        (
            ReasonCode::MassAbsence,
            "those who were absent are back",
            "It stopped for a person to look: those who were absent are back.",
            vec![resume, cancel],
        ),
        (
            ReasonCode::StartFailed,
            "cluster eu does not exist",
            "Something about the cluster has to be mended: cluster eu does not exist. It is looked at \
             again when the run goes on.",
            vec![resume, cancel],
        ),
    ] {
        let text = format!("{PAUSED}{text} No agent is in flight. It waits for a person.");
        check(&paused(code, message), &NOBODY, &text, &commands);
    }
    let mut absent = paused(ReasonCode::MassAbsence, "4 of 9 agents are absent at once");
    absent.progress.mass_absence = Some(MassAbsence { absent: 4, known: 9 });
    let text = format!(
        "{PAUSED}Either the cluster has shrunk by much or what tells its members is wrong: 4 of 9 agents \
         are absent at once. No agent is in flight. It waits for a person."
    );
    check(&absent, &NOBODY, &text, &[resume, cancel]);
    // The others are never a reason for a pause; what they say is told all the same.
    for code in [
        ReasonCode::ApprovalRequired,
        ReasonCode::StrategyAborted,
        ReasonCode::ClusterBusy,
        ReasonCode::MembershipChanged,
        ReasonCode::SomeFailed,
        ReasonCode::NobodySelected,
        ReasonCode::AllDone,
    ] {
        let text =
            format!("{PAUSED}The reason is: odd. No agent is in flight. It waits for a person.");
        check(&paused(code, "odd."), &NOBODY, &text, &[resume, cancel]);
    }
}

#[test]
fn a_paused_run_with_agents_that_still_go_and_others_that_failed() {
    let mut run = paused(ReasonCode::BudgetExceeded, "2 agents failed, the budget allows 1");
    run.progress.counts.insert(AgentState::Running, 2);
    run.progress.counts.insert(AgentState::Failed, 6);
    let going = in_flight(1, StepPhase::Trying, Some((CallName::RunAction, 240, true)));
    let mut left = failed(2, "out of time.");
    left.outstanding = outstanding();
    let known = Known { running: vec![going], failed: vec![left, failed(5, "no space")], ..NOBODY };
    let text = "The run has been PAUSED since 2025-11-22T09:00:00Z (4m05s), in stage secondaries (1 of \
                2): 3 done, 6 failed, 2 running, 6 pending. Its budget is exceeded: 2 agents failed, the \
                budget allows 1. Agents that have started still finish their steps: node-1 has had an \
                action of step drain, attempt 1 of 3 out since 09:04:00 (5s), until 09:06:00 at the \
                latest; and 1 more. Failed: node-2 in step drain (action-failed: out of time); node-5 in \
                step drain (action-failed: no space); and 4 more. An action of node-2 may still be \
                running there, since 09:00:30 (3m35s). It waits for a person.";
    let commands = ["run resume RUN", "run retry RUN", "run cancel RUN"];
    check(&run, &known, text, &commands);
}

#[test]
fn an_action_that_ended_late_is_told_with_what_a_retry_makes_of_it() {
    let mut run = paused(ReasonCode::BudgetExceeded, "2 agents failed, the budget allows 1");
    run.progress.counts.insert(AgentState::Failed, 2);
    let late = |number: u32, outcome: &str, result| {
        let mut record = failed(number, "the step did not end within 5m");
        record.late = Some(LateEnd {
            key: record.present_attempt(),
            call: 0,
            at: at(200),
            outcome: outcome.to_owned(),
            result,
            kept_by: None,
        });
        record
    };
    let known = vec![late(2, "DONE", true), late(5, "action failed: no space", false)];
    let known = Known { failed: known, ..NOBODY };
    let told = explain(&run, &known, at(245));
    let expected = "Failed: node-2 in step drain (action-failed: the step did not end within 5m; its \
                    action ended late, at 09:03:20: DONE, which a retry goes on with); node-5 in step \
                    drain (action-failed: the step did not end within 5m; its action ended late, at \
                    09:03:20: action failed: no space). It waits";
    assert!(told.text.contains(expected), "{}", told.text);
    let ended = ended(RunStatus::Failed, &[(AgentState::Failed, 2)], 2, "cancel by ada");
    let told = explain(&ended, &known, at(245));
    assert!(told.text.contains(": DONE, which a retry does again); node-5"), "{}", told.text);
}

#[test]
fn a_run_at_a_gate_with_agents_that_failed() {
    let mut run = paused(ReasonCode::Approval, "the canary is well; go on?");
    run.progress.counts.insert(AgentState::Failed, 1);
    let told = explain(&run, &NOBODY, at(245));
    let commands: Vec<_> = told.next.iter().map(|next| next.command.as_str()).collect();
    assert_eq!(commands, ["approve", "reject", "retry"].map(|verb| format!("run {verb} {RUN}")));
}

#[test]
fn a_run_on_hold() {
    let mut run = paused(ReasonCode::Operator, "pause-now by ada");
    run.progress.hold = true;
    run.progress.counts.insert(AgentState::Running, 4);
    let agents = vec![
        in_flight(1, StepPhase::Trying, Some((CallName::RunAction, 240, true))),
        in_flight(2, StepPhase::Trying, None),
        in_flight(3, StepPhase::RetryAt { at: at(10) }, None),
        in_flight(4, StepPhase::Waiting, None),
    ];
    let told = explain(&run, &known(agents), at(245));
    let expected = "Agents that have started stop after their present call: node-1 has had an action \
                    of step drain, attempt 1 of 3 out since 09:04:00 (5s), until 09:06:00 at the latest; \
                    node-2 is on hold in step drain, attempt 1 of 3; node-3 is on hold before step drain \
                    again; node-4 is on hold before step drain. It waits";
    assert!(told.text.contains(expected), "{}", told.text);
}

#[test]
fn a_run_that_stopped_between_two_stages() {
    let mut run = paused(ReasonCode::StartFailed, "failed to begin stage primary: gone");
    (run.progress.stage.index, run.progress.stage.entering) = (1, true);
    let told = explain(&run, &NOBODY, at(245));
    assert!(told.text.contains("The stage has not begun. No agent is in flight."), "{}", told.text);
}

#[test]
fn a_run_that_is_being_cancelled() {
    let run = with(RunStatus::Cancelling, |progress| {
        because(progress, ReasonCode::Operator, "cancel by ada: wrong cluster");
        progress.counts = [(AgentState::Done, 3), (AgentState::Running, 1)].into();
    });
    let out = in_flight(1, StepPhase::Trying, Some((CallName::RunAction, 240, true)));
    let text = "The run has been CANCELLING since 2025-11-22T09:00:00Z (4m05s), in stage secondaries (1 \
                of 2): 3 done, 1 running. A person asked for that: cancel by ada: wrong cluster. It \
                starts nothing further and waits for actions that are out, until 09:05:00 at the latest: \
                node-1 has had an action of step drain, attempt 1 of 3 out since 09:04:00 (5s), until \
                09:06:00 at the latest. Then it ends as CANCELLED, by itself.";
    check(&run, &known(vec![out]), text, &["run give-up RUN --agent node-1"]);
}

#[test]
fn a_run_that_is_finishing() {
    let run = with(RunStatus::Finishing, |progress| {
        because(progress, ReasonCode::AllDone, "9 of 9 agents done");
        progress.outcome = Some(RunStatus::Done);
    });
    let text = "The run is FINISHING since 09:00:00 (4m05s): it ends as DONE (9 of 9 agents done), by \
                itself, once all its records have their finish time.";
    check(&run, &NOBODY, text, &[]);
}

#[test]
fn a_run_that_has_ended() {
    let done = ended(RunStatus::Done, &[(AgentState::Done, 9)], 0, "9 of 9 agents done");
    let text = "The run ended as DONE at 2025-11-22T09:03:20Z, after 3m20s: 9 of 9 agents done. In stage \
                primary (2 of 2) it left 9 done.";
    check(&done, &NOBODY, text, &[]);

    let counts = [(AgentState::Done, 7), (AgentState::Failed, 1), (AgentState::Skipped, 1)];
    let some_failed =
        ended(RunStatus::Done, &counts, 2, "1 of 9 agents failed, the budget allows 1");
    let known = Known { failed: vec![failed(2, "no space")], ..NOBODY };
    let text = "The run ended as DONE at 2025-11-22T09:03:20Z, after 3m20s: 1 of 9 agents failed, the \
                budget allows 1. In stage primary (2 of 2) it left 7 done, 1 failed, 1 skipped. Failed: \
                node-2 in step drain (action-failed: no space).";
    check(&some_failed, &known, text, &["run retry RUN"]);

    let counts = [(AgentState::Failed, 2), (AgentState::Pending, 7)];
    let stopped = ended(RunStatus::Failed, &counts, 2, "zone a is down");
    let commands = ["run retry RUN", "run retry RUN --unfinished"];
    let told = explain(&stopped, &NOBODY, at(245));
    let named: Vec<_> =
        told.next.iter().map(|next| next.command.replace(&RUN.to_string(), "RUN")).collect();
    assert_eq!(named, commands);

    let nothing = ended(RunStatus::Failed, &[], 0, "cluster eu has no agents");
    let text = "The run ended as FAILED at 2025-11-22T09:03:20Z, after 3m20s: cluster eu has no agents. \
                It did not get to any agent.";
    check(&nothing, &NOBODY, text, &["run start upgrade@1.0.0 --cluster eu"]);

    let mut unselected = ended(RunStatus::Failed, &[], 0, "failed to select agents: no such key");
    unselected.progress.reason.as_mut().unwrap().code = ReasonCode::ExpressionFailed;
    let told = explain(&unselected, &NOBODY, at(245));
    assert_eq!(told.next[0].command, "run start upgrade@VERSION --cluster eu");

    // Between its two stages: the second one came to nobody.
    let mut between = ended(RunStatus::Cancelled, &[(AgentState::Done, 9)], 0, "cancel by ada");
    between.progress.stage.entering = true;
    let told = explain(&between, &NOBODY, at(245));
    assert_eq!(told.next[0].command, format!("run retry {RUN} --unfinished"));

    // Cut off by the cancelling, which is no failure.
    let counts = [(AgentState::Done, 7), (AgentState::Failed, 2)];
    let mut cancelled = ended(RunStatus::Cancelled, &counts, 0, "cancel by ada");
    let retry = RetryOf { run: RUN, failed: true, skipped: false, unfinished: false };
    Arc::make_mut(&mut cancelled.snapshot).retry_of = Some(retry);
    let text = format!(
        "The run ended as CANCELLED at 2025-11-22T09:03:20Z, after 3m20s: cancel by ada. It went over the \
         failed agents of run {RUN} again. In stage primary (2 of 2) it left 7 done, 2 failed."
    );
    check(&cancelled, &NOBODY, &text, &["run retry RUN --unfinished"]);
}

#[test]
fn those_that_tell_most_are_kept() {
    let phases = [
        StepPhase::Waiting,
        StepPhase::RetryAt { at: at(1) },
        StepPhase::Trying,
        StepPhase::Settling { until: at(1), again: true },
        StepPhase::Trying,
        StepPhase::Waiting,
    ];
    let mut records: Vec<_> = (0..)
        .zip(phases)
        .map(|(number, phase)| AgentRecord { phase, ..record(number, AgentState::Running) })
        .collect();
    records[4].started_at = Some(at(1));
    records.push(record(9, AgentState::Done));
    most_telling(&mut records);
    let kept: Vec<u32> = records.iter().map(|record| record.seq.0).collect();
    assert_eq!(kept, [3, 4, 2, 1]);
}

#[test]
fn a_moment_of_another_day_has_its_day() {
    let now = at(20 * 3_600);
    assert_eq!(words::near(at(0), now), "2025-11-22T09:00:00Z");
    assert_eq!(words::length(Millis::from_secs(20 * 3_600)), "20h00m");
    assert_eq!(words::length(Millis::from_secs(100 * 3_600)), "4d04h");
    assert_eq!(words::at(at(0), at(5)), "now, since 09:00:00");
}
