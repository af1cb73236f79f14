//! Plugins that nothing pins, and those that are built in, while an engine runs.

use bytes::Bytes;
use replibook::run::{Digest, Millis, Timestamp};
use replibook::store::Plugin;

use crate::scene::Scene;

/// A plugin that is put as if nothing had pinned it for ages.
fn old(of: &Plugin, bytes: &Bytes) -> Plugin {
    let mut old = Plugin { unpinned_at: Some(Timestamp::default()), ..of.clone() };
    old.info.digest = Digest::of(bytes);
    old
}

#[tokio::test(start_paused = true)]
async fn an_engine_removes_what_nothing_pins_and_keeps_what_is_built_in() {
    let scene = Scene::new(1).await;
    let store = &scene.store;
    let builtins = scene.plugins.builtins();
    // Of the built-in plugins one is gone, and the retention of the others has passed, as after a month without a server.
    for (number, builtin) in builtins.iter().enumerate() {
        assert!(store.delete_plugin(&builtin.info.digest).await.unwrap());
        if number > 0 {
            let plugin = old(&Plugin::new(builtin.info.clone(), scene.now()), &builtin.bytes);
            store.put_plugin(&plugin, builtin.bytes.clone()).await.unwrap();
        }
    }
    let bytes = Bytes::from_static(b"a strange plugin");
    let strange = old(&Plugin::new(builtins[0].info.clone(), scene.now()), &bytes);
    store.put_plugin(&strange, bytes).await.unwrap();

    let engines = [scene.engine("engine-1"), scene.engine("engine-2")];
    let start = scene.now();
    while store.plugin(&strange.info.digest).await.unwrap().is_some() {
        assert!(scene.now().since(start) < Millis::from_secs(300), "it stays");
        scene.wait(Millis(50)).await;
    }
    for builtin in builtins {
        let digest = &builtin.info.digest;
        assert_eq!(store.plugin_bytes(digest).await.unwrap().as_ref(), Some(&builtin.bytes));
        let since = store.plugin(digest).await.unwrap().unwrap().unpinned_at.unwrap();
        assert!(since >= start, "{}", builtin.info.name);
    }
    // Their retention begins anew again and again.
    scene.wait(Millis::from_secs(3_600)).await;
    let since = store.plugin(&builtins[0].info.digest).await.unwrap().unwrap().unpinned_at;
    assert!(scene.now().since(since.unwrap()) < Millis::from_secs(900), "{since:?}");
    for engine in engines {
        engine.stop().await;
    }
}
