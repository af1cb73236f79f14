//! Checks the files that secure the connection, once and at the start. The driver only reads them when it
//! connects, again and again, and accepts a file without certificates as if there were no file.

use std::io::Read as _;
use std::path::Path;

use mongodb::options::{Tls, TlsOptions};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::failure::{unfit, unfit_because};
use crate::contract::Result;

/// The most bytes of a file with certificates: four times the size of the file of all public authorities.
const MAX_BYTES: u64 = 1024 * 1024;

/// Checks the files that the address refers to.
///
/// # Errors
/// [`StoreError::Unfit`](crate::StoreError::Unfit) when a file can't be read or does not contain what it should.
pub(super) fn check(tls: Option<&Tls>) -> Result<()> {
    let Some(Tls::Enabled(TlsOptions { ca_file_path, cert_key_file_path, .. })) = tls else {
        return Ok(());
    };
    if let Some(path) = ca_file_path {
        certificates(path, &read_file(path, MAX_BYTES)?)?;
    }
    if let Some(path) = cert_key_file_path {
        let bytes = read_file(path, MAX_BYTES)?;
        certificates(path, &bytes)?;
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
            let path = path.display();
            let message =
                format!("found no private key in PEM in {path}, expected one without a password");
            unfit_because(message, error)
        })?;
    }
    Ok(())
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<()> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let message =
        || format!("found no certificate in PEM in {}, expected one or more", path.display());
    match found {
        Ok(found) if found.is_empty() => Err(unfit(message())),
        Ok(_) => Ok(()),
        Err(error) => Err(unfit_because(message(), error)),
    }
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |error| unfit_because(format!("failed to read {}", path.display()), error);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let path = path.display();
        return Err(unfit(format!(
            "found a longer file in {path}, expected at most {limit} bytes"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with keys that were made for tests and are used nowhere else.
    fn test_file(name: &str) -> String {
        format!("{}/../../tests/agent/tls/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn checked(ca: Option<&str>, identity: Option<&str>) -> std::result::Result<(), String> {
        let mut options = TlsOptions::default();
        options.ca_file_path = ca.map(Into::into);
        options.cert_key_file_path = identity.map(Into::into);
        check(Some(&Tls::Enabled(options))).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_what_they_should_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let read = |name: &str| std::fs::read_to_string(test_file(name)).unwrap();
        std::fs::write(path("both"), read("engine.pem") + &read("engine.key")).unwrap();
        std::fs::write(path("junk"), "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n")
            .unwrap();
        std::fs::write(path("long"), " ".repeat(usize::try_from(MAX_BYTES).unwrap() + 1)).unwrap();
        let ca = test_file("ca.pem");

        assert_eq!(check(None).ok(), Some(()));
        assert_eq!(checked(Some(&ca), Some(&path("both"))), Ok(()));
        for (ca, identity, expected) in [
            (Some(path("none")), None, "none"),
            (Some(test_file("ca.pem").replace("ca.pem", "agent.key")), None, "no certificate"),
            (Some(path("junk")), None, "no certificate"),
            (Some(path("long")), None, "at most 1048576 bytes"),
            (None, Some(test_file("engine.pem")), "no private key"),
            (None, Some(test_file("engine.key")), "no certificate"),
            (None, Some(path("none")), "none"),
        ] {
            let error = checked(ca.as_deref(), identity.as_deref()).unwrap_err();
            assert!(error.contains(expected), "{error}, expected {expected}");
        }
    }
}
