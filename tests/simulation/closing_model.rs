//! Stages that are always done come before the end of a run that failed or was cancelled, and the steps of a stage on the
//! run are done once.

use replibook::playbook::{Stage, StageOn};
use replibook::run::{AgentId, AgentState, CANCEL_DEADLINE, RunStatus};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

impl RunModel {
    fn stages(&self) -> &[Stage] {
        &self.snapshot.playbook.stages
    }

    /// Whether the steps of the present stage are done once.
    pub(crate) fn is_once(&self) -> bool {
        self.progress.stage.once
    }

    /// Whether a record, or what is known of an agent, belongs to the present stage.
    pub(crate) fn is_of_stage(&self, agent: &AgentId) -> bool {
        agent.is_run() == self.is_once()
    }

    /// The run itself, in a stage that has no agents, has another state.
    pub(crate) fn run_changes(&mut self, from: Option<AgentState>, to: AgentState, cut_off: bool) {
        let run = AgentId::of_run();
        self.states.insert(run.clone(), to);
        self.running -= u32::from(from == Some(AgentState::Running));
        self.running += u32::from(to == AgentState::Running);
        if from == Some(AgentState::Failed) {
            self.budget.put_back(&run);
        }
        if to == AgentState::Failed && !cut_off {
            self.budget.failed(&run);
        }
    }

    /// An attempt of a stage on the run begins.
    pub(crate) fn begins_once(&self, step: &str, attempt: u32) -> Check {
        let before = (AgentId::of_run(), step.to_owned(), attempt.saturating_sub(1));
        let over = attempt <= 1 || self.attempts.get(&before) == Some(&true);
        let of_run = self.stages().iter().filter(|stage| stage.on == StageOn::Run);
        let known = of_run.flat_map(|stage| &stage.steps).any(|known| known.name == step);
        expect(over && known, "what is done on the run is done once", || {
            format!("attempt {attempt} of {step} begins before the one before it has ended")
        })
    }

    /// The run has come to its end, of which `from` is the last status.
    pub(crate) fn ends(&self, from: RunStatus) -> Check {
        let had_begun = match from {
            RunStatus::Running => self.began,
            RunStatus::Cancelling => self.began,
            _ => false,
        };
        let well = self.progress.outcome == Some(RunStatus::Done);
        let since = self.cancelled_at;
        let last = self.events.last().map(|event| event.at);
        let over = since.zip(last).is_some_and(|(since, at)| at >= since.plus(CANCEL_DEADLINE));
        if !had_begun || well || over || self.abandoned || self.cancels > 1 {
            return Ok(());
        }
        let at = usize::from(self.progress.stage.index);
        let goes = |index: usize| self.plan.narrow.goes(index, self.stages().len());
        let later = self.stages().iter().enumerate().skip(at + 1);
        let left = later.filter(|(index, _)| goes(*index)).find(|(_, stage)| stage.always);
        expect(left.is_none(), "stages that are always done come before the end", || {
            format!("{from}, {left:?}")
        })
    }
}
