//! Finds the signatures of a plugin in its registry, and puts some there. Newer registries list what refers to a manifest. For
//! older ones whoever pushes keeps such a list, under a tag that is made from the manifest's digest.

use bytes::Bytes;
use reqwest::header::{ACCEPT, LINK};
use reqwest::{Method, Url};
use serde_json::Value;

use super::bounds::{MAX_MANIFEST, MAX_PAGES, MAX_REFERRERS, MAX_REWRITES, MAX_SIGNATURE_MANIFEST};
use super::error::RegistryError;
use super::manifest::{ACCEPTED, INDEX_TYPE, shown};
use super::origin::Origin;
use super::pull::{self, Blob, Read};
use super::push::{self, Pushed};
use super::session::{Ask, Session};
use super::signature::{self, Candidate, EMPTY, Listed, SIGNATURE_TYPE};
use crate::playbook::policy::{MAX_SIGNATURE_BYTES, Signature, read_signatures};
use crate::run::Digest;

/// The header with which a registry says that it has put a manifest into its own list.
const SUBJECT: &str = "oci-subject";

/// The signatures that a registry has for a manifest, each once. None of them is checked.
pub(super) async fn signatures(
    session: &mut Session,
    manifest: &Digest,
) -> Result<Vec<Signature>, RegistryError> {
    let mut found: Vec<Signature> = Vec::new();
    for listed in list(session, manifest).await? {
        let read = match one(session, manifest, &listed).await {
            // Nobody said that it is a signature, so it need not be one.
            Err(
                RegistryError::NotFound { .. }
                | RegistryError::TooLarge { .. }
                | RegistryError::NotSignature { .. },
            ) if !listed.1 => Vec::new(),
            read => read?,
        };
        for signature in read {
            if !found.contains(&signature) {
                found.push(signature);
            }
        }
        check_number(manifest, found.len())?;
    }
    Ok(found)
}

/// Refuses more signatures of one plugin than are read.
pub(super) fn check_number(manifest: &Digest, found: usize) -> Result<(), RegistryError> {
    if found <= MAX_REFERRERS {
        return Ok(());
    }
    let (what, found) = (format!("the plugin in {manifest}"), format!("{found} signatures"));
    Err(RegistryError::TooMany { what, found, most: MAX_REFERRERS })
}

/// A manifest in a list, and whether the list says that it is that of a signature.
type InList = (Digest, bool);

/// The manifests of what may be signatures.
async fn list(session: &mut Session, manifest: &Digest) -> Result<Vec<InList>, RegistryError> {
    if let Some(listed) = of_api(session, manifest).await? {
        return Ok(listed);
    }
    let mut found = Vec::new();
    if let Some(page) = of_tag(session, manifest).await? {
        add(&mut found, manifest, &page)?;
    }
    Ok(found)
}

/// Those that the registry lists; `None` if it keeps no lists.
async fn of_api(
    session: &mut Session,
    manifest: &Digest,
) -> Result<Option<Vec<InList>>, RegistryError> {
    let mut url = session.url(&format!("referrers/{manifest}"))?;
    url.query_pairs_mut().append_pair("artifactType", SIGNATURE_TYPE);
    let mut found = Vec::new();
    for is_first in (0..MAX_PAGES).map(|page| page == 0) {
        let ask = Ask {
            method: Method::GET,
            url: url.clone(),
            what: list_of(manifest),
            headers: vec![(ACCEPT, INDEX_TYPE)],
            body: None,
        };
        let page = match pull::read(session, &ask, MAX_MANIFEST, None).await {
            Ok(page) if is_list(&page) => page,
            Ok(page) if !is_first => {
                let message = format!("found a page that is no list, expected {INDEX_TYPE}");
                return Err(malformed(page.origin, manifest, message));
            }
            Err(error) if !is_first => return Err(error),
            // Some answer whatever they do not know with a page for people.
            Ok(_) | Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(RegistryError::Status { status: 400 | 405 | 406 | 501, .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        add(&mut found, manifest, &page)?;
        match next(session, &url, &page)? {
            Some(next) => url = next,
            None => return Ok(Some(found)),
        }
    }
    let message = format!("found a list of more than {MAX_PAGES} pages, expected fewer");
    Err(malformed(session.registry.clone(), manifest, message))
}

fn list_of(manifest: &Digest) -> String {
    format!("list of what refers to {manifest}")
}

fn malformed(origin: Origin, manifest: &Digest, message: String) -> RegistryError {
    RegistryError::Malformed { origin, what: list_of(manifest), message }
}

/// Whether an answer is a list, also if the registry does not say what it is.
fn is_list(page: &Read) -> bool {
    let media_type = page.content_type().map(|text| text.split(';').next().unwrap_or_default());
    media_type.is_none_or(|media_type| media_type.trim() == INDEX_TYPE)
}

/// Adds what may be signatures in a page.
fn add(found: &mut Vec<InList>, manifest: &Digest, page: &Read) -> Result<(), RegistryError> {
    let wrong = |message| malformed(page.origin.clone(), manifest, message);
    let Listed { first, count } = signature::read_list(&page.bytes).map_err(wrong)?;
    check_number(manifest, found.len() + count)?;
    for Candidate { digest, is_said } in first {
        match digest.parse() {
            Ok(digest) => found.push((digest, is_said)),
            Err(_) if is_said => {
                let found = shown(&digest);
                return Err(wrong(format!("found the digest {found}, expected one of sha256")));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// The address of the next page. It is one of the same list.
fn next(session: &Session, url: &Url, page: &Read) -> Result<Option<Url>, RegistryError> {
    let Some(link) = page.headers.get(LINK) else { return Ok(None) };
    let link = link.to_str().ok();
    if link.is_some_and(|link| !link.contains("next")) {
        return Ok(None);
    }
    let link = link.and_then(|link| link.trim().strip_prefix('<')?.split_once('>'));
    let next = link.and_then(|(target, _)| url.join(target).ok());
    let is_same = |next: &Url| {
        Origin::of(next).as_ref() == Some(&session.registry) && next.path() == url.path()
    };
    match next.filter(is_same) {
        Some(next) => Ok(Some(next)),
        None => Err(RegistryError::Malformed {
            origin: page.origin.clone(),
            what: "list of what refers to a plugin".to_owned(),
            message: "found a next page that is not of the same list".to_owned(),
        }),
    }
}

/// The list that others keep under a tag; `None` if there is none.
async fn of_tag(session: &mut Session, manifest: &Digest) -> Result<Option<Read>, RegistryError> {
    let ask = Ask {
        method: Method::GET,
        url: session.url(&format!("manifests/{}", tag(manifest)))?,
        what: list_of(manifest),
        headers: vec![(ACCEPT, ACCEPTED)],
        body: None,
    };
    match pull::read(session, &ask, MAX_MANIFEST, None).await {
        Ok(list) => Ok(Some(list)),
        Err(RegistryError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The tag of the list, as the specification of registries makes it.
fn tag(manifest: &Digest) -> String {
    format!("sha256-{}", manifest.hex())
}

/// Reads the signatures of one artefact, which has to be about this manifest.
async fn one(
    session: &mut Session,
    manifest: &Digest,
    (digest, is_said): &InList,
) -> Result<Vec<Signature>, RegistryError> {
    let what = format!("artefact {digest}");
    let not = |message| RegistryError::NotSignature { what: what.clone(), message };
    let ask = Ask {
        method: Method::GET,
        url: session.url(&format!("manifests/{digest}"))?,
        what: what.clone(),
        headers: vec![(ACCEPT, ACCEPTED)],
        body: None,
    };
    let read = pull::read(session, &ask, MAX_SIGNATURE_MANIFEST, Some(digest)).await?;
    let layer = match signature::read(&read.bytes, manifest).map_err(not)? {
        Some(layer) => layer,
        None if *is_said => {
            return Err(not(format!(
                "found an artefact of another type, expected {SIGNATURE_TYPE}"
            )));
        }
        None => return Ok(Vec::new()),
    };
    if layer.size > MAX_SIGNATURE_BYTES as u64 {
        let (what, most) = (format!("signature in {digest}"), MAX_SIGNATURE_BYTES as u64);
        return Err(RegistryError::TooLarge { what, found: format!("{} bytes", layer.size), most });
    }
    let what = format!("signature in {digest}");
    let wanted = Blob { what, digest: &layer.digest, size: layer.size };
    let bytes = pull::blob(session, wanted, None).await?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| not("found a text that is not UTF-8, expected one of minisign".to_owned()))?;
    read_signatures(text).map_err(|error| not(error.to_string()))
}

/// Puts a signature beside a plugin that was pushed.
pub(super) async fn attach(
    session: &mut Session,
    plugin: &Pushed,
    signature: &Signature,
) -> Result<(), RegistryError> {
    let text = Bytes::from(signature.text().to_owned());
    let subject = (&plugin.manifest, plugin.manifest_size);
    let manifest = Bytes::from(signature::write(&text, subject));
    let empty = (Digest::of(EMPTY), Bytes::from_static(EMPTY));
    let blobs = [(Digest::of(&text), text), empty];
    let (digest, descriptor) = (Digest::of(&manifest), signature::descriptor(&manifest));
    let what = format!("the push of the signature {digest}");
    let head = push::put_artefact(session, &blobs, digest.as_str(), manifest, what).await?;
    let listed = head.get(SUBJECT).and_then(|value| value.to_str().ok());
    match listed == Some(plugin.manifest.as_str()) {
        true => Ok(()),
        false => add_to_tag(session, &plugin.manifest, &descriptor).await,
    }
}

/// Adds a manifest to the list under the tag. Others may write the list at the same time, so it is read again after it was
/// written.
async fn add_to_tag(
    session: &mut Session,
    subject: &Digest,
    descriptor: &Value,
) -> Result<(), RegistryError> {
    for tried in 0..=MAX_REWRITES {
        let (known, origin) = match of_tag(session, subject).await? {
            Some(read) => (read.bytes, read.origin),
            None => (Bytes::from(signature::empty_list()), session.registry.clone()),
        };
        let longer = signature::add_to_list(&known, descriptor)
            .map_err(|message| malformed(origin, subject, message))?;
        let Some(longer) = longer else { return Ok(()) };
        if longer.len() > MAX_MANIFEST {
            let (what, found) = (list_of(subject), format!("{} bytes", longer.len()));
            return Err(RegistryError::TooLarge { what, found, most: MAX_MANIFEST as u64 });
        }
        if tried < MAX_REWRITES {
            let what = format!("the push of the {}", list_of(subject));
            let longer = Bytes::from(longer);
            push::put_manifest(session, &tag(subject), INDEX_TYPE, longer, what).await?;
        }
    }
    let message = format!("the list was written {MAX_REWRITES} times and does not stay");
    Err(malformed(session.registry.clone(), subject, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_signatures_are_pushed_than_are_read() {
        let manifest = Digest::of(b"abc");
        assert!(check_number(&manifest, MAX_REFERRERS).is_ok());
        let error = check_number(&manifest, MAX_REFERRERS + 1).unwrap_err().to_string();
        assert!(error.contains("33 signatures") && error.contains("32"), "{error}");
    }

    #[test]
    fn the_tag_is_that_of_the_specification() {
        let tag = tag(&Digest::of(b"abc"));
        assert_eq!(tag, "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
