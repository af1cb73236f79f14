//! What people ask of runs: whether it is done soon, whoever drives them, and however full the engines are.

use std::collections::BTreeMap;

use replibook::run::{CommandId, Millis, RunId, Timestamp};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// How long it takes at most, where nothing delays what engines do and one of them takes runs: an engine that is
/// drained gives a run back with its next report, and the run is woken with that of another one.
const DONE_WITHIN: Millis = Millis::from_secs(20);

#[derive(Default)]
pub(crate) struct Asked {
    /// The commands that were not applied yet, each with its run, and since when an engine could have done so.
    waiting: BTreeMap<CommandId, (RunId, Timestamp)>,
}

impl Asked {
    pub(crate) fn ask(&mut self, command: CommandId, run: RunId, now: Timestamp) {
        self.waiting.insert(command, (run, now));
    }

    /// Looks at what was asked. `is_taken` says whether an engine takes runs, full or not.
    pub(crate) fn look(
        &mut self,
        runs: &BTreeMap<RunId, RunModel>,
        is_taken: bool,
        now: Timestamp,
    ) -> Check {
        let waits = |command: &CommandId, run: &RunId| {
            let run = runs.get(run);
            run.is_some_and(|run| !run.commands.contains(command) && !run.status.is_final())
        };
        self.waiting.retain(|command, (run, _)| waits(command, run));
        for (command, (run, since)) in &mut self.waiting {
            if !is_taken {
                *since = now;
            }
            let rule = "what a person asks is done soon";
            let waits = now.since(*since);
            let say = || format!("{command:?} of run {run} waits for {waits:?}");
            expect(waits <= DONE_WITHIN, rule, say)?;
        }
        Ok(())
    }
}
