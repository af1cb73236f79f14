//! Signatures beside the file of a plugin, and in registries. Nobody checks them here: that takes the keys of a policy.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::files::read_signatures_file;
use crate::playbook::policy::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signature, read_signatures};

/// A signature as commands show it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Signed {
    /// Identifier of the key, as the signature says itself.
    key_id: String,
    trusted_comment: String,
}

impl Signed {
    pub(super) fn all(signatures: &[Signature]) -> Vec<Self> {
        let shown = |one: &Signature| Self {
            key_id: one.key_id().to_owned(),
            trusted_comment: one.trusted_comment().to_owned(),
        };
        signatures.iter().map(shown).collect()
    }

    /// A line for people.
    pub(super) fn line(&self) -> String {
        format!("by the key {}, not checked: {}", self.key_id, self.trusted_comment)
    }

    /// The keys that several say they are by, in one cell.
    pub(super) fn keys(all: &[Self]) -> String {
        let ids: BTreeSet<&str> = all.iter().map(|one| one.key_id.as_str()).collect();
        let ids = Vec::from_iter(ids);
        if ids.is_empty() { crate::cli::output::EMPTY.to_owned() } else { ids.join(", ") }
    }
}

/// The name of the file with the signatures of the plugin in `file`.
pub(super) fn file_beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// The text of a file with signatures: as many of the last ones as such a file may have.
pub(super) fn text_of(signatures: &[Signature]) -> String {
    let mut room = MAX_SIGNATURE_BYTES;
    let fits = |text: &&str| {
        let fits = text.len() <= room;
        room = room.saturating_sub(text.len());
        fits
    };
    let last = signatures.iter().rev().take(MAX_SIGNATURES);
    let mut kept: Vec<&str> = last.map(Signature::text).take_while(fits).collect();
    kept.reverse();
    kept.concat()
}

/// The signatures beside the file of a plugin; none if there is no such file.
pub(super) fn beside(file: &Path) -> Result<Vec<Signature>, CliError> {
    let path = file_beside(file);
    let failed = |source| CliError::Read { path: path.display().to_string(), source };
    let name = path.to_str().ok_or_else(|| failed(io::Error::other("expected a path in UTF-8")))?;
    let Some(text) = read_signatures_file(Path::new(""), name).map_err(failed)? else {
        return Ok(Vec::new());
    };
    read_signatures(&text).map_err(|error| failed(io::Error::other(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_more_signatures_than_are_read() {
        let one = "untrusted comment: signature from minisign secret key\n\
            RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
            trusted comment: timestamp:1633700835\tfile:test\tprehashed\n\
            wLMDjy9FLAuxZ3q4NlEvkgtyhrr0gtTu6KC4KBJdITbbOeAi1zBIYo0v4iTgt8jJpIidRJnp94ABQkJAgAooBQ==\n";
        let signature = read_signatures(one).unwrap().remove(0);
        let many = vec![signature; MAX_SIGNATURES + 1];
        assert_eq!(text_of(&many), one.repeat(MAX_SIGNATURES));
        assert_eq!(text_of(&many[..1]), one);
        let long = one.replace("file:test", &"x".repeat(MAX_SIGNATURE_BYTES / 2));
        let long = vec![read_signatures(&long).unwrap().remove(0); 2];
        assert_eq!(read_signatures(&text_of(&long)).unwrap(), long[..1]);
    }

    #[test]
    fn signatures_are_in_the_file_beside_and_broken_ones_are_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.wasm");
        assert!(beside(&file).unwrap().is_empty());
        assert_eq!(file_beside(&file), folder.path().join("x.wasm.minisig"));
        std::fs::write(file_beside(&file), "no signature").unwrap();
        let CliError::Read { path, source } = beside(&file).unwrap_err() else { panic!() };
        assert!(path.ends_with("x.wasm.minisig"), "{path}");
        assert!(source.to_string().contains("found 1 of its lines"), "{source}");
    }
}
