//! Who is told a password, and who is not.

use std::sync::Arc;

use replibook::registry::{Registries, RegistryConfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::artefact::{COMPONENT, manifest};
use super::liar::{Asked, Liar, Reply};
use super::lies::{credentials, pull, reference, short};

/// The password, as it is sent.
const BASIC: &str = "Basic YWRhOmh1bnRlcjI=";

fn registries(folder: &std::path::Path, token: &str, origins: &[&str]) -> Registries {
    let credentials = Some(credentials(folder, token, origins));
    Registries::new(RegistryConfig { credentials, bounds: short(), ..RegistryConfig::default() })
}

fn honest(asked: &Asked) -> Reply {
    match asked.is_for("/manifests/") {
        true => Reply::json(&manifest(COMPONENT)),
        false => Reply::Whole(200, Vec::new(), COMPONENT.to_vec()),
    }
}

#[tokio::test]
async fn a_password_does_not_follow_a_redirect() {
    let blobs = Liar::start(|_| Reply::Whole(200, Vec::new(), COMPONENT.to_vec())).await;
    let to = blobs.host.clone();
    let registry = Liar::start(move |asked| match asked.header("authorization") {
        None => Reply::status(401, "www-authenticate: Basic realm=\"x\""),
        Some(_) if asked.is_for("/blobs/") => {
            Reply::status(307, &format!("location: http://{to}/bucket/blob?signature=s3cret"))
        }
        Some(_) => honest(asked),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let origins = [format!("http://{}", registry.host), format!("http://{}", blobs.host)];
    let registries = registries(folder.path(), "ada:hunter2", &[&origins[0], &origins[1]]);
    let of = reference(&format!("{}/a:1", registry.host));
    let (_, bytes) = pull(&registries, &of).await.unwrap();
    assert_eq!(bytes, COMPONENT);
    let told: Vec<_> =
        registry.asked().iter().map(|it| it.header("authorization").map(str::to_owned)).collect();
    assert_eq!(told, [None, Some(BASIC.to_owned()), Some(BASIC.to_owned())]);
    let elsewhere = blobs.asked();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].header("authorization"), None);
    assert_eq!(elsewhere[0].header("referer"), None);
    assert!(elsewhere[0].is_for("signature=s3cret"));
}

#[tokio::test]
async fn a_named_token_server_is_told_the_password_and_the_registry_the_token() {
    let tokens = Liar::start(|_| Reply::json(&json!({"access_token": "t0ken"}))).await;
    let realm = format!(
        "Bearer realm=\"http://{}/token?a=b\",service=\"house\",scope=\"repository:*:*\"",
        tokens.host
    );
    let registry = Liar::start(move |asked| match asked.header("authorization") {
        None => Reply::status(401, &format!("www-authenticate: {realm}")),
        Some(_) => honest(asked),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let origins = [format!("http://{}", registry.host), format!("http://{}", tokens.host)];
    let of = reference(&format!("{}/ops/drain:1", registry.host));
    pull(&registries(folder.path(), "ada:hunter2", &[&origins[0], &origins[1]]), &of)
        .await
        .unwrap();
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), Some(BASIC));
    // What is asked for follows from what is wanted, and not from what the registry says.
    let expected = "GET /token?a=b&service=house&scope=repository%3Aops%2Fdrain%3Apull ";
    assert!(asked[0].line.starts_with(expected), "{}", asked[0].line);
    let seen = registry.asked();
    assert!(seen.iter().all(|it| it.header("authorization") != Some(BASIC)), "{seen:?}");
    assert_eq!(seen[1].header("authorization"), Some("Bearer t0ken"));

    // Without being named it is told nothing, and isn't even asked.
    let other = tempfile::tempdir().unwrap();
    let error =
        pull(&registries(other.path(), "ada:hunter2", &[&origins[0]]), &of).await.unwrap_err();
    assert_eq!(error.code(), "registry-address", "{error}");
    assert_eq!(tokens.asked().len(), 1);
}

#[tokio::test]
async fn a_token_is_told_to_the_registry_at_once() {
    let registry = Liar::start(honest).await;
    let folder = tempfile::tempdir().unwrap();
    let origin = format!("http://{}", registry.host);
    let of = reference(&format!("{}/a:1", registry.host));
    pull(&registries(folder.path(), "t0ken\n", &[&origin]), &of).await.unwrap();
    let seen = registry.asked();
    assert!(seen.iter().all(|it| it.header("authorization") == Some("Bearer t0ken")), "{seen:?}");
}

#[tokio::test]
async fn credentials_of_another_use_or_origin_are_not_used() {
    let registry = Liar::start(|_| Reply::status(401, "www-authenticate: Basic")).await;
    let folder = tempfile::tempdir().unwrap();
    let of = reference(&format!("{}/a:1", registry.host));
    let wrong =
        registries(folder.path(), "ada:hunter2", &["http://127.0.0.1:1", "https://a.example"]);
    let error = pull(&wrong, &of).await.unwrap_err().to_string();
    assert!(error.contains("asked without credentials"), "{error}");
    let about = format!("use: agent\norigins: ['http://{}']", registry.host);
    std::fs::write(folder.path().join("house/for.yaml"), about).unwrap();
    // The folder is read when it is needed.
    let error = pull(&wrong, &of).await.unwrap_err().to_string();
    assert!(error.contains("asked without credentials"), "{error}");
    assert!(registry.asked().iter().all(|it| it.header("authorization").is_none()));
    std::fs::write(folder.path().join("house/for.yaml"), "use: registry\norigins: [x]").unwrap();
    let error = pull(&wrong, &of).await.unwrap_err();
    assert_eq!(error.code(), "registry-credentials", "{error}");
}

#[tokio::test]
async fn the_file_of_docker_is_read_where_there_are_no_credentials() {
    let registry = Liar::start(|asked| match asked.header("authorization") {
        None => Reply::status(401, "www-authenticate: Basic"),
        Some(_) => honest(asked),
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = json!({"auths": {&registry.host: {"auth": "YWRhOmh1bnRlcjI="}}});
    std::fs::write(file.path(), text.to_string()).unwrap();
    let docker = Some(file.path().to_owned());
    let config = RegistryConfig { docker, bounds: short(), ..RegistryConfig::default() };
    pull(&Registries::new(config), &reference(&format!("{}/a:1", registry.host))).await.unwrap();
    assert_eq!(registry.asked()[1].header("authorization"), Some(BASIC));
}

/// Keys that were made for tests and are used nowhere else.
fn key(name: &str) -> String {
    format!("{}/tests/agent/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Asks for a certificate of the test's authority.
fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(key("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(key("agent.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(key("agent.key")).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn authorities_and_certificates_are_those_of_the_credentials() {
    let registry = Liar::secured(Some(acceptor()), honest).await;
    let folder = tempfile::tempdir().unwrap();
    let origin = format!("https://{}", registry.host);
    let of = reference(&format!("{}/a:1", registry.host));
    let registries = registries(folder.path(), "t0ken", &[&origin]);
    let copy = |from: &str, to: &str| {
        std::fs::copy(key(from), folder.path().join("house").join(to)).unwrap();
    };
    // The authority is not one of the system's.
    let error = pull(&registries, &of).await.unwrap_err();
    assert_eq!(error.code(), "registry-unreachable", "{error}");
    copy("ca.pem", "ca.pem");
    // The registry wants a certificate.
    assert_eq!(pull(&registries, &of).await.unwrap_err().code(), "registry-unreachable");
    assert!(registry.asked().is_empty());
    copy("engine.pem", "cert.pem");
    copy("engine.key", "key.pem");
    let (_, bytes) = pull(&registries, &of).await.unwrap();
    assert_eq!(bytes, COMPONENT);
    assert_eq!(registry.asked()[0].header("authorization"), Some("Bearer t0ken"));
}
