//! Which runs an engine claims, and how many: as many as it has places for, and the few that must not wait for a
//! place.

use std::time::Duration;

use super::engine::{Driver, Engine, log};
use super::places::Clusters;
use crate::store::{Claim, Skew, StoreError};

/// The most runs that are claimed in one call of the store.
const CLAIMED_AT_ONCE: u32 = 100;

/// How often an engine that takes up no further runs of a cluster looks for one of them that nobody drives, while
/// some of its own runs only wait: they may be waiting for that one. It is also how often a full engine lets one
/// more run join those that wait in it for a place. Half the time that it takes to notice that an engine has died.
const EXCHANGE: Duration = Duration::from_secs(7);

/// With which kind of place a run is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// With a free place.
    Place,
    /// With a place, even if none is free, until it has done what was asked of it.
    Beyond,
    /// Without a place: it waits for one, behind all the runs that wait already.
    None,
}

impl Engine {
    /// Claims as many runs as there are places for.
    pub(super) async fn claim(&mut self) -> Result<(), StoreError> {
        let skew = Skew::of(self.world.store.as_ref(), self.world.clock.as_ref());
        if !self.skew.look(skew) || self.is_draining {
            return Ok(());
        }
        loop {
            let clusters = self.clusters();
            let (room, full) = (clusters.room(&self.places), clusters.full(&self.places));
            let limit = CLAIMED_AT_ONCE.min(u32::try_from(room).unwrap_or(u32::MAX));
            let limit = self.yielding(limit);
            let passed = self.lacking.runs(self.world.clock.now());
            let is_held_back = limit == 0 || !full.is_empty() || !passed.is_empty();
            let claim = Claim { limit, full, only_woken: false, passed };
            if limit > 0 && self.claim_some(&claim, With::Place).await? == limit {
                continue;
            }
            return if is_held_back { self.claim_beyond().await } else { Ok(()) };
        }
    }

    /// Takes up runs that must not wait for a place: whoever asks something of a run need not wait for other runs.
    async fn claim_beyond(&mut self) -> Result<(), StoreError> {
        let limit = u32::try_from(self.places.for_woken()).unwrap_or(u32::MAX);
        let limit = limit.min(CLAIMED_AT_ONCE);
        if limit > 0 {
            // Including runs that wait for a cluster that is full here, and runs whose secrets this engine lacks.
            let woken = Claim { limit, only_woken: true, ..Claim::default() };
            self.claim_some(&woken, With::Beyond).await?;
        }
        self.exchange().await
    }

    fn clusters(&self) -> Clusters<'_> {
        let mut clusters = Clusters::default();
        for driver in self.drivers.values() {
            clusters.count(driver.cluster.as_deref(), &driver.place);
        }
        clusters
    }

    /// Claims at most `limit` runs and begins to drive them. Returns how many it began to drive.
    async fn claim_some(&mut self, claim: &Claim, with: With) -> Result<u32, StoreError> {
        // The places that these runs are going to take must not go to a run that waits in this engine.
        let kept = match with {
            With::Place => usize::try_from(claim.limit).unwrap_or_default().min(self.places.free()),
            With::Beyond | With::None => 0,
        };
        let _kept = self.places.keep(kept);
        let leases = self.world.store.claim_some(&self.config.id, claim).await?;
        let mut begun = 0;
        for lease in leases {
            if let Some(driver) = self.drivers.get(&lease.run) {
                // The lease ran out while the driver was at work. That driver has to end before another one may
                // begin.
                driver.lease.lose();
                log(self.world.store.release(lease.run, lease.epoch).await);
            } else {
                match lease.from {
                    Some(_) => self.config.activity.take_over(),
                    None => self.config.activity.claim(),
                }
                self.start(&lease, with);
                begun += 1;
            }
        }
        Ok(begun)
    }

    /// Keeps an engine from waiting for ever. If all the runs that it may queue wait for a run that nobody drives
    /// any more, it takes up that run and gives back the youngest one that waits. And if all its places go to runs
    /// that already wait in it, it would never take up another; here it lets one more join them.
    async fn exchange(&mut self) -> Result<(), StoreError> {
        if self.is_yielding() {
            return Ok(());
        }
        let now = self.world.clock.now();
        if now.since(self.exchanged).to_std() < EXCHANGE {
            return Ok(());
        }
        let clusters = self.clusters();
        let (served, room) = (clusters.served(&self.places), clusters.room_in_queues());
        let only_waits = |driver: &&Driver| !driver.place.is_taken() && !driver.place.is_in_line();
        let youngest = self.drivers.values().rfind(only_waits).map(|driver| driver.lease.clone());
        // A run that goes on takes a place at once, even if none is free.
        let room = self.places.for_woken() > 0 && (youngest.is_some() || room > 0);
        let with = match (self.places.free(), self.places.has_line()) {
            (0, true) if room => With::None,
            (1.., _) if youngest.is_some() => With::Place,
            _ => return Ok(()),
        };
        self.exchanged = now;
        let full = match with {
            With::Place => served,
            // While runs wait in line for a place, no cluster gets more than its share.
            With::None | With::Beyond => Vec::new(),
        };
        let passed = self.lacking.runs(now);
        let claim = Claim { limit: 1, full, only_woken: false, passed };
        if self.claim_some(&claim, with).await? > 0
            && let Some(youngest) = youngest
        {
            youngest.lose();
        }
        Ok(())
    }
}
