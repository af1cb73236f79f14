//! Hands runs that wait for a place here to other engines that have one free.

use std::time::Duration;

use super::engine::{Driver, Engine};
use super::standing::{BEAT, room_elsewhere};
use crate::run::{Millis, Timestamp};
use crate::store::StoreError;

/// How long a run waits for a place before it goes to an engine that has room. Longer than it takes to hand on a
/// place from one run to the next, so that most runs are served here, and short enough for a person who is
/// watching the run.
const WAITS: Duration = Duration::from_secs(5);

/// How often to ask whether others have room: they report it anew with each beat.
const LOOK: Millis = BEAT;

impl Engine {
    /// Gives back runs that have waited long for a place, in the order in which they came, as many as others have
    /// room for. Runs that nobody took lately stay: the others may have room, but not for more runs of that
    /// cluster.
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
            // Nothing of the run is in flight.
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
