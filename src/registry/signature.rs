//! What a signature looks like in a registry: an artefact of its own type, whose `subject` is the manifest of the plugin,
//! and whose one layer is the text that minisign writes. And what the lists look like of all that refers to a manifest.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::bounds::{MAX_REFERRERS, MAX_SIGNATURE_MANIFEST};
use super::manifest::{
    Counted, Descriptor, INDEX_TYPE, Layer, MANIFEST_TYPE, layers_text, shown, unread,
};
use crate::run::Digest;

/// The type of the artefact, and of its layer.
pub(super) const SIGNATURE_TYPE: &str = "application/vnd.replicante.minisign.v1";

/// The configuration of an artefact that needs none.
pub(super) const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// What may be signatures in a list. What is said to be something else is passed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// The first [`MAX_REFERRERS`] of them.
    pub(super) first: Vec<Candidate>,
    /// How many there are.
    pub(super) count: usize,
}

/// An artefact that may be a signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The digest of its manifest, as it is written.
    pub(super) digest: String,
    /// Whether the list says that it is one. Where others have copied a list, it may say nothing of that.
    pub(super) is_said: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    media_type: Option<String>,
    manifests: Option<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Referrer {
    artifact_type: Option<String>,
    digest: Option<String>,
    size: Option<u64>,
}

impl Referrer {
    fn candidate(self) -> Option<Candidate> {
        let is_said = match self.artifact_type.as_deref() {
            Some(SIGNATURE_TYPE) => true,
            Some(_) => return None,
            None => false,
        };
        let fits = self.size.is_none_or(|size| size <= MAX_SIGNATURE_MANIFEST as u64);
        let digest = self.digest.unwrap_or_default();
        (is_said || fits).then_some(Candidate { digest, is_said })
    }
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Listed, A::Error> {
                let mut listed = Listed::default();
                while let Some(referrer) = items.next_element::<Referrer>()? {
                    let Some(candidate) = referrer.candidate() else { continue };
                    listed.count += 1;
                    if listed.first.len() < MAX_REFERRERS {
                        listed.first.push(candidate);
                    }
                }
                Ok(listed)
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

/// What may be signatures in a list. The error says what was found and what was expected.
pub(super) fn read_list(bytes: &[u8]) -> Result<Listed, String> {
    let index: Index = serde_json::from_slice(bytes).map_err(|error| unread(&error))?;
    match (index.media_type.as_deref(), index.manifests) {
        (None | Some(INDEX_TYPE), Some(listed)) => Ok(listed),
        (None | Some(INDEX_TYPE), None) => Err("found no `manifests`, expected a list".to_owned()),
        (Some(other), _) => Err(format!("found {}, expected {INDEX_TYPE}", shown(other))),
    }
}

/// The list with one more manifest in it; `None` if that is there already. Everything else stays as it is, since others have
/// put it there. The error says what was found and what was expected.
pub(super) fn add_to_list(bytes: &[u8], descriptor: &Value) -> Result<Option<Vec<u8>>, String> {
    read_list(bytes)?;
    let mut index: Value = serde_json::from_slice(bytes).map_err(|error| unread(&error))?;
    let manifests = index.get_mut("manifests").and_then(Value::as_array_mut);
    let manifests = manifests.ok_or("found no `manifests`, expected a list")?;
    if manifests.iter().any(|known| known["digest"] == descriptor["digest"]) {
        return Ok(None);
    }
    manifests.push(descriptor.clone());
    Ok(Some(index.to_string().into_bytes()))
}

/// A list of nothing.
pub(super) fn empty_list() -> Vec<u8> {
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [] });
    index.to_string().into_bytes()
}

/// How a list names the manifest of a signature.
pub(super) fn descriptor(manifest: &[u8]) -> Value {
    json!({
        "mediaType": MANIFEST_TYPE,
        "digest": Digest::of(manifest),
        "size": manifest.len(),
        "artifactType": SIGNATURE_TYPE,
    })
}

/// The manifest of a signature. The same signature of the same plugin always has the same one.
pub(super) fn write(text: &[u8], subject: (&Digest, u64)) -> Vec<u8> {
    let (digest, size) = subject;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": SIGNATURE_TYPE,
        "config": { "mediaType": EMPTY_TYPE, "digest": Digest::of(EMPTY), "size": EMPTY.len() },
        "layers": [{ "mediaType": SIGNATURE_TYPE, "digest": Digest::of(text), "size": text.len() }],
        "subject": { "mediaType": MANIFEST_TYPE, "digest": digest, "size": size },
    });
    manifest.to_string().into_bytes()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: Option<String>,
    artifact_type: Option<String>,
    layers: Option<Counted<Descriptor>>,
    subject: Option<Descriptor>,
}

/// The layer of a manifest that has to be that of a signature of `subject`; `None` if it is an artefact of another type. The
/// error says what was found and what was expected.
pub(super) fn read(bytes: &[u8], subject: &Digest) -> Result<Option<Layer>, String> {
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| unread(&error))?;
    let is = |found: Option<String>, what: &str, expected: &str| match found.unwrap_or_default() {
        found if found == expected => Ok(()),
        found => Err(format!("found {what} {}, expected {expected}", shown(&found))),
    };
    if manifest.artifact_type.as_deref() != Some(SIGNATURE_TYPE) {
        return Ok(None);
    }
    is(manifest.media_type, "a manifest of type", MANIFEST_TYPE)?;
    let about = manifest.subject.and_then(|subject| subject.digest);
    is(about, "one of the manifest", subject.as_str())?;
    let Some(Counted { first: Some(layer), count: 1 }) = manifest.layers else {
        let count = manifest.layers.map_or(0, |layers| layers.count);
        return Err(format!("found {}, expected 1 layer", layers_text(count)));
    };
    is(layer.media_type, "a layer of type", SIGNATURE_TYPE)?;
    let digest = layer.digest.unwrap_or_default();
    let digest: Digest = digest.parse().map_err(|_| {
        format!("found the digest {} of the layer, expected one of sha256", shown(&digest))
    })?;
    let size = layer.size.ok_or("found no size of the layer, expected one")?;
    Ok(Some(Layer { digest, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_is_about_one_plugin() {
        let (subject, other) = (Digest::of(b"manifest"), Digest::of(b"another"));
        let written = write(b"text", (&subject, 8));
        assert_eq!(written, write(b"text", (&subject, 8)));
        let layer = Layer { digest: Digest::of(b"text"), size: 4 };
        assert_eq!(read(&written, &subject), Ok(Some(layer)));
        let error = read(&written, &other).unwrap_err();
        assert!(error.starts_with("found one of the manifest \"sha256:"), "{error}");
        assert!(error.ends_with(other.as_str()), "{error}");
    }

    #[test]
    fn a_list_keeps_what_others_put_into_it_and_has_each_signature_once() {
        let other = json!({ "digest": "sha512:x", "artifactType": "application/x", "more": 1 });
        let list = json!({ "mediaType": INDEX_TYPE, "manifests": [other], "annotations": {} });
        let signature = descriptor(b"signature");
        let added = add_to_list(list.to_string().as_bytes(), &signature).unwrap().unwrap();
        let read: Value = serde_json::from_slice(&added).unwrap();
        assert_eq!(read["manifests"], json!([other, signature]));
        assert_eq!(read["annotations"], json!({}));
        let candidate = Candidate { digest: Digest::of(b"signature").to_string(), is_said: true };
        assert_eq!(read_list(&added), Ok(Listed { first: vec![candidate], count: 1 }));
        assert_eq!(add_to_list(&added, &signature), Ok(None));
        assert_eq!(read_list(&empty_list()), Ok(Listed::default()));
    }

    #[test]
    fn what_a_list_says_nothing_of_is_looked_at_if_it_is_small_enough() {
        let size = MAX_SIGNATURE_MANIFEST;
        let list = json!({ "manifests": [
            { "digest": "a", "size": size },
            { "digest": "b", "size": size + 1 },
            { "digest": "c", "artifactType": "application/x" },
        ] });
        let listed = read_list(list.to_string().as_bytes()).unwrap();
        let candidate = Candidate { digest: "a".to_owned(), is_said: false };
        assert_eq!(listed, Listed { first: vec![candidate], count: 1 });
        let image = json!({ "mediaType": MANIFEST_TYPE, "layers": [] }).to_string();
        assert_eq!(read(image.as_bytes(), &Digest::of(b"x")), Ok(None));
    }

    #[test]
    fn very_many_signatures_are_only_counted() {
        let list = json!({ "manifests": vec![descriptor(b"x"); 10_000] });
        let listed = read_list(list.to_string().as_bytes()).unwrap();
        assert_eq!((listed.count, listed.first.len()), (10_000, MAX_REFERRERS));
    }
}
