//! What the machine holds in memory, how it is loaded, and where inputs are sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::alarms::Alarms;
use super::changes::Changes;
pub(super) use super::illegal::IllegalInput;
use super::members::Joining;
use super::membership::Changed;
use super::refreshing::Refreshing;
use super::repeating::LastAnswer;
use super::steering::record_bytes;
use crate::mutants::mutant;
use crate::playbook::{ExprError, Scope, Stage, Step};
use crate::run::datastore::agent_in_scope;
use crate::run::{
    About, AgentId, AgentRecord, AgentSeq, AgentState, Asked, AttemptKey, CommandId, Effect, Input,
    Journal, Loaded, Notice, Outstanding, PlannedNext, Run, RunStatus, StepPhase, Timestamp,
    Transition,
};

/// A run in memory. It is changed by [`apply`](Self::apply) alone.
///
/// # Guarantees
/// - The same loaded run and the same inputs at the same moments give the same transitions.
/// - Every effect is safe to perform again, so a machine that is loaded anew after a crash goes on
///   with [`load`](Self::load)'s effects where the last commit left it.
/// - One transition never holds more documents than one commit may.
///
/// # Assumptions
/// The driver commits the writes of a transition before it performs its effects, applies inputs
/// one after another, and drops the machine when a commit is refused.
#[derive(Debug)]
pub struct Machine {
    pub(super) run: Run,
    records: Vec<AgentRecord>,
    by_id: BTreeMap<AgentId, AgentSeq>,
    pub(super) by_state: BTreeMap<AgentState, BTreeSet<AgentSeq>>,
    /// Attempts in flight.
    pub(super) attempts: BTreeMap<AgentSeq, Attempt>,
    /// Actions that are looked at although their attempt is over.
    pub(super) settling: BTreeMap<AgentSeq, Outstanding>,
    /// Journals of attempts that are over, and whose action is out or ended well but late: at most one
    /// for each agent. The next attempt may go on from there.
    pub(super) over: BTreeMap<AgentSeq, Journal>,
    /// When something is due for an agent: its time is over, or it is tried again.
    pub(super) alarms: Alarms,
    /// The moment that was asked for with [`Effect::WakeAt`] last.
    pub(super) wake: Option<Timestamp>,
    /// Agents that are still to be taken into the stage.
    pub(super) joining: VecDeque<Joining>,
    /// The members are being loaded.
    pub(super) loading: bool,
    /// What became of memberships while the stage was being entered.
    pub(super) meanwhile: BTreeMap<AgentId, Changed>,
    /// Agents that joined are being taken into the stage.
    pub(super) admitting: bool,
    /// Agents that are looked at before their next step.
    pub(super) looking: BTreeSet<AgentSeq>,
    /// Running agents whose next step is still to begin.
    pub(super) starting: VecDeque<AgentSeq>,
    /// Agents whose attempt is still to be ended because the run is cancelled.
    pub(super) stopping: VecDeque<AgentSeq>,
    /// Commands that were applied or refused since the machine was loaded.
    pub(super) handled: BTreeSet<CommandId>,
    /// Something changed since the strategy was asked.
    pub(super) plan_due: bool,
    /// The strategy is being asked.
    pub(super) planning: bool,
    /// [`Input::Continue`] is on its way.
    continuing: bool,
    /// Bytes of the heaviest record that may be started: decisions name only as many agents as fit one
    /// commit.
    pub(super) heaviest: usize,
    /// Agents are being asked afresh, for the strategy.
    pub(super) refreshing: Refreshing,
    /// What it was asked with last.
    pub(super) asked: Asked,
    /// What it answered last.
    pub(super) answered: LastAnswer,
    /// Agents of which more is known than was written, with what was written.
    pub(super) unwritten: BTreeMap<AgentSeq, About>,
    /// Old lines of the log are being removed.
    pub(super) forgetting: bool,
    /// Agents with a call in flight that give no good answer.
    pub(super) silent: BTreeSet<AgentSeq>,
}

/// Kinds of work that may be too much for one commit.
#[derive(Clone, Copy, Debug)]
enum Work {
    Join,
    Refresh,
    CatchUp,
    Admit,
    Retry,
    Begin,
    Stop,
}

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) journal: Journal,
    pub(super) doing: Doing,
    /// Bytes of the answers in the journal.
    pub(super) bytes: usize,
}

/// What an attempt in flight waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// The end of an activation.
    Activation,
    /// The answer to the pending call.
    Answer,
    /// What the agent says, for the precondition of the step.
    Checking,
    /// A person who lets the run go on.
    Held,
}

impl Machine {
    /// A machine for a run as it was loaded, and what it does first: all that was going on when
    /// the run was last committed to is taken up again.
    pub fn load(loaded: Loaded, now: Timestamp) -> (Self, Transition) {
        let Loaded { run, mut records, journals } = loaded;
        records.sort_by_key(|record| record.seq);
        let mut machine = Self {
            run,
            records: Vec::with_capacity(records.len()),
            by_id: BTreeMap::new(),
            by_state: BTreeMap::new(),
            attempts: BTreeMap::new(),
            settling: BTreeMap::new(),
            over: BTreeMap::new(),
            alarms: Alarms::default(),
            wake: None,
            joining: VecDeque::new(),
            loading: false,
            meanwhile: BTreeMap::new(),
            admitting: false,
            looking: BTreeSet::new(),
            starting: VecDeque::new(),
            stopping: VecDeque::new(),
            handled: BTreeSet::new(),
            plan_due: false,
            planning: false,
            continuing: false,
            heaviest: 0,
            refreshing: Refreshing::No,
            asked: Asked::default(),
            answered: LastAnswer::default(),
            unwritten: BTreeMap::new(),
            forgetting: false,
            silent: BTreeSet::new(),
        };
        for record in records {
            machine.insert(record);
        }
        let mut journals: BTreeMap<AttemptKey, Journal> =
            journals.into_iter().map(|journal| (journal.key, journal)).collect();
        let mut changes = Changes::at(now);
        match machine.run.progress.status {
            RunStatus::PendingApprove => {}
            RunStatus::Pending => changes.effects.push(Effect::AwaitCluster),
            RunStatus::Starting => machine.load_members(&mut changes),
            RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling => {
                machine.take_up(&mut journals, &mut changes);
            }
            RunStatus::Finishing => {
                let at = machine.run.progress.finishing_at.unwrap_or(now);
                changes.effects.push(Effect::Stamp(at));
            }
            RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {}
        }
        machine.keep_going(&mut changes);
        machine.keep_awake(&mut changes);
        machine.keep_log_small(&mut changes);
        let transition = changes.done(&mut machine);
        (machine, transition)
    }

    fn take_up(&mut self, journals: &mut BTreeMap<AttemptKey, Journal>, changes: &mut Changes) {
        self.heaviest = self
            .records
            .iter()
            .filter(|r| !r.results.is_empty())
            .map(record_bytes)
            .max()
            .unwrap_or(0);
        self.mend_progress();
        for record in &self.records {
            let over = record.over_attempt().and_then(|key| journals.get(&key));
            if let Some(journal) = over {
                self.over.insert(record.seq, journal.clone());
            }
        }
        for seq in self.in_state(AgentState::Running) {
            self.mend_phase(seq, journals);
            match Self::record(self, seq).map(|record| record.phase) {
                Some(StepPhase::Waiting) => self.starting.push_back(seq),
                Some(StepPhase::Trying) => self.take_up_attempt(seq, journals, changes),
                Some(StepPhase::RetryAt { .. }) if mutant!(RetryForgotten) => {}
                Some(StepPhase::RetryAt { at }) => self.alarms.set(seq, at),
                Some(StepPhase::Settling { .. }) => self.take_up_settling(seq, changes),
                None => {}
            }
        }
        let late = |record: &&AgentRecord| {
            record.outstanding.is_some() && record.state != AgentState::Running
        };
        let late: Vec<_> = self.records.iter().filter(late).map(|record| record.seq).collect();
        for seq in late {
            self.take_up_settling(seq, changes);
        }
        if self.run.progress.stage.entering {
            self.load_members(changes);
        }
        match self.run.progress.status {
            RunStatus::Cancelling => self.stop_all(changes),
            RunStatus::Running => match &self.run.progress.stage.next {
                Some(PlannedNext::Complete | PlannedNext::Abort { .. }) => {}
                Some(PlannedNext::Wait | PlannedNext::WaitUntil { .. }) | None => {
                    self.plan_due = true;
                }
            },
            // It is asked once the run goes on.
            RunStatus::Paused => {}
            RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => {}
        }
        self.end_stage_if_over(changes);
    }

    /// Takes notice of one input.
    ///
    /// # Errors
    /// [`IllegalInput`] for an input that answers nothing that was asked. What merely comes too late
    /// (an answer for an attempt that was given up) is no error and changes nothing.
    pub fn apply(&mut self, input: Input, now: Timestamp) -> Result<Transition, IllegalInput> {
        let mut changes = Changes::at(now);
        match input {
            Input::ClusterFree => self.cluster_free(&mut changes),
            Input::ClusterBusy { holder, queued } => {
                self.cluster_busy(holder, queued, &mut changes);
            }
            Input::Members(members) => self.members(members, &mut changes),
            Input::MembersOfRetry { members, gone } => {
                self.members_of_retry(members, gone, &mut changes);
            }
            Input::MembersUnanswered(who) => self.members_unanswered(who, &mut changes),
            Input::MembersFailed(message) => self.members_failed(message, &mut changes),
            Input::Refreshed(answers) => self.refreshed(answers, &mut changes)?,
            Input::Planned { result, logs } => self.planned(result, logs, &mut changes)?,
            Input::Activated { key, activation } => self.activated(key, activation, &mut changes),
            Input::Accepted { key, call } => self.accepted(key, call, &mut changes),
            Input::Noticed { key, call, notice } => self.noticed(key, call, notice, &mut changes),
            Input::Answered { key, call, answer } => {
                // What is looked at again has not been heard of.
                if !self.is_looked_at_again(key, call, &answer) {
                    self.heard(key, Some(call), &mut changes);
                }
                self.answered(key, call, answer, &mut changes)?;
            }
            Input::Membership(change) => self.membership(change, &mut changes),
            Input::Checked { key, info } => {
                self.heard(key, None, &mut changes);
                self.checked(key, info, &mut changes);
            }
            Input::Looked(look) => self.looked(look, &mut changes),
            Input::Command(command) => self.command(command, &mut changes),
            Input::Woken => self.woken(&mut changes),
            Input::Forgotten(lines) => self.forgotten(&lines, &mut changes),
            Input::Stamped => self.stamped(&mut changes)?,
            Input::Continue => {
                self.continuing = false;
                self.go_on(&mut changes);
            }
        }
        match changes.illegal.take() {
            Some(illegal) => Err(illegal),
            None => {
                self.drop_notices(&mut changes);
                self.keep_going(&mut changes);
                self.keep_awake(&mut changes);
                self.keep_log_small(&mut changes);
                Ok(changes.done(self))
            }
        }
    }

    /// Asks the strategy if something changed since it was asked last. To be called after a batch
    /// of inputs, so that many changes cost one decision.
    pub fn settle(&mut self, now: Timestamp) -> Transition {
        let mut changes = Changes::at(now);
        self.ask_strategy(&mut changes);
        self.keep_awake(&mut changes);
        changes.done(self)
    }

    /// Does the next part of what is too much for one commit: one kind of work at a time, each of which
    /// keeps to what a commit may hold.
    fn go_on(&mut self, changes: &mut Changes) {
        match self.work() {
            Some(Work::Join) => self.take_in(changes),
            Some(Work::Refresh) => self.take_refreshed(changes),
            Some(Work::CatchUp) => self.catch_up(changes),
            Some(Work::Admit) => self.admit(changes),
            Some(Work::Retry) => self.retry_some(changes),
            Some(Work::Begin) => self.begin_some(changes),
            Some(Work::Stop) => self.stop_some(changes),
            None => {}
        }
    }

    fn work(&self) -> Option<Work> {
        let waits = [
            (Work::Join, !self.joining.is_empty()),
            (Work::Refresh, self.refreshing.is_taking()),
            (Work::CatchUp, !self.meanwhile.is_empty() && !self.is_entering()),
            (Work::Admit, self.admitting),
            (Work::Retry, self.run.progress.stage.retrying.is_some()),
            (Work::Begin, !self.starting.is_empty()),
            (Work::Stop, !self.stopping.is_empty()),
        ];
        waits.into_iter().find(|(_, waits)| *waits).map(|(work, _)| work)
    }

    /// Whether there is more to do than went into the last commit.
    pub(super) fn has_work(&self) -> bool {
        self.continuing || self.work().is_some()
    }

    /// Asks to go on where there is more to do than this commit may hold.
    fn keep_going(&mut self, changes: &mut Changes) {
        if !self.run.progress.status.is_settled() && !self.continuing && self.work().is_some() {
            self.continuing = true;
            changes.effects.push(Effect::Continue);
        }
    }

    /// The run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The record of an agent.
    pub fn record(&self, seq: AgentSeq) -> Option<&AgentRecord> {
        self.records.get(seq.0 as usize)
    }

    /// All agent records, by sequence.
    pub fn records(&self) -> &[AgentRecord] {
        &self.records
    }

    /// Number of attempts in flight.
    pub fn in_flight(&self) -> usize {
        self.attempts.len()
    }

    pub(super) fn record_mut(&mut self, seq: AgentSeq) -> Option<&mut AgentRecord> {
        self.records.get_mut(seq.0 as usize)
    }

    pub(super) fn seq_of(&self, agent: &AgentId) -> Option<AgentSeq> {
        self.by_id.get(agent).copied()
    }

    pub(super) fn in_state(&self, state: AgentState) -> Vec<AgentSeq> {
        self.by_state.get(&state).into_iter().flatten().copied().collect()
    }

    /// The first agents in a state from that number on, at most so many: work that goes on from commit to
    /// commit must not look at all of them each time.
    pub(super) fn some_in(&self, state: AgentState, from: AgentSeq, most: usize) -> Vec<AgentSeq> {
        let all = self.by_state.get(&state).into_iter().flat_map(|set| set.range(from..));
        all.copied().take(most).collect()
    }

    /// Takes a record in whose sequence is the next one.
    pub(super) fn insert(&mut self, record: AgentRecord) {
        debug_assert_eq!(record.seq.0 as usize, self.records.len());
        self.by_id.insert(record.agent.clone(), record.seq);
        self.by_state.entry(record.state).or_default().insert(record.seq);
        if record.notice.as_ref().is_some_and(Notice::is_silence) {
            self.silent.insert(record.seq);
        }
        self.records.push(record);
    }

    /// Changes the state of an agent with the index and the counts; what it was before.
    pub(super) fn move_agent(
        &mut self,
        seq: AgentSeq,
        to: AgentState,
    ) -> Option<(AgentId, AgentState, Option<u32>)> {
        let record = self.records.get_mut(seq.0 as usize)?;
        let from = record.state;
        record.state = to;
        let agent = record.agent.clone();
        let batch = record.batch;
        if let Some(set) = self.by_state.get_mut(&from) {
            set.remove(&seq);
        }
        self.by_state.entry(to).or_default().insert(seq);
        let counts = &mut self.run.progress.counts;
        if let Some(count) = counts.get_mut(&from) {
            *count = count.saturating_sub(1);
        }
        *counts.entry(to).or_insert(0) += 1;
        Some((agent, from, batch))
    }

    pub(super) fn stage(&self) -> Option<&Stage> {
        self.run.snapshot.playbook.stages.get(usize::from(self.run.progress.stage.index))
    }

    /// Name of a step of the stage; nothing for one that there is not.
    pub(super) fn step_name(&self, index: u16) -> String {
        self.step(index).map(|step| step.name.clone()).unwrap_or_default()
    }

    pub(super) fn step(&self, index: u16) -> Option<&Step> {
        self.stage()?.steps.get(usize::from(index))
    }

    /// Lets `f` see the scope of expressions, for an agent or for none.
    pub(super) fn with_scope<T>(
        &self,
        agent: Value,
        steps: Value,
        f: impl Fn(&Scope<'_>) -> T,
    ) -> T {
        self.run.snapshot.with_scope(agent, steps, f)
    }

    /// Works out the arguments of a step. The scope has copies of all that is known of the agent, so
    /// it is made only where an expression looks at it.
    pub(super) fn arguments(&self, record: &AgentRecord, step: &Step) -> Result<Value, ExprError> {
        if step.with.is_literal() {
            return self.with_scope(Value::Null, Value::Null, |scope| step.with.render(scope));
        }
        self.with_record_scope(
            record,
            |path| step.with.looks_at(path),
            |scope| step.with.render(scope),
        )
    }

    /// Lets `f` see the scope of expressions for an agent's next step. Of the results of its steps only
    /// those are in it that it `looks` at.
    pub(super) fn with_record_scope<T>(
        &self,
        record: &AgentRecord,
        looks: impl Fn(&[&str]) -> bool,
        f: impl Fn(&Scope<'_>) -> T,
    ) -> T {
        let results = record.results.iter().filter(|(name, _)| looks(&["steps", name.as_str()]));
        let steps = results.map(|(name, result)| {
            let result = Map::from_iter([("result".to_owned(), result.value())]);
            (name.clone(), Value::Object(result))
        });
        let AgentRecord { agent, address, attributes, node, datastore, .. } = record;
        let agent = agent_in_scope(agent, address, attributes, node, datastore);
        self.with_scope(agent, Value::Object(steps.collect()), f)
    }
}
