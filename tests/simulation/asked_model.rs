//! What people ask of runs: it must be done soon, whichever engine drives the run, and however full the
//! engines are.

use std::collections::BTreeMap;

use replibook::run::{CommandId, Millis, RunId, Timestamp};

use crate::ledger::{Check, expect};
use crate::run_model::RunModel;

/// How long it may take if nothing delays the engines and one of them takes runs. An engine that is drained
/// gives a run back with its next report, and the run is woken with the next report of another engine.
const DONE_WITHIN: Millis = Millis::from_secs(20);

#[derive(Default)]
pub(crate) struct Asked {
    /// The commands that are not applied yet, each with its run, and since when an engine could have applied
    /// it.
    waiting: BTreeMap<CommandId, (RunId, Timestamp)>,
}

impl Asked {
    pub(crate) fn ask(&mut self, command: CommandId, run: RunId, now: Timestamp) {
        self.waiting.insert(command, (run, now));
    }

    /// Checks that no command has waited for too long. `is_taken` says whether an engine takes runs, full or
    /// not.
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
