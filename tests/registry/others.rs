//! What others wrote is read, and what we write is read by others.

use std::time::Duration;

use bytes::Bytes;
use replibook::playbook::policy::{Signature, read_signatures};
use replibook::registry::{Bounds, Pushed, Registries, RegistryConfig, RegistryError};
use replibook::run::Digest;

use super::artefact::{COMPONENT, SIGNATURE};
use super::lies::{pull, reference, short};
use crate::minisign::Key;
use crate::registry_server::{Registry, copied};

fn registries() -> Registries {
    // A registry on a busy machine takes its time until it knows what several pushed at once.
    let bounds = Bounds { first_wait: Duration::from_millis(200), ..short() };
    Registries::new(RegistryConfig { bounds, ..RegistryConfig::default() })
}

#[tokio::test]
async fn what_is_pushed_is_pulled_by_tag_and_by_digest_and_is_the_same_again() {
    let (registry, client) = (Registry::start(), registries());
    let of = reference(&format!("{}/ops/drain:1.4", registry.host));
    let names = || (vec!["replicante:playbook/working@0.1.0".to_owned()], Vec::new());
    let push = async || {
        let (exports, imports) = names();
        client.push(&of, Bytes::from_static(COMPONENT), exports, imports).await.unwrap()
    };
    let pushed = push().await;
    assert_eq!(pushed.digest, Digest::of(COMPONENT));
    assert_eq!(push().await, pushed, "the same plugin is the same artefact");
    let (found, bytes) = pull(&client, &of).await.unwrap();
    assert_eq!((&found.manifest, &bytes[..]), (&pushed.manifest, COMPONENT));
    let by_digest = reference(&format!("{}/ops/drain@{}", registry.host, pushed.manifest));
    assert_eq!(pull(&client, &by_digest).await.unwrap().0, found);
    let error = client.push(&by_digest, Bytes::new(), Vec::new(), Vec::new()).await.unwrap_err();
    assert_eq!(error.code(), "registry-reference", "{error}");
    let missing = reference(&format!("{}/ops/other:1", registry.host));
    let error = pull(&client, &missing).await.unwrap_err();
    assert_eq!(error.code(), "registry-not-found", "{error}");
}

#[tokio::test]
async fn skopeo_reads_what_we_push_and_we_read_what_it_pushes() {
    let (registry, client) = (Registry::start(), registries());
    let of = reference(&format!("{}/ops/drain:1", registry.host));
    let pushed =
        client.push(&of, Bytes::from_static(COMPONENT), Vec::new(), Vec::new()).await.unwrap();

    let layout = format!("oci:{}:1", registry.folder().join("layout").display());
    copied(&registry.skopeo(&format!("docker://{}/ops/drain:1", registry.host), &layout));
    let blob = registry.folder().join("layout/blobs/sha256").join(pushed.digest.hex());
    assert_eq!(std::fs::read(blob).unwrap(), COMPONENT);

    copied(&registry.skopeo(&layout, &format!("docker://{}/copies/drain:2", registry.host)));
    let copy = reference(&format!("{}/copies/drain:2", registry.host));
    let (found, bytes) = pull(&client, &copy).await.unwrap();
    assert_eq!((found.manifest, &bytes[..]), (pushed.manifest, COMPONENT));
}

/// The signatures of a plugin as they are read.
async fn read(client: &Registries, of: &str) -> Result<Vec<Signature>, RegistryError> {
    client.open(&reference(of)).await?.signatures().await
}

fn signed(key: &Key) -> Vec<Signature> {
    read_signatures(&key.sign(COMPONENT)).unwrap()
}

async fn pushed(client: &Registries, of: &str) -> Pushed {
    let component = Bytes::from_static(COMPONENT);
    client.push(&reference(of), component, Vec::new(), Vec::new()).await.unwrap()
}

#[tokio::test]
async fn signatures_are_kept_under_a_tag_where_a_registry_has_no_lists() {
    let (registry, client, keys) = (Registry::start(), registries(), [Key::new(), Key::new()]);
    let of = format!("{}/ops/drain:1", registry.host);
    let plugin = pushed(&client, &of).await;
    assert!(read(&client, &of).await.unwrap().is_empty());

    let [first, second] = keys.each_ref().map(signed);
    client.sign(&reference(&of), &plugin, &first).await.unwrap();
    assert_eq!(read(&client, &of).await.unwrap(), first);
    // Pushing one again changes nothing, and another one goes beside it.
    let both = [first.clone(), second].concat();
    client.sign(&reference(&of), &plugin, &both).await.unwrap();
    assert_eq!(read(&client, &of).await.unwrap(), both);
    let by_digest = format!("{}/ops/drain@{}", registry.host, plugin.manifest);
    assert_eq!(read(&client, &by_digest).await.unwrap(), both);

    // The tag is as the specification has it, so that other programs find the list, too.
    let tag = format!("docker://{}/ops/drain:sha256-{}", registry.host, plugin.manifest.hex());
    let list: serde_json::Value = serde_json::from_slice(&registry.raw(&tag)).unwrap();
    assert_eq!(list["manifests"].as_array().unwrap().len(), 2, "{list}");
    assert_eq!(list["manifests"][1]["artifactType"], SIGNATURE);
    let digest = list["manifests"][1]["digest"].as_str().unwrap();
    let one = format!("docker://{}/ops/drain@{digest}", registry.host);
    let one: serde_json::Value = serde_json::from_slice(&registry.raw(&one)).unwrap();
    assert_eq!(one["subject"]["digest"], plugin.manifest.as_str());

    // Another plugin has none of them.
    let other = Bytes::from_static(b"\0asm\x0d\0\x01\0 another one");
    let of = format!("{}/ops/drain:2", registry.host);
    client.push(&reference(&of), other, Vec::new(), Vec::new()).await.unwrap();
    assert!(read(&client, &of).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_sign_at_the_same_time_lose_nothing() {
    let (registry, client) = (Registry::start(), registries());
    let of = format!("{}/ops/drain:1", registry.host);
    let plugin = pushed(&client, &of).await;
    let mut all = [(); 3].map(|()| signed(&Key::new()));
    // One after the other from here on would be no test, so they begin together.
    let of_all = reference(&of);
    let [a, b, c] = all.each_ref().map(|one| client.sign(&of_all, &plugin, one));
    let (a, b, c) = tokio::join!(a, b, c);
    [a, b, c].into_iter().for_each(|signed| signed.unwrap());
    // The last look of one may come before the last word of another; who signs again loses nothing.
    for one in &all {
        client.sign(&of_all, &plugin, one).await.unwrap();
    }
    let mut found = read(&client, &of).await.unwrap();
    found.sort_by(|a, b| a.text().cmp(b.text()));
    all.sort_by(|a, b| a[0].text().cmp(b[0].text()));
    assert_eq!(found, all.concat());
}

#[tokio::test]
async fn signatures_that_skopeo_copied_are_found() {
    let (registry, client) = (Registry::start(), registries());
    let of = format!("{}/ops/drain:1", registry.host);
    let plugin = pushed(&client, &of).await;
    let signed = signed(&Key::new());
    client.sign(&reference(&of), &plugin, &signed).await.unwrap();

    let tag = format!("sha256-{}", plugin.manifest.hex());
    let layout = registry.folder().join("layout");
    for tag in ["1", tag.as_str()] {
        let layout = format!("oci:{}:{tag}", layout.display());
        copied(
            &registry.skopeo_all(&format!("docker://{}/ops/drain:{tag}", registry.host), &layout),
        );
        copied(
            &registry
                .skopeo_all(&layout, &format!("docker://{}/copies/drain:{tag}", registry.host)),
        );
    }
    let copy = format!("{}/copies/drain:1", registry.host);
    assert_eq!(client.open(&reference(&copy)).await.unwrap().found().manifest, plugin.manifest);
    assert_eq!(read(&client, &copy).await.unwrap(), signed);
}
