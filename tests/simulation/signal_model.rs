//! Signals: an attempt gets each of them once, and none that came in time is lost.

use replibook::run::{Answer, Journal, Millis, Signal};

use crate::documents::SIGNAL;
use crate::ledger::{Check, expect};
use crate::plan::Work;
use crate::run_model::RunModel;

/// How long before the end of a wait a signal has to come to be sure that it is in time: the engine hears of the
/// end of the wait in its own time.
const MARGIN: u64 = 1_000;

/// Checks the journals of a run that has ended.
pub(crate) fn check_end(run: &RunModel) -> Check {
    for journal in run.journals.values() {
        check_journal(run, journal)?;
    }
    Ok(())
}

fn check_journal(run: &RunModel, journal: &Journal) -> Check {
    let record = &run.records[&journal.key.agent];
    let own = || run.progress.signals.iter().chain(&record.signals);
    let mut numbers: Vec<u32> = journal.received().collect();
    let say = || format!("{journal:?}, {:?}", own().collect::<Vec<_>>());
    let known = |number: &u32| own().any(|signal: &Signal| signal.number == *number);
    expect(numbers.iter().all(known), "a step gets signals that are meant for it", say)?;
    let got = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    expect(numbers.len() == got, "an attempt gets a signal once", say)?;
    let (stage, step) = (usize::from(journal.key.stage), usize::from(journal.key.step));
    let plan = run.plan.stages.get(stage).and_then(|stage| stage.steps.get(step));
    let seconds = match plan.map(|step| step.work) {
        Some(Work::WaitSignal(seconds) | Work::WaitTwice(seconds)) => seconds,
        Some(Work::Action | Work::WaitHealthy(_) | Work::Http) | None => return Ok(()),
    };
    let mut begun = journal.started_at;
    for answered in &journal.answers {
        if let Answer::WaitSignal(Err(_)) = &answered.answer {
            let ends = begun.plus(Millis(u64::from(seconds) * 1_000 - MARGIN));
            let lost = |signal: &Signal| {
                signal.name == SIGNAL && signal.at < ends && !numbers.contains(&signal.number)
            };
            expect(!own().any(lost), "no signal that came in time is lost", say)?;
        }
        begun = answered.at;
    }
    Ok(())
}
