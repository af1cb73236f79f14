//! When the certificates of credentials expire.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::folder::Credential;
use super::tls::certificates;
use crate::run::{Millis, Timestamp};

/// How long before its end a certificate is told of: long enough for a person who is on holiday for a week.
pub const TOLD_BEFORE: Millis = Millis::from_secs(14 * 24 * 3_600);

/// When the first certificate of a file expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Name of the credentials.
    pub name: String,
    /// The file: `cert.pem` or `ca.pem`.
    pub file: &'static str,
    /// Until when the certificate is valid.
    pub at: Timestamp,
}

impl Expiry {
    /// Whether it has to be told of.
    pub fn is_near(&self, now: Timestamp) -> bool {
        self.at <= now.plus(TOLD_BEFORE)
    }

    /// Whether the certificate is no longer valid.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.at <= now
    }
}

/// When the certificates of credentials expire: of each file the first.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn expiries(of: &Credential) -> Result<Vec<Expiry>, String> {
    let files = [("cert.pem", &of.identity), ("ca.pem", &of.ca)];
    let mut found = Vec::new();
    for (file, pem) in files {
        let Some(pem) = pem else { continue };
        let mut first: Option<Timestamp> = None;
        for certificate in certificates(pem, file)? {
            let at = not_after(&certificate).map_err(|error| format!("{file}: {error}"))?;
            first = Some(first.map_or(at, |first| first.min(at)));
        }
        found.extend(first.map(|at| Expiry { name: of.name.clone(), file, at }));
    }
    Ok(found)
}

/// Until when a certificate is valid.
///
/// # Errors
/// Why it can't be read.
pub(crate) fn not_after(der: &[u8]) -> Result<Timestamp, String> {
    let certificate = Certificate::from_der(der).map_err(|error| error.to_string())?;
    let until = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Ok(Timestamp::from_millis(i64::try_from(until.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;
