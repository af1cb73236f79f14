//! The events of a run, one after another: each has to be possible after those before it.

use replibook::playbook::StepRole;
use replibook::run::{
    AgentId, AgentState, Happened, ReasonCode, RunEvent, RunStatus, StatusReason, Timestamp, Verb,
};

use crate::agents::{number, whose};
use crate::ears::NOTICED;
use crate::fresh_model::FreshModel;
use crate::ledger::{Check, expect};
use crate::membership_model::Counts;
use crate::narrow_plan::NarrowModel;
use crate::run_model::{Node, RunModel};
use crate::strategy_model::StrategyModel;

impl RunModel {
    pub(crate) fn take_event(&mut self, event: &RunEvent) -> Check {
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
                self.take_status(event.seq, *from, *to, reason.as_ref())?;
                self.asks_by_status(event, *to, reason.as_ref().map(|reason| reason.code));
                Ok(())
            }
            Happened::Approval { approval, .. } => self.take_approval(event, approval),
            Happened::Stage { index, selected, .. } => {
                self.stage = usize::from(*index);
                NarrowModel::stage_begins(self.stage, self.plan.stages.len(), self.plan.narrow)?;
                self.began = true;
                if self.progress.closing.is_some() {
                    self.members.ends();
                }
                self.budget.stage_begins(*selected);
                self.to_start.clear();
                self.strategy = StrategyModel::default();
                self.fresh = FreshModel::default();
                self.stage_since = event.at;
                self.members.goes_on()
            }
            Happened::Agent { agent, from, to, why, .. } if agent.is_run() => {
                let cut_off = why.as_ref().is_some_and(|why| why.starts_with("cancelled"));
                self.run_changes(*from, *to, cut_off);
                Ok(())
            }
            Happened::Agent { agent, from, to, batch, why, failure } => {
                if *to == AgentState::Failed {
                    self.passed_over.agent_failed(agent, failure.as_ref());
                }
                self.take_agent(event.seq, agent, *from, *to, why.as_deref())?;
                self.note_for_strategy(agent, *from, *to, event.at);
                match to {
                    AgentState::Running => {
                        self.narrow.starts(agent, self.plan.narrow)?;
                        self.agent_starts(agent, *batch)
                    }
                    AgentState::Removed => {
                        self.fresh.left(agent);
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Happened::NoDecision { asked, .. } => self.was_fresh(asked),
            Happened::Guards { guards } => {
                self.guards.are(guards);
                Ok(())
            }
            Happened::Decision { batch, started, asked, label, refresh, .. } => {
                if let Some(asked) = asked {
                    self.was_fresh(asked)?;
                }
                self.fresh.wishes(refresh, event.at);
                self.members.decided();
                self.decided_at = event.at;
                let Some(batch) = batch else {
                    return expect(*started == 0, "a batch has a number", || started.to_string());
                };
                self.to_start.insert(*batch, *started);
                self.strategy_starts(*started, asked.clone(), label.as_deref())
            }
            Happened::Moved { agent, to, .. } => {
                let known = number(agent).is_some_and(|agent| whose(to) == Some(agent));
                expect(known, "an agent moves to an address of its own", || format!("{event:?}"))
            }
            Happened::Closing { next, .. } => {
                // What ended the run counts no more against the stages that follow.
                self.budget.closes(next.is_none());
                self.members.ends();
                Ok(())
            }
            Happened::StepStarted { agent, step, attempt, takes } => {
                if agent.is_run() {
                    self.begins_once(step, *attempt)?;
                }
                self.late.begins(agent, step, *attempt, *takes)?;
                let known = self.attempts.insert((agent.clone(), step.clone(), *attempt), false);
                expect(known.is_none(), "an attempt has a number of its own", || {
                    format!("attempt {attempt} of {step} on {agent} began twice")
                })
            }
            Happened::StepEnded { agent, step, attempt, failure, .. } => {
                self.passed_over.step_ended(agent, step, failure.is_some());
                self.late.attempt_ended(agent, failure.as_ref().map(|failure| failure.reason));
                let known = self.attempts.insert((agent.clone(), step.clone(), *attempt), true);
                expect(known != Some(true), "an attempt ends once", || {
                    format!("attempt {attempt} of {step} on {agent}")
                })
            }
            Happened::LateAction { agent, step, attempt, outcome, .. } => {
                self.late.ended(agent, step, *attempt, outcome);
                Ok(())
            }
            Happened::Command { id, command, agent, again, refused, .. } => {
                if command == Verb::Retry.as_str() && refused.is_none() {
                    let failed = |state: &AgentState| *state == AgentState::Failed;
                    let all = self.states.iter().filter(|(_, state)| failed(state));
                    let all = all.map(|(agent, _)| agent);
                    let put_back =
                        all.filter(|known| agent.as_ref().is_none_or(|one| one == *known));
                    self.late.put_back(put_back.cloned(), *again);
                }
                let cancels = command == Verb::Cancel.as_str() || command == Verb::Reject.as_str();
                self.cancels += u32::from(cancels && refused.is_none());
                let gives_up = command == Verb::GiveUp.as_str() && refused.is_none();
                self.given_up.extend(agent.iter().filter(|_| gives_up).cloned());
                let new = self.commands.insert(*id);
                expect(new, "a command is applied once", || format!("{id:?}"))
            }
            _ => Ok(()),
        }
    }

    fn take_status(
        &mut self,
        seq: u64,
        from: Option<RunStatus>,
        to: RunStatus,
        reason: Option<&StatusReason>,
    ) -> Check {
        let status = self.status;
        let legal = from == Some(status) && status.next().contains(&to);
        expect(legal, "a status changes as its table says", || {
            format!("{from:?} to {to} of a run that is {status}")
        })?;
        let paused_for = self.paused_for.take();
        let approval = paused_for.as_ref().is_some_and(|why| why.code == ReasonCode::Approval);
        let is_gate = status == RunStatus::PendingApprove && to == RunStatus::Pending
            || approval && to == RunStatus::Running;
        let rule = "only an approval opens a gate";
        expect(!is_gate || self.was_approved(), rule, || format!("{:?}", self.events.last()))?;
        if let Some(reason) = paused_for.filter(|_| to == RunStatus::Running) {
            match reason.code {
                ReasonCode::BudgetExceeded => self.budget.accepted(),
                ReasonCode::MassAbsence => drop(self.accepted.insert(seq)),
                _ => self.resumed_after(&reason),
            }
        }
        self.status = to;
        if to == RunStatus::Cancelling {
            self.cancelled_at = Some(self.last_at());
        }
        let given_up = reason.is_some_and(|reason| reason.code == ReasonCode::Abandoned);
        if to == RunStatus::Finishing && !given_up {
            self.ends(status)?;
        }
        if from == Some(RunStatus::Paused) && to == RunStatus::Running {
            self.fresh.goes_on(self.last_at());
        }
        if to == RunStatus::Starting {
            self.decided_at = self.last_at();
        }
        self.paused_for = reason.filter(|_| to == RunStatus::Paused).cloned();
        match to {
            RunStatus::Done => self.members.goes_on(),
            _ => Ok(()),
        }
    }

    fn take_agent(
        &mut self,
        seq: u64,
        agent: &AgentId,
        from: Option<AgentState>,
        to: AgentState,
        why: Option<&str>,
    ) -> Check {
        // Agents that the run knows enter another stage before the event of that stage.
        let entering = usize::from(self.progress.stage.index) > self.stage;
        let was = self.state_of(agent);
        let state = was.filter(|_| from.is_some() || !entering);
        let legal = state.is_none_or(|state| state.next().contains(&to));
        expect(from == state && legal, "an agent's state changes as its table says", || {
            format!("{agent} from {from:?} to {to}, and it is {state:?}")
        })?;
        self.passed_over.changed(agent, to);
        self.states.insert(agent.clone(), to);
        self.running -= u32::from(state == Some(AgentState::Running));
        self.running += u32::from(to == AgentState::Running);
        let says = self.stage().membership;
        let selects = self.plan.stages[self.stage].selects.zip(self.nodes.get(agent));
        let is_it = selects.is_none_or(|(selects, node)| selects.role == node.role);
        let counts = match from {
            Some(from) => {
                let leaving = self.leaving.contains(agent);
                self.members.changes(agent, (from, to), leaving, &says, is_it)?
            }
            None if to == AgentState::Added => self.members.added(agent, &says, is_it),
            None => {
                self.members.enters(seq, agent, was, to)?;
                Counts::Nothing
            }
        };
        match counts {
            Counts::Nothing => {}
            Counts::Failure => self.budget.failed(agent),
            Counts::Undone => self.budget.put_back(agent),
        }
        let counts =
            to == AgentState::Failed && !why.is_some_and(|why| why.starts_with("cancelled"));
        match from {
            None if counts => self.budget.enters_failed(agent),
            Some(_) if counts => self.budget.failed(agent),
            _ => {}
        }
        self.is_selected(agent, from, to, why)?;
        if from == Some(AgentState::Failed) && to == AgentState::Pending {
            self.budget.put_back(agent);
            let snapshot = std::sync::Arc::clone(&self.snapshot);
            let steps = || snapshot.playbook.stages.iter().flat_map(|stage| &stage.steps);
            let is_main =
                |name: &str| steps().any(|step| step.name == name && step.role == StepRole::Main);
            self.passed_over.put_back(agent, is_main);
        }
        Ok(())
    }

    /// Which agents a stage selects by what nodes say must not depend on which agents have answered.
    fn is_selected(
        &mut self,
        agent: &AgentId,
        from: Option<AgentState>,
        to: AgentState,
        why: Option<&str>,
    ) -> Check {
        // Agents that are taken in belong to the stage that begins.
        let index = self.entered;
        let selects = self.plan.stages[index].selects;
        let Some((selects, node)) = selects.zip(self.nodes.get(agent)) else { return Ok(()) };
        let Node { role, changes } = node;
        let (is_it, role) = (selects.role == *role, *role);
        let enters = from.is_none() || from == Some(AgentState::Added);
        let wrong = match to {
            AgentState::Skipped => why == Some("not selected by the stage") && is_it,
            AgentState::Pending => enters && !is_it,
            AgentState::Done => !is_it,
            _ => false,
        };
        // If the node changed meanwhile, the agent's three answers may come from different nodes.
        let asked = self.asked_since(agent, from);
        let changed = changes.iter().any(|at| *at >= asked && *at <= self.last_at());
        if wrong && changed && to != AgentState::Done {
            self.doubted.insert((index, agent.clone()));
        }
        let doubted = self.doubted.contains(&(index, agent.clone()));
        let rule = "who is selected does not depend on who answers";
        expect(!wrong || doubted, rule, || format!("{agent} of r{role} is {to}: {why:?}"))
    }

    /// The earliest time at which the agent may have been asked for what decides whether it takes part.
    fn asked_since(&self, agent: &AgentId, from: Option<AgentState>) -> Timestamp {
        if from != Some(AgentState::Added) {
            return self.decided_at;
        }
        let joins = |event: &&RunEvent| match &event.what {
            Happened::Agent { agent: known, to, .. } => known == agent && *to == AgentState::Added,
            _ => false,
        };
        let joined = self.events.iter().rfind(joins).map_or(self.decided_at, |event| event.at);
        // It is asked before the event that says that it joined.
        Timestamp::from_millis(joined.as_millis() - NOTICED.cast_signed())
    }

    fn last_at(&self) -> Timestamp {
        self.events.last().map_or(self.decided_at, |event| event.at)
    }

    fn agent_starts(&mut self, agent: &AgentId, batch: Option<u32>) -> Check {
        let left = batch.and_then(|batch| self.to_start.get_mut(&batch)).filter(|left| **left > 0);
        let rule = "no agent starts without a decision";
        *left.ok_or_else(|| (rule, format!("{agent} in batch {batch:?}")))? -= 1;
        self.strategy_started(agent)?;
        let status = self.status;
        let closes = status == RunStatus::Cancelling && self.progress.closing.is_some();
        expect(
            status == RunStatus::Running || closes,
            "only a run that goes starts agents",
            || format!("{agent} started while the run is {status}"),
        )?;
        let exceeded = self.budget.exceeded(&self.stage().budget);
        expect(!exceeded, "the budget holds", || {
            format!("{agent} started: {}", self.budget.in_words())
        })
    }
}
