//! Adds what stores of earlier versions do not say, when a run is taken up: the one place where records of
//! early versions are read.

use std::collections::BTreeMap;

use crate::run::{AgentRecord, AgentState, AttemptKey, Journal, Run, RunStatus, StepPhase};

/// Makes what was kept of a run what this version would have kept of it.
pub(super) fn mend(
    run: &mut Run,
    records: &mut [AgentRecord],
    journals: &BTreeMap<AttemptKey, Journal>,
) {
    match run.progress.status {
        RunStatus::Running | RunStatus::Paused | RunStatus::Cancelling => {
            mend_progress(run, records);
            records.iter_mut().for_each(|record| mend_phase(record, journals));
        }
        // Nothing goes on in it.
        RunStatus::PendingApprove
        | RunStatus::Pending
        | RunStatus::Starting
        | RunStatus::Finishing
        | RunStatus::Done
        | RunStatus::Failed
        | RunStatus::Cancelled => {}
    }
}

fn mend_progress(run: &mut Run, records: &[AgentRecord]) {
    let took_part = |record: &AgentRecord| {
        let before = record.past.iter().any(|past| past.started_at.is_some());
        before || record.started_at.is_some()
    };
    let anybody = records.iter().any(took_part);
    let progress = &mut run.progress;
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
fn mend_phase(record: &mut AgentRecord, journals: &BTreeMap<AttemptKey, Journal>) {
    let waits = record.phase == StepPhase::Waiting && record.outstanding.is_none();
    if record.state != AgentState::Running || !waits {
        return;
    }
    let journal = journals.get(&record.present_attempt());
    if journal.is_some_and(|journal| journal.pending.is_some() && !journal.cut_off) {
        record.phase = StepPhase::Trying;
    }
}
