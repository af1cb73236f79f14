//! What can be read of the state. Its fields are private, so code outside of this folder reads it through such
//! methods.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::agent::{Agent, Attempt, Doing};
use super::around::Around;
use super::counting::Counting;
use super::entering::{Changed, Joining};
use super::event::Sent;
use super::illegal::IllegalInput;
use super::value::{State, Stopping};
use super::waiting::{LastAnswer, Refreshing, StageAt, Work};
use crate::playbook::{Expr, ExprError, Scope, Stage, Step, StepRole};
use crate::run::datastore::agent_in_scope;
use crate::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, Asked, AttemptKey, CommandId, Digest, PlannedNext,
    Progress, Roster, Run, RunStatus, Snapshot, Timestamp,
};

impl State {
    pub(crate) const fn run(&self) -> &Run {
        &self.run
    }

    pub(crate) const fn progress(&self) -> &Progress {
        &self.run.progress
    }

    pub(crate) const fn snapshot(&self) -> &Arc<Snapshot> {
        &self.run.snapshot
    }

    pub(crate) const fn status(&self) -> RunStatus {
        self.run.progress.status
    }

    /// The status that says what may happen in the run, which is RUNNING too while its last stages are done.
    pub(crate) fn acts_as(&self) -> RunStatus {
        self.run.progress.acts_as()
    }

    /// An agent, by its number. `None` if the run has no such agent.
    pub(crate) fn find(&self, seq: AgentSeq) -> Option<&Agent> {
        self.agents.get(seq.0 as usize)
    }

    /// An agent, by its number.
    ///
    /// # Errors
    /// [`IllegalInput`] when the run has no such agent.
    pub(crate) fn agent(&self, seq: AgentSeq) -> Result<&Agent, IllegalInput> {
        self.find(seq).ok_or_else(|| IllegalInput::no_agent(seq))
    }

    /// The record of an agent.
    ///
    /// # Errors
    /// [`IllegalInput`] when the run has no such agent.
    pub(crate) fn record(&self, seq: AgentSeq) -> Result<&AgentRecord, IllegalInput> {
        self.agent(seq).map(Agent::record)
    }

    /// The agent's attempt in flight.
    ///
    /// # Errors
    /// [`IllegalInput`] when the agent has no attempt in flight.
    pub(crate) fn attempt(&self, seq: AgentSeq) -> Result<&Attempt, IllegalInput> {
        let agent = self.agent(seq)?;
        let none = || {
            let of = format!("agent {}", agent.record().agent);
            IllegalInput::missing("something to an attempt", "one in flight", of)
        };
        agent.attempt().ok_or_else(none)
    }

    /// The run's own record, if it has one.
    pub(crate) fn run_record(&self) -> Option<&AgentRecord> {
        self.index.of_run.and_then(|seq| self.find(seq)).map(Agent::record)
    }

    /// How many agents the run knows. Its own record is none of them.
    pub(crate) fn number_of_agents(&self) -> usize {
        self.agents.len() - usize::from(self.index.of_run.is_some())
    }

    /// Whether the steps of the present stage are done once, on the run.
    pub(crate) const fn is_once(&self) -> bool {
        self.run.progress.stage.once
    }

    /// The records of all agents, by their number.
    pub(crate) fn records(&self) -> impl ExactSizeIterator<Item = &AgentRecord> + Clone {
        self.agents.iter().map(Agent::record)
    }

    pub(crate) fn seq_of(&self, agent: &AgentId) -> Option<AgentSeq> {
        self.index.by_id.get(agent).copied()
    }

    pub(crate) fn in_state(&self, state: AgentState) -> Vec<AgentSeq> {
        self.index.by_state.get(&state).into_iter().flatten().copied().collect()
    }

    /// The agents in a state, from number `from` on. Work that goes on from commit to commit must not look at all
    /// agents each time.
    pub(crate) fn some_in(
        &self,
        state: AgentState,
        from: AgentSeq,
    ) -> impl Iterator<Item = AgentSeq> {
        self.index.by_state.get(&state).into_iter().flat_map(move |set| set.range(from..)).copied()
    }

    /// Agents with an attempt in flight.
    pub(crate) fn trying(&self) -> impl ExactSizeIterator<Item = AgentSeq> {
        self.index.trying.iter().copied()
    }

    /// Whether any agent, or the action of any agent, is being looked at.
    pub(crate) fn looks_at_somebody(&self) -> bool {
        !self.index.looking.is_empty() || !self.index.watched.is_empty()
    }

    /// Whether no agent is running.
    pub(crate) fn nothing_in_flight(&self) -> bool {
        debug_assert!(
            self.index.trying.iter().all(|seq| self.is_running(*seq)),
            "only agents that run have an attempt"
        );
        self.run.progress.count(AgentState::Running) == 0
    }

    fn is_running(&self, seq: AgentSeq) -> bool {
        self.find(seq).is_some_and(|agent| agent.record.state == AgentState::Running)
    }

    /// The agent whose next step begins first.
    pub(crate) fn next_to_begin(&self) -> Option<AgentSeq> {
        self.index.queue.first().map(|(_, seq)| *seq)
    }

    /// When something is first due for an agent, and for which agent.
    pub(crate) fn first_alarm(&self) -> Option<(Timestamp, AgentSeq)> {
        self.index.alarms.first()
    }

    /// Agents about which more is known than was written.
    pub(crate) fn unwritten(&self) -> impl ExactSizeIterator<Item = AgentSeq> {
        self.index.unwritten.iter().copied()
    }

    /// Whether an effect of this kind is out.
    pub(crate) fn is_out(&self, sent: Sent) -> bool {
        self.out.sent.contains(&sent)
    }

    pub(crate) const fn wakes_at(&self) -> Option<Timestamp> {
        self.out.wake
    }

    pub(crate) fn was_handled(&self, command: CommandId) -> bool {
        self.handled.contains(&command)
    }

    pub(crate) const fn heaviest(&self) -> usize {
        self.heaviest
    }

    /// All agents that are to be taken into the stage, and how many of them already were.
    pub(crate) fn joining(&self) -> (Arc<Vec<Joining>>, usize) {
        (Arc::clone(&self.stage.joining), self.stage.joined)
    }

    /// Whether agents are still to be taken into the stage.
    pub(crate) fn is_joining(&self) -> bool {
        self.stage.joined < self.stage.joining.len()
    }

    /// The first change of a membership that is still to be made.
    pub(crate) fn next_change(&self) -> Option<(&AgentId, &Changed)> {
        self.stage.meanwhile.first_key_value()
    }

    pub(crate) const fn is_admitting(&self) -> bool {
        self.stage.admitting
    }

    pub(crate) const fn stopping(&self) -> Option<Stopping> {
        self.stage.stopping
    }

    pub(crate) const fn is_plan_due(&self) -> bool {
        self.strategy.due
    }

    /// Whether the answer that is awaited comes too late: its stage was left because the run ends.
    pub(crate) const fn is_plan_stale(&self) -> bool {
        self.strategy.stale
    }

    /// The same for the members that are awaited: they were asked what the selection of that stage needs.
    pub(crate) const fn are_members_stale(&self) -> bool {
        self.out.members_stale
    }

    /// Label of the last decision.
    pub(crate) const fn last_label(&self) -> Option<&String> {
        self.strategy.label.as_ref()
    }

    pub(crate) const fn last_answer(&self) -> &LastAnswer {
        &self.strategy.answered
    }

    pub(crate) const fn refreshing(&self) -> &Refreshing {
        &self.strategy.refreshing
    }

    /// What the strategy was last asked with.
    pub(crate) const fn last_asked(&self) -> &Asked {
        &self.strategy.asked
    }

    /// How far asking agents for the guards of the cluster has come.
    pub(crate) const fn around(&self) -> &Around {
        &self.strategy.around
    }

    /// What the guards of the cluster count.
    pub(crate) const fn counting(&self) -> &Counting {
        &self.counting
    }

    /// Whether agents are being taken into the stage.
    pub(crate) fn is_entering(&self) -> bool {
        self.run.progress.status == RunStatus::Starting || self.run.progress.stage.entering
    }

    /// Whether the agent goes as soon as its call has ended.
    pub(crate) fn is_leaving(&self, seq: AgentSeq) -> bool {
        self.find(seq).is_some_and(|agent| agent.record.leaving)
    }

    /// What is to be done next because it was too much for one commit.
    pub(crate) fn work(&self) -> Option<Work> {
        let waits = [
            (Work::Join, self.is_joining()),
            (Work::Refresh, self.strategy.refreshing.is_taking()),
            (Work::LookAround, self.strategy.around.is_taking()),
            (Work::CatchUp, !self.stage.meanwhile.is_empty() && !self.is_entering()),
            (Work::Admit, self.stage.admitting),
            (Work::Retry, self.run.progress.stage.retrying.is_some()),
            (Work::Begin, !self.index.queue.is_empty()),
            (Work::Stop, self.stage.stopping.is_some()),
        ];
        waits.into_iter().find(|(_, waits)| *waits).map(|(work, _)| work)
    }

    /// How far the stage has come. The strategy is asked only at [`StageAt::Due`].
    pub(crate) fn stage_at(&self) -> StageAt {
        if self.is_entering() {
            return StageAt::Entering;
        }
        if let Some(work) = self.work() {
            return StageAt::Work(work);
        }
        if self.is_out(Sent::Plan)
            || self.strategy.refreshing.goes_on()
            || self.strategy.around.is_needed()
        {
            return StageAt::Asking;
        }
        match &self.run.progress.stage.next {
            Some(PlannedNext::Complete | PlannedNext::Abort { .. }) => return StageAt::Decided,
            Some(PlannedNext::Wait | PlannedNext::WaitUntil { .. }) | None => {}
        }
        match self.acts_as() {
            _ if !self.strategy.due => StageAt::Waits,
            RunStatus::Running => StageAt::Due,
            RunStatus::Paused if crate::mutants::mutant!(PauseStartsMore) => StageAt::Due,
            RunStatus::Paused
            | RunStatus::PendingApprove
            | RunStatus::Pending
            | RunStatus::Starting
            | RunStatus::Cancelling
            | RunStatus::Finishing
            | RunStatus::Done
            | RunStatus::Failed
            | RunStatus::Cancelled => StageAt::Stands,
        }
    }
}

impl State {
    /// The present stage.
    ///
    /// # Errors
    /// [`IllegalInput`] when the playbook has no such stage.
    pub(crate) fn stage(&self) -> Result<&Stage, IllegalInput> {
        let index = self.run.progress.stage.index;
        self.stage_number(index)
    }

    /// A stage of the playbook.
    ///
    /// # Errors
    /// [`IllegalInput`] when the playbook has no such stage.
    pub(crate) fn stage_number(&self, index: u16) -> Result<&Stage, IllegalInput> {
        let stages = &self.run.snapshot.playbook.stages;
        let none = || IllegalInput::new("a stage", format!("number {index}"), "the playbook");
        stages.get(usize::from(index)).ok_or_else(none)
    }

    /// A step of the present stage.
    ///
    /// # Errors
    /// [`IllegalInput`] when the stage has no such step.
    pub(crate) fn step(&self, index: u16) -> Result<&Step, IllegalInput> {
        let none = || IllegalInput::new("a step", format!("number {index}"), "the stage");
        self.stage()?.steps.get(usize::from(index)).ok_or_else(none)
    }

    /// The role of the step that the agent is at; `None` if it is past its last step.
    pub(crate) fn present_role(&self, seq: AgentSeq) -> Option<StepRole> {
        let record = self.find(seq)?.record();
        self.step(record.step).ok().map(|step| step.role)
    }

    /// Name of a step of the stage. Empty if there is no such step, because the agent is past its last one.
    pub(crate) fn step_name(&self, index: u16) -> String {
        self.step(index).map(|step| step.name.clone()).unwrap_or_default()
    }

    /// What the agent's attempt in flight waits for.
    pub(crate) fn doing(&self, seq: AgentSeq) -> Option<Doing> {
        self.find(seq).and_then(Agent::doing)
    }

    /// The digest of the plugin with this name in the playbook.
    ///
    /// # Errors
    /// [`IllegalInput`] when the playbook has no plugin of this name.
    pub(crate) fn plugin(&self, name: &str) -> Result<&Digest, IllegalInput> {
        let pin = self.run.snapshot.playbook.plugins.get(name);
        pin.map(|pin| &pin.digest)
            .ok_or_else(|| IllegalInput::new("a plugin", name, "the playbook"))
    }

    /// Calls `f` with a scope for expressions. `agent` is null if the expression is about no agent.
    pub(crate) fn with_scope<T>(
        &self,
        agent: Value,
        steps: Value,
        f: impl Fn(&Scope<'_>) -> T,
    ) -> T {
        self.run.snapshot.with_scope(agent, steps, f)
    }

    /// Works out the arguments of a step for an attempt. A scope has copies of all that is known about the agent, so it
    /// is made only if an expression looks at it.
    pub(crate) fn arguments(
        &self,
        record: &AgentRecord,
        step: &Step,
        attempt: AttemptKey,
    ) -> Result<Value, ExprError> {
        if step.with.is_literal() {
            return self.with_scope(Value::Null, Value::Null, |scope| step.with.render(scope));
        }
        let tokens = self.run.snapshot.tokens(attempt, &step.with);
        self.with_record_scope(
            record,
            |path| step.with.looks_at(path),
            |scope| step.with.render_with(scope, &tokens),
        )
    }

    /// Calls `f` with the scope for an agent's next step. Of the results of its steps, the scope has only those
    /// that it `looks` at.
    pub(crate) fn with_record_scope<T>(
        &self,
        record: &AgentRecord,
        looks: impl Fn(&[&str]) -> bool,
        f: impl Fn(&Scope<'_>) -> T,
    ) -> T {
        // What the stages on the run have found out is in scope of all agents.
        let of_run = self.run_record().filter(|of_run| of_run.seq != record.seq);
        let of_run = of_run.into_iter().flat_map(|of_run| &of_run.results);
        let results = of_run.chain(&record.results);
        let results = results.filter(|(name, _)| looks(&["steps", name.as_str()]));
        let steps = results.map(|(name, result)| {
            let result = Map::from_iter([("result".to_owned(), result.value())]);
            (name.clone(), Value::Object(result))
        });
        let AgentRecord { agent, address, attributes, node, datastore, .. } = record;
        let agent = match agent.is_run() {
            true => Value::Null,
            false => agent_in_scope(agent, address, attributes, node, datastore),
        };
        self.with_scope(agent, Value::Object(steps.collect()), f)
    }
}

/// The run's agents as its strategy sees them.
impl Roster for State {
    fn count(&self, state: AgentState) -> u32 {
        self.run.progress.count(state)
    }

    fn selected(&self) -> u32 {
        self.run.progress.stage.selected
    }

    fn page(&self, state: AgentState, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        let from = match after {
            None => AgentSeq(0),
            Some(id) => match self.seq_of(id) {
                Some(seq) => AgentSeq(seq.0.saturating_add(1)),
                None => return Vec::new(),
            },
        };
        let agents = self.some_in(state, from).take(limit as usize);
        agents.filter_map(|seq| self.find(seq)).map(|agent| agent.record.agent.clone()).collect()
    }

    fn record(&self, id: &AgentId) -> Option<&AgentRecord> {
        self.find(self.seq_of(id)?).map(Agent::record)
    }

    fn held(&self, after: Option<&AgentId>, limit: u32) -> Vec<AgentId> {
        let held = &self.run.progress.stage.held;
        let from = match after {
            None => 0,
            Some(id) => match self.seq_of(id) {
                Some(seq) => held.partition_point(|held| *held <= seq),
                None => return Vec::new(),
            },
        };
        let agents = held.iter().skip(from).take(limit as usize);
        agents.filter_map(|seq| self.find(*seq)).map(|agent| agent.record.agent.clone()).collect()
    }

    fn matches(&self, id: &AgentId, expression: &Expr) -> Option<Result<bool, ExprError>> {
        Some(self.run.snapshot.holds_for(Roster::record(self, id)?, expression))
    }
}
