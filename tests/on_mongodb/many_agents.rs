//! A run over many agents whose engine dies while it makes their records, and again while it finishes those
//! records. `REPLIBOOK_TEST_AGENTS` sets another number of agents.

use ::mongodb::Client;
use ::mongodb::bson::{Bson, DateTime, Document, doc};
use replibook::run::{AgentState, Millis, RunStatus, Verb};

use crate::engine::RunningEngine;
use crate::on_mongodb::scene::{LIMIT, Scene};
use crate::wait;

/// Enough for several chunks of each kind.
const AGENTS: u64 = 6_000;

const LEASE: Millis = Millis::from_secs(15);

/// How often an engine dies in each of the two phases.
const DEATHS: u64 = 3;

struct Watched<'a> {
    scene: &'a Scene,
    raw: ::mongodb::Database,
}

impl Watched<'_> {
    async fn count(&self, filter: Document) -> u64 {
        let records = self.raw.collection::<Document>("agent_records");
        records.count_documents(filter).await.unwrap()
    }

    /// Kills an engine each time a few more chunks of records that fit `filter` have been written, and starts
    /// another one. Returns the engine that lives on.
    async fn die(&self, mut engine: RunningEngine, filter: Document, all: u64) -> RunningEngine {
        for death in 1..=DEATHS {
            let wanted = all * death / (DEATHS + 1);
            let written = wait::until("the next chunks", LIMIT, async || {
                let written = self.count(filter.clone()).await;
                (written >= wanted).then_some(written)
            })
            .await;
            engine.kill().await;
            println!("died with {written} of {all}");
            assert!(written < all, "nothing was left to go on with");
            engine = self.scene.engine(&format!("engine-{death}"));
            // Nobody waits here for the dead engine's lease to run out. The update itself waits for a
            // transaction that the dead engine left, which the next engine ends.
            let runs = self.raw.collection::<Document>("runs");
            let over = doc! { "$set": { "lease.until": DateTime::from_millis(0) } };
            runs.update_one(doc! {}, over).await.unwrap();
        }
        engine
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn making_and_finishing_many_records_goes_on_after_each_crash() {
    let agents = std::env::var("REPLIBOOK_TEST_AGENTS").ok().map(|text| text.parse().unwrap());
    let agents = agents.unwrap_or(AGENTS);
    let address = crate::on_mongodb::database();
    let scene = Scene::new(&address, LEASE).await;
    let client = Client::with_uri_str(&address).await.unwrap();
    let raw = client.default_database().unwrap();
    let run = scene.start_run("many", usize::try_from(agents).unwrap(), 1).await;
    let watched = Watched { scene: &scene, raw };

    let engine = scene.engine("engine-0");
    let engine = watched.die(engine, doc! {}, agents).await;
    scene.until(run, |run| run.progress.status == RunStatus::Running).await;
    assert_eq!(watched.count(doc! {}).await, agents);
    scene.command(run, Verb::Cancel).await;
    let finished = doc! { "finish_ts": { "$ne": Bson::Null } };
    let engine = watched.die(engine, finished.clone(), agents).await;

    let run = scene.until_final(run).await;
    engine.stop().await;
    assert_eq!(run.progress.status, RunStatus::Cancelled);
    let finish_ts = run.progress.finish_ts.unwrap();
    let same = doc! { "finish_ts": DateTime::from_millis(finish_ts.as_millis()) };
    assert_eq!(watched.count(same).await, agents);
    assert_eq!(scene.agents.overlaps(), 0);
    assert!(scene.agents.most_executions() <= 1);
    assert!(u64::from(run.progress.count(AgentState::Pending)) > agents / 2);
    let report = scene.store.check().await.unwrap();
    assert!(report.is_fine(), "{report:?}");
}
