//! The guards of the Cluster object, as plain data, and how they change.

use replibook::run::{Millis, Timestamp};
use serde_json::{Value, json};

use crate::documents::size;
use crate::generate::{Dice, LIVELY};
use crate::plan::{CALM, Plan, Size, Window};

/// The moment at which histories start: ten in the morning in Berlin.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_763_802_000_000);

/// The guards from one moment on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GuardsPlan {
    pub(crate) at: u64,
    pub(crate) guards: Vec<GuardPlan>,
    /// A window of two minutes that opens at this minute and hour in Berlin.
    pub(crate) window: Option<(u32, u32)>,
    pub(crate) freeze: Option<Window>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GuardPlan {
    /// Whether it counts by the groups of agents.
    pub(crate) by_group: bool,
    pub(crate) max_out: Size,
    pub(crate) groups: Option<u32>,
}

impl GuardsPlan {
    /// Puts the guards into the spec of a Cluster document.
    pub(crate) fn write(&self, spec: &mut Value) {
        let guard = |(n, guard): (usize, &GuardPlan)| {
            let mut written = json!({"name": format!("g{n}"), "max_out": size(guard.max_out)});
            if guard.by_group {
                written["by"] = json!("attributes.node_group");
                if let Some(groups) = guard.groups {
                    written["groups"] = json!(groups);
                }
            }
            written
        };
        spec["guards"] = self.guards.iter().enumerate().map(guard).collect();
        if let Some((minute, hour)) = self.window {
            let every = format!("{minute} {hour} * * *");
            spec["windows"] = json!([{"every": every, "for": "2m", "zone": "Europe/Berlin"}]);
        }
        if let Some(Window { from, to }) = self.freeze {
            let at = |millis| START.plus(Millis(millis)).to_string();
            spec["freeze"] = json!([{"from": at(from), "to": at(to), "reason": "a fair"}]);
        }
    }
}

impl Plan {
    /// The guards at a moment.
    pub(crate) fn guards_at(&self, at: u64) -> Option<&GuardsPlan> {
        self.guards.iter().rev().find(|guards| guards.at <= at)
    }
}

impl Dice {
    /// Draws guards that change once or twice, and are gone once all is calm: some agents never get well.
    pub(crate) fn guards(&mut self, plan: &mut Plan) {
        let mut at = if self.chance(70) { 0 } else { self.up_to(LIVELY) };
        for _ in 0..=self.up_to(1) {
            let guards = self.guards_from(at);
            plan.guards.push(guards);
            at += 1 + self.up_to(LIVELY);
        }
        plan.guards.push(GuardsPlan { at: CALM, guards: Vec::new(), window: None, freeze: None });
    }

    fn guards_from(&mut self, at: u64) -> GuardsPlan {
        let (count, begins) = (self.up_to(2), self.up_to(LIVELY));
        GuardsPlan {
            at,
            guards: (0..=count).map(|_| self.guard()).collect(),
            window: self.chance(15).then(|| (self.one_of([0, 1]), self.one_of([9, 10]))),
            freeze: self
                .chance(15)
                .then(|| Window { from: begins, to: begins + 1 + self.up_to(30_000) }),
        }
    }

    fn guard(&mut self) -> GuardPlan {
        let by_group = self.chance(50);
        GuardPlan {
            by_group,
            max_out: if self.chance(10) { Size::Count(0) } else { self.size([10, 33, 50]) },
            groups: (by_group && self.chance(50)).then(|| self.one_of([1, 2])),
        }
    }
}
