//! A run over 10,000 agents, exported and replayed by the real program.

use tokio::runtime::Builder;

use crate::replay::fetched::exported;
use crate::replay::programs::Ctl;
use crate::replay::recorded::Recorded;
use crate::scene::Scene;

const AGENTS: usize = 10_000;

const PLAYBOOK: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: large, version: 1.0.0 }
spec:
  stages:
    - name: only
      strategy: { use: rolling, with: { batch: 10% } }
      steps:
        - { name: act, action: test.example.com/act, args: { who: '${{ agent.id }}' } }
";

#[test]
fn a_run_over_ten_thousand_agents_is_exported_and_replayed_from_its_file() {
    let virtual_time = Builder::new_current_thread().enable_all().start_paused(true).build();
    let recorded = virtual_time.unwrap().block_on(async {
        let scene = Scene::new(AGENTS).await;
        Recorded::of(scene, PLAYBOOK).await
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.tar.zst");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(exported(&recorded, &file));
    drop(recorded);

    // Nothing listens at this address: a replay asks no server.
    let ctl = Ctl { server: "http://127.0.0.1:1", cache: dir.path() };
    let replay = ["run", "replay", file.to_str().unwrap(), "-o", "json"];
    let report: serde_json::Value =
        serde_json::from_str(&runtime.block_on(ctl.ok(&replay))).unwrap();
    assert_eq!((&report["same"], &report["left_out"]), (&true.into(), &0.into()), "{report}");
    assert_eq!((&report["attempts"], &report["activations"]), (&10_000.into(), &20_000.into()));
    // One decision can start a few hundred agents, so there are many.
    assert!(report["decisions"].as_u64().unwrap() >= 40, "{report}");
}
