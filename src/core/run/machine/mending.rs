//! Adds what stores of earlier versions do not say, when a run is taken up. What a single document of theirs
//! means is said beside its type, where more than the machine reads it: [`AgentRecord::last_action`],
//! [`Journal::seen_attempt`] and [`Journal::taken_from`].

use std::collections::BTreeMap;

use crate::run::{AgentRecord, AgentState, AttemptKey, Journal, Run, RunStatus, StepPhase};

/// Makes what was kept of a run what this version would have kept of it.
pub(super) fn mend(
    run: &mut Run,
    records: &mut [AgentRecord],
    journals: &BTreeMap<AttemptKey, Journal>,
) {
    match run.progress.status {
        RunStatus::Running | RunStatus::Paused => mend_stage(run, records, journals),
        RunStatus::Cancelling => {
            mend_stage(run, records, journals);
            drop_retry(run);
        }
        RunStatus::Finishing | RunStatus::Done | RunStatus::Failed | RunStatus::Cancelled => {
            drop_retry(run);
        }
        // Nothing goes on in it.
        RunStatus::PendingApprove | RunStatus::Pending | RunStatus::Starting => {}
    }
    // They may not have said it, and it is looked at again only when something of it changes.
    run.progress.needs = run.progress.needed();
}

/// Who cancelled a run while it put failed agents back ended that too, which earlier versions did not write.
fn drop_retry(run: &mut Run) {
    run.progress.stage.retrying = None;
}

fn mend_stage(
    run: &mut Run,
    records: &mut [AgentRecord],
    journals: &BTreeMap<AttemptKey, Journal>,
) {
    mend_progress(run, records);
    records.iter_mut().for_each(|record| mend_phase(record, journals));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::state::evolve_tests::run;
    use crate::run::{AgentSeq, FIRST_FORMAT};

    fn mended(status: RunStatus, change: impl Fn(&mut Run)) -> Run {
        let mut run = run(status);
        change(&mut run);
        mend(&mut run, &mut [], &BTreeMap::new());
        run
    }

    #[test]
    fn a_run_that_an_earlier_version_cancelled_puts_no_agents_back() {
        for status in RunStatus::ALL {
            let run = mended(status, |run| run.progress.stage.retrying = Some(AgentSeq(300)));
            let ends = status.is_settled() || status == RunStatus::Cancelling;
            assert_eq!(run.progress.stage.retrying.is_none(), ends, "{status}");
        }
    }

    #[test]
    fn a_run_of_an_earlier_version_says_which_format_it_needs() {
        for status in RunStatus::ALL {
            let run = mended(status, |run| run.progress.stage.untold_memo = true);
            assert!(run.progress.needs > FIRST_FORMAT, "{status}");
            assert_eq!(mended(status, |_| {}).progress.needs, FIRST_FORMAT, "{status}");
        }
    }
}
