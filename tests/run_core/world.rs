//! A world for the machine: a store that is a few maps, and effects that are performed in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use replibook_core::playbook::Stage;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, Answer, AttemptKey, Call, CallError, Effect, Happened, Input,
    Journal, Loaded, LogLine, Look, Looked, Machine, Member, NodeInfo, Progress, Question, Run,
    RunEvent, RunId, RunStatus, Selection, Snapshot, Timestamp, Transition, Verb,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

mod checks;
mod deciding;
mod going;
mod people;
mod said;
mod views;

pub(crate) use views::view;

use super::door::{check_read_back, node_said};
use super::parts::{LARGE, Setup, Work, activation, members, playbook};
use super::refresh::{Looks, answers};

/// The most that one commit of a run may have. Each store takes as much, which
/// `tests/store_conformance/cases/commits.rs` checks.
const MAX_COMMIT_DOCUMENTS: usize = 1_000;
const MAX_COMMIT_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// Perform one of the outstanding effects; it may go wrong.
    Perform(u16),
    /// Perform one of the outstanding effects; it goes well.
    PerformWell(u16),
    /// Lose everything that is not committed.
    Crash,
    Command(Verb),
    /// The moment comes for which the run waits.
    Wake,
    /// Agents join, leave, move, or are absent in large numbers.
    Membership(u16),
    /// Answer the strategy's next question wrongly.
    BadDecision(u16),
}

pub(crate) struct World {
    pub(crate) work: Work,
    /// Whether a failed action is worth another attempt.
    pub(crate) retryable: bool,
    /// Whether the nodes are as the preconditions want them.
    pub(crate) nodes_ok: bool,
    pub(crate) accepted_absences: u32,
    pub(crate) unreachable: bool,
    /// What agents answer, byte for byte, one answer after the other. If it is empty, they answer what the
    /// work needs.
    pub(crate) says: Vec<Vec<u8>>,
    /// The node that answers in place of every agent.
    pub(crate) answers_as: Option<String>,
    /// The role that nodes give when they are asked.
    pub(crate) role: String,
    /// How often nodes were asked.
    pub(crate) looked: u32,
    /// The members of the next stages, if a test sets more than their number.
    stages: Vec<Vec<Member>>,
    /// The number of members from now on.
    pub(crate) members: usize,
    setup: Setup,
    run: Run,
    records: BTreeMap<AgentSeq, AgentRecord>,
    journals: BTreeMap<AttemptKey, Journal>,
    events: Vec<RunEvent>,
    lines: BTreeMap<(u64, AgentId, u32), LogLine>,
    /// How many commits there were.
    pub(crate) commits: usize,
    machine: Machine,
    effects: Vec<Effect>,
    /// The last moment at which the machine asked to be woken.
    wake: Option<Timestamp>,
    now: i64,
    commands: u128,
    failures_to_come: u32,
    looks: Looks,
    /// Everything that was written, as text.
    pub(crate) written: Vec<String>,
    /// Whether decisions have labels and memos, and skip agents.
    pub(crate) varied: bool,
    /// What the strategy saw when it was last asked, and how often it was asked.
    asked: (String, usize),
    /// What the strategy saw each time that it gave an answer, with the number of the last event.
    pub(crate) seen: Vec<(u64, String)>,
    /// The attributes that the step of each attempt saw.
    pub(crate) attributes: BTreeMap<AttemptKey, Arc<Map<String, Value>>>,
    /// How often the members were loaded.
    loads: u32,
}

fn says(node: &str, role: &str) -> Looked {
    let raw = json!({"node_id": node});
    let attributes = Map::from_iter([("role".to_owned(), json!(role))]);
    let status = "UP".to_owned();
    Looked::Says(Box::new(NodeInfo { status, attributes, raw, datastore: Default::default() }))
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        Self::with(setup, |_| {})
    }

    /// The selection of the stage.
    pub(crate) fn selection(&self) -> Selection {
        self.machine.selection()
    }

    /// The same, after `change` has changed the stages.
    pub(crate) fn with(setup: Setup, change: impl Fn(&mut Stage)) -> Self {
        let mut playbook = playbook(&setup);
        playbook.stages.iter_mut().for_each(change);
        let status = if setup.approval { RunStatus::PendingApprove } else { RunStatus::Pending };
        let snapshot = Snapshot {
            id: RunId(Uuid::from_u128(7)),
            playbook,
            params: Map::new(),
            cluster: "c".to_owned(),
            retry_of: setup.retry_of(),
            narrowed: setup.narrowed.clone(),
            started_by: (!setup.approvers.is_anybody()).then(|| "user:id/eve".to_owned()),
            created_at: Timestamp::from_millis(0),
            seed: None,
        };
        let mut progress = Progress::new(status, Timestamp::from_millis(0));
        progress.stage.index = snapshot.first_stage();
        progress.stage.once = snapshot.is_once(progress.stage.index);
        progress.question = Question::before_start(&snapshot);
        let run = Run { snapshot: Arc::new(snapshot), progress };
        let loaded = Loaded { run: run.clone(), records: vec![], journals: vec![] };
        let (machine, first) = Machine::load(loaded, Timestamp::from_millis(0)).unwrap();
        let mut world = Self {
            work: Work::Action,
            retryable: false,
            nodes_ok: true,
            accepted_absences: 0,
            unreachable: false,
            says: Vec::new(),
            answers_as: None,
            role: "a".to_owned(),
            looked: 0,
            stages: Vec::new(),
            members: setup.agents,
            setup,
            run,
            records: BTreeMap::new(),
            journals: BTreeMap::new(),
            events: Vec::new(),
            lines: BTreeMap::new(),
            commits: 0,
            machine,
            effects: Vec::new(),
            wake: None,
            now: 0,
            commands: 0,
            failures_to_come: 0,
            looks: Looks::default(),
            written: Vec::new(),
            varied: false,
            asked: (String::new(), 0),
            seen: Vec::new(),
            attributes: BTreeMap::new(),
            loads: 0,
        };
        world.commit(first);
        world
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.run.progress
    }

    /// How far the run came, as a retry has to know it.
    pub(crate) fn came_to(&self) -> replibook_core::run::CameTo {
        self.run.came_to()
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &AgentRecord> {
        self.records.values()
    }

    pub(crate) fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.effects.iter()
    }

    pub(crate) fn journals(&self) -> impl Iterator<Item = &Journal> {
        self.journals.values()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.run.snapshot.clone()
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &RunEvent> {
        self.events.iter()
    }

    /// Lets the next `count` actions fail.
    pub(crate) fn fail_next(&mut self, count: u32) {
        self.failures_to_come = count;
    }

    /// Has the run begin its next stage with these members.
    pub(crate) fn take_members(&mut self, members: Vec<Member>) {
        self.stages.push(members);
    }

    /// The same for the stage after that.
    pub(crate) fn take_later(&mut self, members: Vec<Member>) {
        self.stages.push(members);
    }

    pub(crate) fn pass_minutes(&mut self, minutes: i64) {
        self.now += minutes * 60_000;
    }

    pub(crate) fn crash_now(&mut self) {
        self.crash();
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
            Choice::Command(verb) => {
                self.command(*verb, (*verb == Verb::GiveUp).then_some("node-0"));
            }
            Choice::Wake if self.wake.is_some() => self.wake(),
            Choice::Wake => {}
            Choice::Membership(kind) => self.change_members(*kind),
            Choice::BadDecision(kind) => self.decide_badly(*kind),
        }
    }

    /// Performs all effects, all of which go well, until none are left.
    pub(crate) fn run_dry(&mut self) {
        assert!(self.rests_after(200_000), "the run does not come to rest: {:?}", self.progress());
    }

    /// Goes on until the strategy is asked for the first time.
    pub(crate) fn start(&mut self) {
        while !matches!(self.effects.first(), Some(Effect::Plan { .. })) {
            self.perform(0, false);
        }
    }

    fn crash(&mut self) {
        let loaded = Loaded {
            run: self.run.clone(),
            records: self.records.values().cloned().collect(),
            journals: self.journals.values().cloned().collect(),
        };
        self.effects.clear();
        self.wake = None;
        let (machine, first) = Machine::load(loaded, self.now()).unwrap();
        self.machine = machine;
        self.commit(first);
        self.settle();
    }

    fn perform(&mut self, index: usize, badly: bool) {
        if self.effects.is_empty() {
            return;
        }
        // As in the driver, nothing else is applied while the strategy is asked.
        let asked = self.effects.iter().position(|effect| matches!(effect, Effect::Plan { .. }));
        let effect = self.effects.remove(asked.unwrap_or(index % self.effects.len()));
        if let Some(input) = self.outcome(effect, badly) {
            self.apply(input);
        }
    }

    fn outcome(&mut self, effect: Effect, badly: bool) -> Option<Input> {
        match effect {
            Effect::AwaitCluster => Some(Input::ClusterFree),
            Effect::LoadMembers => {
                self.loads += 1;
                if !self.stages.is_empty() {
                    return Some(Input::Members(self.stages.remove(0)));
                }
                let mut members = members(self.members);
                // Some agents say something new each time.
                for member in members.iter_mut().step_by(2) {
                    member.node = json!({"looks": self.loads});
                    let looks = json!(self.loads / 2);
                    member.attributes.insert("looks".to_owned(), looks);
                }
                members.iter_mut().for_each(|member| self.say_at_start(member));
                Some(match self.setup.gone.clone() {
                    Some(gone) if self.loads == 1 => {
                        Input::MembersOfRetry { members, gone, bystanders: Vec::new() }
                    }
                    Some(_) | None => Input::Members(members),
                })
            }
            Effect::Refresh(agents) => Some(answers(agents, self.now(), badly)),
            // Its cluster has no guards; guards/ has others.
            Effect::LookAround(_) => Some(Input::LookedAround(Vec::new())),
            Effect::Plan { input, .. } => {
                let decision = self.decide(input.max_start);
                Some(Input::Planned { result: Ok(decision), logs: vec![] })
            }
            Effect::Activate(activate) => {
                let key = activate.key;
                let seen = activate.attributes.clone();
                let journal = &activate.journal;
                // An attempt that continues an earlier one sees what the earlier one saw.
                let before = self.attributes.insert(journal.seed_key(), seen.clone());
                if !journal.answers.is_empty() || journal.pending.is_some() {
                    assert_eq!(before, Some(seen), "all activations of {key:?} see the same");
                }
                Some(Input::Activated {
                    key,
                    activation: activation(self.work, &activate, badly, self.retryable),
                })
            }
            Effect::Perform(perform) => {
                let pending = self.journals[&perform.key].pending.as_ref();
                let known = pending.is_some() || perform.look_only;
                assert!(known, "performed before it was committed");
                let answer = self.answer(&perform.what, badly);
                Some(Input::Answered { key: perform.key, call: perform.call, answer })
            }
            Effect::Check { key, .. } => {
                let raw = json!({"ok": !badly && self.nodes_ok});
                let info = NodeInfo {
                    status: "UP".to_owned(),
                    attributes: Map::new(),
                    raw,
                    datastore: Default::default(),
                };
                let info = self.said().map_or(Ok(info), |body| node_said(&body));
                Some(Input::Checked { key, info })
            }
            Effect::Look { key, agent, address, .. } => {
                self.looked += 1;
                let looked = match &self.answers_as {
                    _ if badly => Looked::Silent("no answer".to_owned()),
                    Some(other) => says(other, &self.role),
                    None => says(agent.as_str(), &self.role),
                };
                Some(Input::Looked(Look { key, address, at: self.now(), looked, identity: None }))
            }
            Effect::WakeAt(at) => {
                self.wake = Some(at);
                None
            }
            Effect::Abandon(key) => {
                self.effects.retain(|effect| {
                    !matches!(effect, Effect::Perform(perform) if perform.key == key)
                        && !matches!(effect, Effect::Check { key: of, .. } if *of == key)
                        && !matches!(effect, Effect::Look { key: of, .. } if *of == key)
                });
                None
            }
            // No step of these runs waits for a signal.
            Effect::Signal { .. } => None,
            Effect::AcceptAbsence(_) => {
                self.accepted_absences += 1;
                None
            }
            Effect::Stamp(_) => Some(Input::Stamped),
            Effect::Forget(lines) => {
                self.forget_lines(&lines);
                Some(Input::Forgotten(lines))
            }
            Effect::Continue => Some(Input::Continue),
        }
    }

    fn answer(&mut self, what: &Call, badly: bool) -> Answer {
        if matches!(what, Call::Sleep { .. }) {
            return Answer::Sleep;
        }
        if let Some(answer) = self.said_of(what) {
            return answer;
        }
        let fails = badly || self.failures_to_come > 0;
        self.failures_to_come = self.failures_to_come.saturating_sub(1);
        Answer::RunAction(match self.work {
            _ if self.unreachable => Err(CallError::Unreachable("gone".to_owned())),
            _ if fails => Err(CallError::Failed("no".to_owned())),
            Work::LargeAnswers => Ok(Value::String("x".repeat(LARGE)).into()),
            Work::Action
            | Work::Forgiving
            | Work::LargeResult
            | Work::SizeableResult
            | Work::Info
            | Work::Twice
            | Work::Sleep => Ok(json!(1).into()),
        })
    }

    /// Lets the next moment come for which the run waits, and nothing else.
    pub(crate) fn wake(&mut self) {
        let at = self.wake.take().unwrap();
        self.now = self.now.max(at.as_millis());
        self.apply(Input::Woken);
    }

    pub(crate) fn apply(&mut self, input: Input) {
        let transition = self.machine.apply(input, self.now()).unwrap();
        self.commit(transition);
        self.settle();
    }

    fn settle(&mut self) {
        let transition = self.machine.settle(self.now()).unwrap();
        self.commit(transition);
    }

    fn commit(&mut self, transition: Transition) {
        let Transition { writes, effects } = transition;
        assert!(writes.documents() <= MAX_COMMIT_DOCUMENTS, "{} documents", writes.documents());
        let bytes = said::bytes(&writes);
        assert!(bytes <= MAX_COMMIT_BYTES, "{bytes} bytes in {}", said::in_kinds(&writes));
        if self.says.is_empty() {
            self.written.push(format!("{writes:?}"));
        } else {
            check_read_back(&writes);
        }
        self.commits += usize::from(!writes.is_empty());
        self.take_lines(writes.logs);
        if let Some(progress) = writes.progress {
            self.run.progress = progress;
        }
        for record in writes.records {
            self.records.insert(record.seq, record);
        }
        for journal in writes.journals {
            self.journals.insert(journal.key, journal);
        }
        for event in &writes.events {
            self.looks.event(event);
            if let Happened::Decision { roster, .. } | Happened::NoDecision { roster, .. } =
                event.what
            {
                self.seen.push((roster, self.asked.0.clone()));
            }
        }
        self.events.extend(writes.events);
        for effect in effects {
            match effect {
                Effect::WakeAt(at) => self.wake = Some(at),
                // This takes effect at once: a call that is given up gets no answer.
                Effect::Abandon(_) => drop(self.outcome(effect, false)),
                Effect::Plan { .. } => {
                    self.looks.is_fresh(&self.machine);
                    self.effects.push(effect);
                }
                other => self.effects.push(other),
            }
        }
        if self.records.len() < 100 {
            self.check();
        }
    }
}
