//! How `replictl` checks an https server, and what it shows to it; and why that failed, in words for people.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::{AlertDescription, CertificateError};

use crate::outbound::innermost;

/// The largest file of certificates, in bytes: a bundle of many authorities has some hundreds of kilobytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// How an https server is checked, and what is shown to it.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// File with the only certificates that count; without it those count that the system trusts.
    pub ca: Option<PathBuf>,
    /// File with certificate and key of the client.
    pub cert: Option<PathBuf>,
}

impl Trust {
    /// Has a client do so.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn on(&self, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        if let Some(path) = &self.ca {
            let wrong = |why: String| format!("--ca {}: {why}", path.display());
            let found = Certificate::from_pem_bundle(&read(path).map_err(wrong)?);
            let found = found.map_err(|error| wrong(innermost(&error)))?;
            if found.is_empty() {
                return Err(wrong("expected certificates in PEM, found none".to_owned()));
            }
            builder = builder.tls_certs_only(found);
        }
        if let Some(path) = &self.cert {
            let wrong = |why: String| format!("--cert {}: {why}", path.display());
            let found = Identity::from_pem(&read(path).map_err(wrong)?);
            let expected = "expected a certificate and its key in PEM";
            builder = builder.identity(
                found.map_err(|error| wrong(format!("{expected}: {}", innermost(&error))))?,
            );
        }
        Ok(builder)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE {
        return Err(format!("found {length} bytes, expected at most {MAX_FILE}"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// Why no secured connection came about, if that is the reason of the error. `has_ca`: whether the certificates that count
/// are those of a file.
#[allow(clippy::wildcard_enum_match_arm, reason = "rustls may add kinds")]
pub(super) fn why_not_secured(error: &(dyn Error + 'static), has_ca: bool) -> Option<String> {
    match found_in(error)? {
        rustls::Error::InvalidCertificate(wrong) => Some(of_certificate(wrong, has_ca)),
        rustls::Error::AlertReceived(alert) => Some(of_alert(*alert)),
        rustls::Error::InvalidMessage(_) => {
            Some("found something that is not TLS; does the server speak http only?".to_owned())
        }
        other => Some(format!("no secured connection: {other}")),
    }
}

/// The error of TLS within another one. An `io::Error` that wraps an error does not name it as its source.
fn found_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
            && let Some(found) = found_in(inner)
        {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rustls may add kinds")]
fn of_certificate(wrong: &CertificateError, has_ca: bool) -> String {
    match wrong {
        CertificateError::UnknownIssuer if has_ca => {
            "its certificate is not of an authority in the file of --ca".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "its certificate is of an authority that this machine does not trust; \
             --ca FILE names one that you trust"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let host = expected.to_str();
            let names = presented.iter().take(5).map(String::as_str).collect::<Vec<_>>();
            format!("its certificate is for {}, expected {host}", names.join(", "))
        }
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired, or the clock of this machine is wrong: {wrong}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!(
                "its certificate is not valid yet, or the clock of this machine is wrong: {wrong}"
            )
        }
        other => format!("its certificate can't be used: {other}"),
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "rustls may add kinds")]
fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it asks for a certificate of the client: --cert FILE names one".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired => {
            format!("it does not take the certificate of --cert: {alert:?}")
        }
        other => format!("it ended the handshake: {other:?}"),
    }
}
