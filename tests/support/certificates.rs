//! Certificates made for one test, and folders of credentials with them.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

/// An authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names and addresses, for servers and clients alike.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, (2099, 1, 1))
    }

    /// One that is valid up to a day.
    pub(crate) fn issue_until(&self, names: &[&str], until: (i32, u8, u8)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// What is under one name of a folder of credentials.
#[derive(Default)]
pub(crate) struct Files<'f> {
    pub(crate) used: &'f str,
    pub(crate) origins: &'f [&'f str],
    pub(crate) ca: Option<&'f Authority>,
    pub(crate) identity: Option<&'f Issued>,
    pub(crate) token: Option<&'f str>,
}

/// Writes credentials, and takes away what is not among them. Returns their folder.
pub(crate) fn put(folder: &Path, name: &str, files: &Files<'_>) -> PathBuf {
    let at = folder.join(name);
    fs::create_dir_all(&at).unwrap();
    let set = |file: &str, text: Option<String>| {
        let path = at.join(file);
        match text {
            Some(text) => fs::write(path, text).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    };
    let origins = serde_json::to_string(files.origins).unwrap();
    set("for.yaml", Some(format!("use: {}\norigins: {origins}\n", files.used)));
    set("ca.pem", files.ca.map(Authority::pem));
    set("cert.pem", files.identity.map(|issued| issued.cert.clone()));
    set("key.pem", files.identity.map(|issued| issued.key.clone()));
    set("token", files.token.map(str::to_owned));
    at
}
