//! Runs that wait for a place here, while another engine has one.

use std::time::Duration;

use super::engine::{Driver, Engine};
use super::standing::{BEAT, has_room};
use crate::run::{EngineId, Millis, Timestamp};
use crate::store::{self, Skew, StoreError};

/// How long a run waits for a place before it goes to an engine that has room: longer than it takes to give a
/// place back between two runs, so that most are served here, and no longer than a person looks at it.
const WAITS: Duration = Duration::from_secs(5);

/// How often others are asked whether they have room: they say so anew with each beat.
const LOOK: Millis = BEAT;

/// An engine that has missed three beats counts no more.
const ALIVE: Millis = Millis(3 * BEAT.0 + 1_000);

impl Engine {
    /// Gives runs back that have waited for a place for long, as many as others have room for: those that came
    /// first. Those that nobody took lately stay: the others may have room, and none for more runs of their cluster.
    pub(super) async fn pass_on(&mut self) -> Result<(), StoreError> {
        let now = self.world.clock.now();
        self.drivers.values_mut().for_each(|driver| driver.look_at_line(now));
        let time = self.world.store.time();
        let is_late = |driver: &&Driver| driver.is_late(now) && driver.exit.may_go(true, time);
        let mut late: Vec<&Driver> = self.drivers.values().filter(is_late).collect();
        if late.is_empty() || now.since(self.passed_on) < LOOK {
            return Ok(());
        }
        self.passed_on = now;
        let engines = self.world.store.engines().await?;
        let room = room_elsewhere(&engines, &self.config.id);
        late.sort_by_key(|driver| driver.waits_since);
        for driver in late.into_iter().take(room) {
            tracing::info!(run = %driver.lease.run(), "handing over the run: another engine has room");
            self.config.activity.hand_over();
            driver.exit.passed_on(time);
            // Nothing of it is in flight.
            driver.lease.lose();
        }
        Ok(())
    }
}

impl Driver {
    fn look_at_line(&mut self, now: Timestamp) {
        let waits = self.place.is_in_line() && !self.lease.is_lost();
        self.waits_since = waits.then(|| self.waits_since.unwrap_or(now));
    }

    fn is_late(&self, now: Timestamp) -> bool {
        self.waits_since.is_some_and(|since| now.since(since).to_std() >= WAITS)
    }
}

/// How many runs the other engines have places for, by what they say.
fn room_elsewhere(engines: &[store::Engine], own: &EngineId) -> usize {
    let newest = engines.iter().map(|engine| engine.seen).max().unwrap_or_default();
    let takes_runs = |engine: &&store::Engine| {
        let is_there = engine.draining.is_none() && newest.since(engine.seen) <= ALIVE;
        let is_off = Skew::from_millis(engine.report.clock_ahead).is_too_large();
        engine.report.id != *own && is_there && !is_off
    };
    let room = |engine: &store::Engine| match has_room(engine) {
        true => usize::try_from(engine.report.max_runs - engine.report.runs).unwrap_or_default(),
        false => 0,
    };
    let rooms = engines.iter().filter(takes_runs).map(room);
    rooms.fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Draining, EngineReport};

    fn engine(id: &str, runs: u32, seen: i64) -> store::Engine {
        let report = EngineReport {
            id: EngineId(id.to_owned()),
            name: id.to_owned(),
            version: String::new(),
            host: String::new(),
            address: None,
            started: Timestamp::default(),
            clock_ahead: 0,
            runs,
            queued: 0,
            max_runs: 1_000,
        };
        store::Engine { report, seen: Timestamp::from_millis(seen), draining: None }
    }

    #[test]
    fn only_other_engines_that_take_runs_have_room() {
        let own = EngineId("a".to_owned());
        let mut engines = [engine("a", 0, 20_000), engine("b", 998, 20_000), engine("c", 0, 0)];
        assert_eq!(room_elsewhere(&engines, &own), 2);
        engines[1].report.clock_ahead = 60_001;
        assert_eq!(room_elsewhere(&engines, &own), 0);
        engines[1].report.clock_ahead = 0;
        engines[1].draining = Some(Draining { since: Timestamp::default(), actor: None });
        assert_eq!(room_elsewhere(&engines, &own), 0);
    }
}
