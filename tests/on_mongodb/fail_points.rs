//! Whole runs while their store fails at random: the server closes connections and refuses writes, and
//! connections end after the server has done what it was asked. Nothing is lost, and nothing is done twice,
//! although these agents would do it twice if they were asked twice.

use std::time::{Duration, Instant};

use ::mongodb::Client;
use ::mongodb::bson::{Document, doc};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use replibook::run::Millis;

use crate::mongodb::{TestServer, with_database};
use crate::on_mongodb::scene::Scene;
use crate::proxy::Proxy;

/// Runs that go at once, agents of each run, and how many of them are in flight.
const RUNS: usize = 3;
const AGENTS: usize = 40;
const WINDOW: usize = 4;

/// How long faults go on. After that the runs end within a minute, even if their leases ran out at the end.
const FAILING: Duration = Duration::from_secs(15);

/// Commands that are worth failing: all that a run that goes on needs.
const COMMANDS: [&str; 4] = ["bulkWrite", "commitTransaction", "update", "find"];

/// A fault for the next few commands of the server, in the form of `configureFailPoint`.
fn fault(random: &mut StdRng) -> Document {
    let mut data = [
        doc! { "closeConnection": true },
        doc! { "errorCode": 112, "errorLabels": ["TransientTransactionError"] },
        doc! { "errorCode": 251, "errorLabels": ["TransientTransactionError"] },
        doc! { "errorCode": 10_107 },
        doc! { "errorCode": 91 },
        doc! { "errorCode": 50, "errorLabels": ["UnknownTransactionCommitResult"] },
        // Here the command takes effect before it fails.
        doc! { "writeConcernError": { "code": 91, "errmsg": "the server shuts down" } },
        doc! { "writeConcernError": { "code": 64, "errmsg": "no majority in time" } },
        // Here the server is slow.
        doc! { "blockConnection": true, "blockTimeMS": 300 },
    ]
    .choose(random)
    .unwrap()
    .clone();
    let commands: Vec<_> = COMMANDS.choose_multiple(random, 2).copied().collect();
    data.insert("failCommands", commands);
    let times: i32 = random.random_range(1..=3);
    doc! { "configureFailPoint": "failCommand", "mode": { "times": times }, "data": data }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_end_well_and_do_everything_once_whatever_the_store_does() {
    let mut random = StdRng::seed_from_u64(crate::on_mongodb::seed());
    // Fail points apply to the whole server, so this test has a server of its own.
    let server = TestServer::start(&["--enable-test-commands"]);
    let admin = Client::with_uri_str(server.address()).await.unwrap().database("admin");
    let proxy = Proxy::start(server.address()).await;
    // A real server reports at once that it is the primary again; after a fail point the client only notices
    // it at the next heartbeat.
    let address = format!("{}&heartbeatFrequencyMS=500", proxy.address());
    let address = with_database(&address, "replibook");
    let scene = Scene::new(&address, Millis::from_secs(15)).await;
    let mut runs = Vec::new();
    for n in 0..RUNS {
        let name = format!("run-{n}");
        runs.push((scene.start_run(&name, AGENTS, WINDOW).await, name));
    }

    let engine = scene.engine("engine");
    let ended = join_all(runs.iter().map(|(run, _)| scene.until_final(*run)));
    tokio::pin!(ended);
    let (start, mut faults, mut losses, mut to_come) = (Instant::now(), 0_u32, 0_usize, 0);
    let ended = loop {
        let pause = Duration::from_millis(random.random_range(5..150));
        if let Ok(ended) = tokio::time::timeout(pause, &mut ended).await {
            break ended;
        }
        if start.elapsed() > FAILING {
            let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
            let _ = admin.run_command(off).await;
            to_come += proxy.mend();
            continue;
        }
        if random.random_bool(0.4) {
            losses += 1;
            proxy.lose_answers(&[*COMMANDS.choose(&mut random).unwrap()]);
        } else {
            faults += u32::from(admin.run_command(fault(&mut random)).await.is_ok());
        }
    };
    let off = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    let _ = admin.run_command(off).await;
    engine.stop().await;
    let lost = losses - to_come - proxy.mend();
    println!("{faults} faults and {lost} lost answers in {} ms", start.elapsed().as_millis());
    assert!(faults > 5 && lost > 5, "too little went wrong");

    let store = &scene.store;
    for ((_, name), run) in runs.iter().zip(&ended) {
        scene.assert_done_once(name, run, AGENTS).await;
    }
    assert_eq!(scene.agents.overlaps(), 0);
    let report = store.check().await.unwrap();
    assert!(report.is_fine(), "{report:?}");
}
