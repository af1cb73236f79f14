//! How connections to agents are secured: which certificates are trusted, and how the client identifies itself.
//! Agents are checked against the certificates that their owner names, and never against those of the system.

use std::fs;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::playbook::Tls;

/// Why the HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AgentHttpError {
    /// A file could not be read.
    #[error("failed to read {path}")]
    File {
        /// Path of the file.
        path: String,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what is expected.
    #[error("failed to use {path}: expected {expected} in PEM")]
    Pem {
        /// Path of the file.
        path: String,
        /// What the file should hold.
        expected: &'static str,
        /// The error of the parser; `None` if the file holds nothing of the kind.
        #[source]
        source: Option<rustls::pki_types::pem::Error>,
    },
    /// Certificates and keys do not fit together.
    #[error("failed to set up TLS")]
    Tls(#[from] rustls::Error),
    /// A certificate without its key, or a key without its certificate.
    #[error("failed to set up TLS: found {found} without {missing}, expected both or none")]
    HalfIdentity {
        /// The name of what is given.
        found: &'static str,
        /// What is missing.
        missing: &'static str,
    },
    /// The HTTP client could not be made.
    #[error("failed to make an HTTP client")]
    Client(#[from] reqwest::Error),
}

/// The configuration with which rustls connects to agents.
///
/// Agents are checked against the certificates of `ca` and nothing else: agents have certificates of their
/// owner, and the roots of the system would let any public authority vouch for one. So without `ca` no agent
/// with an `https` address can be reached.
pub(super) fn client_config(tls: Option<&Tls>) -> Result<ClientConfig, AgentHttpError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = tls.and_then(|tls| tls.ca.as_deref()) {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let cert = tls.and_then(|tls| tls.cert.as_deref());
    let key = tls.and_then(|tls| tls.key.as_deref());
    match (cert, key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            Ok(builder.with_client_auth_cert(certificates(cert)?, private_key(key)?)?)
        }
        (Some(_), None) => {
            Err(AgentHttpError::HalfIdentity { found: "a certificate", missing: "a key" })
        }
        (None, Some(_)) => {
            Err(AgentHttpError::HalfIdentity { found: "a key", missing: "a certificate" })
        }
    }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, AgentHttpError> {
    let bytes = read(path)?;
    let expected = "certificates";
    let pem = |source| AgentHttpError::Pem { path: path.to_owned(), expected, source };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| pem(Some(error)))?;
    if found.is_empty() { Err(pem(None)) } else { Ok(found) }
}

fn private_key(path: &str) -> Result<PrivateKeyDer<'static>, AgentHttpError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| AgentHttpError::Pem {
        path: path.to_owned(),
        expected: "a private key",
        source: Some(error),
    })
}

fn read(path: &str) -> Result<Vec<u8>, AgentHttpError> {
    fs::read(path).map_err(|source| AgentHttpError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_are_named() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let path = empty.path().to_str().unwrap().to_owned();
        let tls = |ca: Option<&str>, cert: Option<&str>, key: Option<&str>| Tls {
            ca: ca.map(str::to_owned),
            cert: cert.map(str::to_owned),
            key: key.map(str::to_owned),
        };
        let failed = |tls: Tls| client_config(Some(&tls)).unwrap_err().to_string();
        assert_eq!(failed(tls(Some("/no/such"), None, None)), "failed to read /no/such");
        assert_eq!(
            failed(tls(Some(&path), None, None)),
            format!("failed to use {path}: expected certificates in PEM")
        );
        assert_eq!(
            failed(tls(None, Some(&path), None)),
            "failed to set up TLS: found a certificate without a key, expected both or none"
        );
        assert!(client_config(None).is_ok());
    }
}
