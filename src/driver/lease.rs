//! The engine's right to a run, as the run's driver and its calls to agents see it. Its guarantee is that no
//! request to schedule an action outlives the lease.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::agent::{ActionRequest, ActionStatus, AgentClient, AgentError, QueuedAction, Scheduled};
use crate::clock::Clock;
use crate::run::{Millis, NodeInfo, RunId, Timestamp};
use crate::store::{Lease, StoreError};
use replibook_base::crash::{self, Point};
use replibook_core::mutant;
use serde_json::Value;

/// How much of a lease must be left before an action is scheduled: the request needs time.
const MARGIN: Millis = Millis::from_secs(3);

/// How much of a lease must be left while the request is on its way. A request that takes longer is given up, so
/// that none is on its way when another engine takes over the run.
const RESERVE: Millis = Millis::from_secs(1);

/// A lease that the engine prolongs and that everything which acts for the run looks at.
#[derive(Clone)]
pub(super) struct LeaseGuard {
    run: RunId,
    epoch: u64,
    until: Arc<AtomicI64>,
    lost: CancellationToken,
    /// Why the run was given up, if something that acts for it did so.
    failure: Arc<Mutex<Option<StoreError>>>,
    clock: Arc<dyn Clock>,
}

impl LeaseGuard {
    pub(super) fn new(lease: &Lease, clock: Arc<dyn Clock>) -> Self {
        Self {
            run: lease.run,
            epoch: lease.epoch,
            until: Arc::new(AtomicI64::new(lease.until.as_millis())),
            lost: CancellationToken::new(),
            failure: Arc::default(),
            clock,
        }
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Records that the lease was renewed.
    pub(super) fn prolong(&self, lease: &Lease) {
        if lease.epoch == self.epoch {
            self.until.store(lease.until.as_millis(), Ordering::Release);
        }
    }

    /// Records that the run no longer belongs to this engine.
    pub(super) fn lose(&self) {
        self.lost.cancel();
    }

    /// Gives up the run because of an error that another try would not mend.
    pub(super) fn give_up(&self, error: StoreError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.lose();
    }

    /// Why the run was given up, if it was.
    pub(super) fn take_failure(&self) -> Option<StoreError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Returns when the run no longer belongs to this engine.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Whether enough of the lease is left to schedule an action under it.
    pub(super) fn may_act(&self) -> bool {
        mutant!(LeaseNotChecked) || !self.is_lost() && self.until() > self.clock.now().plus(MARGIN)
    }

    fn until(&self) -> Timestamp {
        Timestamp::from_millis(self.until.load(Ordering::Acquire))
    }

    /// Returns when the lease is lost, or when so little of it is left that no request may be on its way.
    pub(super) async fn ending(&self) {
        loop {
            let rest = self.until().since(self.clock.now().plus(RESERVE));
            if mutant!(LeaseNotChecked) {
                std::future::pending::<()>().await;
            }
            if rest == Millis(0) || self.is_lost() {
                return;
            }
            tokio::select! {
                biased;
                () = self.lost() => {}
                () = self.clock.sleep(rest.to_std()) => {}
            }
        }
    }
}

/// Calls agents under a lease: no request to schedule an action outlives it.
pub(super) struct LeasedAgents {
    inner: Arc<dyn AgentClient>,
    lease: LeaseGuard,
}

impl LeasedAgents {
    pub(super) fn new(inner: Arc<dyn AgentClient>, lease: LeaseGuard) -> Self {
        Self { inner, lease }
    }

    async fn send(&self, address: &str, request: &ActionRequest) -> Result<Scheduled, AgentError> {
        crash::pass(Point::BeforePost);
        let scheduled = self.inner.schedule(address, request).await;
        crash::pass(Point::AfterPost);
        scheduled
    }
}

#[async_trait]
impl AgentClient for LeasedAgents {
    async fn schedule(
        &self,
        address: &str,
        request: &ActionRequest,
    ) -> Result<Scheduled, AgentError> {
        tokio::select! {
            // Check the lease first: if the process is suspended right here and resumes when the lease is over, no
            // request may leave.
            biased;
            () = self.lease.ending() => Err(AgentError::NoAnswer {
                address: address.to_owned(),
                message: "the lease of the run ran out first".to_owned(),
            }),
            scheduled = self.send(address, request) => scheduled,
        }
    }

    async fn action(&self, address: &str, id: Uuid) -> Result<Option<ActionStatus>, AgentError> {
        self.inner.action(address, id).await
    }

    async fn queue(&self, address: &str) -> Result<Vec<QueuedAction>, AgentError> {
        self.inner.queue(address).await
    }

    async fn node(&self, address: &str) -> Result<NodeInfo, AgentError> {
        self.inner.node(address).await
    }

    async fn store(&self, address: &str) -> Result<Value, AgentError> {
        self.inner.store(address).await
    }

    async fn shards(&self, address: &str) -> Result<Value, AgentError> {
        self.inner.shards(address).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_runs_out_stops_actions_until_it_is_renewed() {
        let start = Timestamp::from_millis(0);
        let clock = Arc::new(TokioClock::starting_at(start));
        let run = RunId(Uuid::from_u128(1));
        let until = start.plus(Millis::from_secs(10));
        let lease = Lease { run, epoch: 1, until, cluster: None, from: None };
        let guard = LeaseGuard::new(&lease, clock.clone());
        assert!(guard.may_act());
        clock.sleep(Millis::from_secs(7).to_std()).await;
        assert!(!guard.may_act());
        guard.prolong(&Lease { until: start.plus(Millis::from_secs(30)), ..lease.clone() });
        assert!(guard.may_act());
        guard.prolong(&Lease { epoch: 2, until: start, ..lease });
        assert!(guard.may_act(), "another epoch is another engine's");
        guard.lose();
        assert!(!guard.may_act());
    }
}
