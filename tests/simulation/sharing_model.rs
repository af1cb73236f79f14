//! Which engine has which runs: they must be spread over the engines that take runs, and no run is let go in
//! vain.

use std::collections::BTreeMap;

use replibook::run::{Millis, Timestamp};
use replibook::store::Engine;

use crate::ledger::{Check, expect};
use crate::plan::Plan;

/// An engine that has said nothing for this long is not there: three of its reports, and a little more.
const ALIVE: Millis = Millis::from_secs(13);

/// An engine whose clock is off by more milliseconds takes no runs.
const CLOCK_OFF: u64 = 60_000;

/// How old an engine's knowledge of other engines may be when it lets a run go: two looks, and the time of a
/// release.
const KNOWN: Millis = Millis::from_secs(10);

/// How long an engine may have more than its share although others have room.
const SPREAD_WITHIN: Millis = Millis::from_secs(60);

/// The runs of an engine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) all: usize,
    /// Runs that only wait for their cluster, and so can go at any moment.
    pub(crate) waiting: usize,
}

pub(crate) struct Sharing {
    /// How many milliseconds the clock of each engine is ahead.
    ahead: Vec<i64>,
    /// Whether each engine takes any run as long as it has room.
    plain: bool,
    /// For each engine, when another one last had room for a run.
    others: BTreeMap<usize, Timestamp>,
    /// Since when each engine has had too many runs.
    uneven: BTreeMap<usize, Timestamp>,
}

impl Sharing {
    pub(crate) fn new(plan: &Plan) -> Self {
        let ahead = plan.engines.iter().map(|engine| engine.ahead).collect();
        // Runs that go beside others get only half of the places of an engine.
        let plain = !plan.runs.iter().any(|run| run.beside);
        Self { ahead, plain, others: BTreeMap::new(), uneven: BTreeMap::new() }
    }

    /// Checks what the engines say, in a history in which nothing delays them.
    pub(crate) fn look(
        &mut self,
        engines: &[Engine],
        held: &BTreeMap<usize, Held>,
        now: Timestamp,
    ) -> Check {
        let takes = |engine: &&Engine| {
            engine.report.runs < engine.report.max_runs && self.is_there(engine, now)
        };
        let takers: Vec<_> = engines.iter().filter(takes).filter_map(number).collect();
        for engine in 0..self.ahead.len() {
            if takers.iter().any(|taker| *taker != engine) {
                self.others.insert(engine, now);
            }
        }
        if !self.plain {
            return Ok(());
        }
        let of = |engine: usize| held.get(&engine).copied().unwrap_or_default();
        for engine in 0..self.ahead.len() {
            let others = || takers.iter().filter(|taker| **taker != engine);
            let all = of(engine).all + others().map(|other| of(*other).all).sum::<usize>();
            let share = all.div_ceil(others().count() + 1);
            let is_uneven = of(engine).all > share + 1
                && of(engine).waiting > 0
                && others().any(|other| of(*other).all < share);
            if !is_uneven {
                self.uneven.remove(&engine);
                continue;
            }
            let since = *self.uneven.entry(engine).or_insert(now);
            let say =
                || format!("engine {engine} has {:?} of {all}, {takers:?} take runs", of(engine));
            expect(now.since(since) <= SPREAD_WITHIN, "runs are spread over the engines", say)?;
        }
        Ok(())
    }

    /// Whether an engine takes runs as long as it has room.
    fn is_there(&self, engine: &Engine, now: Timestamp) -> bool {
        let is_off = |number: usize| self.ahead[number].unsigned_abs() > CLOCK_OFF;
        let is_alive = now.since(engine.seen) <= ALIVE && engine.draining.is_none();
        is_alive && number(engine).is_some_and(|number| !is_off(number))
    }

    /// Whether any engine takes runs as long as it has room.
    pub(crate) fn takes_some(&self, engines: &[Engine], now: Timestamp) -> bool {
        engines.iter().any(|engine| self.is_there(engine, now))
    }

    /// An engine let a run go so that another engine can have it.
    pub(crate) fn went(&self, engine: usize, now: Timestamp) -> Check {
        let rule = "no run is let go where no engine takes it";
        let last = self.others.get(&engine);
        let is_taken = last.is_some_and(|last| now.since(*last) <= KNOWN);
        expect(is_taken, rule, || format!("engine {engine}, others took some last at {last:?}"))
    }
}

/// The number of an engine, which is a part of its name.
fn number(engine: &Engine) -> Option<usize> {
    let id = engine.report.id.0.strip_prefix("engine-")?;
    id.split('.').next()?.parse().ok()
}
