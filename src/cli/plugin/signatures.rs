//! Signatures beside the file of a plugin, and in registries. Nobody checks them here: that takes the keys of a policy.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::files::{read_signatures_of, signatures_file};
use crate::playbook::policy::{MAX_SIGNATURE_BYTES, MAX_SIGNATURES, Signature};

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
    read_signatures_of(file).map_err(|source| {
        let path = signatures_file(file).display().to_string();
        CliError::Read { path, source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::policy::read_signatures;

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
        assert_eq!(signatures_file(&file), folder.path().join("x.wasm.minisig"));
        std::fs::write(signatures_file(&file), "no signature").unwrap();
        let CliError::Read { path, source } = beside(&file).unwrap_err() else { panic!() };
        assert!(path.ends_with("x.wasm.minisig"), "{path}");
        assert!(source.to_string().contains("found 1 of its lines"), "{source}");
    }
}
