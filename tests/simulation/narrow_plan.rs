//! How runs are narrower than their playbooks: as plain data, and what must never result from it.

use std::collections::BTreeSet;

use replibook::playbook::{Narrowing, NarrowingAsked, Playbook};
use replibook::run::AgentId;

use crate::generate::Dice;
use crate::ledger::{Check, expect};
use crate::plan::Plan;

/// How a run is narrower than its playbook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NarrowPlan {
    /// The agent that is left out.
    pub(crate) without: Option<u32>,
    /// How many agents take part at most.
    pub(crate) limit: Option<u32>,
    /// The stage that is left out, unless it is the only one then.
    pub(crate) skips: Option<usize>,
    /// The stage that it begins with.
    pub(crate) start_at: Option<usize>,
}

impl NarrowPlan {
    fn begins(self, stages: usize) -> usize {
        self.start_at.filter(|stage| *stage < stages).unwrap_or(0)
    }

    /// Whether the run goes through this stage of so many.
    pub(crate) fn goes(self, stage: usize, stages: usize) -> bool {
        let begins = self.begins(stages);
        let is_last = begins + 1 == stages;
        stage >= begins && (is_last || self.skips != Some(stage))
    }

    /// The same as a person asks for it.
    pub(crate) fn of(self, playbook: &Playbook) -> Narrowing {
        let stages = playbook.stages.len();
        let name = |stage: usize| format!("stage-{stage}");
        let begins = Some(self.begins(stages)).filter(|begins| *begins > 0);
        let left_out = (0..stages).filter(|stage| *stage >= self.begins(stages));
        let asked = NarrowingAsked {
            select: self.without.map(|agent| format!("agent.id != \"node-{agent}\"")),
            limit: self.limit,
            skip_stages: left_out.filter(|stage| !self.goes(*stage, stages)).map(name).collect(),
            start_at: begins.map(name),
        };
        Narrowing::check(playbook, asked).unwrap()
    }
}

impl Dice {
    /// Makes runs narrower than their playbooks. Whom they leave out is known only as long as nobody joins.
    pub(crate) fn narrow(&mut self, plan: &mut Plan) {
        let stay = plan.platform.is_none()
            && plan.agents.iter().all(|agent| agent.listed && agent.gone.is_empty());
        let agents = plan.agents.len() as u64;
        for run in &mut plan.runs {
            let stages = run.stages.len() as u64;
            let one = |dice: &mut Self, all: u64| dice.up_to(all.saturating_sub(1));
            run.narrow = NarrowPlan {
                without: (stay && self.chance(30)).then(|| one(self, agents) as u32),
                limit: (stay && self.chance(60)).then(|| one(self, agents) as u32 + 1),
                skips: (stages > 1 && self.chance(30)).then(|| one(self, stages) as usize),
                start_at: (stages > 1 && self.chance(30)).then(|| one(self, stages) as usize),
            };
        }
    }
}

/// What a run does that is narrower than its playbook.
#[derive(Debug, Default)]
pub(crate) struct NarrowModel {
    /// The agents that were started in any stage.
    started: BTreeSet<AgentId>,
}

impl NarrowModel {
    /// An agent is started.
    pub(crate) fn starts(&mut self, agent: &AgentId, plan: NarrowPlan) -> Check {
        let left_out = plan.without.is_some_and(|without| agent.0 == format!("node-{without}"));
        expect(!left_out, "who is left out is not started", || agent.to_string())?;
        self.started.insert(agent.clone());
        let (started, limit) = (self.started.len(), plan.limit.unwrap_or(u32::MAX) as usize);
        expect(started <= limit, "no more agents take part than the run may have", || {
            format!("{agent} is number {started} of at most {limit}")
        })
    }

    /// A stage begins.
    pub(crate) fn stage_begins(stage: usize, stages: usize, plan: NarrowPlan) -> Check {
        let goes = plan.goes(stage, stages);
        expect(goes, "a stage that is left out does not begin", || format!("{stage} of {plan:?}"))
    }
}
