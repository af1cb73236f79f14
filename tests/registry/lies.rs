//! Registries that lie, each in its own way. Each lie has its own error, nothing of a password leaves for elsewhere or
//! is in an error, and no plugin comes of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use replibook::credentials::Credentials;
use replibook::playbook::{OciReference, Source};
use replibook::registry::{
    Bounds, MAX_LAYER, MAX_MANIFEST, Progress, Registries, RegistryConfig, RegistryError, Resolved,
};
use replibook::run::Digest;
use serde_json::{Value, json};

use super::artefact::{COMPONENT, MANIFEST, manifest};
use super::liar::{Asked, Liar, Reply};

const PASSWORD: &str = "hunter2";

/// Times that are long for a machine and short for a person.
pub(crate) fn short() -> Bounds {
    Bounds {
        in_all: Duration::from_secs(10),
        connect: Duration::from_secs(5),
        silence: Duration::from_millis(400),
        grace: Duration::from_millis(300),
        rate: 32 * 1024,
        wait: Duration::from_secs(1),
        first_wait: Duration::from_millis(10),
    }
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

type Answer = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// One lie: what is answered, and the error that it gets.
struct Lie {
    name: &'static str,
    answer: Answer,
    code: &'static str,
    says: &'static str,
}

fn lie(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> Lie {
    Lie { name, answer: Box::new(answer), code, says }
}

/// A lie about the manifest; the answer to the rest would be true.
fn of_manifest(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> Lie {
    lie(
        name,
        code,
        says,
        move |asked| if asked.is_for("/manifests/") { reply() } else { honest(asked) },
    )
}

fn of_blob(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> Lie {
    lie(
        name,
        code,
        says,
        move |asked| if asked.is_for("/blobs/") { reply() } else { honest(asked) },
    )
}

fn changed(change: impl Fn(&mut Value) + Send + Sync + 'static) -> impl Fn() -> Reply {
    move || {
        let mut changed = manifest(COMPONENT);
        change(&mut changed);
        Reply::json(&changed)
    }
}

fn honest(asked: &Asked) -> Reply {
    match asked.is_for("/manifests/") {
        true => Reply::json(&manifest(COMPONENT)),
        false => Reply::Whole(200, Vec::new(), COMPONENT.to_vec()),
    }
}

fn redirect(name: &'static str, says: &'static str, to: &'static str) -> Lie {
    of_blob(name, "registry-redirect", says, move || Reply::status(307, &format!("location: {to}")))
}

fn challenge(name: &'static str, code: &'static str, says: &'static str, how: &'static str) -> Lie {
    lie(name, code, says, move |_| Reply::status(401, &format!("www-authenticate: {how}")))
}

fn lies() -> Vec<Lie> {
    let mut lies = manifests();
    lies.extend(blobs());
    lies.extend(redirects());
    lies.extend(tokens());
    lies.extend(statuses());
    lies
}

fn manifests() -> Vec<Lie> {
    let layer = || manifest(COMPONENT)["layers"][0].clone();
    vec![
        of_manifest("another digest in the header", "registry-digest", "expected sha256:", || {
            let header = format!("docker-content-digest: {}", Digest::of(b"other"));
            Reply::Whole(200, vec![header], manifest(COMPONENT).to_string().into_bytes())
        }),
        of_manifest("a huge manifest", "registry-too-large", "2097153 bytes", || {
            Reply::Whole(200, Vec::new(), vec![b' '; MAX_MANIFEST + 1])
        }),
        of_manifest("an endless manifest", "registry-too-large", "more bytes", || {
            Reply::Endless(vec![b' '; 65_536], Duration::ZERO)
        }),
        of_manifest("very many layers", "registry-not-a-plugin", "10000 layers", move || {
            let mut many = manifest(COMPONENT);
            many["layers"] = Value::Array(vec![layer(); 10_000]);
            Reply::json(&many)
        }),
        of_manifest(
            "two layers",
            "registry-not-a-plugin",
            "found 2 layers",
            changed(|it| {
                let layer = it["layers"][0].clone();
                it["layers"] = json!([layer.clone(), layer]);
            }),
        ),
        of_manifest(
            "no layer",
            "registry-not-a-plugin",
            "found 0 layers",
            changed(|it| {
                it["layers"] = json!([]);
            }),
        ),
        of_manifest(
            "an image",
            "registry-not-a-plugin",
            "vnd.oci.image.config",
            changed(|it| {
                it["config"]["mediaType"] = json!("application/vnd.oci.image.config.v1+json");
            }),
        ),
        of_manifest("an index", "registry-not-a-plugin", "an index of 3 manifests", || {
            let kind = "application/vnd.oci.image.index.v1+json";
            Reply::json(&json!({"schemaVersion": 2, "mediaType": kind, "manifests": [{}, {}, {}]}))
        }),
        of_manifest(
            "a manifest of docker",
            "registry-not-a-plugin",
            "docker.distribution",
            changed(|it| {
                it["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
            }),
        ),
        of_manifest("a manifest sent as an index", "registry-not-a-plugin", "was sent as", || {
            let kind = "content-type: application/vnd.oci.image.index.v1+json".to_owned();
            Reply::Whole(200, vec![kind], manifest(COMPONENT).to_string().into_bytes())
        }),
        of_manifest(
            "a layer that is an archive",
            "registry-not-a-plugin",
            "tar+gzip",
            changed(|it| {
                it["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
            }),
        ),
        of_manifest(
            "a type that moves the cursor",
            "registry-not-a-plugin",
            "x [2Jy",
            changed(|it| {
                it["mediaType"] = json!("x\u{1b}[2Jy");
            }),
        ),
        of_manifest(
            "another kind of digest",
            "registry-malformed",
            "one of sha256",
            changed(|it| {
                it["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
            }),
        ),
        of_manifest(
            "a digest that is a path",
            "registry-malformed",
            "one of sha256",
            changed(|it| {
                it["layers"][0]["digest"] = json!("sha256:../../../../etc/passwd");
            }),
        ),
        of_manifest(
            "a negative size",
            "registry-malformed",
            "another type",
            changed(|it| {
                it["layers"][0]["size"] = json!(-1);
            }),
        ),
        of_manifest(
            "a huge layer",
            "registry-too-large",
            "67108865 bytes",
            changed(|it| {
                it["layers"][0]["size"] = json!(MAX_LAYER + 1);
            }),
        ),
        of_manifest(
            "an old manifest",
            "registry-malformed",
            "schemaVersion",
            changed(|it| {
                it["schemaVersion"] = json!(1);
            }),
        ),
        of_manifest("no JSON", "registry-malformed", "line 1", || {
            Reply::Whole(200, Vec::new(), b"<html>".to_vec())
        }),
        of_manifest(
            "a type that goes on and on",
            "registry-malformed",
            "another type",
            changed(|it| {
                it["schemaVersion"] = json!("root:x:0:0".repeat(100_000));
            }),
        ),
        of_manifest("nested without end", "registry-malformed", "line 1", || {
            Reply::Whole(200, Vec::new(), vec![b'['; 100_000])
        }),
    ]
}

fn blobs() -> Vec<Lie> {
    let whole = |bytes: Vec<u8>| move || Reply::Whole(200, Vec::new(), bytes.clone());
    let mut other = COMPONENT.to_vec();
    other[9] ^= 1;
    vec![
        of_blob("other bytes", "registry-digest", "has digest sha256:", whole(other)),
        of_blob("too few bytes", "registry-length", "has 8 bytes", whole(COMPONENT[..8].to_vec())),
        of_blob("too many bytes", "registry-too-large", "bytes", whole([COMPONENT, b"!"].concat())),
        of_blob("an endless blob", "registry-too-large", "more bytes", || {
            Reply::Endless(vec![0; 65_536], Duration::ZERO)
        }),
        of_blob("a connection that breaks", "registry-unreachable", "broke off", || {
            Reply::CutOff(COMPONENT.len(), COMPONENT[..8].to_vec())
        }),
        of_blob("a blob that is not there", "registry-not-found", "BLOB_UNKNOWN", || {
            let body = br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"root:x:0:0"}]}"#;
            Reply::Whole(404, Vec::new(), body.to_vec())
        }),
        lie(
            "a slow drip",
            "registry-slow",
            "expected at least 32768 a second",
            |asked| match asked.is_for("/manifests/") {
                true => {
                    let mut large = manifest(COMPONENT);
                    large["layers"][0]["size"] = json!(1_000_000);
                    Reply::json(&large)
                }
                false => Reply::Endless(b"x".to_vec(), Duration::from_millis(20)),
            },
        ),
        of_blob("silence", "registry-slow", "no answer", || Reply::Silence),
        of_blob("silence in the middle", "registry-slow", "found nothing for", || {
            Reply::Endless(COMPONENT[..8].to_vec(), Duration::from_secs(60))
        }),
    ]
}

fn redirects() -> Vec<Lie> {
    let metadata = "http://169.254.169.254/latest/meta-data/iam";
    vec![
        redirect("to what knows passwords", "a link-local or reserved address", metadata),
        redirect("to this machine", "an address of this machine", "http://127.0.0.1:1/admin"),
        redirect("to a name of this machine", "an address of this machine", "https://localhost:1/"),
        redirect(
            "to this machine in hexadecimal",
            "an address of this machine",
            "https://0x7f000001/",
        ),
        redirect("to a private network", "an address of a private network", "https://10.0.0.1/"),
        redirect(
            "to IPv4 within IPv6",
            "a link-local or reserved",
            "https://[::ffff:169.254.169.254]/",
        ),
        redirect("without encryption", "not encrypted", "http://93.184.216.34/"),
        redirect("to a file", "not of http", "file:///etc/passwd"),
        redirect("with a password in it", "name or password", "https://ada:x@93.184.216.34/"),
        redirect("to nowhere", "to no address", "http://"),
        lie("in a circle", "registry-redirect", "at most 4 redirects", |asked| {
            match asked.is_for("/manifests/") {
                true => Reply::status(302, "location: /v2/a/manifests/again"),
                false => honest(asked),
            }
        }),
    ]
}

fn tokens() -> Vec<Lie> {
    let elsewhere = "Bearer realm=\"https://93.184.216.34/token\",service=\"x\"";
    vec![
        challenge(
            "a token server of another host",
            "registry-token-server",
            "https://93.184.216.34",
            elsewhere,
        ),
        challenge(
            "a token server that knows passwords",
            "registry-address",
            "link-local",
            "Bearer realm=\"http://169.254.169.254/token\"",
        ),
        challenge(
            "a token server without encryption",
            "registry-plain-http",
            "--registry-plain-http 93.184.216.34",
            "Bearer realm=\"http://93.184.216.34/token\"",
        ),
        challenge(
            "a realm that is none",
            "registry-challenge",
            "expected an address",
            "Bearer realm=\"x\"",
        ),
        challenge(
            "an unknown login",
            "registry-challenge",
            "neither Basic nor Bearer",
            "Negotiate",
        ),
        challenge(
            "a login that is never enough",
            "registry-denied",
            "with the credentials \"house\"",
            "Basic",
        ),
        token("a token that is no JSON", "registry-malformed", "`token`", || {
            Reply::Whole(200, Vec::new(), b"hunter2".to_vec())
        }),
        token("a huge token", "registry-too-large", "65537 bytes", || {
            Reply::Whole(200, Vec::new(), vec![b'x'; 65_537])
        }),
        token("a token that is too long", "registry-malformed", "at most 16384", || {
            Reply::json(&json!({"token": "x".repeat(16_385)}))
        }),
        token("a token with a header in it", "registry-challenge", "odd characters", || {
            Reply::json(&json!({"token": "a\r\nx-evil: 1"}))
        }),
        token("a token server that sends on", "registry-status", "status 307", || {
            Reply::status(307, "location: https://93.184.216.34/token")
        }),
        token("a token server that is busy", "registry-busy", "after 7 s", || {
            Reply::status(429, "retry-after: 7")
        }),
        token("a token that is refused", "registry-denied", "401", || {
            Reply::json(&json!({"token": "t"}))
        }),
    ]
}

/// A token server at the registry itself, which is told the password.
fn token(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> Lie {
    lie(name, code, says, move |asked| match asked.is_for("/token") {
        true => reply(),
        false => {
            let host = asked.header("host").unwrap_or_default();
            Reply::status(401, &format!("www-authenticate: Bearer realm=\"http://{host}/token\""))
        }
    })
}

fn statuses() -> Vec<Lie> {
    vec![
        of_manifest("no access", "registry-denied", "(403, DENIED)", || {
            Reply::Whole(403, Vec::new(), br#"{"errors":[{"code":"DENIED"}]}"#.to_vec())
        }),
        of_manifest("a long wait", "registry-busy", "after 3600 s", || {
            Reply::status(429, "retry-after: 3600")
        }),
        of_manifest("a wait without end", "registry-busy", "status 503", || Reply::status(503, "")),
        of_manifest("a failure", "registry-status", "status 500", || {
            Reply::Whole(500, Vec::new(), b"panic at /srv/secret.go".to_vec())
        }),
        of_manifest("no HTTP", "registry-unreachable", "failed to reach", || {
            Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())
        }),
    ]
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
    let Lie { name, answer, code, says } = lie;
    let liar = Liar::start(answer).await;
    let folder = tempfile::tempdir().unwrap();
    let origin = format!("http://{}", liar.host);
    let credentials = credentials(folder.path(), &format!("ada:{PASSWORD}"), &[&origin]);
    let bounds = short();
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
async fn a_registry_that_is_busy_for_a_moment_is_asked_again() {
    let busy = Arc::new(std::sync::atomic::AtomicU32::new(2));
    let left = busy.clone();
    let liar = Liar::start(move |asked| {
        use std::sync::atomic::Ordering::SeqCst;
        match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Reply::status(429, "retry-after: 0"),
            Err(_) => honest(asked),
        }
    })
    .await;
    let registries =
        Registries::new(RegistryConfig { bounds: short(), ..RegistryConfig::default() });
    let (_, bytes) = pull(&registries, &reference(&format!("{}/a:1", liar.host))).await.unwrap();
    assert_eq!(bytes, COMPONENT);
    assert_eq!(liar.asked().len(), 4);
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
