//! What only a new version mends, runs over nobody, and what was passed over.

use super::samples::*;
use super::*;
use crate::run::{AgentState, FailureReason, PassedOver, ReasonCode, RunStatus};

#[test]
fn failures_that_only_a_new_version_mends_say_so() {
    let mut run = paused(ReasonCode::BudgetExceeded, "2 agents failed, the budget allows 1");
    run.progress.counts.insert(AgentState::Failed, 2);
    let with = |reasons: [FailureReason; 2]| {
        let mut failed = vec![failed(1, "no key"), failed(2, "no key")];
        for (record, reason) in failed.iter_mut().zip(reasons) {
            record.error.as_mut().unwrap().reason = reason;
        }
        Known { failed, ..Known::default() }
    };
    let (bad, trapped) = (FailureReason::BadArguments, FailureReason::PluginTrapped);
    let told = explain(&run, &with([bad, trapped]), at(245));
    assert!(
        told.text.contains("These failures will come again with the same version: "),
        "{}",
        told.text
    );
    let commands: Vec<_> =
        told.next.iter().map(|next| next.command.replace(&RUN.to_string(), "RUN")).collect();
    let mended = "run retry RUN --failed --unfinished --playbook upgrade@VERSION";
    let expected = ["run resume RUN", "run retry RUN", "run cancel RUN", mended];
    assert_eq!(commands, expected);
    // Where others fail too it is not clear.
    let told = explain(&run, &with([bad, FailureReason::ActionFailed]), at(245));
    assert!(!told.text.contains("Such failures"), "{}", told.text);
    assert!(told.next.iter().all(|next| !next.command.contains("--playbook")));

    let counts = [(AgentState::Done, 7), (AgentState::Failed, 2)];
    let ended = ended(RunStatus::Failed, &counts, 2, "2 of 9 agents failed, the budget allows 0");
    let told = explain(&ended, &with([bad, bad]), at(245));
    let last = told.next.last().unwrap().command.replace(&RUN.to_string(), "RUN");
    assert_eq!(last, "run retry RUN --failed --playbook upgrade@VERSION");
}

#[test]
fn a_run_that_ended_over_nobody_and_one_that_passed_failures_over() {
    let mut nobody = ended(RunStatus::Done, &[(AgentState::Skipped, 3)], 0, "nobody was selected");
    nobody.progress.reason.as_mut().unwrap().code = ReasonCode::NobodySelected;
    nobody.progress.outcomes = [(AgentState::Skipped, 3)].into();
    let text = "The run ended as DONE at 2025-11-22T09:03:20Z, after 3m20s: nobody was selected. Over all \
                2 stages it left 3 skipped.";
    check(&nobody, &NOBODY, text, &["get agents --cluster eu"]);

    let mut passed =
        ended(RunStatus::Done, &[(AgentState::Done, 2)], 0, "3 done over all 2 stages");
    passed.progress.passed_over = PassedOver { failures: 5, agents: 1 };
    passed.progress.outcomes = [(AgentState::Done, 2), (AgentState::Failed, 1)].into();
    let text = "The run ended as DONE at 2025-11-22T09:03:20Z, after 3m20s: 3 done over all 2 stages. Over \
                all 2 stages it left 2 done, 1 failed. By the playbook 5 failures of steps were passed over on 1 \
                agent.";
    check(&passed, &NOBODY, text, &[]);
    passed.progress.passed_over.failures = 1;
    let told = explain(&passed, &NOBODY, at(245)).text;
    assert!(
        told.ends_with("By the playbook 1 failure of steps was passed over on 1 agent."),
        "{told}"
    );
}

#[test]
fn where_the_last_stage_is_on_the_run_a_retry_is_offered_for_the_agents_before_it() {
    let mut notified = ended(RunStatus::Failed, &[(AgentState::Done, 1)], 1, "zone a is down");
    let reason = notified.progress.reason.clone().unwrap();
    notified.progress.stage.once = true;
    notified.progress.closing = Some(crate::run::Closing {
        outcome: RunStatus::Failed,
        reason,
        stage: 0,
        between: false,
        failures: 1,
        over: false,
    });
    let left = [(AgentState::Done, 3), (AgentState::Failed, 1), (AgentState::Pending, 5)];
    notified.progress.outcomes = left.into();
    let told = explain(&notified, &NOBODY, at(245));
    let named = told.next.iter().map(|next| next.command.replace(&RUN.to_string(), "RUN"));
    assert_eq!(named.collect::<Vec<_>>(), ["run retry RUN", "run retry RUN --unfinished"]);
}
