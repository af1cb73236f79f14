//! Turns a seed into what happens to the members of a cluster, and into strategies.

use replibook::playbook::{Membership, OnAdded, OnRemoved};

use crate::cluster_plan::{Lie, Lied, PlatformPlan};
use crate::documents::GROUPS;
use crate::generate::{Dice, LIVELY};
use crate::plan::{AgentPlan, Plan, StrategyPlan, Window};

/// Hundredths of the histories whose cluster is followed by a platform: of those in which members change, and
/// of the others.
const FOLLOWED: [u32; 2] = [70, 15];

impl Dice {
    /// Draws where members come from and, if `changes`, how they change.
    pub(crate) fn cluster(&mut self, plan: &mut Plan, changes: bool) {
        let [of_these, of_others] = FOLLOWED;
        if self.chance(if changes { of_these } else { of_others }) {
            plan.platform = Some(self.platform(changes));
        }
        let listed = self.one_of([0, 0, 30]);
        let interval = plan.platform.as_ref().map_or(3_000, |platform| platform.interval);
        for agent in &mut plan.agents {
            agent.listed = self.chance(listed);
            if changes {
                self.stay(agent, interval);
            }
        }
    }

    fn platform(&mut self, changes: bool) -> PlatformPlan {
        let lies = if changes && self.chance(60) { self.up_to(2) + 1 } else { 0 };
        let latency = self.one_of([0, 20, 900]);
        PlatformPlan {
            // An absence takes longest to be noticed: three intervals.
            interval: self.one_of([1_000, 1_000, 2_000, 4_000]),
            latency: self.up_to(latency),
            tells_all: self.chance(50),
            lies: (0..lies).map(|_| self.lie()).collect(),
            dropped: (changes && self.chance(10)).then(|| self.window(20_000)),
        }
    }

    fn lie(&mut self) -> Lie {
        let what = match self.up_to(8) {
            0 => Lied::Fails,
            1 => Lied::OtherCluster,
            2 => Lied::Empty,
            3..=5 => Lied::Hides(self.one_of([10, 20, 30, 60])),
            6 => Lied::Strangers,
            7 => Lied::Twice,
            _ => Lied::Unusable,
        };
        Lie { window: self.window(20_000), what }
    }

    /// Draws when the agent is a member, and its addresses.
    fn stay(&mut self, agent: &mut AgentPlan, interval: u64) {
        let from = self.up_to(LIVELY);
        let gone = match self.up_to(11) {
            // It joins later, or leaves for good.
            0 | 1 => Some(Window { from: 0, to: from }),
            2 | 3 => Some(Window { from, to: u64::MAX }),
            // It is missing from one answer or two, or from some more, and returns.
            4 => Some(Window { from, to: from + self.up_to(3 * interval) }),
            5 | 6 => Some(Window { from, to: from + 4 * interval + self.up_to(10_000) }),
            _ => None,
        };
        agent.gone.extend(gone);
        if let Some(before) = gone.filter(|gone| gone.to < LIVELY)
            && self.chance(50)
        {
            // Soon after it is back it is gone again, perhaps for good.
            let stays = self.one_of([2 * interval, 15_000]);
            let from = before.to + self.up_to(stays);
            let to = if self.chance(40) { u64::MAX } else { from + self.up_to(8 * interval) };
            agent.gone.push(Window { from, to });
        }
        if self.chance(15) {
            // If it moves while it is gone, it returns with another address.
            let while_gone = gone.filter(|_| self.chance(60)).map(|gone| gone.from + 1);
            agent.moves.push(while_gone.unwrap_or_else(|| self.up_to(LIVELY)));
        }
    }

    pub(crate) fn group(&mut self) -> Option<u32> {
        let group = self.up_to(u64::from(GROUPS));
        u32::try_from(group).ok().filter(|group| *group < GROUPS)
    }

    pub(crate) fn membership(&mut self, changes: bool) -> Membership {
        let (added, removed) = match changes {
            true => (self.up_to(7), self.up_to(7)),
            false => (0, 0),
        };
        Membership {
            added: match added {
                0..=4 => OnAdded::Include,
                5 | 6 => OnAdded::Skip,
                _ => OnAdded::Abort,
            },
            removed: match removed {
                0..=3 => OnRemoved::Ignore,
                4..=6 => OnRemoved::Fail,
                _ => OnRemoved::Abort,
            },
        }
    }

    pub(crate) fn strategy(&mut self) -> StrategyPlan {
        let percents = [10, 25, 50];
        match self.up_to(6) {
            0 => StrategyPlan::AllAtOnce,
            1 => StrategyPlan::Window(self.size(percents)),
            2 | 3 => StrategyPlan::Batches(self.size(percents)),
            4 => StrategyPlan::Canary {
                canaries: self.size(percents),
                soak: self.one_of([0, 500, 6_000, 20_000]),
                approval: self.chance(30),
                batches: [self.size(percents), self.size([25, 50, 100])],
                asks: self.chance(50),
            },
            5 => {
                let kind = self.up_to(3);
                StrategyPlan::Chatty { counts: kind < 2, stumbles: kind.is_multiple_of(2) }
            }
            _ => StrategyPlan::Grouped {
                batch: self.size([25, 50, 100]),
                window: self.chance(50),
                backwards: self.chance(50),
                soak: self.one_of([0, 0, 500, 8_000]),
            },
        }
    }
}
