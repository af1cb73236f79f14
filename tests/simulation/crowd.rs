//! Turns a seed into a history of many runs that several engines share.

use crate::generate::{Dice, LIVELY};
use crate::plan::{DrainPlan, EnginePlan, Plan, RunPlan, Window};

/// Hundredths of the histories that have many runs and engines. Few, as each takes several times as long as
/// others.
pub(crate) const CROWDED: u32 = 5;

/// The most agents of such a history: every run goes over all of them.
const AGENTS: usize = 4;

/// Engines that are added to those of the history.
const ENGINES: u64 = 2;

/// The most runs and the fewest.
const RUNS: [u64; 2] = [9, 4];

impl Plan {
    /// When engines are drained and when they take runs again, in order: time, number of the engine, whether
    /// it is drained.
    pub(crate) fn drain_turns(&self) -> Vec<(u64, usize, bool)> {
        let turns = |drain: &DrainPlan| {
            let Window { from, to } = drain.window;
            [(from, drain.engine, true), (to, drain.engine, false)]
        };
        let mut turns: Vec<_> = self.drains.iter().flat_map(turns).collect();
        turns.sort_unstable();
        turns
    }
}

impl Dice {
    /// Makes the plan a history of many short runs on several engines, which come later, are drained, are
    /// full, or have wrong clocks. In most of these histories nothing else happens to engines.
    pub(crate) fn crowd(&mut self, plan: &mut Plan, mut run: impl FnMut(&mut Self) -> RunPlan) {
        plan.agents.truncate(AGENTS);
        let [most, fewest] = RUNS;
        let runs = fewest + self.up_to(most - fewest);
        let beside = self.chance(50);
        let soon = self.one_of([0, 5_000, LIVELY]);
        while (plan.runs.len() as u64) < runs {
            plan.runs.push(run(self));
        }
        for run in &mut plan.runs {
            run.stages.truncate(1);
            (run.at, run.beside) = (self.up_to(soon), beside);
        }
        if self.chance(70) {
            for engine in &mut plan.engines {
                (engine.stops, engine.troubles, engine.faults) = (None, Vec::new(), Vec::new());
            }
            plan.outages.clear();
        }
        for _ in 0..=self.up_to(ENGINES - 1) {
            let engine = self.another();
            plan.engines.push(engine);
        }
        for engine in 0..plan.engines.len() {
            if self.chance(30) {
                let from = self.up_to(2 * LIVELY);
                let window = Window { from, to: from + self.up_to(2 * LIVELY) };
                plan.drains.push(DrainPlan { engine, window });
            }
        }
    }

    fn another(&mut self) -> EnginePlan {
        EnginePlan {
            at: self.up_to(LIVELY),
            ahead: self.one_of([0, 0, 0, -30_000, 3_600_000, -3_600_000]),
            max_runs: self.one_of([1, 2, 10]),
            stops: None,
            troubles: Vec::new(),
            faults: Vec::new(),
        }
    }
}
