//! Which stages a run goes through, in which order: those of its playbook, without those that are left out. Once it is known
//! that the run ends, only those that are always done.

use super::document::{Progress, Run, Snapshot};
use super::status::RunStatus;
use crate::playbook::StageOn;

/// How far a run came, without the stages that are done before its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameTo {
    /// Index of the stage to which it came.
    pub stage: u16,
    /// Whether it is, or ended, between two stages of agents: a stage of agents comes, but has not begun; it is being
    /// entered, or the present stage is on the run.
    pub between: bool,
    /// Whether it came to the stages before its end.
    pub closing: bool,
}

impl Run {
    /// Index of the stage that follows the present one, if one does. Once it is known that the run ends, only stages that
    /// are always done follow.
    pub fn stage_after(&self) -> Option<u16> {
        let index = self.progress.stage.index;
        match &self.progress.closing {
            Some(closing) if closing.over => None,
            Some(_) => self.snapshot.always_after(index),
            None => self.snapshot.stage_after(index),
        }
    }

    /// How far the run has come, or had come when it became known that it ends.
    pub fn came_to(&self) -> CameTo {
        let Progress { stage, closing, outcome, .. } = &self.progress;
        if let Some(closing) = closing {
            return CameTo { stage: closing.stage, between: closing.between, closing: true };
        }
        let is_between = stage.entering || stage.once && *outcome != Some(RunStatus::Done);
        let between = is_between && self.snapshot.has_agents_from(stage.index);
        CameTo { stage: stage.index, between, closing: false }
    }

    /// Name of the present stage; empty if the playbook has none.
    pub fn stage_name(&self) -> &str {
        let stage = self.snapshot.playbook.stages.get(usize::from(self.progress.stage.index));
        stage.map_or("", |stage| stage.name.as_str())
    }
}

impl Snapshot {
    /// Index of the stage that the run begins with.
    pub fn first_stage(&self) -> u16 {
        self.narrowed.stages(&self.playbook).next().unwrap_or(0)
    }

    /// Index of the stage that follows a stage; `None` after the last one. Stages that are left out do not count.
    pub fn stage_after(&self, index: u16) -> Option<u16> {
        self.narrowed.stages(&self.playbook).find(|next| *next > index)
    }

    /// Index of the next stage that is always done; `None` after the last one.
    pub fn always_after(&self, index: u16) -> Option<u16> {
        let is_such = |index: &u16| {
            let stage = self.playbook.stages.get(usize::from(*index));
            stage.is_some_and(|stage| stage.always)
        };
        self.narrowed.stages(&self.playbook).filter(is_such).find(|next| *next > index)
    }

    /// Whether the steps of a stage are done once, on the run.
    pub fn is_once(&self, index: u16) -> bool {
        let stage = self.playbook.stages.get(usize::from(index));
        stage.is_some_and(|stage| stage.on == StageOn::Run)
    }

    /// Index of the first stage that has agents; `None` if the run has no such stage.
    pub fn first_with_agents(&self) -> Option<u16> {
        self.narrowed.stages(&self.playbook).find(|index| !self.is_once(*index))
    }

    /// Whether a stage with agents comes, this one included.
    pub(super) fn has_agents_from(&self, index: u16) -> bool {
        self.narrowed.stages(&self.playbook).any(|next| next >= index && !self.is_once(next))
    }

    /// How many stages the run goes through.
    pub fn number_of_stages(&self) -> usize {
        self.narrowed.stages(&self.playbook).count()
    }
}
