//! The settings of TLS that credentials stand for.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
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

/// Says whose certificates are those of clients.
pub(super) type Clients = Arc<dyn ClientCertVerifier>;

/// How a server with these credentials is connected to: TLS 1.2 and 1.3, without renegotiation, which rustls does not have.
/// With a `ca.pem` a client has to show a certificate of that authority, which is what the second value checks.
///
/// # Errors
/// What is wrong with which file.
pub(super) fn server_config(of: &Credential) -> Result<(ServerConfig, Option<Clients>), String> {
    let pem = of.identity.as_deref().ok_or("expected cert.pem and key.pem")?;
    let (chain, key) = identity(pem)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| error.to_string())?;
    let clients = of.ca.as_deref().map(clients).transpose()?;
    let builder = match &clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unfit)?;
    config.alpn_protocols = vec![HTTP_1.to_vec()];
    // A session is only resumed under the settings that it began with: each of them has a key of its own.
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok((config, clients))
}

fn clients(ca: &[u8]) -> Result<Clients, String> {
    let roots = Arc::new(roots(ca)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let verifier = verifier.build().map_err(|error| format!("ca.pem: {error}"))?;
    Ok(verifier)
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

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;
    use rustls::{ClientConnection, HandshakeKind, ServerConnection};

    use super::super::folder::Credentials;
    use super::*;
    use crate::certificates::{Authority, Files, put};

    /// More than have room if the room for sessions is shared out among servers.
    const MANY: usize = SERVERS / SESSIONS_EACH + 1;

    #[test]
    fn sessions_with_the_agents_of_a_large_cluster_are_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("ours");
        let identity = authority.issue(&["*.example.com"]);
        let (ca, identity) = (Some(&authority), Some(&identity));
        for used in ["agent", "server"] {
            let origins: &[&str] = if used == "agent" { &["https://*.example.com"] } else { &[] };
            put(folder.path(), used, &Files { used, origins, ca, identity, token: None });
        }
        let folder = Credentials::open(folder.path()).unwrap();
        let read = |name: &str| folder.read(name).unwrap();
        let client = Arc::new(client_config(Some(&read("agent"))).unwrap());
        let server = Arc::new(server_config(&read("server")).unwrap().0);
        let kind = |number: usize| {
            let name = ServerName::try_from(format!("n{number}.example.com")).unwrap();
            let mut ours = ClientConnection::new(Arc::clone(&client), name).unwrap();
            let mut theirs = ServerConnection::new(Arc::clone(&server)).unwrap();
            while ours.wants_write() || theirs.wants_write() {
                let mut wire = Vec::new();
                ours.write_tls(&mut wire).unwrap();
                let mut rest = &wire[..];
                while !rest.is_empty() {
                    theirs.read_tls(&mut rest).unwrap();
                    theirs.process_new_packets().unwrap();
                }
                let mut wire = Vec::new();
                theirs.write_tls(&mut wire).unwrap();
                let mut rest = &wire[..];
                while !rest.is_empty() {
                    ours.read_tls(&mut rest).unwrap();
                    ours.process_new_packets().unwrap();
                }
            }
            ours.handshake_kind().unwrap()
        };
        assert!((0..MANY).all(|number| kind(number) == HandshakeKind::Full));
        assert_eq!(kind(0), HandshakeKind::Resumed);
    }
}
