//! Replays a retry that took over the result of an action that had ended late.

use replibook::agent::{Script, When};
use replibook::replay::{Difference, MemberName};
use replibook::run::{AgentState, Millis, RunStatus, Verb};
use serde_json::{Value, json};

use crate::replay::recorded::Recorded;
use crate::scene::Scene;

const PLAYBOOK: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: slow, version: 1.0.0 }
spec:
  stages:
    - name: only
      strategy: { use: all-at-once }
      steps:
        - { name: act, action: test.example.com/act, timeout: 30s }
";

async fn recorded() -> Recorded {
    let scene = Scene::new(2).await;
    let when = When::After(Millis::from_secs(60));
    scene.script(0, Script::Succeed { when, payload: json!({"ok": true}) });
    let recorded = Recorded::during(scene, PLAYBOOK, async |scene, run| {
        scene.until(run, |run| run.progress.status == RunStatus::Paused).await;
        scene.wait(Millis::from_secs(60)).await;
        scene.command(run, Verb::Retry).await;
        scene.until(run, |run| run.progress.count(AgentState::Failed) == 0).await;
        scene.command(run, Verb::Resume).await;
    })
    .await;
    assert_eq!(recorded.scene.executions(), [1, 1]);
    recorded
}

/// The journal of this attempt of the first agent.
fn journal(lines: &mut [Value], attempt: u64) -> &mut Value {
    let of =
        |line: &&mut Value| line["agent"] == "node-0" && line["key"]["attempt"] == json!(attempt);
    lines.iter_mut().find(of).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_an_attempt_took_over_is_the_same_again() {
    let report = recorded().await.replay().await;
    assert!(report.same, "{report:#?}");
    assert_eq!((report.attempts, report.left_out), (3, 0), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn another_result_than_the_one_that_came_late_is_found() {
    let recorded = recorded().await;
    recorded.change(MemberName::Journals, |lines| {
        let late = &mut journal(lines, 1)["late"]["answer"];
        *late = json!({"run-action": {"Ok": {"ok": false}}});
    });
    let report = recorded.replay().await;
    let [difference] = report.differences.as_slice() else { panic!("{report:#?}") };
    let Difference { what, recorded, .. } = difference;
    assert_eq!((*what, recorded.as_str()), ("late result", "it took over 1 answers of attempt 1"));
}
