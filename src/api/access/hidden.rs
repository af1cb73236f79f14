//! Takes the identifiers of runs that somebody may not view out of what they are told about others: a run may say for which
//! run it waits. Only what the server itself says is looked at ([`Told`]).

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;

use super::caller::Caller;
use super::told::{Found, LENGTH, Told};
use crate::api::state::ApiState;
use crate::run::RunId;

/// What stands in place of an identifier. It has the form of one, since programs read it.
const HIDDEN: &[u8; LENGTH] = b"00000000-0000-0000-0000-000000000000";

/// The most identifiers of one piece of an answer that are looked up; any others are hidden. A page of runs names one or two
/// others for each, and they are remembered.
const MAX_LOOKED_UP: usize = 2_000;

/// The answer without what its reader may not know. It must not be compressed yet.
pub(super) fn hide(state: &ApiState, caller: &Caller, answer: Response) -> Response {
    let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_told = kind.is_some_and(|kind| {
        kind.starts_with(b"application/json")
            || kind.starts_with(b"application/problem+json")
            || kind.starts_with(b"text/event-stream")
    });
    if caller.views_all() || !is_told {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // It may get shorter.
    head.headers.remove(header::CONTENT_LENGTH);
    let parts = Arc::new((state.clone(), caller.clone()));
    let mut told = Told::default();
    let found = body.into_data_stream().map(move |piece| {
        piece.map(|bytes| {
            let found = told.find(&bytes);
            (bytes, found)
        })
    });
    let pieces = found.then(move |piece| {
        let parts = parts.clone();
        async move {
            match piece {
                Ok((bytes, found)) => Ok(without_hidden(&parts.0, &parts.1, bytes, found).await),
                Err(error) => Err(error),
            }
        }
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

async fn without_hidden(
    state: &ApiState,
    caller: &Caller,
    bytes: Bytes,
    Found { identifiers: found, numbers }: Found,
) -> Bytes {
    if found.is_empty() && numbers.is_empty() {
        return bytes;
    }
    let mut hidden: HashMap<RunId, bool> = HashMap::new();
    for (_, id) in &found {
        if hidden.contains_key(id) {
            continue;
        }
        let is_hidden = match hidden.len() < MAX_LOOKED_UP {
            true => is_hidden(state, caller, *id).await,
            false => true,
        };
        hidden.insert(*id, is_hidden);
    }
    let mut rest = bytes.to_vec();
    for (at, id) in found {
        if hidden.get(&id).copied().unwrap_or(true) {
            rest[at..at + LENGTH].copy_from_slice(HIDDEN);
        }
    }
    // From the end, so that what is before stays where it is.
    for number in numbers.into_iter().rev() {
        rest.drain(number);
    }
    rest.into()
}

/// Whether they may not know of such a run. One that there is not is hidden as well: whoever has an identifier repeated to
/// them does not learn whether it is one.
async fn is_hidden(state: &ApiState, caller: &Caller, id: RunId) -> bool {
    !caller.views_run(state, id).await.unwrap_or(false)
}
