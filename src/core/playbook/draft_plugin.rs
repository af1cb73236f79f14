//! Reads the plugins that a playbook declares: their sources, digests and grants.

use super::document::{GrantsFile, PluginFile};
use super::draft::{ACTION, Declared, Drafter};
use super::model::Grants;
use super::names;
use super::problem::code;
use super::source::{PluginSource, SOURCE_EXPECTED, Source};
use super::spans::push_segment;
use crate::ids::Digest;

impl Drafter {
    /// Reads the declaration of one plugin; `None` if its source can't be read.
    pub(super) fn plugin(&mut self, name: &str, plugin: PluginFile) -> Option<Declared> {
        let mut path = "/spec/plugins".to_owned();
        push_segment(&mut path, name);
        if name == ACTION {
            let message = "the name \"action\" is that of a built-in step, expected another one";
            self.add(code::DUPLICATE, &path, message);
        }
        let source = Source::parse(&plugin.source);
        if source.is_none() {
            self.bad(&format!("{path}/source"), "source", &plugin.source, SOURCE_EXPECTED);
        }
        let digest = plugin.digest.and_then(|text| match text.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => {
                let expected = "sha256: and 64 lowercase hex digits";
                self.bad(&format!("{path}/digest"), "digest", &text, expected);
                None
            }
        });
        let grants = self.grants(&format!("{path}/grants"), plugin.grants);
        let source = PluginSource { name: name.to_owned(), source: source?, digest };
        Some(Declared { source, grants })
    }

    fn grants(&mut self, path: &str, file: GrantsFile) -> Grants {
        for (index, pattern) in file.actions.iter().enumerate() {
            if !names::is_action_pattern(pattern) {
                let expected = "a kind of action, perhaps with a * at its end";
                self.bad(&format!("{path}/actions/{index}"), "grant", pattern, expected);
            }
        }
        let mut http: Vec<String> = Vec::new();
        for (index, text) in file.http.iter().enumerate() {
            let path = format!("{path}/http/{index}");
            match names::parse_origin(text) {
                None => self.bad(&path, "origin", text, names::ORIGIN_EXPECTED),
                Some(origin) if http.contains(&origin) => {
                    let message = format!("there is another grant of {origin:?}");
                    self.add(code::DUPLICATE, &path, &message);
                }
                Some(origin) => http.push(origin),
            }
        }
        Grants { actions: file.actions, http }
    }
}
