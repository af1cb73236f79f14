//! Artefacts as they are on the wire.

use replibook::run::Digest;
use serde_json::{Value, json};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Bytes that a registry takes for a plugin; nobody runs them.
pub(crate) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 a component";

/// The manifest of a plugin with these bytes.
pub(crate) fn manifest(component: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.wasm.config.v0+json",
            "digest": Digest::of(b"{}"),
            "size": 2,
        },
        "layers": [{
            "mediaType": "application/wasm",
            "digest": Digest::of(component),
            "size": component.len(),
        }],
    })
}
