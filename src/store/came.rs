//! In which of several ways a plugin came.

use super::documents::Plugin;
use replibook_core::playbook::Provenance;

/// How the source of a plugin begins that somebody uploaded.
pub const UPLOADED: &str = "file:";

/// How a plugin came, for a playbook that names it by a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came<'a> {
    /// In the way that the playbook names.
    AsNamed(&'a Provenance),
    /// In this way, but never in the one that the playbook names. A playbook is judged by this, since a document can't choose
    /// what never happened; it is not recorded as the way in which the plugin came for that playbook.
    Otherwise(&'a Provenance),
    /// Nobody said.
    Unknown,
}

impl Plugin {
    /// Which of the ways in which the plugin came counts for a playbook that names it by the source `named`. What a playbook
    /// takes from the store came as it came first.
    pub fn came(&self, named: &str) -> Came<'_> {
        let first = self.provenance.first();
        if named.starts_with("store:") {
            return first.map_or(Came::Unknown, Came::AsNamed);
        }
        let all = || self.provenance.iter();
        if let Some(came) = all().find(|came| came.source == named) {
            return Came::AsNamed(came);
        }
        // Whoever uploads a file may call it anything, so one path is as good as another.
        let is_upload = |source: &str| source.starts_with(UPLOADED);
        let upload = all().find(|came| is_upload(named) && is_upload(&came.source));
        upload.or(first).map_or(Came::Unknown, Came::Otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replibook_core::playbook::{PluginInfo, PluginKind};
    use replibook_core::run::{Digest, Timestamp};

    const THEN: Timestamp = Timestamp::from_millis(0);

    fn plugin(sources: &[&str]) -> Plugin {
        let info = PluginInfo {
            digest: Digest::of(b"drain"),
            kind: PluginKind::Step,
            name: "drain".to_owned(),
            version: "1.0.0".to_owned(),
            summary: String::new(),
            arguments: serde_json::Value::Null,
            size: 5,
            calls: Vec::new(),
        };
        let provenance = sources.iter().map(|source| Provenance {
            source: (*source).to_owned(),
            manifest: None,
            at: THEN,
            by: None,
        });
        Plugin { provenance: provenance.collect(), ..Plugin::new(info, THEN) }
    }

    #[test]
    fn a_document_chooses_among_the_ways_in_which_a_plugin_came_and_no_other() {
        let (registry, upload) = ("oci://a.example/b:1", "file:b.wasm");
        let both = plugin(&[registry, upload]);
        let cases = [
            (&both, registry, Some(registry), None),
            (&both, upload, Some(upload), None),
            (&both, "file:other.wasm", None, Some(upload)),
            (&both, "oci://c.example/d:1", None, Some(registry)),
            (&both, "store:drain@1.0.0", Some(registry), None),
            (&plugin(&[registry]), upload, None, Some(registry)),
            (&plugin(&[]), upload, None, None),
            (&plugin(&[]), "store:drain@1.0.0", None, None),
        ];
        for (plugin, named, as_named, otherwise) in cases {
            let found = match plugin.came(named) {
                Came::AsNamed(came) => (Some(came.source.as_str()), None),
                Came::Otherwise(came) => (None, Some(came.source.as_str())),
                Came::Unknown => (None, None),
            };
            assert_eq!(found, (as_named, otherwise), "{named}");
        }
    }
}
