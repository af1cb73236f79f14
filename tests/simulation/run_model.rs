//! A run as its commits tell it. Each commit is checked against those before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replibook::playbook::Stage;
use replibook::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, CommandId, Happened, Journal, Progress,
    Run, RunEvent, RunId, RunStatus, Snapshot, StatusReason, Timestamp, Writes,
};
use replibook::store::LogCursor;

use crate::approval_model::ApprovalModel;
use crate::budget_model::BudgetModel;
use crate::fresh_model::FreshModel;
use crate::guard_model::GuardModel;
use crate::journal_checks;
use crate::late_model::LateModel;
use crate::ledger::{Check, expect};
use crate::membership_model::MembershipModel;
use crate::narrow_plan::NarrowModel;
use crate::notice_model::{self, NoticeModel};
use crate::passed_over_model::PassedOverModel;
use crate::plan::RunPlan;
use crate::repeats_model::Repeats;
use crate::strategy_model::StrategyModel;

/// What an engine knows that decides whether and where an action is sent.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) address: String,
    pub(crate) leaving: bool,
    pub(crate) state: AgentState,
}

/// The role of the node at an agent's address.
pub(crate) struct Node {
    pub(crate) role: u32,
    /// The moments from which another node, or a proxy, answers.
    pub(crate) changes: Vec<Timestamp>,
}

pub(crate) struct RunModel {
    pub(crate) id: RunId,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) plan: RunPlan,
    /// The nodes of the agents that have a role.
    pub(crate) nodes: BTreeMap<AgentId, Node>,
    /// When the last decision was made, or the run began. Agents are asked for the next stage only after
    /// that.
    pub(crate) decided_at: Timestamp,
    /// Index of a stage and an agent, if another node may have answered while that agent was asked for that
    /// stage.
    pub(crate) doubted: BTreeSet<(usize, AgentId)>,
    pub(crate) progress: Progress,
    /// Index of the stage that agents enter which are taken in by the present commit.
    pub(crate) entered: usize,
    pub(crate) records: BTreeMap<AgentSeq, AgentRecord>,
    seqs: BTreeMap<AgentId, AgentSeq>,
    /// Agents that are to leave once their call has ended.
    pub(crate) leaving: BTreeSet<AgentId>,
    pub(crate) journals: BTreeMap<AttemptKey, Journal>,
    pub(crate) events: Vec<RunEvent>,
    /// The status according to the events. The same is true of the fields below.
    pub(crate) status: RunStatus,
    /// Whether the run was abandoned: then everything it left stays as it was.
    pub(crate) abandoned: bool,
    pub(crate) states: BTreeMap<AgentId, AgentState>,
    /// Whether any stage has begun, when the run was cancelled, and how often somebody cancelled it.
    pub(crate) began: bool,
    pub(crate) cancelled_at: Option<Timestamp>,
    pub(crate) cancels: u32,
    /// How many agents are in flight.
    pub(crate) running: u32,
    /// Index of the stage that the agents have entered.
    pub(crate) stage: usize,
    /// How many agents each decision may still start, by its number.
    pub(crate) to_start: BTreeMap<u32, u32>,
    pub(crate) budget: BudgetModel,
    pub(crate) passed_over: PassedOverModel,
    pub(crate) paused_for: Option<StatusReason>,
    pub(crate) commands: BTreeSet<CommandId>,
    /// The attempts that have begun, and whether they are over.
    pub(crate) attempts: BTreeMap<(AgentId, String, u32), bool>,
    /// Agents whose action a person gave up.
    pub(crate) given_up: BTreeSet<AgentId>,
    pub(crate) members: MembershipModel,
    pub(crate) late: LateModel,
    pub(crate) strategy: StrategyModel,
    pub(crate) fresh: FreshModel,
    pub(crate) guards: GuardModel,
    /// When the present stage began, and until when many agents were missing.
    pub(crate) stage_since: Timestamp,
    pub(crate) mass_until: Option<Timestamp>,
    /// Events by which a person accepted that missing agents are gone.
    pub(crate) accepted: BTreeSet<u64>,
    /// The records as engines know them for certain. A commit may have taken effect without any engine
    /// knowing.
    pub(crate) told: BTreeMap<AgentSeq, Told>,
    lines: BTreeSet<(LogCursor, Option<AttemptKey>)>,
    notices: NoticeModel,
    pub(crate) approvals: ApprovalModel,
    pub(crate) repeats: Repeats,
    pub(crate) narrow: NarrowModel,
}

impl RunModel {
    /// Whether nothing happens in this run before a person says something.
    pub(crate) fn only_waits(&self) -> bool {
        let stage = &self.progress.stage;
        let busy = |record: &AgentRecord| {
            record.state == AgentState::Running || record.outstanding.is_some()
        };
        let asks = stage.entering
            || self.progress.mass_absence.is_some()
            || !stage.refresh.is_empty()
            || stage.retrying.is_some();
        let joins = self.states.values().any(|state| *state == AgentState::Added);
        let question = self.progress.question.as_ref();
        match self.status {
            // If it is not approved by then, something happens.
            _ if question.is_some_and(|question| question.until.is_some()) => false,
            RunStatus::PendingApprove => true,
            RunStatus::Paused => !asks && !joins && !self.records.values().any(busy),
            _ => false,
        }
    }

    pub(crate) fn new(
        run: &Run,
        events: &[RunEvent],
        plan: &RunPlan,
        nodes: BTreeMap<AgentId, Node>,
    ) -> Self {
        Self {
            id: run.id(),
            snapshot: Arc::clone(&run.snapshot),
            plan: plan.clone(),
            nodes,
            decided_at: run.progress.since,
            doubted: BTreeSet::new(),
            progress: run.progress.clone(),
            entered: usize::from(run.progress.stage.index),
            records: BTreeMap::new(),
            seqs: BTreeMap::new(),
            leaving: BTreeSet::new(),
            journals: BTreeMap::new(),
            events: events.to_vec(),
            status: run.progress.status,
            abandoned: false,
            states: BTreeMap::new(),
            began: false,
            cancelled_at: None,
            cancels: 0,
            running: 0,
            stage: usize::from(run.progress.stage.index),
            to_start: BTreeMap::new(),
            budget: BudgetModel::default(),
            passed_over: PassedOverModel::default(),
            paused_for: None,
            commands: BTreeSet::new(),
            attempts: BTreeMap::new(),
            given_up: BTreeSet::new(),
            members: MembershipModel::default(),
            late: LateModel::default(),
            strategy: StrategyModel::default(),
            fresh: FreshModel::default(),
            guards: GuardModel::default(),
            stage_since: run.progress.since,
            mass_until: None,
            accepted: BTreeSet::new(),
            told: BTreeMap::new(),
            lines: BTreeSet::new(),
            notices: NoticeModel::default(),
            approvals: ApprovalModel::new(run.progress.question.as_ref()),
            repeats: Repeats::default(),
            narrow: NarrowModel::default(),
        }
    }

    pub(crate) fn state_of(&self, agent: &AgentId) -> Option<AgentState> {
        self.states.get(agent).copied()
    }

    /// The record of an agent.
    pub(crate) fn record_of(&self, agent: &AgentId) -> Option<&AgentRecord> {
        self.records.get(self.seqs.get(agent)?)
    }

    /// The agents that the run takes for members.
    pub(crate) fn members_known(&self) -> Vec<AgentId> {
        let agents = self.records.values().filter(|record| !record.agent.is_run());
        let there = agents.filter(|r| r.state != AgentState::Removed && !r.leaving);
        there.map(|record| record.agent.clone()).collect()
    }

    /// Whether the run takes notice of changes of the cluster as they come.
    pub(crate) fn takes_changes(&self) -> bool {
        let goes = matches!(self.status, RunStatus::Running | RunStatus::Paused);
        goes && !self.progress.stage.entering && !self.is_once()
    }

    /// An engine has read these records as they are stored.
    pub(crate) fn told(&mut self, records: &[AgentRecord]) {
        for record in records {
            let AgentRecord { seq, address, leaving, state, .. } = record;
            let told = Told { address: address.clone(), leaving: *leaving, state: *state };
            self.told.insert(*seq, told);
        }
    }

    pub(crate) fn stage(&self) -> &Stage {
        &self.snapshot.playbook.stages[self.stage]
    }

    /// Index of the stage and of the step with this name; each step's name is used only once.
    pub(crate) fn place_of(&self, step: &str) -> Option<(u16, u16)> {
        let place = |(stage, known): (usize, &Stage)| {
            let index = known.steps.iter().position(|known| known.name == step)?;
            Some((u16::try_from(stage).unwrap(), u16::try_from(index).unwrap()))
        };
        self.snapshot.playbook.stages.iter().enumerate().find_map(place)
    }

    /// Takes a commit that took effect, perhaps for the second time.
    pub(crate) fn commit(&mut self, epoch: u64, writes: &Writes, now: Timestamp) -> Check {
        let progress = writes.progress.as_ref();
        let progress = progress.ok_or(("a commit writes the run", String::new()))?;
        self.repeats.commit(epoch, writes, &self.progress)?;
        let ended = self.status.is_final();
        let held = self.progress.hold && progress.hold;
        let stage = self.progress.stage.index;
        let many = self.progress.mass_absence.or(progress.mass_absence);
        self.progress = progress.clone();
        self.mass_until = many.map(|_| now).or(self.mass_until);
        expect(progress.stage.index >= stage, "stages go in order", || stage.to_string())?;
        let known = self.events.len();
        self.learn(writes);
        let mut begun = stage;
        for (index, event) in writes.events.iter().enumerate() {
            self.entered =
                usize::from(entered(&writes.events[index..], begun, progress.stage.index));
            if let Happened::Stage { index, .. } = event.what {
                begun = index;
            }
            // An engine that stood still commits late, but no engine commits what is still to come.
            expect(event.at <= now, "time in a run is the store's", || format!("{event:?}"))?;
            self.take_event(event)?;
        }
        let new = self.events[known..].to_vec();
        let repeated = new.is_empty() && !writes.events.is_empty();
        expect(!ended || repeated, "a run that has ended is left alone", || self.id.to_string())?;
        let left: u32 = self.to_start.values().sum();
        expect(left == 0, "a decision is committed with its agents", || {
            format!("{left} agents of {:?} are not in its commit", self.to_start)
        })?;
        for record in &writes.records {
            self.take_record(record)?;
            self.notices.take(record, now)?;
        }
        notice_model::counts(progress, &self.records)?;
        self.records_go_with_events(writes, &new)?;
        let changed = new.iter().any(|event| matches!(event.what, Happened::Status { .. }));
        for journal in &writes.journals {
            self.take_journal(journal, held && !changed)?;
        }
        journal_checks::ended_well(self, &new)?;
        journal_checks::gone_after_call(self, &new)?;
        self.take_lines(writes, repeated)?;
        self.take_commands(writes)?;
        self.progress_fits()
    }

    /// One commit may hold what became known about agents, and what was decided because of that.
    fn learn(&mut self, writes: &Writes) {
        for event in &writes.events {
            let Happened::AgentInfo { agent, .. } = &event.what else { continue };
            let told = writes.records.iter().find(|record| record.agent == *agent);
            let known = self.seqs.get(agent).and_then(|seq| self.records.get_mut(seq));
            if let Some((told, known)) = told.zip(known) {
                known.attributes.clone_from(&told.attributes);
                known.node.clone_from(&told.node);
                known.datastore.clone_from(&told.datastore);
                known.node_seen_at = told.node_seen_at;
            }
        }
    }

    fn take_record(&mut self, record: &AgentRecord) -> Check {
        let state = self.state_of(&record.agent);
        expect(state == Some(record.state), "a record has the state of the last event", || {
            format!("{} is {} and {state:?}", record.agent, record.state)
        })?;
        if let Some(old) = self.records.get(&record.seq) {
            let rule = "attempts only grow";
            let mut pairs = old.attempts.iter().zip(&record.attempts);
            let grown = old.stage != record.stage || pairs.all(|(old, new)| old <= new);
            expect(grown, rule, || format!("{:?} to {:?}", old.attempts, record.attempts))?;
            let kept = old.agent == record.agent && old.stage <= record.stage;
            expect(kept, "a record stays that of its agent", || format!("{record:?}"))?;
            let (joined, left) = (record.joined_at, record.left_at);
            let kept = old.joined_at <= joined && old.left_at <= left;
            expect(kept, "when an agent joined and left stays", || format!("{record:?}"))?;
        } else {
            let other = self.seqs.insert(record.agent.clone(), record.seq);
            expect(other.is_none(), "an agent has one record", || {
                format!("{other:?}, {record:?}")
            })?;
        }
        if record.leaving {
            self.members.left.insert(record.agent.clone());
            self.leaving.insert(record.agent.clone());
        } else {
            self.leaving.remove(&record.agent);
        }
        if record.agent.is_run() {
            self.records.insert(record.seq, record.clone());
            return Ok(());
        }
        let by_shards = self.plan.stages[self.stage]
            .selects
            .is_some_and(|selects| selects.looks_at_shards(self.stage));
        let said = if by_shards {
            record.datastore.shards.is_array()
        } else {
            record.attributes.contains_key("role")
        };
        self.members.recorded(&record.agent, said);
        self.records.insert(record.seq, record.clone());
        Ok(())
    }

    fn records_go_with_events(&self, writes: &Writes, new: &[RunEvent]) -> Check {
        let written: BTreeSet<&AgentId> = writes.records.iter().map(|r| &r.agent).collect();
        for event in new {
            let (Happened::Agent { agent, .. } | Happened::StepStarted { agent, .. }) = &event.what
            else {
                continue;
            };
            let rule = "what an event says is in the same commit";
            expect(written.contains(agent), rule, || format!("{event:?} without a record"))?;
        }
        Ok(())
    }

    fn take_journal(&mut self, journal: &Journal, on_hold: bool) -> Check {
        let old = self.journals.get(&journal.key);
        journal_checks::follows(old, journal)?;
        if old.is_none() {
            let before = journal.taken_from().and_then(|from| self.journals.get(&from));
            journal_checks::takes_over(before, journal)?;
        }
        let calls = journal.pending.is_some() && old.is_none_or(|old| old.pending.is_none());
        let rule = "a run on hold makes no further calls";
        expect(!calls || !on_hold, rule, || format!("{journal:?}"))?;
        self.journals.insert(journal.key, journal.clone());
        Ok(())
    }

    fn take_lines(&mut self, writes: &Writes, repeated: bool) -> Check {
        for line in &writes.logs {
            let new = self.lines.insert((LogCursor::of(line), line.attempt));
            expect(new || repeated, "a line is logged once", || format!("{line:?}"))?;
        }
        Ok(())
    }

    fn take_commands(&self, writes: &Writes) -> Check {
        for command in &writes.commands {
            let told = command.outcome.is_some() && self.commands.contains(&command.id);
            expect(told, "a command is committed with its event", || format!("{command:?}"))?;
        }
        Ok(())
    }

    /// Checks that the end of a run counts each agent once, over all stages.
    fn outcomes_fit(&self) -> Check {
        let Progress { outcomes, outcome, .. } = &self.progress;
        let rule = "agents are counted over all stages";
        if outcome.is_none() {
            return expect(outcomes.is_empty(), rule, || {
                format!("{outcomes:?} of a run that goes")
            });
        }
        let all: u32 = outcomes.values().sum();
        let agents = self.records.values().filter(|record| !record.agent.is_run()).count();
        expect(all as usize == agents, rule, || {
            format!("{outcomes:?} of {} agents", self.records.len())
        })?;
        let said = outcomes.get(&AgentState::Failed).copied().unwrap_or(0) as usize;
        let mut failed = self.budget.agents();
        failed.extend(self.cut_off());
        expect(said == failed.len(), rule, || format!("{said} said to have failed, and {failed:?}"))
    }

    /// The agents that were at work when the run was cancelled. They have failed too, but no budget counts them. A
    /// run that ends for another reason can be cancelled while its last stages go, and keeps that reason.
    fn cut_off(&self) -> impl Iterator<Item = &AgentId> {
        self.events.iter().filter_map(|event| match &event.what {
            Happened::Agent { agent, to: AgentState::Failed, why: Some(why), .. } => {
                (why.starts_with("cancelled") && !agent.is_run()).then_some(agent)
            }
            _ => None,
        })
    }

    /// Checks that the run itself says the same as its events and records.
    fn progress_fits(&self) -> Check {
        let Progress { status, next_event, reason, finish_ts, finishing_at, .. } = &self.progress;
        let told = *status == self.status && *next_event == self.events.len() as u64 + 1;
        expect(told, "a run says what its events say", || {
            format!("{status}, next event {next_event}; {} and {}", self.status, self.events.len())
        })?;
        for state in AgentState::ALL {
            let present = self.states.iter().filter(|(agent, _)| self.is_of_stage(agent));
            let count = present.filter(|(_, found)| **found == state).count();
            let said = self.progress.count(state) as usize;
            expect(count == said, "agents are counted right", || {
                format!("{said} said to be {state}, found {count}")
            })?;
        }
        let Progress { stage, mass_absence, .. } = &self.progress;
        let is_same = stage.entering
            || usize::from(stage.index) != self.stage
            || stage.selected == self.budget.selected;
        expect(is_same, "shares are of those whom the stage began with", || {
            format!("{} selected, and {}", stage.selected, self.budget.selected)
        })?;
        if !stage.entering {
            let said = (stage.failures as usize, self.progress.failures as usize);
            expect(said == self.budget.counted(), "failures are counted right", || {
                format!("{said:?} in stage and run, and {}", self.budget.in_words())
            })?;
        }
        let counts = !self.progress.log.is_empty() || self.progress.stage.untold_memo;
        expect(!counts || self.progress.needs > 1, "a run says what it needs", || {
            format!("{:?}", self.progress)
        })?;
        self.passed_over.fits(&self.progress, &self.records)?;
        self.outcomes_fit()?;
        self.members.nobody_is_left_out(&self.states)?;
        let many = mass_absence.is_some() && *status == RunStatus::Running;
        expect(!many, "many absences stop the run", || format!("{mass_absence:?}"))?;
        let waits = matches!(status, RunStatus::Paused | RunStatus::PendingApprove);
        expect(!waits || reason.is_some(), "a run that waits says why", || status.to_string())?;
        let goes = *status == RunStatus::Running && !self.progress.stage.entering;
        // A run that ends does not stop for what ended it.
        let goes = goes && self.progress.closing.is_none();
        let stops = self.budget.stops(&self.stage().budget);
        let rule = "a budget that is exceeded stops the run";
        expect(!goes || !stops, rule, || self.budget.in_words())?;
        let over = finish_ts.is_some();
        let last = over == status.is_final() && (!over || finish_ts == finishing_at);
        expect(last, "finish_ts is on the run last", || {
            format!("{status} with finish_ts {finish_ts:?}, finishing at {finishing_at:?}")
        })
    }
}

/// The stage that the agents are in or enter with the first of these events, which are the rest of a commit: `begun` is
/// the last that began before them, `after` is the stage of the run after the commit. Agents enter before a stage begins.
/// If the run closes first, they still belong to the stage before.
fn entered(events: &[RunEvent], begun: u16, after: u16) -> u16 {
    let enters = events.iter().find_map(|event| match &event.what {
        Happened::Stage { index, .. } => Some(*index),
        Happened::Closing { next: Some(_), .. } => Some(begun),
        _ => None,
    });
    enters.unwrap_or(after)
}
