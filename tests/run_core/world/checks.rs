//! What must hold after every commit, and at the end of a history.

use std::collections::BTreeSet;

use replibook_core::run::{
    AgentRecord, AgentState, FIRST_FORMAT, Happened, Next, RunStatus, Timestamp,
};

use super::World;

impl World {
    pub(super) fn check(&self) {
        let progress = self.progress();
        for state in AgentState::ALL {
            let found = self.present().filter(|record| record.state == state).count();
            assert_eq!(found, progress.count(state) as usize, "{state}");
        }
        for (index, event) in self.events.iter().enumerate() {
            assert_eq!(event.seq, index as u64 + 1, "no gap in the history");
        }
        let (mut decided, mut runs, mut started) = (0, 0, BTreeSet::new());
        for event in &self.events {
            match &event.what {
                Happened::Decision { started, .. } => decided += *started as usize,
                Happened::Agent { agent, to: AgentState::Running, .. } => {
                    // No strategy starts the steps of a stage on the run.
                    runs += usize::from(!agent.is_run());
                    assert!(started.insert(agent), "{agent} was started twice");
                }
                // The agent was put back, or taken into the next stage.
                Happened::Agent { agent, to: AgentState::Pending, .. } => {
                    started.remove(agent);
                }
                _ => {}
            }
        }
        assert_eq!(runs, decided, "only what was decided is started");
        let counts = !progress.log.is_empty() || progress.stage.untold_memo;
        assert!(!counts || progress.needs > FIRST_FORMAT, "an older engine would drop that");
        let stage = &progress.stage;
        let failed = self.present().filter(|record| {
            let failure = record.error.as_ref();
            record.state == AgentState::Failed
                && failure.is_some_and(|f| f.reason.as_str() != "cancelled")
        });
        let failed = failed.count();
        // Agents that failed and then left are still counted.
        let nobody_left = self.records().all(|record| record.left_at.is_none());
        if !stage.entering && nobody_left {
            assert_eq!(failed, stage.failures as usize);
        }
        assert!(stage.entering || failed <= stage.failures as usize);
        // What failed before a run closes does not count against the budgets of stages that are always done.
        let before = progress.closing.as_ref().map_or(0, |closing| closing.failures);
        let of_run = progress.failures - before;
        let counted = if self.setup.run_scope { of_run } else { stage.failures };
        let exceeded =
            counted > self.setup.max_failed && progress.failures > progress.accepted_failures;
        let unnoticed = progress.status == RunStatus::Running && !self.setup.abort;
        assert!(!(exceeded && unnoticed), "the budget was passed unnoticed");
        assert_eq!(progress.finish_ts.is_some(), progress.status.is_final());
    }

    /// The records that the present stage is about: the run's own, or all others.
    fn present(&self) -> impl Iterator<Item = &AgentRecord> {
        let once = self.progress().stage.once;
        self.records().filter(move |record| record.agent.is_run() == once)
    }

    /// Answers the strategy's question with a wait that is over already. Returns the present moment, and the
    /// one until which the run waits.
    pub(crate) fn wait_for_nothing(&mut self) -> (Timestamp, Timestamp) {
        self.decide_to(|decision, _| {
            decision.start.clear();
            decision.next = Next::WaitUntil(Timestamp::from_millis(0));
        });
        (self.now(), self.wake.unwrap())
    }

    /// Checks the world when nothing is outstanding: the run has ended, or waits for a person and says why.
    pub(crate) fn check_the_end(&self) {
        self.looks.check_the_past(&self.records, &self.events);
        let progress = self.progress();
        let settled = progress.status.is_final()
            || progress.status == RunStatus::PendingApprove
            || (progress.status == RunStatus::Paused && progress.reason.is_some());
        assert!(settled, "{progress:?}");
        if progress.status.is_final() {
            assert_eq!(progress.count(AgentState::Running), 0);
        }
    }
}
