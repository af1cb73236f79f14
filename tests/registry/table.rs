//! The lies, and the error of each.

use std::time::Duration;

use replibook::registry::{MAX_LAYER, MAX_MANIFEST};
use replibook::run::Digest;
use serde_json::{Value, json};

use super::artefact::{COMPONENT, manifest};
use super::liar::{Asked, Reply};

type Answer = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// One lie: what is answered, and the error that it gets.
pub(super) struct Lie {
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    pub(super) code: &'static str,
    pub(super) says: &'static str,
    /// Whether the lie is to take longer than one waits for.
    pub(super) is_slow: bool,
}

impl Lie {
    fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }
}

fn lie(
    name: &'static str,
    code: &'static str,
    says: &'static str,
    answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> Lie {
    Lie { name, answer: Box::new(answer), code, says, is_slow: false }
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

/// The truth.
pub(super) fn honest(asked: &Asked) -> Reply {
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

/// All of them.
pub(super) fn lies() -> Vec<Lie> {
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
        )
        .slow(),
        of_blob("silence", "registry-slow", "no answer", || Reply::Silence).slow(),
        of_blob("silence in the middle", "registry-slow", "found nothing for", || {
            Reply::Endless(COMPONENT[..8].to_vec(), Duration::from_secs(60))
        })
        .slow(),
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
