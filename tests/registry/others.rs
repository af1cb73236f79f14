//! What others wrote is read, and what we write is read by others.

use bytes::Bytes;
use replibook::registry::{Registries, RegistryConfig};
use replibook::run::Digest;

use super::artefact::COMPONENT;
use super::lies::{pull, reference, short};
use crate::registry_server::{Registry, copied};

fn registries() -> Registries {
    Registries::new(RegistryConfig { bounds: short(), ..RegistryConfig::default() })
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
