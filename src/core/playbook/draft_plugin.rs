//! Reads the plugins that a playbook declares: their sources, digests and grants.

use super::document::{GrantsFile, HttpGrantFile, PluginFile, SecretGrantFile};
use super::draft::{ACTION, Declared, Drafter};
use super::grants::{Grants, HttpGrant, PATH_EXPECTED, is_path_pattern};
use super::names;
use super::problem::code;
use super::secrets::{
    DESTINATION_EXPECTED, SECRET_NAME_EXPECTED, SecretGrant, is_secret_name, parse_destination,
};
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
        self.granted.insert(name.to_owned(), grants.secrets.clone());
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
        for (index, pattern) in file.signals.iter().enumerate() {
            if !names::is_action_pattern(pattern) {
                let expected = "the name of a signal, perhaps with a * at its end";
                self.bad(&format!("{path}/signals/{index}"), "grant", pattern, expected);
            }
        }
        let mut http: Vec<HttpGrant> = Vec::new();
        for (index, file) in file.http.into_iter().enumerate() {
            let path = format!("{path}/http/{index}");
            let Some(grant) = self.http_grant(&path, file) else { continue };
            match http.contains(&grant) {
                true => {
                    let message = format!("there is another grant of \"{grant}\"");
                    self.add(code::DUPLICATE, &path, &message);
                }
                false => http.push(grant),
            }
        }
        let secrets = self.secret_grants(path, file.secrets);
        Grants { actions: file.actions, http, signals: file.signals, secrets }
    }

    fn secret_grants(&mut self, path: &str, file: Vec<SecretGrantFile>) -> Vec<SecretGrant> {
        let mut secrets: Vec<SecretGrant> = Vec::new();
        for (index, SecretGrantFile { name, to }) in file.into_iter().enumerate() {
            let path = format!("{path}/secrets/{index}");
            if !is_secret_name(&name) {
                let at = format!("{path}/name");
                self.bad(&at, "name of a secret", &name, SECRET_NAME_EXPECTED);
            } else if secrets.iter().any(|other| other.name == name) {
                let message = format!("there is another grant of the secret {name:?}");
                self.add(code::DUPLICATE, &format!("{path}/name"), &message);
            }
            self.count(&format!("{path}/name"), &name);
            let mut destinations = Vec::new();
            for (index, text) in to.iter().enumerate() {
                match parse_destination(text) {
                    Some(destination) => destinations.push(destination),
                    None => {
                        let at = format!("{path}/to/{index}");
                        self.bad(&at, "destination of a secret", text, DESTINATION_EXPECTED);
                    }
                }
            }
            secrets.push(SecretGrant { name, to: destinations });
        }
        secrets
    }

    fn http_grant(&mut self, path: &str, file: HttpGrantFile) -> Option<HttpGrant> {
        let (text, at, limits) = match file {
            HttpGrantFile::Origin(origin) => (origin, path.to_owned(), None),
            HttpGrantFile::Limited(limited) => {
                (limited.origin, format!("{path}/origin"), Some((limited.methods, limited.paths)))
            }
        };
        let Some(grant) = HttpGrant::to(&text) else {
            self.bad(&at, "origin", &text, names::ORIGIN_EXPECTED);
            return None;
        };
        let (methods, paths) = limits.unwrap_or_default();
        for (index, pattern) in paths.iter().enumerate() {
            if !is_path_pattern(pattern) {
                self.bad(&format!("{path}/paths/{index}"), "path", pattern, PATH_EXPECTED);
            }
        }
        Some(HttpGrant { methods, paths, ..grant })
    }
}
