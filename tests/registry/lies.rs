//! Registries that lie, each in its own way. Each lie has its own error, nothing of a password leaves for elsewhere or
//! is in an error, and no plugin comes of it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use replibook::credentials::Credentials;
use replibook::playbook::{OciReference, Source};
use replibook::registry::{Bounds, Progress, Registries, RegistryConfig, RegistryError, Resolved};
use replibook::run::Digest;
use serde_json::json;

use super::artefact::{COMPONENT, MANIFEST, manifest};
use super::liar::{Asked, Liar, Reply};
use super::table::{Lie, honest, lies};

const PASSWORD: &str = "hunter2";

/// Times that are long even for a busy machine. Only waits that a registry asks for are short.
pub(crate) fn short() -> Bounds {
    Bounds {
        in_all: Duration::from_secs(120),
        signatures: Duration::from_secs(60),
        connect: Duration::from_secs(20),
        silence: Duration::from_secs(20),
        grace: Duration::from_secs(20),
        rate: 32 * 1024,
        wait: Duration::from_secs(1),
        first_wait: Duration::from_millis(10),
    }
}

/// For registries that are too slow.
fn hurried() -> Bounds {
    Bounds { silence: Duration::from_secs(3), grace: Duration::from_millis(300), ..short() }
}

/// A folder of credentials for these origins.
pub(crate) fn credentials(folder: &Path, token: &str, origins: &[&str]) -> Credentials {
    let house = folder.join("house");
    std::fs::create_dir_all(&house).unwrap();
    let about = json!({ "use": "registry", "origins": origins });
    std::fs::write(house.join("for.yaml"), about.to_string()).unwrap();
    std::fs::write(house.join("token"), token).unwrap();
    Credentials::open(folder).unwrap()
}

pub(crate) fn reference(text: &str) -> OciReference {
    match Source::parse(&format!("oci://{text}")) {
        Some(Source::Oci(reference)) => reference,
        other => panic!("{text}: {other:?}"),
    }
}

pub(crate) async fn pull(
    registries: &Registries,
    of: &OciReference,
) -> Result<(Resolved, Bytes), RegistryError> {
    let artefact = registries.open(of).await?;
    let found = artefact.found().clone();
    Ok((found, artefact.bytes(&Progress::default()).await?))
}

/// Every password and token that there is, and what an answer must not bring to whoever asks.
const SECRETS: [&str; 5] = [PASSWORD, "YWRhOmh1bnRlcjI", "root:x:0:0", "secret.go", "\u{1b}"];

#[tokio::test]
async fn each_lie_has_its_own_error() {
    let lies = lies();
    assert!(lies.len() >= 40, "found {}", lies.len());
    let mut tests = tokio::task::JoinSet::new();
    for lie in lies {
        tests.spawn(check(lie));
    }
    while let Some(done) = tests.join_next().await {
        done.unwrap();
    }
}

async fn check(lie: Lie) {
    let Lie { name, answer, code, says, is_slow } = lie;
    let liar = Liar::start(answer).await;
    let folder = tempfile::tempdir().unwrap();
    let origin = format!("http://{}", liar.host);
    let credentials = credentials(folder.path(), &format!("ada:{PASSWORD}"), &[&origin]);
    let bounds = if is_slow { hurried() } else { short() };
    let config =
        RegistryConfig { credentials: Some(credentials), bounds, ..RegistryConfig::default() };
    let pulled = pull(&Registries::new(config), &reference(&format!("{}/a:1", liar.host))).await;
    let error = pulled.err().unwrap_or_else(|| panic!("{name}: found a plugin"));
    let text = error.to_string();
    assert_eq!(error.code(), code, "{name}: {text}");
    assert!(text.contains(says), "{name}: {text}");
    assert!(text.len() < 1_000, "{name}: {text}");
    for secret in SECRETS {
        assert!(!text.contains(secret), "{name}: {text}");
        assert!(!format!("{error:?}").contains(secret), "{name}: {error:?}");
    }
    // The password goes only where a challenge of the registry itself leads.
    let told = |asked: &Asked| asked.header("authorization").is_some();
    let may_tell = code == "registry-denied" || liar.asked().iter().any(|it| it.is_for("/token"));
    assert!(may_tell || !liar.asked().iter().any(told), "{name}: {:?}", liar.asked());
}

#[tokio::test]
async fn a_manifest_that_is_asked_for_by_digest_has_it() {
    let liar = Liar::start(honest).await;
    let registries =
        Registries::new(RegistryConfig { bounds: short(), ..RegistryConfig::default() });
    let digest = Digest::of(manifest(COMPONENT).to_string().as_bytes());
    let of = reference(&format!("{}/a@{digest}", liar.host));
    let (found, bytes) = pull(&registries, &of).await.unwrap();
    assert_eq!((found.manifest, &bytes[..]), (digest, COMPONENT));

    let other = reference(&format!("{}/a@{}", liar.host, Digest::of(b"other")));
    let error = pull(&registries, &other).await.unwrap_err();
    assert_eq!(error.code(), "registry-digest", "{error}");
}

#[tokio::test]
async fn a_registry_that_is_busy_or_fails_for_a_moment_is_asked_again() {
    for (status, head) in [(429, "retry-after: 0"), (500, "")] {
        let left = std::sync::atomic::AtomicU32::new(2);
        let liar = Liar::start(move |asked| {
            use std::sync::atomic::Ordering::SeqCst;
            match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => Reply::status(status, head),
                Err(_) => honest(asked),
            }
        })
        .await;
        let registries =
            Registries::new(RegistryConfig { bounds: short(), ..RegistryConfig::default() });
        let of = reference(&format!("{}/a:1", liar.host));
        let (_, bytes) = pull(&registries, &of).await.unwrap();
        assert_eq!(bytes, COMPONENT);
        assert_eq!(liar.asked().len(), 4);
    }
}

#[tokio::test]
async fn everything_together_has_its_time() {
    let liar = Liar::start(|_| Reply::Silence).await;
    let bounds =
        Bounds { in_all: Duration::from_millis(50), silence: Duration::from_secs(60), ..short() };
    let registries = Registries::new(RegistryConfig { bounds, ..RegistryConfig::default() });
    let error = pull(&registries, &reference(&format!("{}/a:1", liar.host))).await.unwrap_err();
    assert_eq!(error.code(), "registry-out-of-time", "{error}");
    assert!(error.retryable());
}

#[tokio::test]
async fn only_named_registries_are_asked_without_encryption() {
    let registries = Registries::default();
    // The address is one that nobody has; without the check it would be asked until a time-out.
    let of = reference("[2001:db8::1]:5000/a:1");
    assert_eq!(pull(&registries, &of).await.unwrap_err().code(), "registry-address");
    let plain = vec!["registry.invalid:5000".to_owned()];
    let config = RegistryConfig { plain_http: plain, ..RegistryConfig::default() };
    let error = pull(&Registries::new(config), &reference("registry.invalid:5000/a:1")).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("http://registry.invalid:5000"), "{error}");
    let error = pull(&registries, &reference("registry.invalid:5000/a:1")).await.unwrap_err();
    assert!(error.to_string().contains("https://registry.invalid:5000"), "{error}");
    assert_eq!(MANIFEST, manifest(COMPONENT)["mediaType"]);
}
