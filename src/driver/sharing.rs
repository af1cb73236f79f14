//! An engine among others: it reports its state, hands over runs, and lets others claim first. Engines know each
//! other only by their reports in the store.

use std::time::Duration;

use super::engine::{Driver, Engine, EngineConfig};
use super::exits::Open;
use super::lacking::Other;
use super::standing::{Standing, others};
use crate::store::{Engine as KnownEngine, EngineReport, Skew, StoreError};

/// How long an engine with more than its share leaves free runs to others that have room: several of their looks.
const YIELD: Duration = Duration::from_secs(3);

/// How many runs such an engine claims all the same, once per [`YIELD`], because the others may not be what they
/// report.
const CLAIMED_BEYOND: u32 = 1;

/// The line in the log when an engine is drained.
const DRAINING: &str = "handing over all runs, and taking no more";

impl Engine {
    /// Lowers `limit` to let others claim first, if they have room and this engine has its share.
    pub(super) fn yielding(&mut self, limit: u32) -> u32 {
        let Some(most) = self.most() else { return limit };
        let rest = u32::try_from(most.saturating_sub(self.drivers.len())).unwrap_or(u32::MAX);
        if rest > 0 {
            return limit.min(rest);
        }
        let now = self.world.clock.now();
        if self.went_lately() || now.since(self.yielded).to_std() < YIELD {
            return 0;
        }
        self.yielded = now;
        limit.min(CLAIMED_BEYOND)
    }

    /// Whether the engine now leaves all runs without an engine to the others.
    pub(super) fn is_yielding(&self) -> bool {
        self.most().is_some_and(|most| most <= self.drivers.len())
    }

    /// The most runs that the engine claims of its own accord; None: no limit. Runs that have just left are not
    /// taken back at once.
    fn most(&self) -> Option<usize> {
        if self.went_lately() { self.standing.share() } else { self.standing.most() }
    }

    fn went_lately(&self) -> bool {
        let now = self.world.store.time();
        self.exits.last().is_some_and(|last| now.since(last).to_std() < YIELD)
    }

    /// Writes the engine's report, does what the store says, and looks at the other engines.
    pub(super) async fn beat(&mut self) -> Result<(), StoreError> {
        let looked = self.look_around().await;
        // An engine that does not know the state of the others hands nothing over to them.
        let open = if looked.is_ok() { self.opening() } else { Open::default() };
        self.exits.open(open, self.world.store.time());
        let woken = self.world.store.wake().await.map(drop);
        looked.and(woken)
    }

    async fn look_around(&mut self) -> Result<(), StoreError> {
        let store = self.world.store.clone();
        let report = self.report();
        let known = store.put_engine(&report).await;
        let failure = known.as_ref().err().map(ToString::to_string);
        self.config.activity.beat(report.clone(), store.time(), failure);
        let known = known?;
        self.started.get_or_insert(known.seen);
        self.drain(known.draining.is_some());
        let engines = store.engines().await?;
        let others = others(&engines, &self.config.id);
        let is_other = |engine: &&KnownEngine| others.contains(&engine.report.id);
        let files = engines.iter().filter(is_other).map(|engine| &engine.report.files);
        self.lacking.others(files.map(|files| Other::of(&report.files, files)).collect());
        self.exits.look(others, store.time());
        self.standing = Standing::of(&engines, &self.config.id, 0);
        if self.standing.most().is_some() {
            let unclaimed = store.unclaimed().await?;
            let is_taken = self.takers.look(unclaimed, self.world.clock.now());
            let standing = || Standing::of(&engines, &self.config.id, unclaimed);
            self.standing = if is_taken { standing() } else { Standing::default() };
        } else {
            self.takers.look(0, self.world.clock.now());
        }
        Ok(())
    }

    /// How many runs may go to other engines from now on. This replaces what was let out before and has not gone.
    fn opening(&self) -> Open {
        if self.is_draining {
            return Open::default();
        }
        let leaving = self.drivers.values().filter(|driver| driver.exit.is_gone()).count();
        let surplus = self.standing.surplus(self.drivers.len(), leaving);
        let knows = self.exits.last().is_none_or(|last| self.standing.knows_of(last));
        // Until the others report that they have the runs that went, they seem to have room for as many again.
        let count = if knows { surplus } else { surplus.min(self.exits.still_open()) };
        let now = self.world.store.time();
        let waits = |driver: &&Driver| !driver.place.is_taken() && driver.exit.may_go(true, now);
        Open::of(count, self.drivers.values().filter(waits).count())
    }

    fn report(&self) -> EngineReport {
        let EngineConfig { id, max_runs, name, host, address, files, .. } = self.config.clone();
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let going = self.drivers.values().filter(|driver| driver.place.is_taken()).count();
        let world = &self.world;
        EngineReport {
            id,
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            address,
            started: self.started.unwrap_or_else(|| world.store.time()),
            clock_ahead: Skew::of(world.store.as_ref(), world.clock.as_ref()).as_millis(),
            runs: number(going),
            queued: number(self.drivers.len() - going),
            max_runs: number(max_runs),
            files: files.now(),
        }
    }

    /// Hands over all runs when the engine begins to be drained.
    fn drain(&mut self, drain: bool) {
        if drain != self.is_draining {
            let runs = self.drivers.len();
            tracing::info!(runs, "{}", if drain { DRAINING } else { "taking runs again" });
        }
        self.is_draining = drain;
        if drain {
            for driver in self.drivers.values().filter(|driver| !driver.stop.is_cancelled()) {
                self.config.activity.hand_over();
                driver.stop.cancel();
            }
        }
    }
}
