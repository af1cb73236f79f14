//! A server that starts on the data of an earlier version.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use replibook::api::wire::{Listing, RunView};
use replibook::run::RunStatus;
use replibook::store::sqlite::DATABASE_FILE;
use serde_json::{Value, json};

use crate::crash::server::{Client, LIMIT, Server, Settings};
use crate::wait;

/// Unpacks the database of that version into the data directory of a server.
fn unpack(version: &str, data: &Path) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version);
    let packed = std::fs::File::open(kept.join("store.db.zst")).unwrap();
    std::fs::DirBuilder::new().mode(0o700).create(data).unwrap();
    let file = data.join(DATABASE_FILE);
    let mut database = std::fs::File::create(&file).unwrap();
    zstd::stream::copy_decode(packed, &mut database).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn cancel(client: &Client, server: &Server, run: &RunView) {
    let url = format!("http://{}/api/v1/runs/{}/commands", server.address, run.id);
    let sent = client.0.post(url).json(&json!({ "command": "cancel" })).send().await.unwrap();
    sent.error_for_status().unwrap();
    let ended = client.until_final(&server.address, &run.id.to_string()).await;
    assert_eq!(ended.status, RunStatus::Cancelled, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_of_an_earlier_version_are_shown_and_go_on() {
    let (dir, client) = (tempfile::tempdir().unwrap(), Client::new());
    let args = vec!["--retention", "3650d"];
    let settings = Settings { args, ..Settings::in_dir(dir.path()) };
    unpack("0.1.0", &settings.data);
    let server = Server::start_with(settings, None).await;
    let api = format!("http://{}/api/v1", server.address);

    let runs: Listing<RunView> = client.get(&format!("{api}/runs")).await;
    let statuses: Vec<_> = runs.items.iter().map(|run| run.status).collect();
    assert_eq!(statuses, [RunStatus::Pending, RunStatus::Paused, RunStatus::Done]);
    for (run, (events, agents, journals)) in
        runs.items.iter().zip([(1, 0, 0), (34, 2, 4), (47, 2, 5)])
    {
        let told = client.events(&server.address, &run.id.to_string()).await;
        let seqs: Vec<_> = told.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=events).collect::<Vec<_>>(), "{told:?}");
        for (what, count) in [("agents", agents), ("journals", journals)] {
            let page: Listing<Value> = client.get(&format!("{api}/runs/{}/{what}", run.id)).await;
            assert_eq!(page.items.len(), count, "{what}: {:?}", page.items);
        }
    }
    let why: Value = client.get(&format!("{api}/runs/{}/explanation", runs.items[1].id)).await;
    assert!(why["text"].as_str().unwrap().contains("The strategy asks for approval"), "{why}");

    // The run that waits begins once the other one has ended.
    cancel(&client, &server, &runs.items[1]).await;
    let waiting = runs.items[0].id.to_string();
    wait::until("the next run to begin", LIMIT, async || {
        let run = client.run(&server.address, &waiting).await;
        (run.status != RunStatus::Pending).then_some(())
    })
    .await;
    cancel(&client, &server, &runs.items[0]).await;
    server.stop().await;
}
