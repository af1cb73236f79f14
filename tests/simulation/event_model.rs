//! The events of a run, one after another: each has to be possible after those before it.

use replibook::run::{
    AgentId, AgentState, Happened, ReasonCode, RunEvent, RunStatus, StatusReason, Verb,
};

use crate::ledger::{Check, expect};
use crate::plan::StrategyPlan;
use crate::run_model::RunModel;

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
            Happened::Status { from, to, reason } => self.take_status(*from, *to, reason.as_ref()),
            Happened::Stage { index, selected, .. } => {
                self.stage = usize::from(*index);
                self.budget.stage_begins(*selected);
                self.to_start.clear();
                Ok(())
            }
            Happened::Agent { agent, from, to, batch, why } => {
                self.take_agent(agent, *from, *to, why.as_deref())?;
                match to {
                    AgentState::Running => self.agent_starts(agent, *batch),
                    _ => Ok(()),
                }
            }
            Happened::Decision { batch, started, .. } => self.take_decision(*batch, *started),
            Happened::StepStarted { agent, step, attempt } => {
                let known = self.attempts.insert((agent.clone(), step.clone(), *attempt), false);
                expect(known.is_none(), "an attempt has a number of its own", || {
                    format!("attempt {attempt} of {step} on {agent} began twice")
                })
            }
            Happened::StepEnded { agent, step, attempt, .. } => {
                let known = self.attempts.insert((agent.clone(), step.clone(), *attempt), true);
                expect(known != Some(true), "an attempt ends once", || {
                    format!("attempt {attempt} of {step} on {agent}")
                })
            }
            Happened::Command { id, command, agent, refused, .. } => {
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
        from: Option<RunStatus>,
        to: RunStatus,
        reason: Option<&StatusReason>,
    ) -> Check {
        let status = self.status;
        let legal = from == Some(status) && status.next().contains(&to);
        expect(legal, "a status changes as its table says", || {
            format!("{from:?} to {to} of a run that is {status}")
        })?;
        if self.paused_for == Some(ReasonCode::BudgetExceeded) && to == RunStatus::Running {
            self.budget.accepted();
        }
        self.status = to;
        self.paused_for = reason.filter(|_| to == RunStatus::Paused).map(|reason| reason.code);
        Ok(())
    }

    fn take_agent(
        &mut self,
        agent: &AgentId,
        from: Option<AgentState>,
        to: AgentState,
        why: Option<&str>,
    ) -> Check {
        // Those that the run knows already begin another stage anew.
        let enters = from.is_none() && self.progress.stage.index > 0;
        let state = self.state_of(agent).filter(|_| !enters);
        let legal = state.is_none_or(|state| state.next().contains(&to));
        expect(from == state && legal, "an agent's state changes as its table says", || {
            format!("{agent} from {from:?} to {to}, and it is {state:?}")
        })?;
        self.states.insert(agent.clone(), to);
        if to == AgentState::Failed && !why.is_some_and(|why| why.starts_with("cancelled")) {
            self.budget.failed(agent);
        }
        if from == Some(AgentState::Failed) && to == AgentState::Pending {
            self.budget.put_back(agent);
        }
        Ok(())
    }

    fn agent_starts(&mut self, agent: &AgentId, batch: Option<u32>) -> Check {
        let left = batch.and_then(|batch| self.to_start.get_mut(&batch)).filter(|left| **left > 0);
        let rule = "no agent starts without a decision";
        *left.ok_or_else(|| (rule, format!("{agent} in batch {batch:?}")))? -= 1;
        let status = self.status;
        expect(status == RunStatus::Running, "only a run that goes starts agents", || {
            format!("{agent} started while the run is {status}")
        })?;
        let exceeded = self.budget.exceeded(&self.stage().budget);
        expect(!exceeded, "the budget holds", || {
            format!("{agent} started: {}", self.budget.in_words())
        })
    }

    fn take_decision(&mut self, batch: Option<u32>, started: u32) -> Check {
        let Some(batch) = batch else {
            return expect(started == 0, "a batch has a number", || started.to_string());
        };
        self.to_start.insert(batch, started);
        let selected = self.budget.selected;
        let running = self.states.values().filter(|state| **state == AgentState::Running).count();
        let running = u32::try_from(running).unwrap();
        let strategy = self.plan.stages[self.stage].strategy;
        let fits = match strategy {
            StrategyPlan::AllAtOnce => true,
            StrategyPlan::Batches(size) => running == 0 && started <= size.of(selected).max(1),
            StrategyPlan::Window(size) => running + started <= size.of(selected).max(1),
        };
        expect(fits, "the strategy's limits hold", || {
            format!("{started} start while {running} of {selected} run: {strategy:?}")
        })
    }
}
