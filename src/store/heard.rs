//! A store that reports each of its calls: how long it took, and with which kind of failure it ended. It wraps any
//! back end, so that monitoring is the same for all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use semver::Version;
use tokio::time::Instant;

use super::contract::{Lease, Result, Store};
use super::damage::{Found, KeptRun, RunPage};
use super::documents::{
    Abandon, Abandonment, Claim, Cluster, Created, Ending, Failed, Head, Holder, Locked, LogCursor,
    NewRun, Object, Page, Plugin, PluginSignature, Put, Queue, RunFilter, StoredPlaybook,
    SweptPlugins,
};
use super::engines::{Engine, EngineReport};
use replibook_core::playbook::access::Sight;
use replibook_core::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, AttemptKey, Command, CommandId, Digest, EngineId,
    Journal, LogLine, Millis, OldLines, Run, RunEvent, RunId, Timestamp, Trouble, Writes,
};

/// The failure of a call for which the caller stopped waiting, so that its result is not known.
pub const GIVEN_UP: &str = "given-up";

/// Receives a report of each call of a store.
pub trait CallsHeard: Send + Sync + 'static {
    /// A call of `operation` ended after `took`. If it did not succeed, `failure` is the
    /// [kind](super::StoreError::kind) of error, or [`GIVEN_UP`].
    fn ended(&self, operation: &'static str, took: Duration, failure: Option<&'static str>);
}

/// A store of any back end that reports its calls.
pub struct HeardStore {
    store: Arc<dyn Store>,
    heard: Arc<dyn CallsHeard>,
}

impl HeardStore {
    /// Wraps `store`, and reports its calls to `heard`.
    pub fn new(store: Arc<dyn Store>, heard: Arc<dyn CallsHeard>) -> Self {
        Self { store, heard }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let (heard, begun) = (self.heard.as_ref(), Instant::now());
        let mut call = Call { heard, operation, begun, failure: Some(GIVEN_UP) };
        let result = work.await;
        call.failure = result.as_ref().err().map(super::StoreError::kind);
        result
    }
}

/// One call. It is reported when this is dropped, and so also if the caller stopped waiting: such calls are the
/// slowest.
struct Call<'a> {
    heard: &'a dyn CallsHeard,
    operation: &'static str,
    begun: Instant,
    failure: Option<&'static str>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.heard.ended(self.operation, self.begun.elapsed(), self.failure);
    }
}

macro_rules! heard {
    ($($name:ident($($arg:ident: $type:ty),*) -> $returned:ty;)*) => {
        #[async_trait]
        impl Store for HeardStore {
            fn name(&self) -> &'static str {
                self.store.name()
            }

            fn time(&self) -> Timestamp {
                self.store.time()
            }

            fn wall(&self) -> Timestamp {
                self.store.wall()
            }

            fn broken(&self) -> Option<String> {
                self.store.broken()
            }

            fn plugin_retention(&self) -> Millis {
                self.store.plugin_retention()
            }

            $(async fn $name(&self, $($arg: $type),*) -> Result<$returned> {
                self.call(stringify!($name), self.store.$name($($arg),*)).await
            })*

            async fn close(&self) {
                self.store.close().await;
            }
        }
    };
}

// Calls that the contract itself implements through other calls are reported as those.
heard! {
    ping() -> ();
    put_playbook(playbook: &StoredPlaybook) -> Put;
    playbook(name: &str, version: Option<&Version>) -> Option<StoredPlaybook>;
    read_playbooks(page: &Page) -> Found<StoredPlaybook>;
    delete_playbook(name: &str, version: &Version) -> bool;
    put_cluster(cluster: &Cluster) -> Put;
    cluster(name: &str) -> Option<Cluster>;
    read_clusters(page: &Page) -> Found<Cluster>;
    delete_cluster(name: &str) -> bool;
    put_all(objects: &[Object]) -> Vec<Put>;
    put_plugin(plugin: &Plugin, bytes: Bytes) -> Put;
    sign_plugin(digest: &Digest, signatures: &[PluginSignature]) -> Option<Plugin>;
    plugin(digest: &Digest) -> Option<Plugin>;
    plugin_by_name(name: &str, version: &str) -> Option<Plugin>;
    plugin_bytes(digest: &Digest) -> Option<Bytes>;
    read_plugins(page: &Page) -> Found<Plugin>;
    delete_plugin(digest: &Digest) -> bool;
    renew_plugins(digests: &[Digest]) -> u64;
    sweep_plugins(limit: u32) -> Option<SweptPlugins>;
    create_run(new: &NewRun) -> Created;
    run_of_request(key: &str, request: &Digest) -> Option<Run>;
    read_run(id: RunId) -> Option<KeptRun>;
    read_runs(filter: &RunFilter, page: &Page) -> RunPage;
    claim_some(engine: &EngineId, claim: &Claim) -> Vec<Lease>;
    newest_runs(seen: Option<&[Sight]>, limit: u32) -> Vec<RunId>;
    unclaimed() -> u32;
    holders(runs: &[RunId]) -> Vec<Holder>;
    renew(engine: &EngineId) -> Vec<Lease>;
    release(run: RunId, epoch: u64) -> ();
    release_all(engine: &EngineId) -> ();
    park(run: RunId, epoch: u64, until: Timestamp) -> bool;
    set_aside(run: RunId, epoch: u64, engine: &EngineId, failure: &Failed) -> Trouble;
    recover(run: RunId, epoch: u64) -> ();
    troubles(after: Option<RunId>, limit: u32) -> Vec<Trouble>;
    troubles_of(runs: &[RunId]) -> Vec<Trouble>;
    rouse() -> u64;
    abandon(run: RunId, request: &Abandon) -> Abandonment;
    end_abandoned(run: RunId) -> Ending;
    lock_cluster(run: RunId, epoch: u64) -> Locked;
    queues(clusters: &[String]) -> Vec<Queue>;
    heads(runs: &[RunId]) -> Vec<Head>;
    commit(run: RunId, epoch: u64, writes: &Writes) -> ();
    stamp(run: RunId, epoch: u64, finish_ts: Timestamp) -> u64;
    forget_lines(run: RunId, epoch: u64, lines: &OldLines) -> u64;
    read_records(run: RunId, state: Option<AgentState>, after: Option<AgentSeq>, limit: u32) -> Found<AgentRecord>;
    record(run: RunId, agent: &AgentId) -> Option<AgentRecord>;
    read_journals(run: RunId, agent: Option<AgentSeq>, after: Option<AttemptKey>, limit: u32) -> Found<Journal>;
    read_logs(run: RunId, agent: Option<&AgentId>, after: Option<&LogCursor>, limit: u32) -> Found<LogLine>;
    read_events(run: RunId, after: u64, limit: u32) -> Found<RunEvent>;
    submit(command: &Command) -> Put;
    command(id: CommandId) -> Option<Command>;
    wake() -> u64;
    unanswered(run: RunId) -> Vec<Command>;
    waiting_commands(engine: &EngineId, limit: u32) -> Vec<Command>;
    put_engine(report: &EngineReport) -> Engine;
    engines() -> Vec<Engine>;
    drain_engine(id: &EngineId, drain: bool, actor: Option<&str>, reason: Option<&str>) -> Option<Engine>;
    remove_engine(id: &EngineId) -> ();
    sweep(limit: u32) -> u64;
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Mutex;

    use super::*;
    use crate::memory::FaultMoment;
    use crate::{MemoryStore, StoreOptions};
    use replibook_base::clock::{Clock, TokioClock};

    type Ended = (&'static str, Duration, Option<&'static str>);

    #[derive(Default)]
    struct Said(Mutex<Vec<Ended>>);

    impl CallsHeard for Said {
        fn ended(&self, operation: &'static str, took: Duration, failure: Option<&'static str>) {
            self.0.lock().unwrap().push((operation, took, failure));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_is_heard_of_with_its_end() {
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1_000)));
        let memory = Arc::new(MemoryStore::new(StoreOptions::default(), clock.clone()));
        let said = Arc::new(Said::default());
        let store = HeardStore::new(memory.clone(), said.clone());
        assert_eq!((store.name(), store.time()), (memory.name(), memory.time()));
        let take = || std::mem::take(&mut *said.0.lock().unwrap());

        store.ping().await.unwrap();
        // A call that is implemented through another one is reported as that.
        store.runs(&RunFilter::default(), &Page::default()).await.unwrap();
        assert_eq!(take(), [("ping", Duration::ZERO, None), ("read_runs", Duration::ZERO, None)]);

        memory.faults().fail_calls(FaultMoment::Before);
        store.heads(&[]).await.unwrap_err();
        assert_eq!(take(), [("heads", Duration::ZERO, Some("unavailable"))]);

        let slow = async {
            clock.sleep(Millis(70).to_std()).await;
            Ok(())
        };
        store.call("slow", slow).await.unwrap();
        let never = store.call("never", pending::<Result<()>>());
        let limit = Duration::from_secs(3);
        assert!(tokio::time::timeout(limit, never).await.is_err());
        let slow = ("slow", Duration::from_millis(70), None);
        assert_eq!(take(), [slow, ("never", limit, Some(GIVEN_UP))]);
    }
}
