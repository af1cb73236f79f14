//! Signatures of plugins: those that come with an upload, in a header, and those that come later,
//! `PUT /api/v1/plugins/{digest}/signatures`. Each is checked over the bytes with the keys of the policy.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::access::{Caller, Deed};
use super::bodies;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::limits::MAX_PLUGIN_BODY;
use super::params::{InPath, InQuery, header};
use super::plugins::{answer, not_found};
use super::state::ApiState;
use super::weigh::Reads;
use super::wire::SignatureView;
use crate::playbook::policy::{MAX_SIGNATURE_BYTES, Signature, SignatureError, read_signatures};
use crate::policy::{checked, unchecked};
use crate::run::Digest;
use crate::store::{Plugin, PluginSignature};

const OF_ONE: &str = "/api/v1/plugins/{digest}/signatures";

/// The header of an upload that has the signatures, so that the plugin is judged by them before it is compiled.
pub(super) const SIGNATURES: &str = "Plugin-Signatures";

pub(super) const HEADER_MEANS: &str = "Signatures of minisign over the bytes: a `.minisig` file, or several one after the other, in base64.";

const TEXT: &str = "text/plain";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::put(OF_ONE, "signPlugin", "Adds signatures to a plugin.", put)
            .does(Deed::UploadPlugin)
            .path::<Digest>("digest", "`sha256:` and 64 lowercase hex digits.")
            .takes_bytes(TEXT)
            .fails(&[Code::PluginNotFound, Code::BadSignature])
            .answers::<super::wire::PluginView>(200, "The plugin, with all its signatures."),
    ]
}

async fn put(
    State(state): State<ApiState>,
    caller: Caller,
    reads: Reads,
    InPath(digest): InPath<Digest>,
    query: InQuery,
    request: Request,
) -> Result<Response, ApiError> {
    query.finish()?;
    let id = digest.to_string();
    let about = [("plugin", id.as_str()), ("with", "signatures")];
    caller.begin(Deed::UploadPlugin, &about, false, state.own_clock.now())?;
    let received = bodies::read(request, MAX_SIGNATURE_BYTES, &state.bodies).await?;
    let signatures = read(&received.bytes)?;
    let Some(known) = state.store.plugin(&digest).await? else { return Err(not_found(&digest)) };
    if is_settled(&state, &known, &signatures) {
        return Ok(answer(&state, StatusCode::OK, "unchanged", known));
    }
    let checked = check_kept(&state, &reads, &digest, signatures).await?;
    let before = known.signatures.clone();
    let signed = keep(&state, known, &checked).await?;
    let change = if signed.signatures == before { "unchanged" } else { "updated" };
    Ok(answer(&state, StatusCode::OK, change, signed))
}

/// Whether nothing more can be learned of the signatures than is kept already.
fn is_settled(state: &ApiState, known: &Plugin, signatures: &[Signature]) -> bool {
    signatures.iter().all(|new| {
        let kept = known.signatures.iter().find(|kept| kept.text == new.text());
        kept.is_some_and(|kept| kept.checked.is_some() || !can_be_checked(state, new))
    })
}

/// Whether the policy has a key that may have made the signature.
fn can_be_checked(state: &ApiState, signature: &Signature) -> bool {
    state.policy.now().is_some_and(|policy| policy.knows_key_id(signature.key_id()))
}

/// Checks signatures over the bytes in the store. Those are read only if there is something to check.
async fn check_kept(
    state: &ApiState,
    reads: &Reads,
    digest: &Digest,
    signatures: Vec<Signature>,
) -> Result<Vec<PluginSignature>, ApiError> {
    if !signatures.iter().any(|one| can_be_checked(state, one)) {
        return Ok(signatures.iter().map(unchecked).collect());
    }
    let _share = reads.0.take(MAX_PLUGIN_BODY).await;
    match state.store.plugin_bytes(digest).await? {
        Some(bytes) => check(state, bytes, signatures).await,
        None => Err(not_found(digest)),
    }
}

/// The signatures in the header of an upload.
pub(super) fn of_header(headers: &HeaderMap) -> Result<Vec<Signature>, ApiError> {
    let Some(text) = header(headers, SIGNATURES)? else { return Ok(Vec::new()) };
    let bytes = STANDARD.decode(text).map_err(|error| {
        let detail = format!("header `{SIGNATURES}`: expected base64: {error}");
        ApiError::new(Code::BadHeader, detail)
    })?;
    read(&bytes)
}

fn read(bytes: &[u8]) -> Result<Vec<Signature>, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        refused(&SignatureError::Malformed { found: "a text that is not UTF-8".to_owned() })
    })?;
    read_signatures(text).map_err(|error| refused(&error))
}

/// Checks signatures over the bytes of a plugin with the keys of the policy.
pub(super) async fn check(
    state: &ApiState,
    bytes: Bytes,
    signatures: Vec<Signature>,
) -> Result<Vec<PluginSignature>, ApiError> {
    if signatures.is_empty() {
        return Ok(Vec::new());
    }
    checked(bytes, signatures, state.policy.now()).await.map_err(|error| refused(&error))
}

/// Keeps signatures beside a plugin of the store, and gives the plugin as it is then.
pub(super) async fn keep(
    state: &ApiState,
    plugin: Plugin,
    signatures: &[PluginSignature],
) -> Result<Plugin, ApiError> {
    if signatures.is_empty() {
        return Ok(plugin);
    }
    match state.store.sign_plugin(&plugin.info.digest, signatures).await? {
        Some(signed) => Ok(signed),
        None => Err(not_found(&plugin.info.digest)),
    }
}

/// Signatures as the API shows them, with the names that the policy gives their keys now.
pub(super) fn views(state: &ApiState, signatures: &[PluginSignature]) -> Vec<SignatureView> {
    let policy = state.policy.now();
    let view = |one: &PluginSignature| {
        let name = one.checked.as_ref().and_then(|key| policy.as_ref()?.name_of_key(key));
        SignatureView {
            key_id: one.key_id.clone(),
            signer: name.map(str::to_owned),
            trusted_comment: one.trusted_comment.clone(),
        }
    };
    signatures.iter().map(view).collect()
}

fn refused(error: &SignatureError) -> ApiError {
    ApiError::new(Code::BadSignature, error.to_string())
}
