//! Turns a seed into a plan. Each history has only some kinds of trouble, so that one kind does not always
//! hide another.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use replibook::agent::LONGEST_HELD;
use replibook::playbook::StepRole;
use replibook::run::Verb;

use crate::crowd::CROWDED;
use crate::narrow_plan::NarrowPlan;
use crate::plan::{
    ActionPlan, AgentPlan, CALM, CommandPlan, End, EnginePlan, IllPlan, Illness, Interruption,
    Outage, PATIENCE, Part, Plan, Point, RunPlan, STAGES, STEPS, Selects, Side, SignalPlan, Size,
    StagePlan, StepPlan, StoreFault, Trouble, Window, Work,
};
use crate::post_fault::PostFault;

/// The most agents that a history has.
const AGENTS: u32 = 20;

/// Troubles begin within this many milliseconds, so that most of them meet a run that goes on.
pub(crate) const LIVELY: u64 = 40_000;

/// The kinds of trouble that a history has.
struct Kinds {
    kills: bool,
    freezes: bool,
    faults: bool,
    outages: bool,
    commands: bool,
    posts: bool,
    garbles: bool,
    denies: bool,
    away: bool,
    oblivion: bool,
    failures: bool,
    timeouts: bool,
    retries: bool,
    members: bool,
    others: bool,
    selects: bool,
    proxies: bool,
}

pub(crate) struct Dice(StdRng);

impl Plan {
    /// The plan that follows from a seed.
    pub(crate) fn from_seed(seed: u64) -> Self {
        let mut dice = Dice(StdRng::seed_from_u64(seed));
        let kinds = dice.kinds();
        let most = dice.one_of([4, 8, AGENTS]);
        let agents = dice.0.random_range(1..=most);
        let runs = if dice.chance(25) { 2 } else { 1 };
        let engines = if dice.chance(40) { 2 } else { 1 };
        let mut plan = Self {
            agents: (0..agents).map(|_| dice.agent(&kinds)).collect(),
            platform: None,
            runs: (0..runs).map(|index| dice.run(index, &kinds)).collect(),
            engines: (0..engines).map(|index| dice.engine(index, &kinds)).collect(),
            drains: Vec::new(),
            outages: if kinds.outages { dice.outages() } else { Vec::new() },
            commands: if kinds.commands { dice.commands(runs) } else { Vec::new() },
            signals: Vec::new(),
            guards: Vec::new(),
            ill: None,
            patience: dice.one_of([1_000, 5_000, 30_000]),
            agent_patience: dice.one_of([5_000, 30_000, 45_000]),
            tells: true,
            timeless: false,
            ends_by: CALM + PATIENCE,
        };
        dice.cluster(&mut plan, kinds.members);
        if dice.chance(if kinds.members { 5 } else { 35 }) {
            plan.make_timeless();
        } else if dice.chance(20) {
            plan.ill = Some(dice.ill(&mut plan));
        }
        if dice.chance(30) {
            for (index, engine) in plan.engines.iter_mut().enumerate() {
                engine.ahead = dice.ahead(index);
            }
        }
        if dice.chance(15) {
            dice.large(&mut plan);
        }
        if dice.chance(30) {
            for engine in &mut plan.engines {
                let back_after = dice.one_of([0, 1_000, 20_000]);
                engine.stops = dice.chance(70).then(|| (dice.up_to(LIVELY), back_after));
            }
        }
        if plan.ill.is_none() && !plan.timeless && dice.chance(CROWDED) {
            dice.crowd(&mut plan, |dice| dice.run(1, &kinds));
        }
        if !plan.timeless && dice.chance(30) {
            dice.outside(&mut plan);
        }
        // Runs of a cluster with guards don't go side by side.
        if !plan.timeless && plan.runs.iter().all(|run| !run.beside) && dice.chance(30) {
            dice.guards(&mut plan);
        }
        if !plan.timeless && dice.chance(40) {
            dice.forms(&mut plan);
        }
        if dice.chance(30) {
            dice.dialects(&mut plan);
        }
        // They may run out of time, which depends on when things happen.
        if !plan.timeless && dice.chance(25) {
            dice.approvers(&mut plan);
        }
        if dice.chance(25) {
            dice.narrow(&mut plan);
        }
        dice.rare(&mut plan);
        if !plan.timeless && dice.chance(20) {
            dice.gateways(&mut plan);
        }
        plan
    }
}

impl Dice {
    /// True in `percent` percent of all cases.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[self.0.random_range(0..N)]
    }

    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        self.0.random_range(0..=most)
    }

    /// Makes the requests of one step of each run large. Some requests come late, after their attempt is
    /// over. What follows has to wait for as long as an attempt may take, which is longer than small requests
    /// are held.
    fn large(&mut self, plan: &mut Plan) {
        for run in &mut plan.runs {
            let steps = run.stages.iter_mut().flat_map(|stage| &mut stage.steps);
            let mut actions = steps.filter(|step| step.work == Work::Action);
            let Some(step) = actions.next() else { continue };
            step.large = true;
            if !plan.timeless && self.chance(60) {
                step.timeout = Some(LONGEST_HELD.0 + 3_000 + self.up_to(5_000));
                step.retry.get_or_insert((3, 500));
            }
        }
        let actions = plan.agents.iter_mut().flat_map(|agent| &mut agent.actions);
        for action in actions.filter(|action| !plan.timeless && action.posts.is_empty()) {
            if self.chance(30) {
                action.posts.push(PostFault::Late(self.up_to(LONGEST_HELD.0 - 500)));
            }
        }
    }

    /// Lets some steps reach more than their agent, and has signals sent: before their waits, in them and after them.
    fn outside(&mut self, plan: &mut Plan) {
        for run in &mut plan.runs {
            for step in run.stages.iter_mut().flat_map(|stage| &mut stage.steps) {
                if step.large || self.chance(50) {
                    continue;
                }
                step.work = if self.chance(50) {
                    Work::Http
                } else {
                    let seconds = self.one_of([5, 20, 60]);
                    if self.chance(33) {
                        Work::WaitTwice(seconds)
                    } else {
                        Work::WaitSignal(seconds)
                    }
                };
            }
        }
        for _ in 0..self.up_to(8) {
            let agents = plan.agents.len() as u64 - 1;
            plan.signals.push(SignalPlan {
                at: self.up_to(2 * LIVELY),
                run: self.0.random_range(0..plan.runs.len()),
                agent: self.chance(40).then(|| self.up_to(agents) as u32),
            });
        }
    }

    fn ill(&mut self, plan: &mut Plan) -> IllPlan {
        let part = match self.up_to(3) {
            0 => Part::Snapshot,
            1 => Part::Progress,
            2 => Part::Record(self.0.random_range(0..4)),
            _ => Part::Journal,
        };
        let what = self.one_of([Illness::Damaged(part), Illness::Refused, Illness::None]);
        let soon = self.one_of([5_000, LIVELY]);
        if matches!(what, Illness::Damaged(_)) {
            // Damage is noticed only by an engine that reads the document, so each engine gets one more
            // trouble.
            for engine in &mut plan.engines {
                engine.troubles.push(self.trouble(true));
            }
        }
        IllPlan {
            at: self.up_to(soon),
            run: self.0.random_range(0..plan.runs.len()),
            what,
            patience: self.up_to(40_000),
            mended: what != Illness::None && self.chance(50),
        }
    }

    fn kinds(&mut self) -> Kinds {
        Kinds {
            kills: self.chance(50),
            freezes: self.chance(40),
            faults: self.chance(40),
            outages: self.chance(25),
            commands: self.chance(40),
            posts: self.chance(50),
            garbles: self.chance(25),
            away: self.chance(30),
            oblivion: self.chance(20),
            failures: self.chance(70),
            timeouts: self.chance(30),
            retries: self.chance(40),
            members: self.chance(35),
            others: self.chance(20),
            selects: self.chance(25),
            denies: self.chance(20),
            proxies: self.chance(15),
        }
    }

    fn agent(&mut self, kinds: &Kinds) -> AgentPlan {
        let latency = self.one_of([0, 2, 20, 200, 700]);
        AgentPlan {
            actions: (0..STAGES * STEPS).map(|_| self.action(kinds)).collect(),
            runs_again: self.chance(50),
            latency: self.up_to(latency),
            purges: (kinds.oblivion && self.chance(20)).then(|| self.up_to(8_000)),
            keeps: None,
            stable: false,
            away: (kinds.away && self.chance(30)).then(|| self.window(60_000)),
            garbles: (kinds.garbles && self.chance(40)).then(|| self.window(30_000)),
            proxied: (kinds.proxies && self.chance(40)).then(|| self.window(30_000)),
            behind: None,
            ill: self.chance(20).then(|| self.window(30_000)),
            group: self.group(),
            listed: true,
            gone: Vec::new(),
            moves: Vec::new(),
            other: (kinds.others && self.chance(40)).then(|| self.other()),
            role: u32::from(self.chance(50)),
            denies: (kinds.denies && self.chance(30)).then(|| self.denial()),
        }
    }

    /// When an agent says nothing about its node: for a while, or ever.
    fn denial(&mut self) -> Window {
        match self.chance(50) {
            true => Window { from: 0, to: u64::MAX },
            false => self.window(60_000),
        }
    }

    /// When another node answers at the address of an agent: for a while, or for good.
    fn other(&mut self) -> Window {
        let from = if self.chance(40) { 0 } else { self.up_to(LIVELY) };
        let to = if self.chance(40) { u64::MAX } else { from + self.up_to(60_000) };
        Window { from, to }
    }

    pub(crate) fn window(&mut self, longest: u64) -> Window {
        let from = self.up_to(LIVELY);
        Window { from, to: from + self.up_to(longest) }
    }

    fn action(&mut self, kinds: &Kinds) -> ActionPlan {
        let longest = self.one_of([0, 100, 1_000, 5_000, 20_000]);
        let posts = if kinds.posts && self.chance(40) { self.up_to(2) } else { 0 };
        ActionPlan {
            posts: (0..posts).map(|_| self.post_fault()).collect(),
            takes: self.up_to(longest),
            flaky: if kinds.retries && self.chance(25) { self.one_of([1, 1, 2, 4]) } else { 0 },
            end: self.end(kinds),
        }
    }

    fn post_fault(&mut self) -> PostFault {
        // Less than the time after which the engine believes an agent that does not know an action, with room
        // for the way there.
        let longest = self.one_of([900, 4_000, LONGEST_HELD.0 - 500]);
        match self.up_to(6) {
            0 => PostFault::AnswerLost,
            1 => PostFault::Late(self.up_to(longest)),
            2 => PostFault::Lost,
            3 => PostFault::Garbled,
            4 => PostFault::Stray,
            5 => PostFault::Held(self.up_to(longest)),
            _ => PostFault::Broken,
        }
    }

    fn end(&mut self, kinds: &Kinds) -> End {
        match self.up_to(99) {
            0..=9 if kinds.failures => End::Failed,
            10..=12 if kinds.failures => End::Refused,
            13..=15 if kinds.failures => End::Stalled,
            16..=25 if kinds.oblivion => End::Forgotten,
            _ => End::Done,
        }
    }

    pub(crate) fn size(&mut self, percents: [u32; 3]) -> Size {
        match self.chance(50) {
            true => Size::Count(self.0.random_range(1..=4)),
            false => Size::Percent(self.one_of(percents)),
        }
    }

    fn run(&mut self, index: u64, kinds: &Kinds) -> RunPlan {
        let stages = self.one_of([1, 1, 1, 2, STAGES as u64]);
        RunPlan {
            at: if index == 0 { 0 } else { self.up_to(LIVELY) },
            approval: self.chance(10),
            approvers: None,
            beside: false,
            narrow: NarrowPlan::default(),
            stages: (0..stages).map(|_| self.stage(kinds)).collect(),
            retries: if kinds.retries { self.one_of([0, 1, 2]) } else { 0 },
        }
    }

    fn stage(&mut self, kinds: &Kinds) -> StagePlan {
        let none = !kinds.failures || self.chance(30);
        let max_failed = if none { Size::Count(0) } else { self.size([5, 10, 40]) };
        let steps = self.up_to(STEPS as u64 - 1) + 1;
        StagePlan {
            strategy: self.strategy(),
            max_failed,
            of_run: self.chance(30),
            aborts: self.chance(30),
            membership: self.membership(kinds.members),
            selects: (kinds.selects && self.chance(70))
                .then(|| Selects { role: u32::from(self.chance(50)), guarded: self.chance(50) }),
            once: false,
            always: false,
            steps: (0..steps).map(|_| self.step(kinds)).collect(),
        }
    }

    fn step(&mut self, kinds: &Kinds) -> StepPlan {
        let work = match self.chance(80) {
            true => Work::Action,
            false => Work::WaitHealthy(self.one_of([5, 60])),
        };
        let tries = kinds.retries && self.chance(50);
        StepPlan {
            role: StepRole::Main,
            work,
            large: false,
            timeout: (kinds.timeouts && self.chance(50)).then(|| self.up_to(15_000) + 500),
            retry: tries.then(|| (self.one_of([2, 3, 5]), self.one_of([1, 500, 4_000]))),
            requires: self.chance(15),
            goes_on: self.chance(20),
        }
    }

    fn engine(&mut self, index: u64, kinds: &Kinds) -> EnginePlan {
        let mut troubles = Vec::new();
        for (on, killed) in [(kinds.kills, true), (kinds.freezes, false)] {
            let count = if on { self.up_to(3) } else { 0 };
            troubles.extend((0..count).map(|_| self.trouble(killed)));
        }
        let faults = if kinds.faults { self.up_to(3) } else { 0 };
        EnginePlan {
            at: if index == 0 { 0 } else { self.up_to(10_000) },
            ahead: 0,
            max_runs: self.one_of([1, 2, 10]),
            stops: None,
            troubles,
            faults: (0..faults).map(|_| self.store_fault()).collect(),
        }
    }

    /// How far the clock of an engine is off. The first engine's is never so far off that it claims no runs.
    fn ahead(&mut self, index: usize) -> i64 {
        match index {
            0 => self.one_of([-55_000, -8_000, 0, 300, 8_000, 55_000]),
            _ => self.one_of([-3_600_000, -30_000, 0, 30_000, 3_600_000]),
        }
    }

    fn trouble(&mut self, killed: bool) -> Trouble {
        let (point, most) = self.one_of([
            (Point::Load, 4),
            (Point::Commit, 30),
            (Point::Commit, 8),
            (Point::Post, 12),
            (Point::Post, 4),
            (Point::Look, 20),
            (Point::Stamp, 2),
            (Point::Lease, 20),
            (Point::Other, 20),
        ]);
        let what = match killed {
            true => Interruption::Killed { back_after: self.one_of([0, 1_000, 16_000, 25_000]) },
            false => {
                Interruption::Frozen { length: self.one_of([100, 5_000, 14_500, 17_000, 40_000]) }
            }
        };
        let nth = self.0.random_range(1..=most);
        Trouble { point, side: self.side(), nth, what }
    }

    pub(crate) fn side(&mut self) -> Side {
        self.one_of([Side::Before, Side::After])
    }

    fn store_fault(&mut self) -> StoreFault {
        StoreFault { nth: self.0.random_range(1..=30), side: self.side() }
    }

    fn outages(&mut self) -> Vec<Outage> {
        let count = self.up_to(1) + 1;
        (0..count).map(|_| Outage { window: self.window(30_000), side: self.side() }).collect()
    }

    fn commands(&mut self, runs: u64) -> Vec<CommandPlan> {
        let count = self.up_to(4) + 1;
        let soon = self.one_of([2_000, 10_000, LIVELY]);
        (0..count).map(|_| self.command(runs, soon)).collect()
    }

    fn command(&mut self, runs: u64, soon: u64) -> CommandPlan {
        let verb = self.verb();
        let named = verb == Verb::GiveUp || verb == Verb::Retry && self.chance(50);
        CommandPlan {
            at: self.up_to(soon),
            run: usize::try_from(self.up_to(runs - 1)).unwrap(),
            verb,
            // The history may have fewer agents.
            agent: named.then(|| self.0.random_range(0..6)),
        }
    }

    pub(crate) fn verb(&mut self) -> Verb {
        match self.up_to(13) {
            0..=2 => Verb::Pause,
            3..=4 => Verb::PauseNow,
            5..=7 => Verb::Resume,
            8..=9 => Verb::Retry,
            10 => Verb::GiveUp,
            11 => Verb::Cancel,
            12 => Verb::Approve,
            _ => Verb::Reject,
        }
    }
}
