//! The settings of TLS that credentials stand for.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};

use super::folder::{Credential, Use};

/// With how many servers a client can go on with an earlier session: as many as the largest cluster has agents that are asked
/// again before their connection is closed. A session takes some kilobytes once there is one.
const SERVERS: usize = 10_000;

/// For how many sessions of each server rustls reckons with room. It forgets whom it came to know first.
const SESSIONS_EACH: usize = 8;

/// The only protocol above TLS that our servers speak.
const HTTP_1: &[u8] = b"http/1.1";

/// How a client with these credentials connects. Agents are checked against `ca.pem` and nothing else: they have
/// certificates of their owner, and the authorities that the system trusts would let any of them vouch for one. For a
/// platform those of the system count where there is no `ca.pem`. Without credentials nobody is trusted.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn client_config(of: Option<&Credential>) -> Result<ClientConfig, String> {
    let roots = match of {
        Some(Credential { ca: Some(ca), .. }) => roots(ca)?,
        Some(Credential { used: Use::Platform, .. }) => trusted(),
        Some(_) | None => RootCertStore::empty(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match of.and_then(|of| of.identity.as_deref()) {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let (chain, key) = identity(pem)?;
            builder.with_client_auth_cert(chain, key).map_err(unfit)?
        }
    };
    config.resumption = Resumption::in_memory_sessions(SERVERS * SESSIONS_EACH);
    Ok(config)
}

/// How a client without credentials connects to agents: it trusts nobody.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, String> {
    client_config(None)
}

/// How a server with these credentials is connected to: TLS 1.2 and 1.3, without renegotiation, which rustls does not have.
/// With a `ca.pem` a client has to show a certificate of that authority.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn server_config(of: &Credential) -> Result<ServerConfig, String> {
    let pem = of.identity.as_deref().ok_or("expected cert.pem and key.pem")?;
    let (chain, key) = identity(pem)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| error.to_string())?;
    let builder = match &of.ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = verifier.build().map_err(|error| format!("ca.pem: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unfit)?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    // A session is only resumed under the settings that it began with: each of them has a key of its own.
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok(config)
}

/// Checks that the certificates can be read.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn check(of: &Credential) -> Result<(), String> {
    of.ca.as_deref().map_or(Ok(()), |ca| roots(ca).map(drop))?;
    of.identity.as_deref().map_or(Ok(()), |pem| identity(pem).map(drop))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn unfit(error: rustls::Error) -> String {
    format!("cert.pem and key.pem: {error}")
}

fn roots(ca: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "ca.pem")? {
        roots.add(certificate).map_err(|error| format!("ca.pem: {error}"))?;
    }
    Ok(roots)
}

/// The authorities that the system trusts. A system without any trusts no `https` platform.
fn trusted() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "failed to read a certificate that the system trusts");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(pem: &[u8]) -> Result<Identity, String> {
    let chain = certificates(pem, "cert.pem")?;
    let key = PrivateKeyDer::from_pem_slice(pem);
    let key = key.map_err(|error| format!("key.pem: expected a private key in PEM: {error}"))?;
    Ok((chain, key))
}

pub(super) fn certificates(pem: &[u8], file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("{file}: expected certificates in PEM: {error}"))?;
    match found.is_empty() {
        true => Err(format!("{file}: expected certificates in PEM, found none")),
        false => Ok(found),
    }
}
