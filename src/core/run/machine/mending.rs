//! Adds what stores of earlier versions do not say, when a run is taken up.

use std::collections::BTreeMap;

use super::state::Machine;
use crate::run::{AgentRecord, AgentSeq, AttemptKey, Journal, StepPhase};

impl Machine {
    pub(super) fn mend_progress(&mut self) {
        let took_part = |record: &AgentRecord| {
            let before = record.past.iter().any(|past| past.started_at.is_some());
            before || record.started_at.is_some()
        };
        let anybody = self.records().iter().any(took_part);
        let progress = &mut self.run.progress;
        // Whoever was selected for a stage that has begun was selected, even if no agent has started.
        if !progress.stage.entering {
            progress.selected = progress.selected.max(progress.stage.selected);
        }
        // Stores of the first version only know the failures of the stage.
        progress.failures = progress.failures.max(progress.stage.failures);
        // Later ones do not know how many were selected in all stages.
        if progress.selected == 0 && anybody {
            progress.selected = 1;
        }
    }

    /// Stores of the first version do not say what a running agent does: one whose call is out is at an
    /// attempt.
    pub(super) fn mend_phase(&mut self, seq: AgentSeq, journals: &BTreeMap<AttemptKey, Journal>) {
        let Some(record) = self.record_mut(seq) else { return };
        let journal = journals.get(&record.present_attempt());
        let is_out = journal.is_some_and(|journal| journal.pending.is_some() && !journal.cut_off);
        if record.phase == StepPhase::Waiting && record.outstanding.is_none() && is_out {
            record.phase = StepPhase::Trying;
        }
    }
}
