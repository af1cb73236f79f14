//! What comes next: the strategy's next decision, the next stage, or the end of the run.

use std::collections::BTreeMap;

use super::explain::Telling;
use super::words::{at, quoted, since};
use crate::run::{AgentState, PlannedNext, RunStatus};

impl Telling<'_> {
    /// Whether the last stages of the run are under way, which are done although it fails or is cancelled.
    pub(super) fn closes(&self) -> bool {
        self.run.progress.closing.as_ref().is_some_and(|closing| !closing.over)
    }

    /// How a run that is being cancelled ends. One that failed before ends as FAILED all the same.
    pub(super) fn outcome_of_closing(&self) -> RunStatus {
        let closing = self.run.progress.closing.as_ref();
        closing.map_or(RunStatus::Cancelled, |closing| closing.outcome)
    }

    /// How many agents the run left in which state. In its last stage they may be others: that may be on the run, or one
    /// that is done before the end.
    pub(super) fn left(&self) -> BTreeMap<AgentState, u32> {
        let progress = &self.run.progress;
        match progress.stage.once || progress.closing.is_some() {
            true => progress.outcomes.clone(),
            false => progress.counts.clone(),
        }
    }

    /// Says how the run ends once its last stages are done.
    pub(super) fn say_closing(&mut self) {
        if let Some(closing) = self.run.progress.closing.clone().filter(|closing| !closing.over) {
            let (outcome, message) = (closing.outcome, quoted(&closing.reason.message).to_owned());
            self.say(&format!(
                "It ends as {outcome} after the stages that are always done: {message}"
            ));
        }
    }

    /// Name of the stage that comes next, if one does.
    pub(super) fn next_stage(&self) -> Option<&str> {
        let next = self.run.stage_after()?;
        let stages = &self.run.snapshot.playbook.stages;
        stages.get(usize::from(next)).map(|stage| stage.name.as_str())
    }

    /// What comes after the agents in flight.
    pub(super) fn say_planned(&mut self, busy: bool) {
        if self.run.progress.stage.once {
            let then = match self.next_stage() {
                Some(next) => format!("stage {next} comes next"),
                None => "the run ends then".to_owned(),
            };
            self.say(&format!("The stage is done once, on the run: {then}"));
            return;
        }
        let plugin = &self.run.progress.stage;
        let index = usize::from(plugin.index);
        let stages = &self.run.snapshot.playbook.stages;
        let strategy = stages.get(index).map_or("", |stage| stage.strategy.plugin.as_str());
        let text = match (&plugin.next, busy) {
            // While it answers the same each time, when it is asked next is not written.
            (Some(PlannedNext::WaitUntil { at }), true) if *at < self.now => format!(
                "Strategy {strategy} is asked who goes next when one of them has ended, and now and \
                 then: nothing has changed {}",
                since(*at, self.now)
            ),
            (Some(PlannedNext::WaitUntil { at }), false) if *at < self.now => format!(
                "No agent is in flight: strategy {strategy} waits, and is asked again and again; \
                 nothing has changed {}",
                since(*at, self.now)
            ),
            (Some(PlannedNext::WaitUntil { at: moment }), true) => format!(
                "Strategy {strategy} is asked who goes next when one of them has ended, or {}",
                at(*moment, self.now)
            ),
            (Some(PlannedNext::WaitUntil { at: moment }), false) => format!(
                "No agent is in flight: strategy {strategy} wanted to wait, and is asked again {}",
                at(*moment, self.now)
            ),
            (Some(PlannedNext::Wait) | None, true) => {
                format!("Strategy {strategy} is asked who goes next when one of them has ended")
            }
            (Some(PlannedNext::Wait) | None, false) => {
                format!("No agent is in flight: strategy {strategy} is asked who goes next")
            }
            (Some(PlannedNext::Complete), _) => match self.next_stage() {
                Some(next) => format!(
                    "Strategy {strategy} has called the stage complete: stage {next} comes next"
                ),
                None => format!(
                    "Strategy {strategy} has called the stage complete, and it is the last one: the \
                     run ends then"
                ),
            },
            (Some(PlannedNext::Abort { code: _, reason }), _) => {
                format!("It starts no further agent and ends as FAILED: {}", quoted(reason))
            }
        };
        self.say(&text);
    }
}
