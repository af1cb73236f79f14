//! The playbook of three stages, and what must be true of its run at the end.

use std::path::Path;

use replibook::api::wire::{Listing, RunView};
use replibook::run::{AgentRecord, AgentState, Happened, RunStatus};
use serde_json::json;

use crate::crash::agents::{Agents, BADLY, WELL};
use crate::crash::server::{Client, Server};

const PLAYBOOK: &str = include_str!("three-stages.yaml");

/// A playbook of the same name in which each agent waits until it is let go.
pub(crate) const WAITING: &str = r#"{
  "apiVersion": "replicante.io/v1", "kind": "Playbook",
  "metadata": { "name": "three-stages", "version": "1.0.0" },
  "spec": { "stages": [{ "name": "only", "strategy": { "use": "all-at-once" },
    "steps": [{ "name": "wait", "action": "crash.example.com/wait" }] }] }
}"#;

/// The names of the stages, in order.
pub(crate) const STAGES: [&str; 3] = ["prepare", "change", "finish"];

/// Applies the cluster and the playbook, after `change` has changed its text, and starts a run.
pub(crate) async fn start_run(
    client: &Client,
    server: &Server,
    agents: &Agents,
    change: impl Fn(&str) -> String,
) -> String {
    start_run_over(client, server, agents.cluster_document(), &change(PLAYBOOK)).await
}

/// The same for any cluster and playbook with these names.
pub(crate) async fn start_run_over(
    client: &Client,
    server: &Server,
    cluster: String,
    playbook: &str,
) -> String {
    let api = format!("http://{}/api/v1", server.address);
    for (kind, document) in [("clusters", cluster), ("playbooks", playbook.to_owned())] {
        let body = json!({ "document": document });
        let response = client.0.post(format!("{api}/{kind}")).json(&body).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    }
    let body = json!({ "playbook": "three-stages", "cluster": "crash" });
    let response = client.0.post(format!("{api}/runs")).json(&body).send().await.unwrap();
    let run: RunView = response.error_for_status().unwrap().json().await.unwrap();
    run.id.to_string()
}

/// Proves that the run of `count` agents ended well and that its history has no gap, and, from the agents'
/// own records, that nothing was lost or done twice. `interrupted` says that agents died too, so more actions
/// may have failed on the way.
pub(crate) async fn assert_ended_well(
    client: &Client,
    server: &Server,
    agents: &Agents,
    run: &str,
    interrupted: bool,
) {
    let ended = client.until_final(&server.address, run).await;
    assert_eq!(ended.status, RunStatus::Done, "{ended:?}");
    assert!(ended.finish_ts.is_some());
    let of_agents = agents.done_once(client).await;
    for (well, badly) in &of_agents {
        assert_eq!(*well, WELL, "{of_agents:?}");
        assert!(*badly == BADLY || (interrupted && *badly >= BADLY), "{of_agents:?}");
    }
    let api = format!("http://{}/api/v1/runs/{run}", server.address);
    let records: Listing<AgentRecord> = client.get(&format!("{api}/agents?limit=1000")).await;
    assert_eq!(records.items.len(), of_agents.len());
    for record in &records.items {
        let states: Vec<AgentState> = record.past.iter().map(|past| past.state).collect();
        assert_eq!(states, [AgentState::Done; 2], "{record:?}");
        assert_eq!((record.state, record.stage), (AgentState::Done, 2), "{record:?}");
        assert_eq!(record.finish_ts, ended.finish_ts, "{record:?}");
    }
    assert_history(client, server, run, of_agents.len()).await;
}

/// Whether an event says that an agent came through a stage.
pub(crate) fn is_done(what: &Happened) -> bool {
    matches!(what, Happened::Agent { to: AgentState::Done, .. })
}

async fn assert_history(client: &Client, server: &Server, run: &str, agents: usize) {
    let events = client.events(&server.address, run).await;
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| event.at), "time went back");
    assert_eq!(events.iter().filter(|event| is_done(&event.what)).count(), 3 * agents);
    let stages: Vec<&str> = events
        .iter()
        .filter_map(|event| {
            let Happened::Stage { stage, .. } = &event.what else { return None };
            Some(stage.as_str())
        })
        .collect();
    assert_eq!(stages, STAGES);
}

/// A directory for one test, its `count` agents, and a client.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) agents: Agents,
    pub(crate) dir: tempfile::TempDir,
}

impl Scene {
    pub(crate) async fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agents = Agents::start(dir.path(), count).await;
        Self { client: Client::new(), agents, dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the run of three stages, and returns once it goes on.
    pub(crate) async fn start_run(&self, server: &Server) -> String {
        let run = start_run(&self.client, server, &self.agents, str::to_owned).await;
        self.client.wait_until_it_goes_on(&server.address, &run).await;
        run
    }

    /// Proves that the run ends well, and stops everything.
    pub(crate) async fn end_well(self, server: Server, run: &str) {
        assert_ended_well(&self.client, &server, &self.agents, run, false).await;
        server.stop().await;
        self.agents.stop().await;
    }
}
