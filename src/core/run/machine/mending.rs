//! Adds what stores of earlier versions don't say, when a run is taken up. So the rest of the machine only knows
//! documents of this version. If more than the machine reads an old document, its meaning is explained beside its
//! type: [`AgentRecord::last_action`], [`Journal::seen_attempt`] and [`Journal::taken_from`].

use std::collections::BTreeMap;

use crate::mutants::mutant;
use crate::run::{AgentRecord, AgentState, AttemptKey, Journal, Run, RunStatus, StepPhase};

/// Changes a stored run into what this version would have stored.
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
        // Nothing goes on in the run yet.
        RunStatus::PendingApprove | RunStatus::Pending | RunStatus::Starting => {}
    }
    if mutant!(LimitForgotten) {
        records.iter_mut().for_each(|record| record.chosen = false);
    }
    if mutant!(DeadlineForgotten)
        && let Some(question) = &mut run.progress.question
    {
        question.until = None;
    }
    // An earlier version may not have stated it, and it is worked out again only when something that it depends on
    // changes.
    run.progress.needs = run.progress.needed();
}

/// Cancelling a run also ends its putting back of failed agents, but earlier versions did not write that.
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
    // All agents that were selected for a stage that has begun count, even if none has started.
    if !progress.stage.entering && !progress.stage.once {
        progress.selected = progress.selected.max(progress.stage.selected);
    }
    // Stores of the first version know only the failures of the stage.
    progress.failures = progress.failures.max(progress.stage.failures);
    // Later versions did not count how many agents were selected in all stages.
    if progress.selected == 0 && anybody {
        progress.selected = 1;
    }
}

/// Stores of the first version don't say what a running agent does: an agent with a pending call is in an attempt.
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
