//! Runs that have ended, with their recordings.

use std::path::Path;

use replibook::agent::{Script, When};
use replibook::replay::{FolderWriter, Manifest, MemberName, Player, Recording, Report};
use replibook::run::{AgentRecord, Journal, LogLine, RunEvent, RunId, Timestamp};
use replibook::store::{LogCursor, MAX_PAGE};
use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::exports::change_lines;
use crate::scene::Scene;

/// A playbook of two steps. The second one uses the result of the first, and one of them is tried twice.
const PLAYBOOK: &str = "
apiVersion: replicante.io/v1
kind: Playbook
metadata: { name: restart, version: 1.0.0 }
spec:
  stages:
    - name: first
      budget: { max_failed: 3 }
      strategy: { use: rolling, with: { batch: 3 } }
      steps:
        - { name: drain, action: test.example.com/drain, args: { who: '${{ agent.id }}' } }
        - name: restart
          action: test.example.com/restart
          args: { drained: '${{ steps.drain.result }}' }
          retry: { attempts: 2, initial: 1s, max: 1s }
    - name: second
      strategy: { use: all-at-once }
      steps:
        - { name: drain, action: test.example.com/drain, args: { who: again } }
";

/// A run that has ended, in which one agent failed, and the folder of its recording.
pub(crate) struct Recorded {
    pub(crate) scene: Scene,
    pub(crate) run: RunId,
    pub(crate) folder: TempDir,
    pub(crate) manifest: Manifest,
}

/// Number of the agent that fails.
pub(crate) const FAILS: usize = 4;

impl Recorded {
    pub(crate) async fn new(agents: usize) -> Self {
        let scene = Scene::new(agents).await;
        let fail = Script::Fail { when: When::Looks(1), message: "disk is full".to_owned() };
        scene.script(FAILS, fail);
        Self::of(scene, PLAYBOOK).await
    }

    /// A run of this playbook.
    pub(crate) async fn of(scene: Scene, playbook: &str) -> Self {
        Self::during(scene, playbook, async |_, _| {}).await
    }

    /// The same, while `story` happens to the run.
    pub(crate) async fn during(
        scene: Scene,
        playbook: &str,
        story: impl AsyncFnOnce(&Scene, RunId),
    ) -> Self {
        let run = scene.start_playbook(playbook).await.unwrap();
        let engine = scene.engine("engine-1");
        story(&scene, run).await;
        scene.until_final(run).await;
        engine.stop().await;
        let folder = tempfile::tempdir().unwrap();
        let manifest = record(&scene, run, folder.path()).await;
        Self { scene, run, folder, manifest }
    }

    pub(crate) fn recording(&self) -> Recording {
        Recording::open(self.folder.path()).unwrap()
    }

    pub(crate) async fn replay(&self) -> Report {
        let recording = self.recording();
        Player::new(&self.scene.plugins, &recording).await.replay().await.unwrap()
    }

    /// Changes the lines of a member of the recording.
    pub(crate) fn change(&self, member: MemberName, change: impl Fn(&mut Vec<Value>)) {
        change_lines(self.folder.path(), &member, change);
    }
}

/// Writes a list that is read in pages, each of which begins after the last item of the one before.
async fn lines<T: Serialize + Clone>(
    writer: &mut FolderWriter,
    name: MemberName,
    page: impl AsyncFn(Option<T>) -> Vec<T>,
) {
    let mut member = writer.begin(name).unwrap();
    let mut last = None;
    loop {
        let items = page(last).await;
        for item in &items {
            member.line(item).unwrap();
        }
        last = items.last().cloned();
        if last.is_none() {
            return writer.end(member).unwrap();
        }
    }
}

async fn record(scene: &Scene, run: RunId, folder: &Path) -> Manifest {
    let store = &scene.store;
    let mut writer = FolderWriter::new(folder).unwrap();
    let found = store.run(run).await.unwrap().unwrap();
    writer.whole(MemberName::Run, json!({"id": run}).to_string().as_bytes()).unwrap();
    let snapshot = serde_json::to_vec(found.snapshot.as_ref()).unwrap();
    writer.whole(MemberName::Snapshot, &snapshot).unwrap();
    lines(&mut writer, MemberName::Records, async |last: Option<AgentRecord>| {
        store.records(run, None, last.map(|it| it.seq), MAX_PAGE).await.unwrap()
    })
    .await;
    lines(&mut writer, MemberName::Journals, async |last: Option<Journal>| {
        store.journals(run, None, last.map(|it| it.key), MAX_PAGE).await.unwrap()
    })
    .await;
    lines(&mut writer, MemberName::Events, async |last: Option<RunEvent>| {
        store.events(run, last.map_or(0, |it| it.seq), MAX_PAGE).await.unwrap()
    })
    .await;
    lines(&mut writer, MemberName::Logs, async |last: Option<LogLine>| {
        let after = last.map(|it| LogCursor::of(&it));
        store.logs(run, None, after.as_ref(), MAX_PAGE).await.unwrap()
    })
    .await;
    for digest in found.snapshot.pins() {
        let bytes = store.plugin_bytes(digest).await.unwrap().unwrap();
        writer.whole(MemberName::Plugin(digest.clone()), &bytes).unwrap();
    }
    writer.finish(run, Timestamp::from_millis(1_763_802_000_000)).unwrap()
}
