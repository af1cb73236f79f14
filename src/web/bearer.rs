//! Answers only requests that bring a token, for servers that have one and know no people.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};

use crate::run::Digest;

/// The scheme of tokens in the header `authorization`.
const BEARER: &str = "Bearer ";

/// Where a server takes the digest of its token from, for each request anew; `None`: there is no token. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TokenSource(Arc<dyn Fn() -> Option<Digest> + Send + Sync>);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSource")
    }
}

impl TokenSource {
    /// Asks `source` each time.
    pub(crate) fn of(source: impl Fn() -> Option<Digest> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Whether a request has the token, or none is asked for. How long a comparison of digests takes says nothing about the
    /// token.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = (self.0)() else { return true };
        let mut found = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(one), None) = (found.next(), found.next()) else { return false };
        match one.as_bytes().split_at_checked(BEARER.len()) {
            Some((scheme, token)) => {
                scheme.eq_ignore_ascii_case(BEARER.as_bytes()) && Digest::of(token) == wanted
            }
            None => false,
        }
    }
}

/// The router, which answers only requests that bring the token, if there is one.
pub(crate) fn admitting(router: Router, tokens: Option<TokenSource>) -> Router {
    match tokens {
        Some(tokens) => router.layer(from_fn_with_state(tokens, admit)),
        None => router,
    }
}

async fn admit(State(tokens): State<TokenSource>, request: Request, next: Next) -> Response {
    match tokens.admits(request.headers()) {
        true => next.run(request).await,
        false => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            let message = "expected the token of this server in `authorization: Bearer`";
            (StatusCode::UNAUTHORIZED, challenge, message).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_taken_and_only_once() {
        let tokens = TokenSource::of(|| Some(Digest::of(b"t0ken")));
        let admits = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            tokens.admits(&headers)
        };
        assert!(admits(&["Bearer t0ken"]) && admits(&["bearer t0ken"]));
        for bad in
            ["", "Bearer", "Bearer ", "Bearer t0ken ", "Basic t0ken", "t0ken", "Bearer t0kem"]
        {
            assert!(!admits(&[bad]), "{bad:?}");
        }
        assert!(!admits(&[]) && !admits(&["Bearer t0ken", "Bearer t0ken"]));
        assert!(TokenSource::of(|| None).admits(&HeaderMap::new()));
    }
}
