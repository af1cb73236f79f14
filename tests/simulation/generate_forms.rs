//! Stages of other forms: with rescue and finally steps, on the run, and such as are always done.

use replibook::playbook::StepRole;

use crate::generate::Dice;
use crate::plan::{Plan, RunPlan, StagePlan, Work};

impl Dice {
    /// Gives some stages another form.
    pub(crate) fn forms(&mut self, plan: &mut Plan) {
        for run in &mut plan.runs {
            for stage in &mut run.stages {
                self.roles(stage);
            }
            self.last_ones(run);
        }
    }

    /// Makes the last steps of a stage such as follow a failure, or end the stage.
    fn roles(&mut self, stage: &mut StagePlan) {
        match stage.steps.as_mut_slice() {
            [_, rescue, finally] => {
                (rescue.role, finally.role) = (StepRole::Rescue, StepRole::Finally);
            }
            [_, last] => {
                last.role = self.one_of([StepRole::Main, StepRole::Rescue, StepRole::Finally]);
            }
            _ => {}
        }
    }

    /// Has some stages always done, and one of them on the run.
    fn last_ones(&mut self, run: &mut RunPlan) {
        for stage in run.stages.iter_mut().skip(1) {
            stage.always = self.chance(50);
        }
        let at = self.up_to(run.stages.len() as u64 - 1) as usize;
        if run.stages.len() > 1 && self.chance(60) {
            self.put_on_run(&mut run.stages[at]);
        }
    }

    fn put_on_run(&mut self, stage: &mut StagePlan) {
        (stage.once, stage.selects) = (true, None);
        for step in &mut stage.steps {
            (step.large, step.requires) = (false, false);
            // Mostly nobody sends the signal, so the step fails when its time is over.
            step.work = Work::WaitSignal(self.one_of([5, 20]));
            step.goes_on |= self.chance(70);
        }
    }
}
