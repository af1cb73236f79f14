//! Logging in: which issuers there are, for programs; and for browsers the way to an issuer and back. Nobody is known yet
//! on this way, so all of it is open to everybody.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::access::{Deed, too_often};
use super::cookies::Cookie;
use super::endpoint::Endpoint;
use super::error::{ApiError, Code};
use super::params::InQuery;
use super::state::ApiState;
use super::wire::{IssuerView, Listing};
use crate::access::oidc::{BroughtBack, LOGIN_SECONDS, LoginError, SESSION};
use crate::playbook::access::OidcIssuer;
use crate::web::{Client, check_origin};

const ISSUERS: &str = "/api/v1/auth/issuers";
const LOGIN: &str = "/auth/login";
const CALLBACK: &str = "/auth/callback";
const LOGOUT: &str = "/auth/logout";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let fails = [Code::IssuerNotFound, Code::IdentityUnclear, Code::LoginRefused];
    vec![
        Endpoint::get(ISSUERS, "listIssuers", "Lists the issuers at which people log in.", list)
            .does(Deed::LogIn)
            .answers::<Listing<IssuerView>>(
                200,
                "All issuers; none if the server asks nobody who they are.",
            ),
        Endpoint::get(LOGIN, "login", "Sends a browser to an issuer, to log in.", login)
            .does(Deed::LogIn)
            .query::<String>(
                "issuer",
                "Short name of the issuer; it may be omitted if there is one only.",
            )
            .query::<String>("next", "The path on this server to go to afterwards.")
            .fails(&[Code::BadParameter, Code::BadHeader])
            .fails(&fails)
            .answers_nothing(303, "The address of the issuer is in the header `location`."),
        Endpoint::get(CALLBACK, "loginCallback", "Takes a browser back from an issuer.", callback)
            .does(Deed::LogIn)
            .query::<String>("code", "What the issuer gives.")
            .query::<String>("state", "What the browser was sent away with.")
            .query::<String>("iss", "Who sends the browser back.")
            .query::<String>("error", "Why there is no code.")
            .fails(&[Code::BadParameter, Code::BadHeader])
            .fails(&fails)
            .answers_other(200, "A page that goes on; its cookie is the session.", "text/html"),
        Endpoint::post(LOGOUT, "logout", "Ends the session of a browser.", logout)
            .does(Deed::LogIn)
            .answers_nothing(204, "There is no session any more."),
    ]
}

fn issuers(state: &ApiState) -> Vec<OidcIssuer> {
    state.keeper.current().now().map(|access| access.oidc.clone()).unwrap_or_default()
}

async fn list(
    State(state): State<ApiState>,
    query: InQuery,
) -> Result<Json<Listing<IssuerView>>, ApiError> {
    query.finish()?;
    let view = |issuer: OidcIssuer| {
        let OidcIssuer { name, issuer, audience, client, .. } = issuer;
        IssuerView { name, issuer, audience, client }
    };
    let items = issuers(&state).into_iter().map(view).collect();
    Ok(Json(Listing { items, next: None, damaged: Vec::new() }))
}

async fn login(
    State(state): State<ApiState>,
    headers: HeaderMap,
    mut query: InQuery,
) -> Result<Response, ApiError> {
    let name: Option<String> = query.take("issuer", "the short name of an issuer")?;
    let next: Option<String> = query.take("next", "a path")?;
    query.finish()?;
    let secure = state.secure;
    let issuers = issuers(&state);
    let issuer = chosen(&issuers, name.as_deref())?;
    let back = way_back(&headers, secure)?;
    let begun = state.keeper.oidc().begin(issuer, &back, next.as_deref()).await?;
    let cookie = Cookie::Login.set(&begun.cookie, secure, LOGIN_SECONDS.into());
    let to = HeaderValue::from_str(begun.to.as_str()).ok();
    let (Some(cookie), Some(to)) = (cookie, to) else {
        return Err(ApiError::internal("a login is no header"));
    };
    let headers = [(header::LOCATION, to), (header::SET_COOKIE, cookie), no_store()];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

fn chosen<'a>(issuers: &'a [OidcIssuer], name: Option<&str>) -> Result<&'a OidcIssuer, ApiError> {
    let found = match (name, issuers) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), issuers) => issuers.iter().find(|issuer| issuer.name == name),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = issuers.iter().map(|issuer| issuer.name.as_str()).collect();
        let found = name.map_or_else(|| "none".to_owned(), |name| format!("{name:?}"));
        let detail = match names.is_empty() {
            true => "there is no issuer at which anybody could log in".to_owned(),
            false => format!("found the issuer {found}, expected one of {}", names.join(", ")),
        };
        ApiError::new(Code::IssuerNotFound, detail)
    })
}

/// The address to which the issuer sends the browser: this server as the browser called it. The issuer compares it with what
/// it was told about the client.
fn way_back(headers: &HeaderMap, secure: bool) -> Result<String, ApiError> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| ApiError::new(Code::BadHeader, "header `host`: expected it"))?;
    let scheme = if secure { "https" } else { "http" };
    Ok(format!("{scheme}://{host}{CALLBACK}"))
}

async fn callback(
    State(state): State<ApiState>,
    client: Option<Extension<Client>>,
    headers: HeaderMap,
    mut query: InQuery,
) -> Result<Response, ApiError> {
    let client = client.map_or(Client::unknown(), |Extension(client)| client);
    // Before anything is asked of an issuer, and until it has answered.
    let _place = match state.keeper.log_in(&client) {
        Ok(place) => place,
        Err(wait) => return Ok(too_often("this client tries to log in too often", wait)),
    };
    // Issuers add parameters of their own, so what is left is not looked at.
    let brought = BroughtBack {
        code: query.take("code", "a code")?,
        state: query.take("state", "a state")?,
        iss: query.take("iss", "an issuer")?,
        error: query.take("error", "an error")?,
    };
    let secure = state.secure;
    let back = way_back(&headers, secure)?;
    let cookie = Cookie::Login.of(&headers, secure);
    let ended = match state.keeper.oidc().end(&issuers(&state), cookie, &brought, &back).await {
        Ok(ended) => ended,
        Err(error) => return failed(&state, &client, error),
    };
    let session = state.keeper.sessions().open(&ended.issuer, ended.identity);
    let session = session.map_err(LoginError::from)?;
    let cookies = [
        Cookie::Session.set(&session, secure, SESSION.0 / 1_000),
        Cookie::Login.set("", secure, 0),
    ];
    let mut answer = page(&ended.next).into_response();
    let all = answer.headers_mut();
    for cookie in cookies.into_iter().flatten() {
        all.append(header::SET_COOKIE, cookie);
    }
    let (name, value) = no_store();
    all.insert(name, value);
    Ok(answer)
}

/// A login that did not end well. It counts as a proof that is not good: codes could be guessed, and issuers be asked for
/// nothing.
fn failed(state: &ApiState, client: &Client, error: LoginError) -> Result<Response, ApiError> {
    match error {
        LoginError::Next | LoginError::Random(_) => Err(error.into()),
        LoginError::Unsupported { .. }
        | LoginError::NotBegun
        | LoginError::Refused { .. }
        | LoginError::Token(_)
        | LoginError::Issuer(_) => match state.keeper.fail(client) {
            Ok(()) => Err(error.into()),
            Err(wait) => Ok(too_often("this client has failed to log in too often", wait)),
        },
    }
}

/// A page that goes on by itself. It can't be a redirect: that would belong to the way which began at the issuer, and a
/// strict cookie does not go along there.
fn page(next: &str) -> impl IntoResponse + use<> {
    let next: String = next
        .chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Replibook</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={next}\"></head>\
         <body><p>You are logged in. <a href=\"{next}\">Go on</a></p></body></html>\n"
    );
    let policy = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}

async fn logout(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, ApiError> {
    let secure = state.secure;
    check_page(&headers, secure)?;
    if let Some(session) = Cookie::Session.of(&headers, secure) {
        state.keeper.sessions().close(session);
    }
    let forget = Cookie::Session.set("", secure, 0);
    let forget = forget.ok_or_else(|| ApiError::internal("a cookie is no header"))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, forget)]).into_response())
}

/// Checks that a request which a cookie vouches for, and which changes something, comes from a page of this server: its
/// browser says where the page is from. A program has no cookie.
pub(super) fn check_page(headers: &HeaderMap, secure: bool) -> Result<(), ApiError> {
    let refused = |detail: String| ApiError::new(Code::OriginRefused, detail);
    if !headers.contains_key(header::ORIGIN) {
        let detail =
            "origin: found none, expected that of this server in a request with a session cookie";
        return Err(refused(detail.to_owned()));
    }
    check_origin(headers, secure).map_err(|stranger| refused(stranger.to_string()))
}

fn no_store() -> (HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        let code = match &error {
            LoginError::Next => Code::BadParameter,
            LoginError::Issuer(_) => Code::IdentityUnclear,
            LoginError::Token(token) if token.retryable() => Code::IdentityUnclear,
            LoginError::Unsupported { .. }
            | LoginError::NotBegun
            | LoginError::Refused { .. }
            | LoginError::Token(_) => Code::LoginRefused,
            LoginError::Random(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_ends_no_session() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let pairs = pairs.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            pairs.collect()
        };
        let own = headers(&[("host", "a.example"), ("origin", "https://a.example")]);
        assert!(check_page(&own, true).is_ok() && check_page(&own, false).is_ok());
        let plain = headers(&[("host", "a.example"), ("origin", "http://a.example")]);
        assert!(check_page(&plain, true).is_err() && check_page(&plain, false).is_ok());
        for other in [
            &[("host", "a.example")][..],
            &[("host", "a.example"), ("origin", "https://evil.example")],
            &[("host", "a.example"), ("origin", "null")],
            &[
                ("host", "a.example"),
                ("origin", "https://a.example"),
                ("sec-fetch-site", "same-site"),
            ],
        ] {
            assert!(check_page(&headers(other), false).is_err(), "{other:?}");
        }
    }

    #[test]
    fn the_page_that_goes_on_has_nothing_of_others_in_it() {
        let text = page("/a?\"><script>'&x=1");
        let body = text.into_response().into_body();
        let read = futures::executor::block_on(axum::body::to_bytes(body, usize::MAX)).unwrap();
        let read = String::from_utf8(read.to_vec()).unwrap();
        assert!(read.contains("url=/a?&quot;&gt;&lt;script&gt;&#39;&amp;x=1\""), "{read}");
        assert!(!read.contains("<script"), "{read}");
    }
}
