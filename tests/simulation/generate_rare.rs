//! Histories in which things come together that seldom would by themselves, and that mistakes need to show.

use replibook::agent::LONGEST_HELD;
use replibook::playbook::StepRole;

use crate::generate::Dice;
use crate::guard_plan::GuardsPlan;
use crate::narrow_plan::NarrowPlan;
use crate::plan::{
    CALM, CommandPlan, Interruption, Plan, Point, RunPlan, Selects, Side, SignalPlan, StagePlan,
    StepPlan, StrategyPlan, Trouble, Window, Work,
};
use crate::post_fault::PostFault;

/// How long an engine stands still that hardly keeps its runs: a request that it sends within the first second of a lease
/// is cut off, and nobody else gets the run.
const NEARLY_LOST: u64 = 14_200;

impl Dice {
    /// Makes some plans such. Histories of many runs stay as they are.
    pub(crate) fn rare(&mut self, plan: &mut Plan) {
        let drawn = self.up_to(99);
        let selects = plan.runs.iter().flat_map(|run| &run.stages).any(|it| it.selects.is_some());
        if plan.runs.len() > 2 || plan.ill.is_some() || plan.timeless || selects {
            return;
        }
        match drawn {
            0..=5 => self.nearly_lost(plan),
            6..=14 => self.limited(plan),
            15..=20 => self.full(plan),
            21..=26 => self.stopped(plan),
            27..=31 => self.signalled(plan),
            32..=36 => self.proxied(plan),
            37..=39 => self.windowed(plan),
            _ => {}
        }
    }

    /// An engine stands still while the first requests of a run are on their way, and keeps the run.
    fn nearly_lost(&mut self, plan: &mut Plan) {
        begins_alike(plan, Work::Http);
        plan.commands.retain(|command| command.at > 2 * NEARLY_LOST);
        let what = Interruption::Frozen { length: NEARLY_LOST };
        let (point, side, nth) = (Point::Post, Side::Before, 1 + self.below(plan.agents.len()));
        plan.engines[0].troubles = vec![Trouble { point, side, nth, what }];
    }

    /// The stages of a run select different agents. Those of the first one are as many as may take part, and the engine dies
    /// again and again.
    fn limited(&mut self, plan: &mut Plan) {
        let stays =
            plan.platform.is_none() && plan.agents.iter().all(|agent| agent.gone.is_empty());
        if !stays || plan.agents.len() < 2 || plan.agents.iter().any(|agent| agent.stable) {
            return;
        }
        let half = plan.agents.len() / 2;
        for (number, agent) in plan.agents.iter_mut().enumerate() {
            (agent.role, agent.denies, agent.other) = (u32::from(number >= half), None, None);
        }
        let run = &mut plan.runs[0];
        let mut stage = StagePlan { once: false, always: false, ..run.stages[0].clone() };
        // A playbook has room for only one large step.
        stage.steps.iter_mut().for_each(|step| step.large = false);
        let selecting = |role| {
            let selects = Some(Selects { role, guarded: true });
            StagePlan { selects, ..stage.clone() }
        };
        run.stages = [0, 1].map(selecting).into();
        let limit = u32::try_from(half).ok();
        run.narrow = NarrowPlan { limit, ..NarrowPlan::default() };
        let killed = |dice: &mut Self| Trouble {
            point: Point::Commit,
            side: dice.side(),
            nth: 2 + dice.below(9),
            what: Interruption::Killed { back_after: dice.one_of([0, 1_000]) },
        };
        plan.engines[0].troubles = (0..3).map(|_| killed(self)).collect();
    }

    /// The only engine is full for a while, and somebody asks something of a run that waits.
    fn full(&mut self, plan: &mut Plan) {
        begins_alike(plan, Work::Action);
        for agent in &mut plan.agents {
            (agent.away, agent.garbles, agent.proxied) = (None, None, None);
            agent.actions[0].takes = 30_000;
        }
        plan.runs.truncate(1);
        plan.runs.push(RunPlan { at: 1_000, beside: false, ..plan.runs[0].clone() });
        plan.engines.truncate(1);
        (plan.engines[0].max_runs, plan.engines[0].faults) = (1, Vec::new());
        plan.outages.clear();
        plan.drains.clear();
        let (at, verb) = (2_000 + self.up_to(3_000), self.verb());
        plan.commands = vec![CommandPlan { at, run: 1, verb, agent: None }];
    }

    /// The engine is asked to stop just before requests are sent again that did not arrive.
    fn stopped(&mut self, plan: &mut Plan) {
        begins_alike(plan, Work::Action);
        plan.agent_patience = 45_000;
        for agent in &mut plan.agents {
            (agent.away, agent.other) = (None, None);
            agent.actions[0].posts = vec![self.one_of([PostFault::Lost, PostFault::Broken])];
        }
        plan.commands.retain(|command| command.at > 2 * LONGEST_HELD.0);
        plan.outages.clear();
        let at = LONGEST_HELD.0 - 3_000 + self.up_to(3_000);
        plan.engines[0].stops = Some((at, self.one_of([0, 1_000, 20_000])));
    }

    /// One of several agents that wait for a signal gets it.
    fn signalled(&mut self, plan: &mut Plan) {
        begins_alike(plan, Work::WaitSignal(60));
        let (at, agent) = (3_000 + self.up_to(7_000), self.below(plan.agents.len()));
        plan.signals = vec![SignalPlan { at, run: 0, agent: Some(agent) }];
    }

    /// A proxy loses its way to agents that are at work.
    fn proxied(&mut self, plan: &mut Plan) {
        begins_alike(plan, Work::Action);
        for agent in &mut plan.agents {
            agent.actions[0].takes = 20_000;
            let from = 2_000 + self.up_to(5_000);
            agent.proxied = Some(Window { from, to: from + 4_000 + self.up_to(8_000) });
        }
    }

    /// A window is open by the clock of Berlin, and not by that of Greenwich, or the other way round.
    fn windowed(&mut self, plan: &mut Plan) {
        if plan.runs.iter().any(|run| run.beside) {
            return;
        }
        let window = Some((self.one_of([0, 1]), self.one_of([9, 10])));
        let guards = |at, window| GuardsPlan { at, guards: Vec::new(), window, freeze: None };
        plan.guards = vec![guards(0, window), guards(CALM, None)];
    }

    fn below(&mut self, most: usize) -> u32 {
        u32::try_from(self.up_to(most as u64 - 1)).unwrap()
    }
}

/// Has all agents begin at once with work of this kind, soon after the start, on an engine to which nothing happens.
fn begins_alike(plan: &mut Plan, work: Work) {
    for agent in &mut plan.agents {
        agent.latency = agent.latency.min(20);
    }
    let run = &mut plan.runs[0];
    (run.at, run.approval, run.approvers) = (0, false, None);
    run.narrow = NarrowPlan::default();
    let stage = &mut run.stages[0];
    (stage.once, stage.strategy) = (false, StrategyPlan::AllAtOnce);
    let (role, timeout) = (StepRole::Main, None);
    let plain = StepPlan {
        role,
        work,
        large: false,
        timeout,
        retry: None,
        requires: false,
        goes_on: false,
    };
    stage.steps[0] = plain;
    plan.guards.clear();
    let engine = &mut plan.engines[0];
    (engine.at, engine.ahead, engine.stops) = (0, 0, None);
    engine.troubles.clear();
}
