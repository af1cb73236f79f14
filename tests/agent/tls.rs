//! Connections to agents on which both sides show a certificate.
//!
//! The keys in `tls/` were made for this test and are used nowhere else.

use std::sync::Arc;

use replibook::agent::{AgentClient as _, AgentError, AgentHttpConfig, HttpAgents};
use replibook::playbook::Tls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

fn path(name: &str) -> String {
    format!("{}/tests/agent/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Answers `info/node`, once per connection, to clients with a certificate of the test's authority.
async fn secured() -> (String, AbortOnDropHandle<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(path("agent.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(path("agent.key")).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 25\r\n\r\n\
                          {\"node_status\":\"HEALTHY\"}";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (address, AbortOnDropHandle::new(server))
}

fn client(ca: Option<&str>, identity: Option<&str>) -> HttpAgents {
    let tls = Tls {
        ca: ca.map(path),
        cert: identity.map(|name| path(&format!("{name}.pem"))),
        key: identity.map(|name| path(&format!("{name}.key"))),
    };
    HttpAgents::new(&AgentHttpConfig { tls: Some(tls), ..AgentHttpConfig::default() }).unwrap()
}

#[tokio::test]
async fn both_sides_show_their_certificate() {
    let (address, _server) = secured().await;
    let node = client(Some("ca.pem"), Some("engine")).node(&address).await.unwrap();
    assert_eq!(node.status, "HEALTHY");
    // Without a certificate of its own the client is turned away.
    let error = client(Some("ca.pem"), None).node(&address).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    // Without the authority the client does not speak to the agent.
    let error = client(None, Some("engine")).node(&address).await.unwrap_err();
    let AgentError::Connect { message, .. } = error else { panic!("{error}") };
    assert!(message.contains("UnknownIssuer"), "{message}");
}

#[test]
fn a_key_that_is_none_is_named() {
    let tls = Tls { ca: None, cert: Some(path("engine.pem")), key: Some(path("ca.pem")) };
    let config = AgentHttpConfig { tls: Some(tls), ..AgentHttpConfig::default() };
    let error = HttpAgents::new(&config).unwrap_err().to_string();
    assert!(error.ends_with("tls/ca.pem: expected a private key in PEM"), "{error}");
}
