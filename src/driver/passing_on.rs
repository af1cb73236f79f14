//! Runs that wait for a place here, while another engine has one.

use std::time::Duration;

use super::engine::{Driver, Engine};
use super::standing::{BEAT, room_elsewhere};
use crate::run::{Millis, Timestamp};
use crate::store::StoreError;

/// How long a run waits for a place before it goes to an engine that has room: longer than it takes to give a
/// place back between two runs, so that most are served here, and no longer than a person looks at it.
const WAITS: Duration = Duration::from_secs(5);

/// How often others are asked whether they have room: they say so anew with each beat.
const LOOK: Millis = BEAT;

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
