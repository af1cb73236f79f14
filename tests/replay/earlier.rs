//! Exports that earlier versions wrote.

use std::path::Path;

use crate::replay::programs::Ctl;

#[tokio::test]
async fn an_export_of_an_earlier_version_plays_the_same() {
    let cache = tempfile::tempdir().unwrap();
    let export = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/0.1.0/ended.tar.zst");
    let ctl = Ctl { server: "http://127.0.0.1:9", cache: cache.path() };
    let told = ctl.ok(&["run", "replay", export.to_str().unwrap()]).await;
    assert_eq!(told, "same: 9 decisions, 10 activations in 5 attempts replayed, 0 left out\n");
}
