//! The store as one engine reaches it: calls are held up, fail, or kill the engine on their way, and every
//! commit is checked once it has taken effect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use replibook::clock::Clock;
use replibook::driver::Activity;
use replibook::playbook::access::Sight;
use replibook::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Command, CommandId, Digest, EngineId,
    Journal, LogLine, Millis, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};
use replibook::store::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Engine, EngineReport, Failed, Found,
    Head, Holder, KeptRun, Lease, Locked, LogCursor, MemoryStore, NewRun, Object, Page, Plugin,
    PluginSignature, Put, Queue, Result, RunFilter, RunPage, Store, StoreError, StoredPlaybook,
    SweptPlugins,
};
use semver::Version;

use crate::gate::{Gate, lock};
use crate::ledger::SharedLedger;
use crate::plan::{Outage, Point, Side, StoreFault};

/// What goes wrong with the commits of one engine, in all of its lives.
pub(crate) struct Faults {
    left: Mutex<BTreeMap<u32, Side>>,
    commits: AtomicU32,
}

impl Faults {
    pub(crate) fn new(faults: &[StoreFault]) -> Arc<Self> {
        let left = faults.iter().map(|fault| (fault.nth, fault.side)).collect();
        Arc::new(Self { left: Mutex::new(left), commits: AtomicU32::new(0) })
    }

    fn next(&self) -> Option<Side> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.left).remove(&number)
    }
}

/// The store as one life of an engine reaches it.
pub(crate) struct EngineStore {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) outages: Arc<[Outage]>,
    /// The store's clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// How many milliseconds the engine's clock is ahead of the store's.
    pub(crate) ahead: i64,
    pub(crate) start: Timestamp,
    pub(crate) ledger: SharedLedger,
    /// What the engine has done.
    pub(crate) activity: Arc<Activity>,
    /// How many runs the engine has handed over, as far as the ledger was told.
    pub(crate) went: AtomicU64,
}

impl EngineStore {
    /// Makes one call: it may fail, and the engine may be interrupted before or after it.
    async fn call<T>(&self, point: Point, work: impl Future<Output = Result<T>> + Send) -> Result<T>
    where
        T: Send,
    {
        self.gate.at(point, Side::Before).await;
        let at = self.clock.now().since(self.start).0;
        let outage = self.outages.iter().find(|outage| outage.window.holds(at));
        let own = if point == Point::Commit { self.faults.next() } else { None };
        let fault = outage.map(|outage| outage.side).or(own);
        if fault == Some(Side::Before) {
            return Err(unavailable("the request was lost"));
        }
        let result = work.await;
        self.gate.at(point, Side::After).await;
        match (fault, &result) {
            (Some(Side::After), Ok(_)) => Err(unavailable("the answer was lost")),
            (Some(Side::Before | Side::After) | None, _) => result,
        }
    }

    async fn committed(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()> {
        self.inner.commit(run, epoch, writes).await?;
        self.ledger.committed(&self.gate, run, epoch, writes);
        if writes.progress.as_ref().is_some_and(|progress| progress.finish_ts.is_some()) {
            self.ledger.finished(run, self.inner.as_ref()).await;
        }
        Ok(())
    }

    /// Tells the ledger of the runs that the engine let go, except while it is drained and hands over all of
    /// them.
    async fn notice(&self) -> Result<()> {
        let went = self.activity.handed_over();
        if self.went.swap(went, Ordering::Relaxed) < went {
            let (engine, life) = self.gate.whose();
            let own = format!("engine-{engine}.{life}");
            let engines = self.inner.engines().await?;
            if !engines.iter().any(|it| it.report.id.0 == own && it.draining.is_some()) {
                self.ledger.went(engine, &engines);
            }
        }
        Ok(())
    }

    async fn leased(&self, leases: Result<Vec<Lease>>) -> Result<Vec<Lease>> {
        let mut leases = leases?;
        self.ledger.leased(&self.gate, &leases);
        // Engines see the ends of leases by their own clocks.
        for lease in &mut leases {
            let until = lease.until.as_millis().saturating_add(self.ahead);
            lease.until = Timestamp::from_millis(until);
        }
        Ok(leases)
    }
}

fn unavailable(message: &str) -> StoreError {
    StoreError::Unavailable { message: message.to_owned(), source: None }
}

/// Passes these calls on unchanged.
macro_rules! through {
    ($($point:ident $name:ident($($arg:ident: $type:ty),*) -> $returned:ty;)*) => {
        #[async_trait]
        impl Store for EngineStore {
            fn name(&self) -> &'static str {
                "simulated"
            }

            fn time(&self) -> Timestamp {
                self.clock.now()
            }

            fn plugin_retention(&self) -> Millis {
                self.inner.plugin_retention()
            }

            async fn commit(&self, run: RunId, epoch: u64, writes: &Writes) -> Result<()> {
                let committed = self.call(Point::Commit, self.committed(run, epoch, writes)).await;
                if committed.is_err() {
                    self.ledger.unsure(run);
                }
                committed?;
                self.ledger.told(run, &writes.records);
                Ok(())
            }

            async fn read_records(
                &self,
                run: RunId,
                state: Option<AgentState>,
                after: Option<AgentSeq>,
                limit: u32,
            ) -> Result<Found<AgentRecord>> {
                let records = self.inner.read_records(run, state, after, limit);
                let records = self.call(Point::Load, records).await?;
                let read: Vec<_> = records.iter().flatten().cloned().collect();
                self.ledger.told(run, &read);
                Ok(records)
            }

            async fn cluster(&self, name: &str) -> Result<Option<Cluster>> {
                let object = self.call(Point::Other, self.inner.cluster(name)).await?;
                self.ledger.read_object(&self.gate, object.as_ref());
                Ok(object)
            }

            async fn claim_some(&self, engine: &EngineId, claim: &Claim) -> Result<Vec<Lease>> {
                let claim = self.inner.claim_some(engine, claim);
                let claim = async { self.leased(claim.await).await };
                self.call(Point::Lease, claim).await
            }

            async fn renew(&self, engine: &EngineId) -> Result<Vec<Lease>> {
                let renew = async { self.leased(self.inner.renew(engine).await).await };
                self.call(Point::Lease, renew).await
            }

            async fn release(&self, run: RunId, epoch: u64) -> Result<()> {
                let release = async {
                    self.notice().await?;
                    self.ledger.released(&self.gate, run, epoch);
                    self.inner.release(run, epoch).await
                };
                self.call(Point::Lease, release).await
            }

            async fn park(&self, run: RunId, epoch: u64, until: Timestamp) -> Result<bool> {
                let park = async {
                    let parked = self.inner.park(run, epoch, until).await?;
                    if parked {
                        self.ledger.released(&self.gate, run, epoch);
                    }
                    Ok(parked)
                };
                self.call(Point::Lease, park).await
            }

            async fn release_all(&self, engine: &EngineId) -> Result<()> {
                let release = async {
                    self.ledger.released_all(&self.gate);
                    self.inner.release_all(engine).await
                };
                self.call(Point::Lease, release).await
            }

            async fn set_aside(
                &self,
                run: RunId,
                epoch: u64,
                engine: &EngineId,
                failure: &Failed,
            ) -> Result<Trouble> {
                let set_aside = async {
                    self.ledger.released(&self.gate, run, epoch);
                    self.inner.set_aside(run, epoch, engine, failure).await
                };
                self.call(Point::Lease, set_aside).await
            }

            async fn end_abandoned(&self, run: RunId) -> Result<Ending> {
                let end = async {
                    let ending = self.inner.end_abandoned(run).await?;
                    self.ledger.may_have_ended(run, self.inner.as_ref()).await;
                    Ok(ending)
                };
                self.call(Point::Stamp, end).await
            }

            $(async fn $name(&self, $($arg: $type),*) -> Result<$returned> {
                self.call(Point::$point, self.inner.$name($($arg),*)).await
            })*
        }
    };
}

through! {
    Other ping() -> ();
    Other put_playbook(playbook: &StoredPlaybook) -> Put;
    Other playbook(name: &str, version: Option<&Version>) -> Option<StoredPlaybook>;
    Other read_playbooks(page: &Page) -> Found<StoredPlaybook>;
    Other delete_playbook(name: &str, version: &Version) -> bool;
    Other put_cluster(cluster: &Cluster) -> Put;
    Other read_clusters(page: &Page) -> Found<Cluster>;
    Other delete_cluster(name: &str) -> bool;
    Other put_all(objects: &[Object]) -> Vec<Put>;
    Other put_plugin(plugin: &Plugin, bytes: Bytes) -> Put;
    Other sign_plugin(digest: &Digest, signatures: &[PluginSignature]) -> Option<Plugin>;
    Other plugin(digest: &Digest) -> Option<Plugin>;
    Other plugin_by_name(name: &str, version: &str) -> Option<Plugin>;
    Other plugin_bytes(digest: &Digest) -> Option<Bytes>;
    Other read_plugins(page: &Page) -> Found<Plugin>;
    Other delete_plugin(digest: &Digest) -> bool;
    Other renew_plugins(digests: &[Digest]) -> u64;
    Other sweep_plugins(limit: u32) -> Option<SweptPlugins>;
    Other create_run(new: &NewRun) -> Created;
    Other run_of_request(key: &str, request: &Digest) -> Option<Run>;
    Load read_run(id: RunId) -> Option<KeptRun>;
    Other read_runs(filter: &RunFilter, page: &Page) -> RunPage;
    Other newest_runs(seen: Option<&[Sight]>, limit: u32) -> Vec<RunId>;
    Other unclaimed() -> u32;
    Other holders(runs: &[RunId]) -> Vec<Holder>;
    Other recover(run: RunId, epoch: u64) -> ();
    Other troubles(after: Option<RunId>, limit: u32) -> Vec<Trouble>;
    Load troubles_of(runs: &[RunId]) -> Vec<Trouble>;
    Other rouse() -> u64;
    Other abandon(run: RunId, request: &Abandon) -> Abandonment;
    Other lock_cluster(run: RunId, epoch: u64) -> Locked;
    Other queues(clusters: &[String]) -> Vec<Queue>;
    Other heads(runs: &[RunId]) -> Vec<Head>;
    Other forget_lines(run: RunId, epoch: u64, lines: &OldLines) -> u64;
    Stamp stamp(run: RunId, epoch: u64, finish_ts: Timestamp) -> u64;
    Load record(run: RunId, agent: &AgentId) -> Option<AgentRecord>;
    Load read_journals(run: RunId, agent: Option<AgentSeq>, after: Option<AttemptKey>, limit: u32) -> Found<Journal>;
    Other read_logs(run: RunId, agent: Option<&AgentId>, after: Option<&LogCursor>, limit: u32) -> Found<LogLine>;
    Other read_events(run: RunId, after: u64, limit: u32) -> Found<RunEvent>;
    Other submit(command: &Command) -> Put;
    Other command(id: CommandId) -> Option<Command>;
    Other wake() -> u64;
    Other unanswered(run: RunId) -> Vec<Command>;
    Other waiting_commands(engine: &EngineId, limit: u32) -> Vec<Command>;
    Other put_engine(report: &EngineReport) -> Engine;
    Other engines() -> Vec<Engine>;
    Other drain_engine(id: &EngineId, drain: bool, actor: Option<&str>, reason: Option<&str>) -> Option<Engine>;
    Other remove_engine(id: &EngineId) -> ();
    Other sweep(limit: u32) -> u64;
}
