//! A world for the machine: a store that is a few maps, and effects that are performed in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replibook::playbook::{
    Amount, Approval, Budget, BudgetScope, Concurrency, Expr, Grants, Membership, OnAdded, OnError,
    OnExceeded, OnRemoved, Playbook, PluginKind, PluginPin, Retry, Stage, Step, StrategyUse,
    Template,
};
use replibook::run::{
    Activate, Activation, ActivationEnd, AgentId, AgentRecord, AgentSeq, AgentState, Answer,
    AttemptKey, Call, CallError, Command, CommandId, Decision, Digest, Effect, Happened, Input,
    Journal, Loaded, Machine, Member, Next, Progress, Roster, Run, RunEvent, RunId, RunStatus,
    Snapshot, Timestamp, Transition, Verb,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) agents: usize,
    pub(crate) max_failed: u32,
    pub(crate) abort: bool,
    pub(crate) steps: usize,
    pub(crate) approval: bool,
    pub(crate) batch: u32,
    pub(crate) first: First,
}

/// What becomes of the first step, whatever the world does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Goes,
    /// Its `when` is false.
    LeftOut,
    /// Its arguments can't be worked out.
    Fails,
}

#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// Perform one of the outstanding effects; it may go wrong.
    Perform(u16),
    /// Perform one of the outstanding effects; it goes well.
    PerformWell(u16),
    /// Lose everything that is not committed.
    Crash,
    Command(Verb),
    /// Answer the strategy's next question wrongly.
    BadDecision(u16),
}

/// What the step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// One action.
    Action,
    /// One action after another, each with an answer of a megabyte.
    LargeAnswers,
    /// No call, and a result of more than a megabyte.
    LargeResult,
    /// One sleep.
    Sleep,
}

/// Somewhat more than a megabyte of text.
const LARGE: usize = 1024 * 1024 + 1;

pub(crate) struct World {
    pub(crate) work: Work,
    setup: Setup,
    run: Run,
    records: BTreeMap<AgentSeq, AgentRecord>,
    journals: BTreeMap<AttemptKey, Journal>,
    events: Vec<RunEvent>,
    machine: Machine,
    effects: Vec<Effect>,
    now: i64,
    commands: u128,
    failures_to_come: u32,
    /// All writes so far, as text.
    pub(crate) written: Vec<String>,
}

pub(crate) fn playbook(setup: &Setup) -> Playbook {
    let pin = |kind, name: &str| PluginPin {
        source: format!("builtin:{name}"),
        digest: Digest::of(name.as_bytes()),
        kind,
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        grants: Grants::default(),
    };
    let first = |index: usize, what| index == 0 && setup.first == what;
    let kind =
        |index| if first(index, First::Fails) { "${{ agent.attributes.nothing }}" } else { "k" };
    let step = |index| Step {
        name: format!("step-{index}"),
        plugin: "action".to_owned(),
        with: Template::parse(json!({"kind": kind(index)})).unwrap(),
        grants: Grants::default(),
        when: first(index, First::LeftOut).then(|| Expr::parse("false").unwrap()),
        require: None,
        timeout: None,
        retry: Retry::NONE,
        on_error: OnError::Fail,
    };
    let on_exceeded = if setup.abort { OnExceeded::Abort } else { OnExceeded::Pause };
    Playbook {
        name: "p".to_owned(),
        version: semver::Version::new(1, 0, 0),
        summary: None,
        vcs: None,
        approval: if setup.approval { Approval::Required } else { Approval::Granted },
        concurrency: Concurrency::Queue,
        params: json!({}),
        plugins: [
            ("rolling".to_owned(), pin(PluginKind::Strategy, "rolling")),
            ("action".to_owned(), pin(PluginKind::Step, "action")),
        ]
        .into(),
        stages: vec![Stage {
            name: "stage".to_owned(),
            select: None,
            strategy: StrategyUse {
                plugin: "rolling".to_owned(),
                with: Template::parse(json!({})).unwrap(),
            },
            budget: Budget {
                max_failed: Amount::Count(setup.max_failed),
                scope: BudgetScope::Stage,
                on_exceeded,
            },
            membership: Membership { added: OnAdded::Include, removed: OnRemoved::Ignore },
            steps: (0..setup.steps).map(step).collect(),
        }],
    }
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let status = if setup.approval { RunStatus::PendingApprove } else { RunStatus::Pending };
        let run = Run {
            snapshot: Arc::new(Snapshot {
                id: RunId(Uuid::from_u128(7)),
                playbook: playbook(&setup),
                params: Map::new(),
                cluster: "c".to_owned(),
                started_by: None,
                created_at: Timestamp::from_millis(0),
            }),
            progress: Progress::new(status, Timestamp::from_millis(0)),
        };
        let loaded = Loaded { run: run.clone(), records: vec![], journals: vec![] };
        let (machine, first) = Machine::load(loaded, Timestamp::from_millis(0));
        let mut world = Self {
            work: Work::Action,
            setup,
            run,
            records: BTreeMap::new(),
            journals: BTreeMap::new(),
            events: Vec::new(),
            machine,
            effects: Vec::new(),
            now: 0,
            commands: 0,
            failures_to_come: 0,
            written: Vec::new(),
        };
        world.commit(first);
        world
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.run.progress
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &AgentRecord> {
        self.records.values()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &RunEvent> {
        self.events.iter()
    }

    /// Lets the next `count` actions fail.
    pub(crate) fn fail_next(&mut self, count: u32) {
        self.failures_to_come = count;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    pub(crate) fn choose(&mut self, choice: &Choice) {
        self.now += 10;
        match choice {
            Choice::Perform(index) => self.perform(usize::from(*index), index % 5 == 0),
            Choice::PerformWell(index) => self.perform(usize::from(*index), false),
            Choice::Crash => self.crash(),
            Choice::Command(verb) => self.command(*verb),
            Choice::BadDecision(kind) => self.decide_badly(*kind),
        }
    }

    /// Performs effects, all well, until there are none.
    pub(crate) fn run_dry(&mut self) {
        for _ in 0..200_000 {
            if self.effects.is_empty() {
                return;
            }
            self.now += 10;
            self.perform(0, false);
        }
        panic!("the run does not come to rest: {:?}", self.progress());
    }

    /// Goes on until the strategy is asked for the first time.
    pub(crate) fn start(&mut self) {
        while !matches!(self.effects.first(), Some(Effect::Plan { .. })) {
            self.perform(0, false);
        }
    }

    /// Goes on until so many actions are out.
    pub(crate) fn until_in_flight(&mut self, count: usize) {
        let out = |effects: &[Effect]| {
            effects.iter().filter(|effect| matches!(effect, Effect::Perform(_))).count()
        };
        while out(&self.effects) < count {
            let next = self.effects.iter().position(|e| !matches!(e, Effect::Perform(_))).unwrap();
            self.perform(next, false);
        }
    }

    fn crash(&mut self) {
        let loaded = Loaded {
            run: self.run.clone(),
            records: self.records.values().cloned().collect(),
            journals: self.journals.values().cloned().collect(),
        };
        self.effects.clear();
        let (machine, first) = Machine::load(loaded, self.now());
        self.machine = machine;
        self.commit(first);
        self.settle();
    }

    fn command(&mut self, verb: Verb) {
        self.commands += 1;
        let command = Command {
            id: CommandId(Uuid::from_u128(self.commands)),
            run: self.run.id(),
            verb,
            actor: Some("ann".to_owned()),
            why: None,
            at: self.now(),
            outcome: None,
            finish_ts: None,
        };
        self.apply(Input::Command(command));
    }

    fn perform(&mut self, index: usize, badly: bool) {
        if self.effects.is_empty() {
            return;
        }
        // As in the driver, nothing is applied while the strategy is asked.
        let asked = self.effects.iter().position(|effect| matches!(effect, Effect::Plan { .. }));
        let effect = self.effects.remove(asked.unwrap_or(index % self.effects.len()));
        if let Some(input) = self.outcome(effect, badly) {
            self.apply(input);
        }
    }

    fn outcome(&mut self, effect: Effect, badly: bool) -> Option<Input> {
        match effect {
            Effect::AwaitCluster => Some(Input::ClusterFree),
            Effect::LoadMembers => Some(Input::Members(members(self.setup.agents))),
            Effect::Plan { .. } => Some(Input::Planned { result: Ok(self.decide()), logs: vec![] }),
            Effect::Activate(activate) => {
                let key = activate.key;
                Some(Input::Activated { key, activation: activation(self.work, &activate, badly) })
            }
            Effect::Perform(perform) => {
                let pending = self.journals[&perform.key].pending.as_ref();
                assert!(pending.is_some(), "performed before it was committed");
                let answer = self.answer(&perform.what, badly);
                Some(Input::Answered { key: perform.key, call: perform.call, answer })
            }
            Effect::WakeAt(at) => {
                self.now = self.now.max(at.as_millis());
                Some(Input::Woken)
            }
            Effect::Abandon(key) => {
                self.effects.retain(
                    |effect| !matches!(effect, Effect::Perform(perform) if perform.key == key),
                );
                None
            }
            Effect::Stamp(_) => Some(Input::Stamped),
            Effect::Continue => Some(Input::Continue),
        }
    }

    fn answer(&mut self, what: &Call, badly: bool) -> Answer {
        if matches!(what, Call::Sleep { .. }) {
            return Answer::Sleep;
        }
        let fails = badly || self.failures_to_come > 0;
        self.failures_to_come = self.failures_to_come.saturating_sub(1);
        Answer::RunAction(match self.work {
            _ if fails => Err(CallError::Failed("no".to_owned())),
            Work::LargeAnswers => Ok(Value::String("x".repeat(LARGE))),
            Work::Action | Work::LargeResult | Work::Sleep => Ok(json!(1)),
        })
    }

    /// Lets the next moment that the run waits for come, with nothing else.
    pub(crate) fn wake(&mut self) {
        let wakes = |effect: &Effect| matches!(effect, Effect::WakeAt(_));
        let index = self.effects.iter().position(wakes).unwrap();
        self.now += 10;
        let effect = self.effects.remove(index);
        let input = self.outcome(effect, false).unwrap();
        self.apply(input);
    }

    /// Answers the strategy's question with a wait until the present moment; until when it got.
    pub(crate) fn wait_for_nothing(&mut self) -> (Timestamp, Timestamp) {
        let asked = self.effects.iter().position(|e| matches!(e, Effect::Plan { .. })).unwrap();
        self.effects.remove(asked);
        let mut decision = self.decide();
        decision.start.clear();
        decision.next = Next::WaitUntil(Timestamp::from_millis(0));
        self.apply(Input::Planned { result: Ok(decision), logs: vec![] });
        match self.effects.as_slice() {
            [Effect::WakeAt(at)] => (self.now(), *at),
            other => panic!("{other:?}"),
        }
    }

    /// A plain rolling strategy.
    fn decide(&self) -> Decision {
        let roster: &dyn Roster = &self.machine;
        let running = roster.count(AgentState::Running);
        let free = self.setup.batch.saturating_sub(running);
        let start = roster.page(AgentState::Pending, None, free.min(250));
        let idle = running == 0 && start.is_empty();
        let next = if idle { Next::Complete } else { Next::Wait };
        Decision { start, skip: vec![], next, memo: String::new(), label: None }
    }

    fn decide_badly(&mut self, kind: u16) {
        let Some(asked) = self.effects.iter().position(|e| matches!(e, Effect::Plan { .. })) else {
            return;
        };
        self.effects.remove(asked);
        let mut decision = self.decide();
        let nobody = AgentId::from("nobody");
        match kind % 7 {
            0 => decision.start = vec![nobody],
            1 => {
                let id = self.records.values().next().unwrap().agent.clone();
                decision.start = vec![id.clone(), id];
            }
            2 => (decision.start, decision.next) = (vec![], Next::Wait),
            3 => decision.memo = "x".repeat(70_000),
            4 => decision.label = Some("x".repeat(64)),
            5 => decision.start = vec![nobody; 251],
            _ => decision.skip = vec![(nobody, String::new()); 261],
        }
        if kind % 7 == 6 {
            decision.start.clear();
        }
        self.apply(Input::Planned { result: Ok(decision), logs: vec![] });
    }

    fn apply(&mut self, input: Input) {
        let transition = self.machine.apply(input, self.now()).unwrap();
        self.commit(transition);
        self.settle();
    }

    /// Applies an input that must be refused; the refusal in words.
    pub(crate) fn refuse(&mut self, input: Input) -> String {
        self.machine.apply(input, self.now()).unwrap_err().to_string()
    }

    fn settle(&mut self) {
        let transition = self.machine.settle(self.now());
        self.commit(transition);
    }

    fn commit(&mut self, transition: Transition) {
        let Transition { writes, effects } = transition;
        assert!(writes.documents() <= 1_000, "{} documents", writes.documents());
        self.written.push(format!("{writes:?}"));
        if let Some(progress) = writes.progress {
            self.run.progress = progress;
        }
        for record in writes.records {
            self.records.insert(record.seq, record);
        }
        for journal in writes.journals {
            self.journals.insert(journal.key, journal);
        }
        self.events.extend(writes.events);
        self.effects.extend(effects);
        if self.records.len() < 100 {
            self.check();
        }
    }

    fn check(&self) {
        let progress = self.progress();
        for state in AgentState::ALL {
            let found = self.records().filter(|record| record.state == state).count();
            assert_eq!(found, progress.count(state) as usize, "{state}");
        }
        for (index, event) in self.events.iter().enumerate() {
            assert_eq!(event.seq, index as u64 + 1, "no gap in the history");
        }
        let (mut decided, mut started) = (0, BTreeSet::new());
        for event in &self.events {
            match &event.what {
                Happened::Decision { started, .. } => decided += *started as usize,
                Happened::Agent { agent, to: AgentState::Running, .. } => {
                    assert!(started.insert(agent), "{agent} was started twice");
                }
                _ => {}
            }
        }
        assert_eq!(started.len(), decided, "only what was decided is started");
        let stage = &progress.stage;
        let failed = self.records().filter(|record| {
            let failure = record.error.as_ref();
            record.state == AgentState::Failed
                && failure.is_some_and(|f| f.reason.as_str() != "cancelled")
        });
        assert_eq!(failed.count(), stage.failures as usize);
        let exceeded = stage.failures > self.setup.max_failed.max(stage.accepted_failures);
        let unnoticed = progress.status == RunStatus::Running && !self.setup.abort;
        assert!(!(exceeded && unnoticed), "the budget was passed unnoticed");
        assert_eq!(progress.finish_ts.is_some(), progress.status.is_final());
    }

    /// Nothing is outstanding: the run has ended, or a person has to do something and it says what.
    pub(crate) fn check_the_end(&self) {
        let progress = self.progress();
        let settled = progress.status.is_final()
            || progress.status == RunStatus::PendingApprove
            || (progress.status == RunStatus::Paused && progress.reason.is_some());
        assert!(settled, "{progress:?}");
        if progress.status.is_final() {
            assert_eq!(progress.count(AgentState::Running), 0);
        }
    }
}

fn members(count: usize) -> Vec<Member> {
    let member = |n| Member {
        agent: AgentId(format!("node-{n}")),
        address: "http://127.0.0.1:1".to_owned(),
        attributes: Map::new(),
        node: Value::Null,
    };
    (0..count).map(member).collect()
}

/// What the step does.
fn activation(work: Work, activate: &Activate, badly: bool) -> Activation {
    let failed = |message: &str| ActivationEnd::Failed {
        reason: replibook::run::FailureReason::ActionFailed,
        message: message.to_owned(),
        retryable: false,
    };
    let action =
        || ActivationEnd::Blocked(Call::RunAction { kind: "k".to_owned(), arguments: Value::Null });
    let answer = activate.journal.answers.last().map(|answered| &answered.answer);
    let end = match (work, answer) {
        (Work::LargeAnswers, _) => action(),
        (Work::LargeResult, _) => ActivationEnd::Done(Value::String("x".repeat(LARGE))),
        (Work::Sleep, None) => {
            ActivationEnd::Blocked(Call::Sleep { length: replibook::run::Millis::from_secs(60) })
        }
        (Work::Sleep, Some(_)) => ActivationEnd::Done(Value::Null),
        (Work::Action, None) => action(),
        (Work::Action, Some(Answer::RunAction(Ok(_)))) if badly => failed("trapped"),
        (Work::Action, Some(Answer::RunAction(Ok(value)))) => ActivationEnd::Done(value.clone()),
        (Work::Action, Some(_)) => failed("the action failed"),
    };
    Activation { end, logs: vec![] }
}
