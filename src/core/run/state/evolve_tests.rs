//! What can't happen is refused, whatever decided it.

use std::sync::Arc;

use serde_json::{Map, json};
use uuid::Uuid;

use super::{
    Arrival, Begins, Event, OfAgent, OfCall, OfMembership, OfRun, OfStrategy, Sent, State, What,
    evolve,
};
use crate::playbook::{
    Amount, Approval, Budget, BudgetScope, Concurrency, Grants, Identity, Membership, OnAdded,
    OnError, OnExceeded, OnRemoved, Playbook, Retry, Stage, Step, StrategyUse, Template,
};
use crate::run::{
    About, AgentId, AgentSeq, AgentState, Answer, AttemptKey, CallName, Journal, Outstanding,
    Pending, Progress, Run, RunId, RunStatus, SentAction, Snapshot, Timestamp,
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

struct Folded {
    state: State,
    now: i64,
}

impl Folded {
    /// A run that goes, over one agent that waits.
    fn new() -> Self {
        let snapshot = Snapshot {
            id: RunId(Uuid::nil()),
            playbook: playbook(),
            params: Map::new(),
            cluster: "c".to_owned(),
            retry_of: None,
            started_by: None,
            created_at: Timestamp::from_millis(0),
        };
        let progress = Progress::new(RunStatus::Pending, Timestamp::from_millis(0));
        let state = State::new(Run { snapshot: Arc::new(snapshot), progress });
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

    /// The same, and its agent makes an action.
    fn trying() -> Self {
        let mut folded = Self::new();
        folded.takes((AGENT, OfAgent::Started { batch: 1, label: None }));
        folded.takes((AGENT, OfAgent::Rests));
        folded.attempt(1);
        folded
    }

    fn attempt(&mut self, attempt: u32) {
        let (run, agent) = (RunId(Uuid::nil()), AgentId::from("node-0"));
        let at = Timestamp::from_millis(self.now);
        let journal = Journal::new(run, key(attempt), agent, "drain".to_owned(), at, json!({}));
        self.takes((AGENT, OfAgent::StepStarted { step: 0, attempt, takes: None }));
        self.takes((AGENT, OfCall::Opened(Box::new(journal))));
    }

    fn evolve(&mut self, what: impl Into<What>) -> Result<(), String> {
        self.now += 1;
        let event = Event { at: Timestamp::from_millis(self.now), what: what.into() };
        evolve(&mut self.state, &event).map_err(|illegal| illegal.to_string())
    }

    fn takes(&mut self, what: impl Into<What>) {
        self.evolve(what).unwrap();
    }

    /// Refuses something, and says why.
    fn refuses(&mut self, what: impl Into<What>, why: &str) {
        let error = self.evolve(what).unwrap_err();
        assert!(error.contains(why), "{error}");
    }

    fn journal(&self) -> Box<Journal> {
        Box::new(self.state.attempt(AGENT).unwrap().journal.clone())
    }
}

fn call(name: CallName) -> Pending {
    let (arguments_hash, at) = (String::new(), Timestamp::from_millis(0));
    Pending { name, arguments_hash, at, accepted: false, bytes: None }
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
        (OfAgent::Queued, "what an agent does: found Waiting, which does not go with PENDING"),
        (OfAgent::Looking, "does not go with PENDING"),
        (OfAgent::RetriesAt(Timestamp::from_millis(9)), "does not go with PENDING"),
        (OfAgent::Rang, "a moment: found none, which does not go with node-0"),
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
    let mut folded = Folded::trying();
    folded.takes((AGENT, action(1)));
    let (journal, since) = (folded.journal(), Timestamp::from_millis(0));
    folded.takes((AGENT, OfCall::Closed { journal: journal.clone(), written: true }));
    let out = Outstanding { key: key(1), call: 0, since, bytes: None };
    folded.takes((AGENT, OfCall::LeftOpen { action: out, journal: Some(journal) }));
    folded.attempt(2);
    folded.refuses((AGENT, action(2)), "another one that may still run");
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
    Folded::trying().refuses((AGENT, OfCall::Watched), "a look at an action: found none");
    Folded::new().refuses((AGENT, OfCall::Accepted), "an attempt in flight: found none");
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
    Folded::new().refuses(OfStrategy::TookOver(1), "the taking over of answers: found none");
    Folded::new().refuses(OfMembership::CatchesUp, "a change of a membership: found none");
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
    folded.takes((AGENT, OfAgent::Removed));
    let record = folded.state.record(AGENT).unwrap();
    assert_eq!(record.removed_from, Some(AgentState::Running));
    assert!(record.error.is_some());
    let progress = folded.state.progress();
    assert_eq!((progress.failures, progress.count(AgentState::Removed)), (1, 1));
    assert_eq!(folded.state.trying().len(), 0, "its attempt is over");
}
