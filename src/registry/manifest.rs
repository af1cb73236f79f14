//! What an artefact has to look like, and what is said of one that looks otherwise.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::bounds::SHOWN_CHARS;
use crate::run::Digest;
use crate::shown::clean;

/// Media types of the layout that `wkg` and others use.
pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
pub(super) const LAYER_TYPE: &str = "application/wasm";

/// Everything that a registry might have instead is asked for too: otherwise it would answer that there is nothing.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v1+prettyjws";

pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

const INDEX_TYPES: [&str; 2] =
    [INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json"];

/// The operating system that `wkg` writes for a component.
const OS: &str = "wasip2";

/// Time at which an artefact was made. It is always the same, so that the same plugin is the same artefact.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The one layer of an artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Digest of the component.
    pub(super) digest: Digest,
    /// Its size in bytes.
    pub(super) size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Counted<Descriptor>>,
    manifests: Option<Counted<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: Option<String>,
    pub(super) digest: Option<String>,
    pub(super) size: Option<u64>,
}

/// A list of which only the first item is kept, and the others are counted: a manifest may have hundreds of
/// thousands.
pub(super) struct Counted<T> {
    pub(super) first: Option<T>,
    pub(super) count: usize,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = Counted<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first: Option<T> = items.next_element()?;
                let mut count = usize::from(first.is_some());
                while items.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Counted { first, count })
            }
        }
        deserializer.deserialize_seq(Items(std::marker::PhantomData))
    }
}

/// Why a manifest is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It holds something else than one plugin: what was found.
    NotPlugin(String),
    /// It is no manifest: what was found and what was expected.
    Malformed(String),
}

/// The one layer of a manifest with this content type.
pub(super) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Layer, Unfit> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| Unfit::Malformed(unread(&error)))?;
    let header = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    let media_type = manifest.media_type.as_deref().or(header).unwrap_or_default();
    if let Some(list) = &manifest.manifests {
        return not(format!("an index of {} ({})", manifests(list.count), shown(media_type)));
    }
    if INDEX_TYPES.contains(&media_type) {
        return not(format!("an index ({media_type})"));
    }
    if media_type != MANIFEST_TYPE {
        return not(format!("a manifest of type {}", shown(media_type)));
    }
    if header.is_some_and(|header| header != MANIFEST_TYPE) {
        let header = shown(header.unwrap_or_default());
        return not(format!("a manifest that was sent as {header}"));
    }
    if manifest.schema_version != Some(2) {
        return Err(Unfit::Malformed("found no schemaVersion 2".to_owned()));
    }
    let config = manifest.config.and_then(|config| config.media_type).unwrap_or_default();
    let layers = manifest.layers.unwrap_or(Counted { first: None, count: 0 });
    if config != CONFIG_TYPE {
        let layers = layers_text(layers.count);
        return not(format!("an image or artefact with config {} and {layers}", shown(&config)));
    }
    match layers {
        Counted { first: Some(layer), count: 1 } => one_layer(layer),
        Counted { count, .. } => not(layers_text(count)),
    }
}

/// Why JSON was not read. The parser's own message may quote what was read, however long that is.
pub(super) fn unread(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        Category::Data => "a value of another type than expected",
        Category::Syntax => "no JSON",
        Category::Eof | Category::Io => "JSON that does not end",
    };
    format!("found {what} at line {} column {}", error.line(), error.column())
}

fn one_layer(layer: Descriptor) -> Result<Layer, Unfit> {
    let media_type = layer.media_type.unwrap_or_default();
    if media_type != LAYER_TYPE {
        return not(format!("a layer of type {}", shown(&media_type)));
    }
    let digest = layer.digest.unwrap_or_default();
    let digest: Digest = digest.parse().map_err(|_| {
        let found = shown(&digest);
        Unfit::Malformed(format!("found the digest {found} of the layer, expected one of sha256"))
    })?;
    let size =
        layer.size.ok_or_else(|| Unfit::Malformed("found no size of the layer".to_owned()))?;
    Ok(Layer { digest, size })
}

fn not(found: String) -> Result<Layer, Unfit> {
    Err(Unfit::NotPlugin(found))
}

fn manifests(count: usize) -> String {
    if count == 1 { "1 manifest".to_owned() } else { format!("{count} manifests") }
}

pub(super) fn layers_text(count: usize) -> String {
    if count == 1 { "1 layer".to_owned() } else { format!("{count} layers") }
}

/// A text of a registry as it is shown.
pub(super) fn shown(text: &str) -> String {
    if text.is_empty() {
        return "(none)".to_owned();
    }
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let rest = if cut.len() < text.len() { "…" } else { "" };
    format!("{:?}{rest}", clean(&cut))
}

/// What a component imports and exports, as the configuration of an artefact lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Interfaces {
    pub(super) exports: Vec<String>,
    pub(super) imports: Vec<String>,
    target: Option<String>,
}

impl Interfaces {
    pub(super) fn new(exports: Vec<String>, imports: Vec<String>) -> Self {
        Self { exports, imports, target: None }
    }
}

/// The configuration of an artefact: what others can know of it without its bytes.
pub(super) fn config(layer: &Digest, component: &Interfaces) -> Vec<u8> {
    let config = serde_json::json!({
        "created": CREATED,
        "architecture": "wasm",
        "os": OS,
        "layerDigests": [layer],
        "component": component,
    });
    config.to_string().into_bytes()
}

/// The manifest of an artefact.
pub(super) fn write(config: (&Digest, usize), layer: (&Digest, usize)) -> Vec<u8> {
    let descriptor = |media_type: &str, (digest, size): (&Digest, usize)| serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, config),
        "layers": [descriptor(LAYER_TYPE, layer)],
    });
    manifest.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_always_the_same() {
        let layer = Digest::of(b"component");
        let config = config(&layer, &Interfaces::default());
        let written = write((&Digest::of(&config), config.len()), (&layer, 9));
        assert_eq!(written, write((&Digest::of(&config), config.len()), (&layer, 9)));
        let read =
            read(&written, Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"));
        assert_eq!(read, Ok(Layer { digest: layer, size: 9 }));
    }

    #[test]
    fn texts_of_registries_do_nothing_to_a_terminal() {
        assert_eq!(shown("a\u{1b}[2J"), "\"a [2J\"");
        assert_eq!(shown(&"x".repeat(SHOWN_CHARS + 1)).chars().count(), SHOWN_CHARS + 3);
    }

    #[test]
    fn a_manifest_with_very_many_layers_is_only_counted() {
        let layer = format!(
            "{{\"mediaType\":\"{LAYER_TYPE}\",\"digest\":\"{}\",\"size\":1}}",
            Digest::of(b"x")
        );
        let layers = vec![layer; 10_000].join(",");
        let manifest = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{MANIFEST_TYPE}\",\"config\":{{\"mediaType\":\"{CONFIG_TYPE}\"}},\
             \"layers\":[{layers}]}}"
        );
        assert_eq!(
            read(manifest.as_bytes(), None),
            Err(Unfit::NotPlugin("10000 layers".to_owned()))
        );
    }
}
