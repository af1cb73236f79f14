//! A run as its commits tell it, each checked against those before it.

use std::collections::{BTreeMap, BTreeSet};

use replibook::playbook::Stage;
use replibook::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, CommandId, Happened, Journal, Progress,
    ReasonCode, Run, RunEvent, RunId, RunStatus, Snapshot, Writes,
};
use replibook::store::LogCursor;
use std::sync::Arc;

use crate::journal_checks;
use crate::ledger::{Check, expect};
use crate::plan::{RunPlan, StrategyPlan};

pub(crate) struct RunModel {
    pub(crate) id: RunId,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) plan: RunPlan,
    pub(crate) progress: Progress,
    /// The status according to the events.
    pub(crate) status: RunStatus,
    pub(crate) records: BTreeMap<AgentSeq, AgentRecord>,
    pub(crate) journals: BTreeMap<AttemptKey, Journal>,
    pub(crate) events: Vec<RunEvent>,
    /// States of agents according to the events.
    states: BTreeMap<AgentId, AgentState>,
    lines: BTreeSet<(LogCursor, Option<AttemptKey>)>,
    /// Agents that a decision may still start, by its number.
    to_start: BTreeMap<u32, u32>,
    /// Failures that count, and those that a person let pass.
    failures: u32,
    accepted: u32,
    paused_for: Option<ReasonCode>,
    commands: BTreeSet<CommandId>,
    attempts: BTreeSet<(AgentId, String, u32)>,
}

impl RunModel {
    pub(crate) fn new(run: &Run, events: &[RunEvent], plan: &RunPlan) -> Self {
        Self {
            id: run.id(),
            snapshot: Arc::clone(&run.snapshot),
            plan: plan.clone(),
            status: run.progress.status,
            progress: run.progress.clone(),
            records: BTreeMap::new(),
            journals: BTreeMap::new(),
            events: events.to_vec(),
            states: BTreeMap::new(),
            lines: BTreeSet::new(),
            to_start: BTreeMap::new(),
            failures: 0,
            accepted: 0,
            paused_for: None,
            commands: BTreeSet::new(),
            attempts: BTreeSet::new(),
        }
    }

    pub(crate) fn state_of(&self, agent: &AgentId) -> Option<AgentState> {
        self.states.get(agent).copied()
    }

    fn stage(&self) -> &Stage {
        &self.snapshot.playbook.stages[usize::from(self.progress.stage.index)]
    }

    /// Takes a commit that took effect, perhaps for the second time.
    pub(crate) fn commit(&mut self, writes: &Writes) -> Check {
        let progress = writes.progress.as_ref();
        let progress = progress.ok_or(("a commit writes the run", String::new()))?;
        let ended = self.status.is_final();
        let stage = self.progress.stage.index;
        self.progress = progress.clone();
        expect(progress.stage.index >= stage, "stages go in order", || stage.to_string())?;
        let known = self.events.len();
        for event in &writes.events {
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
        }
        self.records_go_with_events(writes, &new)?;
        for journal in &writes.journals {
            journal_checks::follows(self.journals.get(&journal.key), journal)?;
            self.journals.insert(journal.key, journal.clone());
        }
        journal_checks::ended_well(self, &new)?;
        self.take_lines(writes)?;
        self.take_commands(writes)?;
        self.progress_fits()
    }

    fn take_event(&mut self, event: &RunEvent) -> Check {
        let next = self.events.len() as u64 + 1;
        if event.seq < next {
            let known = &self.events[usize::try_from(event.seq - 1).unwrap()];
            return expect(known == event, "an event is never changed", || format!("{event:?}"));
        }
        let rule = "events have no gaps";
        expect(event.seq == next, rule, || format!("{} after {}", event.seq, next - 1))?;
        let before = self.events.last().map(|event| event.at);
        expect(before <= Some(event.at), "events are in order of time", || format!("{event:?}"))?;
        self.events.push(event.clone());
        match &event.what {
            Happened::Status { from, to, reason } => {
                let legal = *from == Some(self.status) && self.status.next().contains(to);
                let (rule, status) = ("a status changes as its table says", self.status);
                expect(legal, rule, || format!("{from:?} to {to} of a run that is {status}"))?;
                if self.paused_for == Some(ReasonCode::BudgetExceeded) && *to == RunStatus::Running
                {
                    self.accepted = self.failures;
                }
                self.status = *to;
                self.paused_for =
                    reason.as_ref().filter(|_| *to == RunStatus::Paused).map(|r| r.code);
                Ok(())
            }
            Happened::Agent { agent, from, to, batch, why } => {
                self.take_agent_event(agent, *from, *to, *batch, why.as_deref())
            }
            Happened::Decision { batch, started, .. } => self.take_decision(*batch, *started),
            Happened::StepStarted { agent, step, attempt } => {
                let new = self.attempts.insert((agent.clone(), step.clone(), *attempt));
                expect(new, "an attempt has a number of its own", || {
                    format!("attempt {attempt} of {step} on {agent} began twice")
                })
            }
            Happened::Command { id, .. } => {
                let new = self.commands.insert(*id);
                expect(new, "a command is applied once", || format!("{id:?}"))
            }
            _ => Ok(()),
        }
    }

    fn take_agent_event(
        &mut self,
        agent: &AgentId,
        from: Option<AgentState>,
        to: AgentState,
        batch: Option<u32>,
        why: Option<&str>,
    ) -> Check {
        let state = self.state_of(agent);
        let legal = state.is_none_or(|state| state.next().contains(&to));
        expect(from == state && legal, "an agent's state changes as its table says", || {
            format!("{agent} from {from:?} to {to}, and it is {state:?}")
        })?;
        self.states.insert(agent.clone(), to);
        if to == AgentState::Failed && !why.is_some_and(|why| why.starts_with("cancelled")) {
            self.failures += 1;
        }
        if to != AgentState::Running {
            return Ok(());
        }
        let left = batch.and_then(|batch| self.to_start.get_mut(&batch)).filter(|left| **left > 0);
        let rule = "no agent starts without a decision";
        *left.ok_or_else(|| (rule, format!("{agent} in batch {batch:?}")))? -= 1;
        let status = self.status;
        expect(status == RunStatus::Running, "only a run that goes starts agents", || {
            format!("{agent} started while the run is {status}")
        })?;
        let (failures, most) = (self.failures, self.allowed_failures());
        expect(failures <= most, "the budget holds", || {
            format!("{agent} started after {failures} failures, and {most} may be")
        })
    }

    /// Failures after which no agent may start.
    fn allowed_failures(&self) -> u32 {
        let selected = self.progress.stage.selected;
        self.stage().budget.max_failed.of(selected).max(self.accepted)
    }

    fn take_decision(&mut self, batch: Option<u32>, started: u32) -> Check {
        let Some(batch) = batch else {
            return expect(started == 0, "a batch has a number", || started.to_string());
        };
        self.to_start.insert(batch, started);
        let selected = self.progress.stage.selected;
        let running = self.states.values().filter(|state| **state == AgentState::Running).count();
        let running = u32::try_from(running).unwrap();
        let fits = match self.plan.strategy {
            StrategyPlan::AllAtOnce => true,
            StrategyPlan::Batches(size) => running == 0 && started <= size.of(selected).max(1),
            StrategyPlan::Window(size) => running + started <= size.of(selected).max(1),
        };
        expect(fits, "the strategy's limits hold", || {
            format!("{started} start while {running} of {selected} run: {:?}", self.plan.strategy)
        })
    }

    fn take_record(&mut self, record: &AgentRecord) -> Check {
        let state = self.state_of(&record.agent);
        expect(state == Some(record.state), "a record has the state of the last event", || {
            format!("{} is {} and {state:?}", record.agent, record.state)
        })?;
        if let Some(old) = self.records.get(&record.seq) {
            let rule = "attempts only grow";
            let pairs = old.attempts.iter().zip(&record.attempts);
            let same_stage = old.stage == record.stage;
            let grown = !same_stage || pairs.clone().all(|(old, new)| old <= new);
            expect(grown, rule, || format!("{:?} to {:?}", old.attempts, record.attempts))?;
            let kept = old.agent == record.agent && old.stage <= record.stage;
            expect(kept, "a record stays that of its agent", || format!("{record:?}"))?;
        }
        self.records.insert(record.seq, record.clone());
        Ok(())
    }

    fn records_go_with_events(&self, writes: &Writes, new: &[RunEvent]) -> Check {
        let written: BTreeSet<&AgentId> = writes.records.iter().map(|r| &r.agent).collect();
        for event in new {
            if let Happened::Agent { agent, .. } | Happened::StepStarted { agent, .. } = &event.what
            {
                let rule = "what an event says is in the same commit";
                expect(written.contains(agent), rule, || format!("{event:?} without a record"))?;
            }
        }
        Ok(())
    }

    fn take_lines(&mut self, writes: &Writes) -> Check {
        let repeated = !writes.events.is_empty()
            && writes.events.iter().all(|event| event.seq < self.events.len() as u64);
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

    /// The run itself says the same as its events and records.
    fn progress_fits(&self) -> Check {
        let Progress { status, next_event, reason, finish_ts, finishing_at, .. } = &self.progress;
        let told = *status == self.status && *next_event == self.events.len() as u64 + 1;
        expect(told, "a run says what its events say", || {
            format!("{status}, next event {next_event}; {} and {}", self.status, self.events.len())
        })?;
        for state in AgentState::ALL {
            let count = self.states.values().filter(|found| **found == state).count();
            let said = self.progress.count(state) as usize;
            expect(count == said, "agents are counted right", || {
                format!("{said} said to be {state}, found {count}")
            })?;
        }
        let waits = matches!(status, RunStatus::Paused | RunStatus::PendingApprove);
        expect(!waits || reason.is_some(), "a run that waits says why", || status.to_string())?;
        let (failures, most) = (self.failures, self.allowed_failures());
        let stops = self.stage().budget.on_exceeded == replibook::playbook::OnExceeded::Pause;
        let goes = *status == RunStatus::Running && stops;
        expect(!goes || failures <= most, "a budget that is exceeded stops the run", || {
            format!("{failures} failures, and {most} may be")
        })?;
        let over = finish_ts.is_some();
        let last = over == status.is_final() && (!over || finish_ts == finishing_at);
        expect(last, "finish_ts is on the run last", || {
            format!("{status} with finish_ts {finish_ts:?}, finishing at {finishing_at:?}")
        })
    }
}
