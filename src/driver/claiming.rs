//! Which runs an engine claims, and how many.

use std::time::Duration;

use super::engine::{Driver, Engine, log};
use super::places::Clusters;
use crate::store::{Claim, Skew, StoreError};

/// Runs that are claimed by one look.
const CLAIMED_AT_ONCE: u32 = 100;

/// How often an engine that takes up no further run of some cluster looks whether there is a run of it that
/// nobody drives, while some of its own only wait: theirs may be the run that those wait for. Half as long as
/// it takes to notice that an engine has died.
const EXCHANGE: Duration = Duration::from_secs(7);

impl Engine {
    /// Claims runs as far as there are places for them.
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
            let is_held_back = limit == 0 || !full.is_empty();
            let claim = Claim { limit, full, only_woken: false };
            if limit > 0 && self.claim_some(&claim).await? == limit {
                continue;
            }
            return if is_held_back { self.claim_beyond().await } else { Ok(()) };
        }
    }

    /// Takes up what must not wait for a place.
    async fn claim_beyond(&mut self) -> Result<(), StoreError> {
        let limit = u32::try_from(self.places.for_woken()).unwrap_or(u32::MAX);
        let limit = limit.min(CLAIMED_AT_ONCE);
        if limit > 0 {
            self.claim_some(&Claim { limit, only_woken: true, ..Claim::default() }).await?;
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

    /// Claims at most `limit` runs and begins to drive them. How many those are.
    async fn claim_some(&mut self, claim: &Claim) -> Result<u32, StoreError> {
        let leases = self.world.store.claim_some(&self.config.id, claim).await?;
        let mut begun = 0;
        for lease in leases {
            if let Some(driver) = self.drivers.get(&lease.run) {
                // The lease ran out while the driver was at work: it has to end before another one
                // may begin.
                driver.lease.lose();
                log(self.world.store.release(lease.run, lease.epoch).await);
            } else {
                match lease.from {
                    Some(_) => self.config.activity.take_over(),
                    None => self.config.activity.claim(),
                }
                self.start(&lease);
                begun += 1;
            }
        }
        Ok(begun)
    }

    /// Without this, an engine that has taken up as many as it does of those that wait for one which nobody
    /// drives any more would wait for ever: one of those is given back in exchange, the youngest.
    async fn exchange(&mut self) -> Result<(), StoreError> {
        let now = self.world.clock.now();
        let waits = |driver: &&Driver| !driver.place.is_taken();
        let Some(youngest) = self.drivers.values().rfind(waits) else { return Ok(()) };
        let lease = youngest.lease.clone();
        if self.places.free() == 0 || now.since(self.exchanged).to_std() < EXCHANGE {
            return Ok(());
        }
        self.exchanged = now;
        if self.claim_some(&Claim { limit: 1, ..Claim::default() }).await? > 0 {
            lease.lose();
        }
        Ok(())
    }
}
