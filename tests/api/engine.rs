//! Does by hand what an engine does to the store.

use replibook::run::{
    AgentId, AgentRecord, AgentSeq, AgentState, CommandOutcome, EngineId, Happened, RunEvent,
    RunId, RunStatus, Timestamp, Writes,
};
use replibook::store::{Locked, Store};
use serde_json::Value;

use crate::api::server::Server;

/// An engine that holds the lease of one run.
pub(crate) struct Engine<'s> {
    server: &'s Server,
    id: EngineId,
    run: RunId,
    epoch: u64,
}

/// The identifier of the run in an answer.
pub(crate) fn id_of(run: &Value) -> RunId {
    run["id"].as_str().unwrap().parse().unwrap()
}

impl<'s> Engine<'s> {
    pub(crate) async fn hold(server: &'s Server, run: RunId) -> Self {
        let id = EngineId("test".to_owned());
        let leases = server.store.claim(&id, 100).await.unwrap();
        let lease = leases.into_iter().find(|lease| lease.run == run).unwrap();
        Self { server, id, run, epoch: lease.epoch }
    }

    /// Has the run get the lock of its cluster.
    pub(crate) async fn lock_cluster(&self) {
        let locked = self.server.store.lock_cluster(self.run, self.epoch).await.unwrap();
        assert_eq!(locked, Locked::Held);
    }

    /// Commits a change of status, which is one event, together with what `more` writes.
    pub(crate) async fn set(&self, status: RunStatus, more: impl FnOnce(&mut Writes)) {
        let mut progress = self.server.store.run(self.run).await.unwrap().unwrap().progress;
        let (from, seq, at) = (progress.status, progress.next_event, Timestamp::from_millis(0));
        progress.status = status;
        progress.next_event += 1;
        if status.is_final() {
            progress.finish_ts = Some(progress.since);
        }
        let what = Happened::Status { from: Some(from), to: status, reason: None };
        let event = RunEvent { run: self.run, seq, at, actor: None, what, finish_ts: None };
        let mut writes =
            Writes { progress: Some(progress), events: vec![event], ..Writes::default() };
        more(&mut writes);
        self.server.store.commit(self.run, self.epoch, &writes).await.unwrap();
    }

    /// Commits a status and tells those who listen.
    pub(crate) async fn set_and_tell(&self, status: RunStatus) {
        self.set(status, |_| {}).await;
        self.server.signals.changed(self.run);
    }

    /// Waits for the next command and gives it this outcome.
    pub(crate) async fn answer_next(&self, outcome: CommandOutcome) {
        let mut command = loop {
            self.server.signals.wait_for_work().await;
            let waiting = self.server.store.waiting_commands(&self.id, 10).await.unwrap();
            if let Some(command) = waiting.into_iter().next() {
                break command;
            }
        };
        command.outcome = Some(outcome);
        let progress = self.server.store.run(self.run).await.unwrap().unwrap().progress;
        let writes =
            Writes { progress: Some(progress), commands: vec![command], ..Writes::default() };
        self.server.store.commit(self.run, self.epoch, &writes).await.unwrap();
    }

    /// A record of agent number `seq` in this state.
    pub(crate) fn record(&self, seq: u32, state: AgentState) -> AgentRecord {
        AgentRecord {
            state,
            ..AgentRecord::new(
                self.run,
                AgentSeq(seq),
                AgentId(format!("rack/node-{seq}")),
                "http://127.0.0.1:1".to_owned(),
                1,
            )
        }
    }
}
