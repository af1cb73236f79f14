//! Tests that what can't happen is refused, whatever decided it.

use std::sync::Arc;

use serde_json::{Map, json};
use uuid::Uuid;

use super::{
    Arrival, Attempt, Begins, EndKept, Event, IllegalInput, OfAgent, OfCall, OfMembership, OfRun,
    OfStrategy, Phase, Sent, State, Touch, What, evolve, touches,
};
use crate::playbook::{
    Amount, Approval, Budget, BudgetScope, Concurrency, Grants, Identity, Membership, OnAdded,
    OnError, OnExceeded, OnRemoved, Playbook, Retry, Stage, Step, StrategyUse, Template,
};
use crate::run::{
    About, AgentId, AgentRecord, AgentSeq, AgentState, Answer, Answered, Asked, AttemptKey,
    CallName, Failure, FailureReason, Journal, LateEnd, Outstanding, Pending, Progress, Run, RunId,
    RunStatus, SentAction, Signal, Snapshot, Timestamp,
};

const AGENT: AgentSeq = AgentSeq(0);

fn key(attempt: u32) -> AttemptKey {
    AttemptKey { agent: AGENT, stage: 0, step: 0, attempt }
}

fn playbook() -> Playbook {
    let document = json!({
        "name": "restart", "version": "1.0.0", "summary": null, "vcs": null,
        "approval": Approval::Granted, "concurrency": Concurrency::Queue, "params": {}, "plugins": {},
        "stages": [],
    });
    let empty: Playbook = serde_json::from_value(document).unwrap();
    let nothing = || Template::parse(json!({})).unwrap();
    let step = Step {
        name: "drain".to_owned(),
        role: Default::default(),
        plugin: "action".to_owned(),
        with: nothing(),
        grants: Grants::default(),
        when: None,
        require: None,
        timeout: None,
        retry: Retry::NONE,
        on_error: OnError::Fail,
    };
    let stage = Stage {
        name: "restart".to_owned(),
        on: Default::default(),
        always: false,
        select: None,
        strategy: StrategyUse { plugin: "rolling".to_owned(), with: nothing() },
        budget: Budget {
            max_failed: Amount::Count(0),
            scope: BudgetScope::Stage,
            on_exceeded: OnExceeded::Pause,
        },
        membership: Membership { added: OnAdded::Include, removed: OnRemoved::Fail },
        steps: vec![step],
    };
    Playbook { stages: vec![stage], ..empty }
}

/// The snapshot of a run of one stage with one step.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        id: RunId(Uuid::nil()),
        playbook: playbook(),
        params: Map::new(),
        cluster: "c".to_owned(),
        retry_of: None,
        narrowed: Default::default(),
        started_by: None,
        created_at: Timestamp::from_millis(0),
        seed: None,
    }
}

/// A run of that snapshot with this status, about which nothing else is known.
pub(crate) fn run(status: RunStatus) -> Run {
    let progress = Progress::new(status, Timestamp::from_millis(0));
    Run { snapshot: Arc::new(snapshot()), progress }
}

/// The record of an agent to which nothing was done yet.
pub(crate) fn record(number: u32) -> AgentRecord {
    let agent = AgentId::from(format!("node-{number}").as_str());
    AgentRecord::new(RunId(Uuid::nil()), AgentSeq(number), agent, String::new(), 1)
}

struct Folded {
    state: State,
    now: i64,
}

impl Folded {
    /// A run that is going on, over one agent that waits.
    fn new() -> Self {
        let state = State::new(run(RunStatus::Pending));
        let mut folded = Self { state, now: 0 };
        let arrival = Arc::new(Arrival {
            agent: AgentId::from("node-0"),
            address: "http://node-0".to_owned(),
            about: About::default(),
            declared: Arc::default(),
            identity: Identity::Check,
            identified_at: None,
        });
        let begins = Begins::as_a(AgentState::Pending);
        folded.takes(OfRun::Created(RunStatus::Pending));
        folded.takes(OfRun::Status { to: RunStatus::Starting, reason: None });
        folded.takes(OfMembership::Made { arrival, begins });
        folded.takes(OfRun::Status { to: RunStatus::Running, reason: None });
        folded.takes(OfRun::StageBegan { selected: 1 });
        folded
    }

    /// The same run, with an attempt of the agent under way.
    fn trying() -> Self {
        let mut folded = Self::new();
        folded.takes((AGENT, OfAgent::Started { batch: 1, label: None }));
        folded.takes((AGENT, OfAgent::Rests));
        folded.attempt(1);
        folded
    }

    fn attempt(&mut self, attempt: u32) {
        self.takes((AGENT, OfAgent::StepStarted { step: 0, attempt, takes: None }));
        self.takes((AGENT, OfCall::Opened(journal(attempt))));
    }

    /// The same run, where the agent has an action out whose attempt is over.
    fn left_open() -> Self {
        let mut folded = Self::trying();
        folded.takes((AGENT, action(1)));
        folded.closes();
        folded.takes((AGENT, open(1)));
        folded
    }

    /// Ends the attempt that is going on.
    fn closes(&mut self) {
        let journal = self.journal();
        self.takes((AGENT, OfCall::Closed { journal, written: true }));
    }

    fn evolve(&mut self, what: impl Into<What>) -> Result<(), String> {
        self.now += 1;
        let event = Event { at: Timestamp::from_millis(self.now), what: what.into() };
        evolve(&mut self.state, &event).map_err(|illegal| illegal.to_string())
    }

    fn takes(&mut self, what: impl Into<What>) {
        self.evolve(what).unwrap();
    }

    /// Checks that something is refused, and why.
    fn refuses(&mut self, what: impl Into<What>, why: &str) {
        let error = self.evolve(what).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    fn journal(&self) -> Box<Journal> {
        Box::new(self.state.attempt(AGENT).unwrap().journal.clone())
    }
}

fn journal(attempt: u32) -> Box<Journal> {
    let (run, agent) = (RunId(Uuid::nil()), AgentId::from("node-0"));
    let at = Timestamp::from_millis(0);
    Box::new(Journal::new(run, key(attempt), agent, "drain".to_owned(), at, json!({})))
}

fn outstanding(attempt: u32) -> Outstanding {
    Outstanding { key: key(attempt), call: 0, since: Timestamp::from_millis(0), bytes: None }
}

/// The action of this attempt is out, and the attempt is over.
fn open(attempt: u32) -> OfCall {
    OfCall::LeftOpen { action: outstanding(attempt), journal: None }
}

/// The action of this attempt has ended.
fn ended_late(attempt: u32) -> OfCall {
    let outcome = "DONE".to_owned();
    let late = LateEnd::new(&outstanding(attempt), Timestamp::from_millis(0), &outcome, false);
    let kept = Some(Box::new(EndKept { late, journal: None }));
    OfCall::EndedLate { key: key(attempt), outcome, action_id: None, kept }
}

fn failure() -> Failure {
    let (message, step) = (String::new(), "drain".to_owned());
    let at = Timestamp::from_millis(0);
    Failure { reason: FailureReason::StepFailed, message, step, at }
}

fn call(name: CallName) -> Pending {
    let (arguments_hash, at) = (String::new(), Timestamp::from_millis(0));
    Pending { name, arguments_hash, at, accepted: false, bytes: None, asks_for: None }
}

fn action(attempt: u32) -> OfCall {
    let sent = SentAction::of(RunId(Uuid::nil()), &AgentId::from("node-0"), key(attempt), 0);
    OfCall::Called { pending: call(CallName::RunAction), action: Some(sent) }
}

#[test]
fn an_agent_that_waits_does_nothing_and_does_not_end() {
    for (what, why) in [
        (OfAgent::Done, "found PENDING, which does not go with DONE"),
        (OfAgent::PutBack { again: false }, "found PENDING, which does not go with PENDING"),
        (OfAgent::Admitted, "found PENDING, which does not go with PENDING"),
        (OfAgent::Queued, "what an agent does: found queued, which does not go with PENDING"),
        (OfAgent::Looking, "does not go with PENDING"),
        (OfAgent::RetriesAt(Timestamp::from_millis(9)), "does not go with PENDING"),
        (OfAgent::Rang, "a moment: it needs something that is due, but agent node-0 has none"),
        (OfAgent::StepStarted { step: 7, attempt: 1, takes: None }, "step number 7"),
        (OfAgent::StepStarted { step: 0, attempt: 0, takes: None }, "one after number 0"),
    ] {
        Folded::new().refuses((AGENT, what), why);
    }
    let stranger = AgentSeq(1);
    Folded::new()
        .refuses((stranger, OfAgent::Done), "found number 1, which does not go with the agents");
}

#[test]
fn an_agent_is_started_once() {
    let mut folded = Folded::trying();
    let again = OfAgent::Started { batch: 2, label: None };
    folded.refuses((AGENT, again), "found RUNNING, which does not go with RUNNING");
}

#[test]
fn nothing_is_sent_while_an_action_may_still_run() {
    let mut folded = Folded::trying();
    folded.takes((AGENT, action(1)));
    folded.refuses((AGENT, action(1)), "a call: found agent.run-action");
    let mut folded = Folded::left_open();
    folded.takes((AGENT, OfAgent::StepStarted { step: 0, attempt: 2, takes: None }));
    let why = "the action of another one, attempt 1 of step 0 in stage 0, that may still run";
    folded.refuses((AGENT, OfCall::Opened(journal(2))), why);
    // No other action may come to be out.
    Folded::left_open().refuses((AGENT, open(2)), "with attempt 1 of step 0");
    Folded::trying().refuses((AGENT, open(1)), "with attempt 1 of step 0");
    let mut folded = Folded::left_open();
    folded.takes((AGENT, open(1)));
    folded.takes((AGENT, OfCall::Settled));
    folded.attempt(2);
    folded.takes((AGENT, action(2)));
}

#[test]
fn an_answer_goes_to_the_call_that_was_made_and_the_end_to_the_attempt_that_goes() {
    let mut folded = Folded::trying();
    let at = Timestamp::from_millis(0);
    let answered = Box::new(call(CallName::Sleep).answered(at, Answer::Sleep));
    folded.refuses((AGENT, OfCall::Answered(answered.clone())), "found Sleep");
    let mut folded = Folded::trying();
    folded.takes((AGENT, action(1)));
    folded.refuses((AGENT, OfCall::Answered(answered)), "found Sleep");
    let mut folded = Folded::trying();
    let journal = Box::new(Journal { key: key(2), ..*folded.journal() });
    folded.refuses((AGENT, OfCall::Closed { journal, written: true }), "found 2");
    Folded::trying()
        .refuses((AGENT, OfCall::Watched), "a look at an action: it needs an action that is out");
    Folded::new()
        .refuses((AGENT, OfCall::Accepted), "it needs one in flight, but agent node-0 has none");
}

#[test]
fn what_is_out_is_out_once_and_is_answered_once() {
    let mut folded = Folded::new();
    folded.takes(OfRun::Sent(Sent::Members));
    folded.refuses(OfRun::Sent(Sent::Members), "one that is out");
    let mut folded = Folded::new();
    folded.takes(OfRun::Sent(Sent::Continue));
    folded.takes(OfRun::Came(Sent::Continue));
    folded.refuses(OfRun::Came(Sent::Continue), "nothing asked");
    Folded::new().refuses(OfStrategy::Heard(Vec::new()), "agents not asked");
    Folded::new().refuses(OfStrategy::TookOver(1), "it needs answers, but the strategy has none");
    Folded::new().refuses(OfMembership::CatchesUp, "one that is still to be made, but the run");
}

#[test]
fn a_run_has_the_statuses_of_its_table_alone() {
    for to in RunStatus::ALL {
        let mut folded = Folded::new();
        let found = folded.evolve(OfRun::Status { to, reason: None });
        assert_eq!(found.is_ok(), RunStatus::Running.next().contains(&to), "{to}");
    }
}

#[test]
fn an_agent_that_leaves_before_its_end_fails_where_its_stage_says_so() {
    let mut folded = Folded::trying();
    folded.closes();
    folded.takes((AGENT, OfAgent::Removed));
    let record = folded.state.record(AGENT).unwrap();
    assert_eq!(record.removed_from, Some(AgentState::Running));
    assert!(record.error.is_some());
    let progress = folded.state.progress();
    assert_eq!((progress.failures, progress.count(AgentState::Removed)), (1, 1));
}

#[test]
fn an_agent_does_one_thing_after_another() {
    let at = Timestamp::from_millis(9);
    let phases = || {
        [
            Phase::Idle,
            Phase::Queued { place: 1 },
            Phase::Looking,
            Phase::Trying(Box::new(Attempt::new(*journal(1)))),
            Phase::Retrying { at, rings: true },
            Phase::Settling { until: at, again: true, rings: true },
        ]
    };
    // Which phases may follow, in the same order.
    let table = ["y y y y y y", "y n n n n n", "y n n n n n", "n n n n n n", "y n n n n y"];
    for (before, expected) in phases().iter().zip(table.into_iter().chain(["y n n n n n"])) {
        let found = phases().map(|next| if before.may_become(&next) { "y" } else { "n" });
        assert_eq!(found.join(" "), expected, "{before:?}");
    }
}

#[test]
fn an_attempt_ends_by_being_closed_alone() {
    let at = Timestamp::from_millis(9);
    for what in [
        OfAgent::Queued,
        OfAgent::Rests,
        OfAgent::Waits,
        OfAgent::Looking,
        OfAgent::Looked { identity: None },
        OfAgent::StepStarted { step: 0, attempt: 2, takes: None },
        OfAgent::StepSkipped { step: 0 },
        OfAgent::StepDone { value: None },
        OfAgent::Advanced,
        OfAgent::RetriesAt(at),
        OfAgent::Settles { until: at, again: true },
        OfAgent::Done,
        OfAgent::Failed { failure: failure(), counts: true, undecided: false },
        OfAgent::LeftOut { why: String::new() },
        OfAgent::Removed,
        OfAgent::Entered { begins: Begins::as_a(AgentState::Pending), member: None },
    ] {
        Folded::trying().refuses((AGENT, what), "an agent that was at an attempt");
    }
    Folded::trying().refuses((AGENT, OfCall::Opened(journal(1))), "that was at an attempt");
    let mut folded = Folded::trying();
    folded.closes();
    assert_eq!(folded.state.trying().len(), 0);
    folded.takes((AGENT, OfAgent::Done));
}

#[test]
fn what_is_about_something_that_is_not_there_is_refused() {
    let calls = [
        (OfCall::Settled, "an action that is out, but agent node-0 has none"),
        (ended_late(1), "an action that is out, but agent node-0 has none"),
        (OfCall::Kept { attempt: 1 }, "a late end, but the agent has none"),
    ];
    for (what, why) in calls {
        Folded::new().refuses((AGENT, what), why);
    }
    Folded::left_open().refuses((AGENT, ended_late(2)), "found attempt 2 of step 0 in stage 0");
    for what in [OfAgent::WrittenDown, OfAgent::Unchanged, OfAgent::Unlearned] {
        Folded::new().refuses((AGENT, what), "what was put off, but the agent has none");
    }
    let mut folded = Folded::left_open();
    folded.takes((AGENT, ended_late(1)));
    folded.takes((AGENT, OfCall::Kept { attempt: 2 }));
    folded.takes((AGENT, OfCall::Settled));
    let about = About { seen_at: Some(Timestamp::from_millis(5)), ..About::default() };
    folded.takes((AGENT, OfAgent::Learned(about)));
    folded.takes((AGENT, OfAgent::Unlearned));
    assert_eq!(folded.state.record(AGENT).unwrap().node_seen_at, None);
}

#[test]
fn a_run_and_its_stages_begin_and_end_once() {
    let began = || OfRun::StageBegan { selected: 1 };
    let held = |folded: &mut Folded| folded.takes(OfRun::Held);
    Folded::new().refuses(OfRun::Created(RunStatus::Pending), "a run that has a history");
    Folded::new().refuses(began(), "the beginning of a stage: found 1 agents");
    Folded::trying().refuses(OfRun::StageEnded, "found 1 RUNNING");
    let mut folded = Folded::new();
    folded.takes(OfRun::StageEnded);
    folded.takes(began());
    folded.refuses(began(), "the beginning of a stage: found 1 agents");
    let mut folded = Folded::new();
    held(&mut folded);
    folded.takes(OfRun::LetGo);
    held(&mut folded);
    folded.refuses(OfRun::Held, "a run on hold");
    let mut folded = Folded::new();
    folded.takes(OfMembership::Joins(Arc::default()));
    folded.takes(OfMembership::TookIn(0));
    folded.refuses(OfMembership::TookIn(1), "an agent that is taken in: found number 1");
    let mut folded = Folded::new();
    folded.takes(OfStrategy::Asks(Asked::default()));
    folded.refuses(OfStrategy::Asks(Asked::default()), "found Plan, which does not go with one");
}

#[test]
fn a_run_ends_at_the_moment_that_was_fixed_when_its_end_was_settled() {
    let status = |to| OfRun::Status { to, reason: None };
    let mut folded = Folded::new();
    folded.takes(status(RunStatus::Finishing));
    let fixed = Timestamp::from_millis(folded.now);
    folded.takes(status(RunStatus::Done));
    assert_eq!(folded.state.progress().finish_ts, Some(fixed));
    let mut folded = Folded::new();
    folded.takes(status(RunStatus::Finishing));
    folded.state.run.progress.finishing_at = None;
    folded.refuses(status(RunStatus::Done), "it needs its moment, but the run has none");
}

#[test]
fn nothing_begins_any_more_once_the_end_is_settled() {
    let mut folded = Folded::new();
    folded.takes((AGENT, OfAgent::Started { batch: 1, label: None }));
    assert!(folded.state.next_to_begin().is_some());
    // A person abandons the run.
    folded.takes(OfRun::Status { to: RunStatus::Finishing, reason: None });
    assert_eq!((folded.state.next_to_begin(), folded.state.work()), (None, None));
}

#[test]
fn a_run_whose_end_is_settled_is_loaded_though_some_of_its_records_have_expired() {
    let load = |status, numbers: std::ops::Range<u32>| {
        State::kept(run(status), numbers.map(record).collect(), &Default::default())
    };
    for status in RunStatus::ALL {
        assert_eq!(load(status, 5..10).is_ok(), status.is_settled(), "{status}");
        let records = if status.is_settled() { 0 } else { 5 };
        assert_eq!(load(status, 0..5).unwrap().number_of_agents(), records, "{status}");
    }
}

#[test]
fn that_agents_have_answered_is_written() {
    let Touch { progress, told, .. } = touches(&OfRun::Unanswered(None).into());
    assert_eq!((progress, told), (true, false));
}

#[test]
fn what_is_refused_says_where_that_was() {
    let stranger = AgentSeq(1);
    Folded::trying().refuses((AGENT, OfAgent::Done), "(Done, agent node-0, event 8)");
    Folded::new().refuses((stranger, OfAgent::Done), "(Done, agent number 1, event 6)");
    Folded::new().refuses(OfRun::Came(Sent::Plan), "(Came, event 6)");
    Folded::new().refuses((AGENT, OfCall::Opened(journal(1))), "(Opened, agent node-0, event 6)");
    Folded::new().refuses(OfMembership::TookIn(7), "(TookIn, event 6)");
    let illegal = IllegalInput::new("this", "that", "it").with(|| "first".to_owned());
    let twice = illegal.with(|| "second".to_owned()).to_string();
    assert_eq!(twice, "failed to apply this: found that, which does not go with it (first)");
}

#[test]
fn an_attempt_gets_a_signal_once_and_only_one_that_came() {
    let signal = |number| Signal {
        number,
        name: "go".to_owned(),
        payload: json!(number).into(),
        at: Timestamp::from_millis(0),
    };
    let waits = || OfCall::Called { pending: call(CallName::WaitSignal), action: None };
    let gets = |number| {
        let answer = Answer::WaitSignal(Ok(signal(number).received()));
        let at = Timestamp::from_millis(0);
        let (name, arguments_hash) = (CallName::WaitSignal, String::new());
        OfCall::Answered(Box::new(Answered { name, arguments_hash, at, answer, bytes: None }))
    };
    let mut folded = Folded::trying();
    folded.takes((AGENT, waits()));
    folded.refuses((AGENT, gets(1)), "found number 1");
    let mut folded = Folded::trying();
    folded.takes(OfRun::Signalled(signal(1)));
    folded.refuses(OfRun::Signalled(signal(3)), "which does not go with number 2");
    folded.takes((AGENT, OfAgent::Signalled(signal(2))));
    folded.takes((AGENT, waits()));
    folded.takes((AGENT, gets(1)));
    folded.takes((AGENT, waits()));
    folded.refuses((AGENT, gets(1)), "an attempt that had it before");
}
