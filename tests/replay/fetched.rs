//! An export over a real socket that is larger than a page of any list.

use std::path::Path;
use std::sync::Arc;

use replibook::agent::platform::FakePlatforms;
use replibook::api::{ApiState, serve};
use replibook::clock::SystemClock;
use replibook::driver::{Followers, Signals};
use replibook::replay::{ArchiveLimits, MemberName, unpack};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::replay::programs::Ctl;
use crate::replay::recorded::Recorded;

/// So many agents that each list has several pages, the first of 16 items.
const AGENTS: usize = 50;

fn documents(folder: &Path, name: &MemberName) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name.to_string())).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_export_has_every_document_of_the_run_in_order() {
    let virtual_time = Builder::new_current_thread().enable_all().start_paused(true).build();
    let recorded = virtual_time.unwrap().block_on(Recorded::new(AGENTS));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.tar.zst");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(exported(&recorded, &file));
    let into = tempfile::tempdir().unwrap();
    let (manifest, changed) = unpack(&file, into.path(), ArchiveLimits::default()).unwrap();
    assert_eq!((manifest.run, changed), (recorded.run, vec![]));
    for name in [MemberName::Records, MemberName::Journals, MemberName::Events, MemberName::Logs] {
        let expected = documents(recorded.folder.path(), &name);
        assert_eq!(documents(into.path(), &name), expected, "{name}");
    }
    assert!(documents(into.path(), &MemberName::Journals).len() > 100);
    assert!(documents(into.path(), &MemberName::Events).len() > 500);
    for digest in recorded.recording().snapshot().pins() {
        let name = MemberName::Plugin(digest.clone());
        assert!(manifest.members.iter().any(|member| member.name == name), "{name}");
    }
}

/// Exports a run through the API with the real program.
pub(crate) async fn exported(recorded: &Recorded, file: &Path) {
    let (store, plugins) = (recorded.scene.store.clone(), recorded.scene.plugins.clone());
    let clock = Arc::new(SystemClock);
    let platforms = Arc::new(FakePlatforms::new(clock.clone()));
    let followers = Followers::new(platforms, store.clone(), clock.clone());
    let state = ApiState::new(store, plugins, Signals::new(), followers, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    let ctl = Ctl { server: &address, cache: file.parent().unwrap() };
    ctl.ok(&["run", "export", &recorded.run.to_string(), "-o", file.to_str().unwrap()]).await;
    drop(stop);
    served.await.unwrap().unwrap();
}
