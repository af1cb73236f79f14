//! Registries that do not take at once what is pushed to them.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use bytes::Bytes;
use replibook::registry::{Pushed, Registries, RegistryConfig, RegistryError};

use super::artefact::COMPONENT;
use super::liar::{Asked, Liar, Reply};
use super::lies::{reference, short};

/// Has every blob, and refuses manifests so often with these codes.
async fn refusing(times: u32, codes: &'static [&'static str]) -> Liar {
    let left = AtomicU32::new(times);
    Liar::start(move |asked| {
        if !asked.is_for("PUT ") {
            return Reply::status(200, "");
        }
        match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => {
                let errors: Vec<_> =
                    codes.iter().map(|code| serde_json::json!({ "code": code })).collect();
                let body = serde_json::json!({ "errors": errors }).to_string();
                Reply::Whole(400, Vec::new(), body.into_bytes())
            }
            Err(_) => Reply::status(201, ""),
        }
    })
    .await
}

async fn push(liar: &Liar) -> Result<Pushed, RegistryError> {
    let config = RegistryConfig { bounds: short(), ..RegistryConfig::default() };
    let of = reference(&format!("{}/a:1", liar.host));
    let component = Bytes::from_static(COMPONENT);
    Registries::new(config).push(&of, component, Vec::new(), Vec::new()).await
}

fn count(liar: &Liar, method: &str) -> usize {
    liar.asked().iter().filter(|asked: &&Asked| asked.is_for(method)).count()
}

#[tokio::test]
async fn a_manifest_is_pushed_again_while_the_registry_misses_its_blobs() {
    // As Debian's registry says it while another client pushes the same blob.
    let liar = refusing(2, &["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"]).await;
    push(&liar).await.unwrap();
    assert_eq!((count(&liar, "PUT "), count(&liar, "HEAD ")), (3, 6), "blobs are looked for again");
}

#[tokio::test]
async fn a_registry_that_misses_blobs_for_good_is_not_asked_for_ever() {
    let liar = refusing(u32::MAX, &["MANIFEST_BLOB_UNKNOWN"]).await;
    let error = push(&liar).await.unwrap_err();
    assert!(error.to_string().contains("MANIFEST_BLOB_UNKNOWN"), "{error}");
    assert_eq!(count(&liar, "PUT "), 4);
}

#[tokio::test]
async fn a_manifest_that_is_refused_for_another_reason_is_not_pushed_again() {
    let liar = refusing(u32::MAX, &["MANIFEST_INVALID"]).await;
    assert_eq!(push(&liar).await.unwrap_err().code(), "registry-status");
    assert_eq!(count(&liar, "PUT "), 1);
}
