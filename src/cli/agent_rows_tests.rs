//! How agents are shown in tables.

use serde_json::json;

use super::*;
use crate::cli::sample::{moment, record};
use crate::cli::table::table;
use crate::run::{AttemptKey, Failure, FailureReason, Millis, Outstanding, SentAction};

fn plan(stages: &[&str]) -> Plan {
    let steps = vec![("drain".to_owned(), 3), ("restart".to_owned(), 1)];
    let stage = |name: &&str| PlannedStage { name: (*name).to_owned(), steps: steps.clone() };
    Plan { stages: stages.iter().map(stage).collect(), ..Plan::default() }
}

fn shown(plan: Plan, agents: Vec<AgentRecord>, wide: bool) -> String {
    match plan.rows(agents) {
        Rows::OneStage(rows) => table(&rows, wide, false),
        Rows::Stages(rows) => table(&rows, wide, false),
    }
}

#[test]
fn agents_show_batch_state_result_and_time() {
    let mut failed = record(2, AgentState::Failed);
    failed.batch_label = Some("zone a".to_owned());
    failed.error = Some(Failure {
        reason: FailureReason::ActionFailed,
        message: "no\nspace".to_owned(),
        step: "drain".to_owned(),
        at: moment(),
    });
    let mut skipped = record(3, AgentState::Skipped);
    skipped.skip_reason = Some("not selected".to_owned());
    (skipped.batch, skipped.started_at) = (None, None);
    let shown = shown(plan(&["all"]), vec![record(1, AgentState::Done), failed, skipped], false);
    let expected = "\
AGENT   BATCH       STATE    RESULT                            TIME
node-1  1           DONE     drain: {\"moved\":3}                1.2s
node-2  1 (zone a)  FAILED   action-failed in drain: no space  1.2s
node-3  -           SKIPPED  not selected                      -
";
    assert_eq!(shown, expected);
}

#[test]
fn agents_that_guards_hold_say_so() {
    let mut run = crate::cli::sample::run_view(crate::run::RunStatus::Running);
    run.held = crate::cli::sample::held();
    let mut waiting = [2, 7, 8].map(|seq| record(seq, AgentState::Pending));
    for agent in &mut waiting {
        (agent.batch, agent.started_at, agent.ended_at, agent.results) =
            (None, None, None, [].into());
    }
    run.held_agents = waiting[..2].iter().map(|record| record.seq).collect();
    let shown = shown(plan(&["all"]).holding(&run), waiting.into(), false);
    let expected = "\
AGENT   BATCH  STATE    RESULT                                          TIME
node-2  -      PENDING  held by one-zone: 1 of 1 out in zone b: node-5  -
node-7  -      PENDING  held by one-zone or quorum                      -
node-8  -      PENDING  -                                               -
";
    assert_eq!(shown, expected);
}

#[test]
fn agents_that_are_done_show_what_was_passed_over() {
    let mut agent = record(1, AgentState::Done);
    (agent.passed_over, agent.results) = (2, [].into());
    agent.error = Some(Failure {
        reason: FailureReason::ActionFailed,
        message: "no space".to_owned(),
        step: "restart".to_owned(),
        at: moment(),
    });
    let shown = shown(plan(&["all"]), vec![agent], true);
    let expected = "2 failures passed over, the last: action-failed in restart: no space; -";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn results_are_in_the_order_of_the_steps() {
    let mut agent = record(1, AgentState::Done);
    let results = ["restart", "check", "drain"].map(|step| (step.to_owned(), json!(1).into()));
    agent.results = results.into();
    let text = result_of(&agent, &plan(&["all"]));
    assert_eq!(text, "drain: 1, restart: 1, check: 1", "the playbook does not have the last");
    assert_eq!(result_of(&agent, &Plan::default()), "check: 1, drain: 1, restart: 1");
}

#[test]
fn agents_in_flight_show_what_they_do() {
    let running = |number: u32, phase: StepPhase| {
        let mut agent = record(number, AgentState::Running);
        (agent.phase, agent.tries, agent.ended_at) = (phase, 1, None);
        agent.stage = 1;
        agent
    };
    let later = moment().plus(Millis::from_secs(65));
    let mut settling = running(3, StepPhase::Settling { until: later, again: true });
    let key = AttemptKey { agent: AgentSeq(3), stage: 1, step: 0, attempt: 1 };
    settling.outstanding = Some(Outstanding { key, call: 0, since: moment(), bytes: None });
    let mut last = running(4, StepPhase::Trying);
    last.step = 1;
    let mut added = running(5, StepPhase::Waiting);
    added.state = AgentState::Added;
    let agents = vec![
        running(1, StepPhase::Trying),
        running(2, StepPhase::RetryAt { at: later }),
        settling,
        last,
        added,
    ];
    let expected = "\
AGENT   STAGE    BATCH  STATE    RESULT                                                        TIME
node-1  primary  1      RUNNING  drain, attempt 1 of 3                                         -
node-2  primary  1      RUNNING  drain, attempt 2 of 3, again at 09:01:05                      -
node-3  primary  1      RUNNING  drain: action still out since 09:00:00, waited for until 09…  -
node-4  primary  1      RUNNING  restart                                                       -
node-5  primary  1      ADDED    joined, waits to be taken in                                  -
";
    assert_eq!(shown(plan(&["secondaries", "primary"]), agents, false), expected);
}

#[test]
fn what_is_noticed_of_a_call_comes_first_and_a_wide_table_has_its_action() {
    let running = |notice: Option<Notice>| AgentRecord {
        notice,
        phase: StepPhase::Trying,
        tries: 1,
        ended_at: None,
        ..record(1, AgentState::Running)
    };
    let silent = |errors| {
        let message = "connection refused".to_owned();
        Some(Notice::NoAnswer { since: moment(), message, errors })
    };
    let behind = Some("demo/backup".to_owned());
    let queued = |before, behind| Some(Notice::Queued { since: moment(), before, behind });
    for (notice, expected) in [
        (silent(false), "does not answer since 09:00:00; drain, attempt 1 of 3; connection ref"),
        (silent(true), "answers only with errors since 09:00:00; drain"),
        (queued(2, behind), "NEW since 09:00:00, 2 before it (demo/backup); drain"),
        (queued(0, None), "NEW since 09:00:00, 0 before it; drain"),
    ] {
        let text = result_of(&running(notice.clone()), &plan(&["all"]));
        assert!(text.starts_with(expected), "{text}");
        // A notice about an agent that is done is not shown any more.
        let done = AgentRecord { notice, ..record(1, AgentState::Done) };
        assert_eq!(result_of(&done, &plan(&["all"])), "drain: {\"moved\":3}");
    }
    let mut agent = running(None);
    let sent = SentAction::of(agent.run, &agent.agent, agent.present_attempt(), 0);
    agent.action = Some(sent);
    let shown = shown(plan(&["all"]), vec![agent], true);
    assert!(shown.contains("ACTION") && shown.contains(&sent.action_id.to_string()), "{shown}");
}

#[test]
fn who_joined_or_left_is_shown_with_the_moment_where_anybody_did() {
    let later = moment().plus(Millis::from_secs(4));
    let mut joined = record(1, AgentState::Done);
    (joined.joined_at, joined.results) = (Some(moment()), [].into());
    let mut left = record(2, AgentState::Removed);
    (left.left_at, left.started_at, left.batch) = (Some(later), None, None);
    let mut back = left.clone();
    (back.joined_at, back.left_at, back.state) = (Some(later), Some(moment()), AgentState::Added);
    let expected = "\
AGENT   BATCH  STATE    RESULT                        TIME  MEMBER
node-1  1      DONE     -                             1.2s  ADDED 09:00:00
node-2  -      REMOVED  left the cluster              -     REMOVED 09:00:04
node-2  -      ADDED    joined, waits to be taken in  -     REMOVED 09:00:00, ADDED 09:00:04
";
    assert_eq!(shown(plan(&["all"]), vec![joined, left, back], false), expected);
}

#[test]
fn a_wide_table_has_the_stages_before_and_the_moments() {
    let mut agent = record(1, AgentState::Removed);
    (agent.stage, agent.joined_at, agent.left_at) = (1, Some(moment()), Some(moment()));
    agent.past = vec![PastStage {
        stage: 0,
        state: AgentState::Done,
        batch: None,
        error: None,
        skip_reason: None,
        started_at: None,
        ended_at: None,
    }];
    let shown = shown(plan(&["secondaries", "primary"]), vec![agent], true);
    for part in ["STAGES BEFORE", "secondaries DONE", "left the cluster", "2025-11-22T09:00:00Z"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    for wide in [false, true] {
        let row = AgentRow::<true> { record: record(1, AgentState::Done), plan: Arc::default() };
        assert_eq!(row.cells(wide).len(), AgentRow::<true>::headings(wide).len());
        let row = AgentRow::<false> { record: record(1, AgentState::Done), plan: Arc::default() };
        assert_eq!(row.cells(wide).len(), AgentRow::<false>::headings(wide).len());
        assert_eq!(serde_json::to_value(&row).unwrap()["agent"], "node-1", "as it was read");
    }
}
