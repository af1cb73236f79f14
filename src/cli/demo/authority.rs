//! The authority of the scene with TLS: it makes certificates for this machine, and writes them into folders of credentials.
//! Only the demonstration trusts it, and its key is nowhere but in memory.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use signature::Keypair as _;
use x509_cert::name::Name;

use super::certificate::{Key, Purpose, issue, named, pem};

pub(super) struct Authority {
    name: Name,
    key: Key,
    pem: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> anyhow::Result<Self> {
        let (key, _) = Key::new()?;
        let name = named(name)?;
        let pem = issue(&key, &name, &key.verifying_key(), &name, Purpose::Authority)?;
        Ok(Self { name, key, pem })
    }

    /// Its own certificate, in PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes credentials with a new certificate into a folder: what they are used for and where they go, and the authority
    /// if the other side is checked against it.
    pub(super) fn put(&self, folder: &Path, whose: &str, used: &Used) -> anyhow::Result<()> {
        let (key, pkcs8) = Key::new()?;
        let (point, whose) = (key.verifying_key(), named(whose)?);
        let cert = issue(&self.key, &self.name, &point, &whose, used.purpose)?;
        let failed = || format!("failed to write credentials to {}", folder.display());
        fs::create_dir_all(folder).with_context(failed)?;
        let write = |file: &str, text: &str| fs::write(folder.join(file), text);
        write("for.yaml", used.document).with_context(failed)?;
        write("cert.pem", &cert).with_context(failed)?;
        write("key.pem", &pem("PRIVATE KEY", &pkcs8)).with_context(failed)?;
        if used.checks {
            write("ca.pem", &self.pem).with_context(failed)?;
        }
        Ok(())
    }
}

/// What credentials are for.
pub(super) struct Used {
    /// What their certificate is good for.
    pub(super) purpose: Purpose,
    /// The text of their `for.yaml`.
    pub(super) document: &'static str,
    /// Whether the other side has to show a certificate of the authority.
    pub(super) checks: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::credentials::{Credentials, KeptCredentials, ServedTls};

    #[test]
    fn what_it_writes_are_credentials_that_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new("Replibook demonstration").unwrap();
        let used = Used { purpose: Purpose::Server, document: "use: server\n", checks: true };
        authority.put(&dir.path().join("web"), "web", &used).unwrap();
        authority.put(&dir.path().join("other"), "other", &used).unwrap();
        let kept = KeptCredentials::open(Credentials::open(dir.path()).unwrap()).unwrap();
        assert!(ServedTls::of(&kept, "web").is_ok_and(|tls| tls.asks()));
        let files: Vec<_> = kept.expiries().into_iter().map(|one| (one.name, one.file)).collect();
        assert_eq!(files.len(), 4, "{files:?}");
        let now = SystemClock.now();
        assert!(kept.expiries().iter().all(|one| !one.is_near(now)), "no server warns of them");
        let of = |name: &str| fs::read_to_string(dir.path().join(name).join("cert.pem")).unwrap();
        assert_ne!(of("web"), of("other"));
    }
}
