//! From bytes to an artefact: layer and configuration, then the manifest that names them.

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::{Method, StatusCode};

use super::bounds::MAX_TRIES;
use super::error::RegistryError;
use super::manifest::{self, Interfaces, MANIFEST_TYPE};
use super::origin::Origin;
use super::session::{Ask, Session};
use super::waiting;
use crate::playbook::{OciReference, OciVersion};
use crate::run::Digest;

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest: `oci://HOST/REPOSITORY@DIGEST` always stands for it.
    pub manifest: Digest,
    /// Size of the manifest in bytes.
    pub manifest_size: u64,
    /// Digest of the plugin.
    pub digest: Digest,
}

const BYTES: &str = "application/octet-stream";

/// Pushes a component under a tag.
pub(super) async fn push(
    session: &mut Session,
    reference: &OciReference,
    component: Bytes,
    interfaces: &Interfaces,
) -> Result<Pushed, RegistryError> {
    let OciVersion::Tag(tag) = &reference.version else {
        let message = format!("{reference}: found a digest, expected a tag to push under");
        return Err(RegistryError::Reference(message));
    };
    let digest = Digest::of(&component);
    let config = Bytes::from(manifest::config(&digest, interfaces));
    let config_digest = Digest::of(&config);
    let manifest = manifest::write((&config_digest, config.len()), (&digest, component.len()));
    let manifest_size = manifest.len() as u64;
    let pushed = Pushed { manifest: Digest::of(&manifest), manifest_size, digest: digest.clone() };
    let what = format!("the push of manifest {reference}");
    let blobs = [(digest, component), (config_digest, config)];
    put_artefact(session, &blobs, tag, Bytes::from(manifest), what).await?;
    Ok(pushed)
}

/// Pushes blobs, and then the manifest that names them. While somebody else pushes one of the same blobs, a registry may not
/// know it for a moment: then it is looked for, and pushed if it is gone, and the manifest is pushed once more. Returns the
/// head of the last answer.
pub(super) async fn put_artefact(
    session: &mut Session,
    blobs: &[(Digest, Bytes)],
    name: &str,
    manifest: Bytes,
    what: String,
) -> Result<HeaderMap, RegistryError> {
    let mut tried = 1;
    loop {
        for (digest, bytes) in blobs {
            put_blob(session, digest, bytes.clone()).await?;
        }
        let put = put_manifest(session, name, MANIFEST_TYPE, manifest.clone(), what.clone()).await;
        let Err(error) = put else { return put };
        let wait = waiting::before(tried, &HeaderMap::new(), &session.bounds);
        let wait = wait.filter(|_| tried < MAX_TRIES && misses_a_blob(&error));
        let Some(wait) = wait else { return Err(error) };
        waiting::wait(wait).await;
        tried += 1;
    }
}

/// Whether a registry refused a manifest since it does not know what the manifest names.
fn misses_a_blob(error: &RegistryError) -> bool {
    const CODES: [&str; 2] = ["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"];
    let (RegistryError::Status { codes, .. } | RegistryError::NotFound { codes, .. }) = error
    else {
        return false;
    };
    codes.split(", ").any(|code| CODES.contains(&code))
}

/// Pushes a manifest, or a list of manifests, under a tag or its digest. Returns the head of the answer.
pub(super) async fn put_manifest(
    session: &mut Session,
    name: &str,
    media_type: &'static str,
    manifest: Bytes,
    what: String,
) -> Result<HeaderMap, RegistryError> {
    let ask = Ask {
        method: Method::PUT,
        url: session.url(&format!("manifests/{name}"))?,
        what,
        headers: vec![(CONTENT_TYPE, media_type)],
        body: Some(manifest),
    };
    let (response, origin) = session.send(&ask).await?;
    match response.status() {
        StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => {
            Ok(response.headers().clone())
        }
        _ => Err(session.refused(response, origin, &ask.what).await),
    }
}

/// Pushes a blob unless the registry has it.
pub(super) async fn put_blob(
    session: &mut Session,
    digest: &Digest,
    bytes: Bytes,
) -> Result<(), RegistryError> {
    let what = format!("the push of blob {digest}");
    let url = session.url(&format!("blobs/{digest}"))?;
    let (method, headers) = (Method::HEAD, Vec::new());
    let ask = Ask { method, url, what: what.clone(), headers: headers.clone(), body: None };
    let (response, origin) = session.send(&ask).await?;
    match response.status() {
        StatusCode::OK => return Ok(()),
        StatusCode::NOT_FOUND => {}
        _ => return Err(session.refused(response, origin, &what).await),
    }
    let url = session.url("blobs/uploads/")?;
    let body = Some(Bytes::new());
    let ask = Ask { method: Method::POST, url: url.clone(), what: what.clone(), headers, body };
    let (response, origin) = session.send(&ask).await?;
    if response.status() != StatusCode::ACCEPTED {
        return Err(session.refused(response, origin, &what).await);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let mut place = location.and_then(|location| url.join(location).ok()).ok_or_else(|| {
        let message = "found no Location for the upload".to_owned();
        RegistryError::Malformed { origin: origin.clone(), what: what.clone(), message }
    })?;
    // The upload needs the login, and nobody else is told it.
    let to = Origin::of(&place);
    if to.as_ref() != Some(&session.registry) {
        let to = to.map_or_else(|| "no address".to_owned(), |to| to.to_string());
        let why = "expected the registry itself for an upload".to_owned();
        return Err(RegistryError::Redirect { origin, to, why });
    }
    place.query_pairs_mut().append_pair("digest", digest.as_str());
    let headers = vec![(CONTENT_TYPE, BYTES)];
    let ask = Ask { method: Method::PUT, url: place, what, headers, body: Some(bytes) };
    let (response, origin) = session.send(&ask).await?;
    match response.status() {
        StatusCode::CREATED => Ok(()),
        _ => Err(session.refused(response, origin, &ask.what).await),
    }
}
