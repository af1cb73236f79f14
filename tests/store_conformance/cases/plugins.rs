//! Plugins and their bytes, and the playbooks and runs that pin them.

use bytes::Bytes;
use replibook_core::playbook::Provenance;
use replibook_core::playbook::policy::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES};
use replibook_core::run::{Digest, Millis};
use replibook_store::{Created, MAX_PROVENANCE, PluginSignature, Put, StoreError};

use crate::backends::{Fixture, RETENTION};
use crate::samples::{asking_for, finished, only, page, playbook, plugin, run, run_id, signature};

pub(crate) async fn a_plugin_is_kept_under_its_digest(on: Fixture) {
    let store = &on.store;
    let mut sorted = vec![];
    for n in 0..5 {
        let (plugin, bytes) = plugin(n);
        assert_eq!(store.put_plugin(&plugin, bytes.clone()).await.unwrap(), Put::Created);
        let digest = &plugin.info.digest;
        assert_eq!(store.plugin(digest).await.unwrap().as_ref(), Some(&plugin));
        assert_eq!(store.plugin_bytes(digest).await.unwrap(), Some(bytes.clone()));

        let mut later = plugin.clone();
        later.added_at = plugin.added_at.plus(Millis(1));
        assert_eq!(store.put_plugin(&later, bytes).await.unwrap(), Put::Unchanged);
        assert_eq!(store.plugin(digest).await.unwrap().as_ref(), Some(&plugin));
        sorted.push(plugin);
    }
    sorted.sort_by(|a, b| a.info.digest.cmp(&b.info.digest));
    assert_eq!(store.plugins(&page(None, 100)).await.unwrap(), sorted);
    let second = sorted[1].info.digest.as_str();
    assert_eq!(store.plugins(&page(Some(second), 2)).await.unwrap(), sorted[2..4]);

    let unknown = Digest::of(b"unknown");
    assert_eq!(store.plugin(&unknown).await.unwrap(), None);
    assert_eq!(store.plugin_bytes(&unknown).await.unwrap(), None);
    assert!(!store.delete_plugin(&unknown).await.unwrap());
}

pub(crate) async fn a_plugin_is_found_by_the_name_that_it_gives_itself(on: Fixture) {
    let store = &on.store;
    let (mut first, _) = plugin(1);
    for (n, added) in [(1_u8, 5), (2, 9), (3, 7)] {
        let bytes = Bytes::from(vec![n]);
        first.info.digest = Digest::of(&bytes);
        first.added_at = first.added_at.plus(Millis(added));
        store.put_plugin(&first, bytes).await.unwrap();
    }
    let found = store.plugin_by_name("plugin-1", "1.0.0").await.unwrap();
    assert_eq!(found, Some(first), "the one that was added last");
    assert_eq!(store.plugin_by_name("plugin-1", "1.0.1").await.unwrap(), None);
    assert_eq!(store.plugin_by_name("plugin-2", "1.0.0").await.unwrap(), None);
}

pub(crate) async fn where_a_plugin_came_from_is_added_to_what_is_known(on: Fixture) {
    let store = &on.store;
    let (first, bytes) = plugin(1);
    let digest = &first.info.digest;
    store.put_plugin(&first, bytes.clone()).await.unwrap();
    let from = |source: &str, after: u64| Provenance {
        source: source.to_owned(),
        manifest: Some(Digest::of(source.as_bytes())),
        at: first.added_at.plus(Millis(after)),
        by: Some("ada@build".to_owned()),
    };
    let put = async |said: Vec<Provenance>| {
        let mut new = first.clone();
        new.added_at = first.added_at.plus(Millis(1_000));
        new.provenance = said;
        store.put_plugin(&new, bytes.clone()).await.unwrap()
    };
    let known = async || store.plugin(digest).await.unwrap().unwrap();
    let (oci, file) = (from("oci://a.example/b:1", 1), from("file:b.wasm", 2));
    assert_eq!(put(vec![oci.clone()]).await, Put::Updated);
    assert_eq!(put(vec![oci.clone()]).await, Put::Unchanged);
    assert_eq!(put(vec![file.clone()]).await, Put::Updated);
    assert_eq!(put(Vec::new()).await, Put::Unchanged);
    let found = known().await;
    assert_eq!(found.provenance, [oci, file.clone()]);
    assert_eq!((found.added_at, &found.info), (first.added_at, &first.info));

    // What is said of a known source later counts instead.
    let again = from("oci://a.example/b:1", 9);
    assert_eq!(put(vec![again.clone()]).await, Put::Updated);
    assert_eq!(known().await.provenance, [again.clone(), file]);

    // Of very many, the first and the latest are kept.
    for n in 0..MAX_PROVENANCE as u64 {
        put(vec![from(&format!("file:{n}"), 100 + n)]).await;
    }
    let kept = known().await.provenance;
    assert_eq!((kept.len(), &kept[0]), (MAX_PROVENANCE, &again));
    assert!(kept.iter().any(|one| one.source == "file:15"));
    assert!(kept.iter().all(|one| one.source != "file:b.wasm"));
    assert_eq!(store.plugins(&page(None, 9)).await.unwrap()[0].provenance, kept);
}

pub(crate) async fn a_plugin_keeps_its_signatures(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    let (first, second) = (signature("first", None), signature("second", Some("RWQ")));
    assert_eq!(store.sign_plugin(digest, std::slice::from_ref(&first)).await.unwrap(), None);
    store.put_plugin(&plugin, bytes.clone()).await.unwrap();

    let both = [first.clone(), second.clone()];
    let signed = store.sign_plugin(digest, &both).await.unwrap().unwrap();
    assert_eq!((signed.signatures.as_slice(), &signed.info), (&both[..], &plugin.info));
    assert_eq!(store.plugin(digest).await.unwrap().as_ref(), Some(&signed));
    assert_eq!(store.plugins(&page(None, 9)).await.unwrap(), std::slice::from_ref(&signed));
    assert_eq!(store.plugin_bytes(digest).await.unwrap(), Some(bytes.clone()));

    // Neither another upload nor a look without the key makes anything forgotten.
    assert_eq!(store.put_plugin(&plugin, bytes).await.unwrap(), Put::Unchanged);
    let again = [signature("first", Some("RWR")), signature("second", None)];
    let signed = store.sign_plugin(digest, &again).await.unwrap().unwrap();
    assert_eq!(signed.signatures, [second.clone(), again[0].clone()]);

    // A key signs once: what it signed again takes the place of what it signed before.
    let newer = signature("newer", Some("RWR"));
    let signed = store.sign_plugin(digest, std::slice::from_ref(&newer)).await.unwrap().unwrap();
    assert_eq!(signed.signatures, [second, newer]);
    assert_eq!(store.plugin(digest).await.unwrap(), Some(signed));
}

pub(crate) async fn signatures_that_count_for_nothing_make_room(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    let numbered = |n: usize, key: Option<&str>| signature(&format!("{n}"), key);
    let signed_by = |n: usize| numbered(n, Some(format!("key {n}").as_str()));
    store.put_plugin(&plugin, bytes).await.unwrap();
    let texts = async |new: &[PluginSignature]| -> Vec<String> {
        let signed = store.sign_plugin(digest, new).await.unwrap().unwrap();
        signed.signatures.into_iter().map(|one| one.text).collect()
    };
    store.sign_plugin(digest, &[signed_by(0)]).await.unwrap();
    let unchecked: Vec<_> = (1..MAX_SIGNATURES).map(|n| numbered(n, None)).collect();
    assert_eq!(texts(&unchecked).await.len(), MAX_SIGNATURES);
    let more = texts(&[numbered(MAX_SIGNATURES, None)]).await;
    assert_eq!((more.len(), more[0].as_str(), more[1].as_str()), (MAX_SIGNATURES, "0", "2"));
    let large = PluginSignature { text: "x".repeat(MAX_SIGNATURE_BYTES - 1), ..signed_by(9) };
    let left = texts(std::slice::from_ref(&large)).await;
    assert_eq!(left, ["0", large.text.as_str()], "texts have a bound together, too");

    let before = store.plugin(digest).await.unwrap();
    for too_many in [vec![numbered(10, None)], vec![signed_by(10)]] {
        let error = store.sign_plugin(digest, &too_many).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
    assert_eq!(store.plugin(digest).await.unwrap(), before);
}

pub(crate) async fn of_signatures_that_come_at_once_each_is_kept(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    store.put_plugin(&plugin, bytes).await.unwrap();
    let all = ["a", "b", "c", "d"].map(|text| [signature(text, None)]);
    let [a, b, c, d] = all.each_ref().map(|one| store.sign_plugin(digest, one));
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    for signed in [a, b, c, d] {
        signed.unwrap();
    }
    let mut kept = store.plugin(digest).await.unwrap().unwrap().signatures;
    kept.sort_by(|one, other| one.text.cmp(&other.text));
    assert_eq!(kept, all.concat());
}

pub(crate) async fn a_plugin_is_not_removed_while_a_playbook_pins_it(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    store.put_plugin(&plugin, bytes).await.unwrap();
    let pinning = playbook("restart", "1.0.0", &[&plugin]);
    store.put_playbook(&pinning).await.unwrap();

    let error = store.delete_plugin(digest).await.unwrap_err();
    assert!(matches!(error, StoreError::Pinned { .. }), "{error}");
    assert!(error.to_string().contains("playbook restart version 1.0.0"), "{error}");
    assert!(store.plugin_bytes(digest).await.unwrap().is_some());

    store.delete_playbook("restart", &pinning.playbook.version).await.unwrap();
    assert!(store.delete_plugin(digest).await.unwrap());
    assert!(!store.delete_plugin(digest).await.unwrap());
    assert_eq!(store.plugin(digest).await.unwrap(), None);
    assert_eq!(store.plugin_bytes(digest).await.unwrap(), None);
}

pub(crate) async fn a_plugin_is_not_removed_while_an_unexpired_run_pins_it(on: Fixture) {
    let store = &on.store;
    let (plugin, bytes) = plugin(1);
    let digest = &plugin.info.digest;
    store.put_plugin(&plugin, bytes).await.unwrap();
    let new = asking_for(run(1, &playbook("restart", "1.0.0", &[&plugin])));
    assert_eq!(store.create_run(&new).await.unwrap(), Created::New(run_id(1)));
    let pinned = async || {
        let error = store.delete_plugin(digest).await.unwrap_err();
        assert!(matches!(error, StoreError::Pinned { .. }), "{error}");
        assert!(error.to_string().contains(&run_id(1).to_string()), "{error}");
    };
    pinned().await;
    let lease = on.claim("e").await;
    store.commit(lease.run, lease.epoch, &only(finished(on.now()))).await.unwrap();
    on.clock.advance(RETENTION);
    pinned().await;
    on.clock.advance(Millis(1));
    assert!(store.delete_plugin(digest).await.unwrap(), "the run has expired");
}
