//! What each request goes through before its handler: who sends it, whether they ask too often, whether they may do such a
//! thing at all, and whether what its path names exists as far as they may know.

use std::time::Duration;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::caller::{Arrived, Caller};
use super::deeds::Deed;
use super::hidden;
use crate::access::{Identity, Proof, Unknown};
use crate::api::clusters;
use crate::api::cookies::Cookie;
use crate::api::error::{ApiError, Code};
use crate::api::login::check_page;
use crate::api::runs;
use crate::api::state::ApiState;
use crate::playbook::access::{Object, Rights};
use crate::run::RunId;
use crate::web::Client;

/// What the door needs to know of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Way {
    pub(in crate::api) path: &'static str,
    pub(in crate::api) deed: Deed,
}

/// Lets a request in, or answers it.
///
/// # Flow
/// A request that proves nothing comes in only where anybody may. Whoever is known and asks too often waits. Then comes
/// what they may do: if that is nothing of the kind, they are told which verb is wanted; if it is about something that they
/// may not view, the answer is the one that they would get if that did not exist.
pub(in crate::api) async fn enter(
    State((state, way)): State<(ApiState, Way)>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = request.extensions().get::<Client>().copied();
    let arrived = Arrived {
        only_looks: matches!(*request.method(), Method::GET | Method::HEAD),
        from: client.map(|client| client.to_string()),
        to: format!("{} {}", request.method(), request.uri().path()),
    };
    let caller = match identify(&state, way, client, request.headers(), arrived.clone()).await {
        Ok(caller) => caller,
        Err(refused) => {
            if way.deed.changes() && refused.is_told {
                let keeper = &state.keeper;
                let nobody = Identity::anybody();
                let caller = Caller::new(keeper, nobody, Rights::default(), None, arrived);
                let status = refused.response.status().as_u16();
                let code = refused.response.extensions().get::<Code>().copied();
                caller.end(way.deed, status, code, state.own_clock.now());
            }
            return refused.response;
        }
    };
    let leaving = Leaving { state: &state, caller: &caller, deed: way.deed };
    let response = match admit(&state, way, &caller, params).await {
        Ok(()) => {
            if !caller.views_all() {
                // What is hidden is taken out of the text of the answer.
                request.headers_mut().remove(header::ACCEPT_ENCODING);
            }
            request.extensions_mut().insert(caller.clone());
            hidden::hide(&state, &caller, next.run(request).await)
        }
        Err(error) => error.into_response(),
    };
    std::mem::forget(leaving);
    if way.deed.changes() {
        let code = response.extensions().get::<Code>().copied();
        caller.end(way.deed, response.status().as_u16(), code, state.own_clock.now());
    }
    response
}

/// Notes that a request was given up before it was answered: its client went away, and its handler is dropped wherever it is.
struct Leaving<'a> {
    state: &'a ApiState,
    caller: &'a Caller,
    deed: Deed,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.deed.changes() {
            self.caller.left(self.state.own_clock.now());
        }
    }
}

/// An answer to somebody who is not let in.
struct Refused {
    response: Response,
    /// Whether it is told in the audit. What comes too often is not: it would fill the disk.
    is_told: bool,
}

async fn identify(
    state: &ApiState,
    way: Way,
    client: Option<Client>,
    headers: &HeaderMap,
    arrived: Arrived,
) -> Result<Caller, Refused> {
    let keeper = &state.keeper;
    let only_looks = arrived.only_looks;
    let caller = |identity, rights, proof| Caller::new(keeper, identity, rights, proof, arrived);
    let Some(access) = keeper.current().now() else {
        return Ok(caller(Identity::anybody(), Rights::all(), None));
    };
    let found = match (bearer(headers), Cookie::Session.of(headers, state.secure)) {
        (Ok(Some(bearer)), _) => {
            let found = keeper.who(&access, bearer).await;
            found.map(|identity| {
                let proof = keeper.proof(&access, &identity, bearer);
                (identity, proof)
            })
        }
        (Ok(None), Some(session)) if !way.deed.is_open() => {
            if !only_looks && let Err(refused) = check_page(headers, state.secure) {
                // Whose session it would be is not looked at, so these are limited like those who say nothing.
                let is_told = way.deed.changes() && keeper.may_note_refusal(&Identity::anybody());
                return Err(Refused { response: refused.into_response(), is_told });
            }
            let found = keeper.sessions().find(session, &access.oidc);
            found.map(|identity| (identity, Proof::of_session(session))).ok_or(Unknown::Silent)
        }
        (Ok(None), _) if way.deed.is_open() => {
            return Ok(caller(Identity::anybody(), Rights::default(), None));
        }
        (Ok(None), _) => Err(Unknown::Silent),
        (Err(wrong), _) => Err(Unknown::Wrong(wrong)),
    };
    match found {
        Ok((identity, proof)) => {
            if let Err(wait) = keeper.ask(&identity) {
                let who = identity.subject();
                return Err(Refused {
                    response: too_often(&format!("{who} asks too often"), wait),
                    is_told: false,
                });
            }
            let rights = keeper.rights(&identity);
            Ok(caller(identity, rights, Some(proof)))
        }
        Err(unknown) => Err(stranger(state, client, unknown, way.deed.changes())),
    }
}

/// The token that a request has; `None` if it has none.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, String> {
    let mut found = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (found.next(), found.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => {
            return Err("found two headers `authorization`, expected one".to_owned());
        }
    };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        // Nothing of it is repeated: it may be half a token.
        Some(_) | None => Err("header `authorization`: expected `Bearer` and a token".to_owned()),
    }
}

fn stranger(state: &ApiState, client: Option<Client>, unknown: Unknown, changes: bool) -> Refused {
    let (said, is_wrong) = match &unknown {
        Unknown::Silent => (SILENT, false),
        Unknown::Wrong(_) => (WRONG, true),
        Unknown::Unclear(_) => {
            let error = ApiError::new(Code::IdentityUnclear, unknown.to_string());
            return Refused { response: error.into_response(), is_told: false };
        }
    };
    let client = client.unwrap_or(Client::unknown());
    if is_wrong && let Err(wait) = state.keeper.fail(&client) {
        let response = too_often("this client was wrong about who it is too often", wait);
        return Refused { response, is_told: false };
    }
    let detail = format!("{unknown}; expected a bearer token in the header `authorization`");
    let mut response = ApiError::new(Code::NotAuthenticated, detail).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(said));
    // Who is wrong is limited by their client. Those who say nothing are limited together, since they are nobody.
    let is_told = is_wrong || changes && state.keeper.may_note_refusal(&Identity::anybody());
    Refused { response, is_told }
}

/// What is expected of somebody who has said nothing.
const SILENT: &str = "Bearer realm=\"replibook\"";

/// What is expected of somebody whose token is not good.
const WRONG: &str = "Bearer realm=\"replibook\", error=\"invalid_token\"";

pub(in crate::api) fn too_often(what: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let detail = format!("{what}; try again in {seconds} s");
    let mut response = ApiError::new(Code::TooManyRequests, detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

async fn admit(
    state: &ApiState,
    way: Way,
    caller: &Caller,
    params: Result<RawPathParams, RawPathParamsRejection>,
) -> Result<(), ApiError> {
    match way.deed {
        Deed::ViewServer | Deed::ReadAudit | Deed::DrainEngine => {
            caller.may(way.deed, Object::Server)?;
        }
        Deed::ViewPlugins | Deed::UploadPlugin | Deed::ImportPlugin | Deed::DeletePlugin => {
            caller.may(way.deed, Object::Shared)?;
        }
        Deed::Ask
        | Deed::LogIn
        | Deed::AskOneself
        | Deed::ViewRuns
        | Deed::ViewPlaybooks
        | Deed::ViewClusters
        | Deed::StartRun
        | Deed::Exec
        | Deed::SteerRun
        | Deed::CommandRun
        | Deed::ApproveRun
        | Deed::OverrideGuard
        | Deed::ForceAbandon
        | Deed::ApplyAny
        | Deed::ApplyPlaybook
        | Deed::DeletePlaybook
        | Deed::ApplyCluster
        | Deed::DeleteCluster
        | Deed::LoosenCluster => {
            let verbs = way.deed.verbs();
            let may = |verb| caller.rights().may_somewhere(verb);
            if !verbs.is_empty() && !verbs.iter().copied().any(may) {
                return Err(caller.refusal(way.deed, None));
            }
        }
    }
    // A path that can't be read is for the handler to refuse.
    let Ok(params) = params else { return Ok(()) };
    let param = |name: &str| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    if way.path.starts_with("/api/v1/runs/{id}") {
        let run = param("id").and_then(|text| text.parse::<RunId>().ok());
        if let Some(run) = run
            && !caller.views_run(state, run).await?
        {
            return Err(runs::not_found(run));
        }
    }
    if way.path.starts_with("/api/v1/clusters/{name}")
        && let Some(name) = param("name")
        && !caller.views(Object::Cluster(name))
    {
        return Err(clusters::not_found(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_said_once_and_as_a_bearer() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            headers
        };
        assert_eq!(bearer(&headers(&[])), Ok(None));
        for good in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&headers(&[good])), Ok(Some("abc")), "{good}");
        }
        for bad in [&["abc"][..], &["Basic abc"], &["Bearer a", "Bearer b"], &[""]] {
            let error = bearer(&headers(bad)).unwrap_err();
            assert!(!error.contains("abc"), "{error}");
        }
    }
}
