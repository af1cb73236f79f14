//! Takes the identifiers of runs that somebody may not view out of what they are told about others: a run may say for which
//! run it waits.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;

use super::caller::Caller;
use crate::api::state::ApiState;
use crate::run::RunId;

/// What stands in place of an identifier. It has the form of one, since programs read it.
const HIDDEN: &[u8; LENGTH] = b"00000000-0000-0000-0000-000000000000";

/// Characters of an identifier.
const LENGTH: usize = 36;

/// The most identifiers of one piece of an answer that are looked up; any others are hidden. A page of runs names an engine
/// or two beside those.
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
    let (head, body) = answer.into_parts();
    let parts = Arc::new((state.clone(), caller.clone()));
    let pieces = body.into_data_stream().then(move |piece| {
        let parts = parts.clone();
        async move {
            match piece {
                Ok(bytes) => Ok(without_hidden(&parts.0, &parts.1, bytes).await),
                Err(error) => Err(error),
            }
        }
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

async fn without_hidden(state: &ApiState, caller: &Caller, bytes: Bytes) -> Bytes {
    let found = identifiers(&bytes);
    if found.is_empty() {
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
    rest.into()
}

/// Whether they may not know of such a run. One that there is not is hidden as well: whoever has an identifier repeated to
/// them does not learn whether it is one.
async fn is_hidden(state: &ApiState, caller: &Caller, id: RunId) -> bool {
    !caller.views_run(state, id).await.unwrap_or(false)
}

/// Whatever looks like the identifier of a run, and where it begins.
fn identifiers(bytes: &[u8]) -> Vec<(usize, RunId)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + LENGTH <= bytes.len() {
        // Most places are left by the first look.
        if bytes[at + 8] != b'-' || bytes[at + 13] != b'-' {
            at += 1;
            continue;
        }
        let text = std::str::from_utf8(&bytes[at..at + LENGTH]).ok();
        // Identifiers of runs begin with a moment; those of other things do not.
        let id = text.and_then(|text| text.parse::<RunId>().ok());
        match id.filter(|id| id.0.get_version_num() == 7) {
            Some(id) => {
                found.push((at, id));
                at += LENGTH;
            }
            None => at += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_found_wherever_they_are() {
        let id = "01920000-0000-7000-8000-000000000001";
        let text = format!("{{\"a\":\"run {id}, and {id}\",\"b\":\"{}\"}}", &id[..35]);
        let found: Vec<usize> =
            identifiers(text.as_bytes()).into_iter().map(|(at, _)| at).collect();
        assert_eq!(found, [10, 52]);
        assert_eq!(identifiers(id.as_bytes()).len(), 1);
        assert!(identifiers(b"").is_empty() && identifiers(&id.as_bytes()[..35]).is_empty());
        assert!(identifiers("äöü-----------------------------------ß".as_bytes()).is_empty());
    }
}
