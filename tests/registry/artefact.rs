//! Artefacts as they are on the wire.

use replibook::run::Digest;
use serde_json::{Value, json};

use super::liar::{Asked, Reply};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The type of a signature, and of its layer.
pub(crate) const SIGNATURE: &str = "application/vnd.replicante.minisign.v1";

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

/// The manifest of a signature with this text, of the plugin that has this manifest.
pub(crate) fn signature(text: &[u8], plugin: &Value) -> Value {
    let plugin = plugin.to_string();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGNATURE,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": Digest::of(b"{}"),
            "size": 2,
        },
        "layers": [{ "mediaType": SIGNATURE, "digest": Digest::of(text), "size": text.len() }],
        "subject": {
            "mediaType": MANIFEST,
            "digest": Digest::of(plugin.as_bytes()),
            "size": plugin.len(),
        },
    })
}

/// A list of these signatures.
pub(crate) fn list(signatures: &[Value]) -> Value {
    let listed = signatures.iter().map(|one| {
        let text = one.to_string();
        let digest = Digest::of(text.as_bytes());
        json!({ "mediaType": MANIFEST, "digest": digest, "size": text.len(), "artifactType": SIGNATURE })
    });
    let listed: Vec<Value> = listed.collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed })
}

/// What a registry has: a plugin under every tag, and its signatures, which it lists itself.
pub(crate) struct Signed {
    pub(crate) component: Vec<u8>,
    pub(crate) texts: Vec<String>,
}

impl Signed {
    /// The true answer to a request.
    pub(crate) fn reply(&self, asked: &Asked) -> Reply {
        let plugin = manifest(&self.component);
        let texts = self.texts.iter().map(String::as_bytes);
        let signatures: Vec<Value> = texts.clone().map(|text| signature(text, &plugin)).collect();
        if asked.is_for("/referrers/") {
            return Self::as_list(&list(&signatures));
        }
        let manifests = signatures.iter().map(Value::to_string).map(String::into_bytes);
        let texts = texts.map(<[u8]>::to_vec);
        for bytes in manifests.chain(texts) {
            if asked.is_for(Digest::of(&bytes).as_str()) {
                return Reply::Whole(200, Vec::new(), bytes);
            }
        }
        match asked.is_for("/manifests/") {
            _ if asked.is_for_signatures() => Reply::status(404, ""),
            true => Reply::json(&plugin),
            false => Reply::Whole(200, Vec::new(), self.component.clone()),
        }
    }

    /// An answer that is said to be a list.
    pub(crate) fn as_list(list: &Value) -> Reply {
        let head = vec![format!("content-type: {INDEX}")];
        Reply::Whole(200, head, list.to_string().into_bytes())
    }
}
