//! Plugins that nothing pins, on a server whose clock goes on by a month.

use std::path::Path;

use replibook::api::wire::{Listing, PluginView};
use replibook::clock::TestOffset;
use replibook::run::Digest;
use serde_json::{Value, json};

use crate::crash::server::{Client, LIMIT, Server, Settings};
use crate::wait;

/// A day more than the retention of plugins, in milliseconds.
const LATER: &str = "2678400000";

/// Replaces the file with the offset as a whole, since the server may read it at any time.
fn set(offset: &Path, text: &str) {
    let new = offset.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, offset).unwrap();
}

struct Scene {
    client: Client,
    server: Server,
    /// The bytes of the built-in strategy `rolling`.
    rolling: Vec<u8>,
}

impl Scene {
    async fn start(settings: Settings) -> Self {
        let (client, server) = (Client::new(), Server::start_with(settings, None).await);
        let url = format!("http://{}/api/v1/plugins", server.address);
        let all: Listing<PluginView> = client.get(&url).await;
        let rolling = all.items.iter().find(|one| one.info.name == "rolling").unwrap();
        let bytes = client.0.get(format!("{url}/{}/bytes", rolling.info.digest)).send().await;
        let rolling = bytes.unwrap().bytes().await.unwrap().to_vec();
        Self { client, server, rolling }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1/{path}", self.server.address)
    }

    /// Uploads the strategy with a digest of its own.
    async fn upload(&self, tag: u8) -> Digest {
        let bytes = [self.rolling.as_slice(), &[0, 2, 1, tag]].concat();
        let digest = Digest::of(&bytes);
        let sent = self.client.0.put(self.url("plugins")).body(bytes).send().await.unwrap();
        sent.error_for_status().unwrap();
        digest
    }

    async fn pin(&self, plugin: &Digest) {
        let document = "apiVersion: replicante.io/v1\nkind: Playbook\n\
             metadata: { name: restart, version: 1.0.0 }\nspec:\n  \
             plugins: { own: { source: 'file:own.wasm' } }\n  stages:\n    - name: all\n      \
             strategy: { use: own }\n      steps:\n        - name: act\n          \
             action: agent.replicante.io/test.success\n";
        let body = json!({ "document": document, "uploads": { "own": plugin } });
        let applied = self.client.0.post(self.url("playbooks")).json(&body).send().await.unwrap();
        assert_eq!(applied.status(), 201, "{}", applied.text().await.unwrap());
    }

    async fn plugin(&self, digest: &Digest) -> Option<PluginView> {
        let url = self.url(&format!("plugins/{digest}"));
        let found = self.client.0.get(url).send().await.unwrap();
        match found.status().as_u16() {
            404 => None,
            status => {
                assert_eq!(status, 200);
                Some(found.json().await.unwrap())
            }
        }
    }

    async fn ctl(&self, args: &[&str]) -> String {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_replictl"))
            .env("REPLIBOOK_SERVER", format!("http://{}", self.server.address))
            .args(args)
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_nothing_pins_is_removed_after_its_retention_and_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let offset = dir.path().join("offset");
    set(&offset, "0");
    let env = vec![(TestOffset::FILE, offset.clone())];
    let scene = Scene::start(Settings { env, ..Settings::in_dir(dir.path()) }).await;
    let (kept, goes) = (scene.upload(b'a').await, scene.upload(b'b').await);
    scene.pin(&kept).await;

    let view = scene.plugin(&goes).await.unwrap();
    let (since, at) = (view.unpinned_at.unwrap().to_string(), view.goes_at.unwrap().to_string());
    let seconds = |moment: &str| moment.split('.').next().unwrap().to_owned();
    let described = scene.ctl(&["describe", "plugin", goes.as_str()]).await;
    assert!(described.contains(&format!("nothing since {}", seconds(&since))), "{described}");
    assert!(described.contains(&seconds(&at)), "{described}");
    let list = scene.ctl(&["plugin", "list"]).await;
    let line =
        |digest: &Digest| list.lines().find(|line| line.starts_with(digest.short())).unwrap();
    assert!(
        line(&goes).contains(&seconds(&since)) && line(&goes).contains(&seconds(&at)),
        "{list}"
    );
    assert!(line(&kept).trim_end().ends_with("-"), "{list}");
    let described = scene.ctl(&["describe", "plugin", kept.as_str()]).await;
    assert!(!described.contains("Goes:") && described.contains("Used by:"), "{described}");

    set(&offset, LATER);
    wait::until("the plugin to go", LIMIT, async || {
        scene.plugin(&goes).await.is_none().then_some(())
    })
    .await;
    let log = scene.server.log();
    assert!(log.contains("removed a plugin that nothing pinned for its retention"), "{log}");
    assert!(scene.plugin(&kept).await.is_some());
    let all: Value = scene.client.get(&scene.url("plugins")).await;
    let names: Vec<_> = all["items"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    for name in ["rolling", "canary", "action", "wait-healthy", "http"] {
        assert!(names.contains(&&json!(name)), "{name} is built in: {names:?}");
    }

    // It comes again, and its retention begins anew.
    assert_eq!(scene.upload(b'b').await, goes);
    let again = scene.plugin(&goes).await.unwrap();
    assert!(again.unpinned_at > view.goes_at, "{again:?}");
    scene.server.stop().await;
}
