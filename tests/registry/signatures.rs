//! Signatures in registries: where they are found, and what of a registry that lies about them gets.

use std::time::Duration;

use replibook::playbook::policy::{MAX_SIGNATURE_BYTES, Signature};
use replibook::registry::{Bounds, MAX_REFERRERS, Registries, RegistryConfig, RegistryError};
use replibook::run::Digest;
use serde_json::{Value, json};

use super::artefact::{COMPONENT, INDEX, MANIFEST, SIGNATURE, Signed, list, manifest, signature};
use super::liar::{Asked, Liar, Reply};
use super::lies::{reference, short};
use crate::minisign::Key;

type Answer = Box<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// One lie: what is answered, and the error that it gets.
struct Lie {
    name: &'static str,
    code: &'static str,
    says: &'static str,
    answer: Answer,
}

async fn read(host: &str, bounds: Bounds) -> Result<Vec<Signature>, RegistryError> {
    let registries = Registries::new(RegistryConfig { bounds, ..RegistryConfig::default() });
    registries.open(&reference(&format!("{host}/a:1"))).await.unwrap().signatures().await
}

fn texts(found: &[Signature]) -> Vec<String> {
    found.iter().map(|one| one.text().to_owned()).collect()
}

fn signed(texts: &[&str]) -> Signed {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    Signed { component: COMPONENT.to_vec(), texts }
}

#[tokio::test]
async fn signatures_are_listed_by_the_registry_and_each_counts_once() {
    let (key, other) = (Key::new(), Key::new());
    let (one, two) = (key.sign(COMPONENT), other.sign(COMPONENT));
    let both = format!("{one}{two}");
    let true_one = signed(&[&one, &both]);
    let liar = Liar::start(move |asked| true_one.reply(asked)).await;
    assert_eq!(texts(&read(&liar.host, short()).await.unwrap()), [one, two]);
    let asked = liar.asked();
    let listing = asked.iter().find(|asked| asked.is_for("/referrers/")).unwrap();
    let digest = Digest::of(manifest(COMPONENT).to_string().as_bytes());
    assert!(listing.is_for(&format!("/v2/a/referrers/{digest}?artifactType=")), "{listing:?}");
    assert!(!asked.iter().any(|asked| asked.is_for("/manifests/sha256-")));
}

#[tokio::test]
async fn a_list_has_pages_and_other_things_in_it() {
    let (first, second) = (Key::new().sign(COMPONENT), Key::new().sign(COMPONENT));
    let true_one = signed(&[&first, &second]);
    let liar = Liar::start(move |asked| {
        if !asked.is_for("/referrers/") {
            return true_one.reply(asked);
        }
        let other = json!({ "digest": "sha512:00", "artifactType": "application/x" });
        let of = |text: &str| list(&[signature(text.as_bytes(), &manifest(COMPONENT))]);
        let page = if asked.is_for("page=2") { of(&second) } else { of(&first) };
        let mut page = page;
        page["manifests"].as_array_mut().unwrap().extend(vec![other; 5_000]);
        let mut head = vec![format!("content-type: {INDEX}; charset=utf-8")];
        if !asked.is_for("page=2") {
            head.push("link: <?page=2>; rel=\"next\"".to_owned());
        }
        Reply::Whole(200, head, page.to_string().into_bytes())
    })
    .await;
    assert_eq!(read(&liar.host, short()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn where_the_registry_has_no_lists_the_one_under_a_tag_counts() {
    let text = Key::new().sign(COMPONENT);
    let html = || {
        let head = vec!["content-type: text/html".to_owned()];
        Reply::Whole(200, head, b"<html>".to_vec())
    };
    let answers: [fn() -> Reply; 5] = [
        || Reply::status(404, ""),
        || Reply::status(405, ""),
        || Reply::status(400, ""),
        || Reply::status(501, ""),
        html,
    ];
    for no_list in answers {
        let true_one = signed(&[&text]);
        let mut tag = list(&[signature(text.as_bytes(), &manifest(COMPONENT))]);
        // As others copy it: without what they do not know.
        tag["manifests"][0].as_object_mut().unwrap().remove("artifactType");
        let liar = Liar::start(move |asked| match asked.is_for("/referrers/") {
            true => no_list(),
            false if asked.is_for_signatures() => Signed::as_list(&tag),
            false => true_one.reply(asked),
        })
        .await;
        assert_eq!(texts(&read(&liar.host, short()).await.unwrap()), [text.as_str()]);
        let digest = Digest::of(manifest(COMPONENT).to_string().as_bytes());
        let tag = format!("/v2/a/manifests/sha256-{} ", digest.hex());
        assert!(liar.asked().iter().any(|asked| asked.is_for(&tag)), "{:?}", liar.asked());
    }

    let true_one = signed(&[]);
    let liar = Liar::start(move |asked| match asked.is_for_signatures() {
        true => Reply::status(404, ""),
        false => true_one.reply(asked),
    })
    .await;
    assert!(read(&liar.host, short()).await.unwrap().is_empty());
}

#[tokio::test]
async fn each_lie_about_signatures_has_its_own_error() {
    let lies = lies(&Key::new().sign(COMPONENT));
    let mut tests = tokio::task::JoinSet::new();
    for lie in lies {
        tests.spawn(check(lie));
    }
    while let Some(done) = tests.join_next().await {
        done.unwrap();
    }
}

async fn check(lie: Lie) {
    let Lie { name, code, says, answer } = lie;
    let liar = Liar::start(answer).await;
    let read = read(&liar.host, short()).await;
    let error = read.err().unwrap_or_else(|| panic!("{name}: found signatures"));
    let text = error.to_string();
    assert_eq!(error.code(), code, "{name}: {text}");
    assert!(text.contains(says), "{name}: {text}");
    assert!(text.len() < 1_000 && !text.contains("root:x:0:0"), "{name}: {text}");
}

#[tokio::test]
async fn signatures_have_their_own_time() {
    let true_one = signed(&[]);
    let liar = Liar::start(move |asked| match asked.is_for_signatures() {
        true => Reply::Silence,
        false => true_one.reply(asked),
    })
    .await;
    let bounds = Bounds { signatures: Duration::from_millis(200), ..short() };
    let error = read(&liar.host, bounds).await.unwrap_err();
    assert_eq!(error.code(), "registry-out-of-time", "{error}");
}

/// Makes the lies of a registry whose plugin has one signature, with this text.
struct Lies {
    text: String,
    all: Vec<Lie>,
}

impl Lies {
    /// What is asked for with `part` in its address gets this answer, and all else the true one.
    fn of(
        &mut self,
        name: &'static str,
        (code, says): (&'static str, &'static str),
        part: &str,
        reply: impl Fn() -> Reply + Send + Sync + 'static,
    ) {
        let (true_one, part) = (signed(&[&self.text]), part.to_owned());
        let answer =
            move |asked: &Asked| if asked.is_for(&part) { reply() } else { true_one.reply(asked) };
        self.all.push(Lie { name, code, says, answer: Box::new(answer) });
    }

    /// Another manifest of the signature than the true one, with a list that names it.
    fn other(
        &mut self,
        name: &'static str,
        (code, says): (&'static str, &'static str),
        change: impl Fn(&mut Value),
    ) {
        let mut changed = signature(self.text.as_bytes(), &manifest(COMPONENT));
        change(&mut changed);
        let (true_one, listed) = (signed(&[&self.text]), list(std::slice::from_ref(&changed)));
        let digest = Digest::of(changed.to_string().as_bytes());
        let answer = move |asked: &Asked| match asked.is_for("/referrers/") {
            true => Signed::as_list(&listed),
            false if asked.is_for(digest.as_str()) => Reply::json(&changed),
            false => true_one.reply(asked),
        };
        self.all.push(Lie { name, code, says, answer: Box::new(answer) });
    }

    /// Another text of the signature than the true one, with a manifest and a list that name it.
    fn text(&mut self, name: &'static str, says: &'static str, text: &[u8]) {
        let one = signature(text, &manifest(COMPONENT));
        let (true_one, listed) = (signed(&[&self.text]), list(std::slice::from_ref(&one)));
        let (of_one, of_text) = (Digest::of(one.to_string().as_bytes()), Digest::of(text));
        let text = text.to_vec();
        let answer = move |asked: &Asked| match asked.is_for("/referrers/") {
            true => Signed::as_list(&listed),
            false if asked.is_for(of_one.as_str()) => Reply::json(&one),
            false if asked.is_for(of_text.as_str()) => Reply::Whole(200, Vec::new(), text.clone()),
            false => true_one.reply(asked),
        };
        let code = "registry-not-a-signature";
        self.all.push(Lie { name, code, says, answer: Box::new(answer) });
    }
}

fn lies(text: &str) -> Vec<Lie> {
    let mut lies = Lies { text: text.to_owned(), all: Vec::new() };
    about_lists(&mut lies);
    about_manifests(&mut lies);
    about_texts(&mut lies);
    lies.all
}

fn about_lists(lies: &mut Lies) {
    let list = "/referrers/";
    let (too_large, malformed) = ("registry-too-large", "registry-malformed");
    lies.of("an endless list", (too_large, "more bytes"), list, || {
        Reply::Endless(vec![b' '; 65_536], Duration::ZERO)
    });
    lies.of("another digest", ("registry-digest", "has digest sha256:"), list, || {
        let digest = Digest::of(b"other");
        let head = vec![format!("docker-content-digest: {digest}")];
        Reply::Whole(200, head, b"{\"manifests\":[]}".to_vec())
    });
    lies.of("10,000 signatures", ("registry-too-many", "10000 signatures"), list, || {
        let one = json!({ "digest": Digest::of(b"x"), "artifactType": SIGNATURE });
        Signed::as_list(&json!({ "manifests": vec![one; 10_000] }))
    });
    lies.of("10,000 of no type", ("registry-too-many", "10000 signatures"), list, || {
        let one = json!({ "digest": Digest::of(b"x"), "mediaType": MANIFEST, "size": 1 });
        Signed::as_list(&json!({ "manifests": vec![one; 10_000] }))
    });
    lies.of("pages without end", (malformed, "more than 8 pages"), list, || {
        let head = vec!["link: <?page=again>; rel=\"next\"".to_owned()];
        Reply::Whole(200, head, b"{\"manifests\":[]}".to_vec())
    });
    for to in ["http://169.254.169.254/", "/v2/b/referrers/x", "file:///etc/passwd", "x\u{e9}"] {
        lies.of("a page elsewhere", (malformed, "not of the same list"), list, move || {
            let head = vec![format!("link: <{to}>; rel=\"next\"")];
            Reply::Whole(200, head, b"{\"manifests\":[]}".to_vec())
        });
    }
    lies.of("a list elsewhere", ("registry-redirect", "link-local"), list, || {
        Reply::status(307, "location: http://169.254.169.254/latest/meta-data/iam")
    });
    lies.of("no JSON", (malformed, "line 1"), list, || {
        let head = vec![format!("content-type: {INDEX}")];
        Reply::Whole(200, head, b"root:x:0:0".to_vec())
    });
    lies.of("nested without end", (malformed, "line 1"), list, || {
        Reply::Whole(200, Vec::new(), vec![b'['; 100_000])
    });
    lies.of(
        "a manifest as a list",
        (malformed, "expected application/vnd.oci.image.index"),
        list,
        || Signed::as_list(&manifest(COMPONENT)),
    );
    lies.of("a list of nothing", (malformed, "found no `manifests`"), list, || {
        Signed::as_list(&json!({}))
    });
    lies.of("a digest that is a path", (malformed, "expected one of sha256"), list, || {
        let one = json!({ "digest": "sha256:../../etc/passwd", "artifactType": SIGNATURE });
        Signed::as_list(&json!({ "manifests": [one] }))
    });
    lies.of("no access", ("registry-denied", "403"), list, || Reply::status(403, ""));
    lies.of("a failure", ("registry-status", "500"), list, || Reply::status(500, ""));
    let true_one = signed(&[]);
    let answer = move |asked: &Asked| match asked.is_for(list) {
        true => Reply::status(404, ""),
        false if asked.is_for_signatures() => Reply::json(&manifest(COMPONENT)),
        false => true_one.reply(asked),
    };
    let (name, code, says) = ("a plugin under the tag", malformed, "expected application/vnd.oci");
    lies.all.push(Lie { name, code, says, answer: Box::new(answer) });
}

fn about_manifests(lies: &mut Lies) {
    let not = "registry-not-a-signature";
    let true_one = signature(lies.text.as_bytes(), &manifest(COMPONENT)).to_string();
    let digest = Digest::of(true_one.as_bytes());
    lies.of("another manifest", ("registry-digest", "has digest"), digest.as_str(), || {
        Reply::json(&manifest(b"another"))
    });
    lies.of("no manifest", ("registry-not-found", "artefact sha256:"), digest.as_str(), || {
        Reply::status(404, "")
    });
    lies.of("a huge manifest", ("registry-too-large", "32769 bytes"), digest.as_str(), || {
        Reply::Whole(200, Vec::new(), vec![b' '; 32_769])
    });
    lies.other("of another plugin", (not, "found one of the manifest \"sha256:"), |it| {
        it["subject"]["digest"] = json!(Digest::of(b"another"));
    });
    lies.other("of no plugin", (not, "found one of the manifest (none)"), |it| {
        it.as_object_mut().unwrap().remove("subject");
    });
    lies.other("of another type", (not, "found an artefact of another type"), |it| {
        it["artifactType"] = json!("application/x");
    });
    lies.other("an image", (not, "found an artefact of another type"), |it| {
        *it = manifest(COMPONENT);
    });
    lies.other("a list as a manifest", (not, "found a manifest of type"), |it| {
        it["mediaType"] = json!(INDEX);
    });
    lies.other("two layers", (not, "found 2 layers"), |it| {
        let layer = it["layers"][0].clone();
        it["layers"] = json!([layer.clone(), layer]);
    });
    lies.other("a layer of another type", (not, "found a layer of type \"text/plain\""), |it| {
        it["layers"][0]["mediaType"] = json!("text/plain");
    });
    lies.other("a layer that is a path", (not, "expected one of sha256"), |it| {
        it["layers"][0]["digest"] = json!("sha256:../../etc/passwd");
    });
    lies.other("a large signature", ("registry-too-large", "6145 bytes"), |it| {
        it["layers"][0]["size"] = json!(MAX_SIGNATURE_BYTES + 1);
    });
}

fn about_texts(lies: &mut Lies) {
    let digest = Digest::of(lies.text.as_bytes());
    let other = lies.text.replace("made by a test", "made by a tent").into_bytes();
    lies.of("other bytes", ("registry-digest", "has digest"), digest.as_str(), move || {
        Reply::Whole(200, Vec::new(), other.clone())
    });
    lies.of("an endless signature", ("registry-too-large", "more bytes"), digest.as_str(), || {
        Reply::Endless(vec![b'x'; 65_536], Duration::ZERO)
    });
    lies.of("too few bytes", ("registry-length", "has 3 bytes"), digest.as_str(), || {
        Reply::Whole(200, Vec::new(), b"abc".to_vec())
    });
    lies.text("no text", "not UTF-8", b"\xff\xfe");
    lies.text("no signature", "found 1 of its lines", b"root:x:0:0");
    lies.text("nothing", "found nothing", b"");
    let many = lies.text.repeat(9);
    lies.text("nine at once", "found 9 signatures, expected at most 8", many.as_bytes());
}

#[tokio::test]
async fn more_signatures_than_are_read_are_refused_also_in_few_artefacts() {
    let key = Key::new();
    let five = |n: usize| -> String {
        let texts = (0..5).map(|m| key.sign(format!("{n} {m}").as_bytes()));
        texts.collect()
    };
    let all: Vec<String> = (0..=MAX_REFERRERS / 5).map(five).collect();
    assert!(all.len() <= MAX_REFERRERS && all.len() * 5 > MAX_REFERRERS);
    let true_one = Signed { component: COMPONENT.to_vec(), texts: all };
    let liar = Liar::start(move |asked| true_one.reply(asked)).await;
    let error = read(&liar.host, short()).await.unwrap_err();
    assert_eq!(error.code(), "registry-too-many", "{error}");
    assert!(error.to_string().contains("expected at most 32"), "{error}");
}
