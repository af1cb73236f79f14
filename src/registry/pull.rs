//! From a reference to bytes: the manifest, then its one layer. Both are checked by checksums of ours.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};

use super::body::{self, Expected};
use super::bounds::{MAX_LAYER, MAX_MANIFEST};
use super::error::RegistryError;
use super::manifest::{self, ACCEPTED, Layer, Unfit};
use super::origin::Origin;
use super::session::{Ask, Session};
use crate::playbook::{OciReference, OciVersion};
use crate::run::Digest;

/// How far a pull is. Whoever pulls writes it, and others may look at any time.
#[derive(Debug, Default)]
pub struct Progress {
    received: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes of the plugin that have come.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes that the plugin has; 0 as long as that is not known.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }
}

/// What a reference stands for at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the plugin, as the manifest names it.
    pub digest: Digest,
    /// Size of the plugin in bytes, as the manifest names it.
    pub size: u64,
}

/// The header in which a registry says which digest a manifest has.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// A manifest or a list as it came. Its digest is that of its bytes.
pub(super) struct Read {
    pub(super) bytes: Bytes,
    pub(super) digest: Digest,
    pub(super) headers: HeaderMap,
    pub(super) origin: Origin,
}

impl Read {
    /// The type that the registry says it has.
    pub(super) fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
    }
}

/// Sends a request for a manifest or a list, and reads at most `most` bytes. It has to have the digest that is asked for,
/// if one is, and the one that the registry says it has.
pub(super) async fn read(
    session: &mut Session,
    ask: &Ask,
    most: usize,
    asked: Option<&Digest>,
) -> Result<Read, RegistryError> {
    let (response, origin) = session.send(ask).await?;
    if response.status() != StatusCode::OK {
        return Err(session.refused(response, origin, &ask.what).await);
    }
    let headers = response.headers().clone();
    let expected = Expected { origin: &origin, what: &ask.what, most };
    let bytes = body::read(response, &expected, &session.bounds, None).await?;
    let digest = check_digest(asked, &ask.what, &headers, &bytes)?;
    Ok(Read { bytes, digest, headers, origin })
}

/// Reads the manifest of a reference.
pub(super) async fn resolve(
    session: &mut Session,
    reference: &OciReference,
) -> Result<Resolved, RegistryError> {
    let (version, asked) = match &reference.version {
        OciVersion::Tag(tag) => (tag.clone(), None),
        OciVersion::Digest(digest) => (digest.to_string(), Some(digest)),
    };
    let ask = Ask {
        method: Method::GET,
        url: session.url(&format!("manifests/{version}"))?,
        what: format!("manifest {reference}"),
        headers: vec![(ACCEPT, ACCEPTED)],
        body: None,
    };
    let read = read(session, &ask, MAX_MANIFEST, asked).await?;
    let Layer { digest, size } = manifest::read(&read.bytes, read.content_type())
        .map_err(|unfit| refuse(unfit, reference, &read.origin, &ask.what))?;
    if size > MAX_LAYER as u64 {
        let what = format!("the plugin in {reference}");
        let found = format!("{size} bytes");
        return Err(RegistryError::TooLarge { what, found, most: MAX_LAYER as u64 });
    }
    Ok(Resolved { manifest: read.digest, digest, size })
}

/// The digest of these bytes, if it is the one that was asked for and that the registry says it is.
fn check_digest(
    asked: Option<&Digest>,
    what: &str,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Digest, RegistryError> {
    let found = Digest::of(bytes);
    let said = headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
    // Other kinds of digest say nothing that could be checked here.
    let said = said.and_then(|said| said.parse::<Digest>().ok());
    match asked.cloned().into_iter().chain(said).find(|expected| *expected != found) {
        None => Ok(found),
        Some(expected) => Err(RegistryError::Digest { what: what.to_owned(), found, expected }),
    }
}

fn refuse(unfit: Unfit, reference: &OciReference, origin: &Origin, what: &str) -> RegistryError {
    match unfit {
        Unfit::NotPlugin(found) => RegistryError::NotPlugin { what: reference.to_string(), found },
        Unfit::Malformed(message) => {
            RegistryError::Malformed { origin: origin.clone(), what: what.to_owned(), message }
        }
    }
}

/// A blob that a manifest names.
pub(super) struct Blob<'a> {
    /// What it is, for messages.
    pub(super) what: String,
    pub(super) digest: &'a Digest,
    /// Its size in bytes, which was found to be small enough.
    pub(super) size: u64,
}

/// Reads the plugin that a manifest names.
pub(super) async fn plugin(
    session: &mut Session,
    resolved: &Resolved,
    progress: &Progress,
) -> Result<Bytes, RegistryError> {
    let Resolved { digest, size, .. } = resolved;
    progress.expect(*size);
    let wanted = Blob { what: format!("plugin {digest}"), digest, size: *size };
    blob(session, wanted, Some(progress)).await
}

/// Reads a blob: exactly the bytes that have its size and its digest.
pub(super) async fn blob(
    session: &mut Session,
    wanted: Blob<'_>,
    progress: Option<&Progress>,
) -> Result<Bytes, RegistryError> {
    let Blob { what, digest, size } = wanted;
    let (url, headers) = (session.url(&format!("blobs/{digest}"))?, Vec::new());
    let ask = Ask { method: Method::GET, url, what, headers, body: None };
    let (response, origin) = session.send(&ask).await?;
    if response.status() != StatusCode::OK {
        return Err(session.refused(response, origin, &ask.what).await);
    }
    let most = usize::try_from(size).unwrap_or(MAX_LAYER).min(MAX_LAYER);
    let expected = Expected { origin: &origin, what: &ask.what, most };
    let bytes = body::read(response, &expected, &session.bounds, progress).await?;
    if bytes.len() as u64 != size {
        let found = bytes.len() as u64;
        return Err(RegistryError::Length { what: ask.what, found, expected: size });
    }
    // Some megabytes take milliseconds, for which the event loop would stand still.
    let hashed = bytes.clone();
    let found = tokio::task::spawn_blocking(move || Digest::of(&hashed)).await;
    let found = found.map_err(|error| RegistryError::Client(error.to_string()))?;
    match found == *digest {
        true => Ok(bytes),
        false => Err(RegistryError::Digest { what: ask.what, found, expected: digest.clone() }),
    }
}
