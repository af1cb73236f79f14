//! The way to the nodes of the inventory that this server itself has: requests are answered in this process, and no port is
//! open for them.

use axum::Router;
use axum::body::{Body, to_bytes};
use reqwest::header::{HOST, HeaderValue};
use reqwest::{Request, Response, StatusCode};
use tower::ServiceExt as _;

use super::connections::TooLittle;

/// The base URL of the gateway within a server: `discovery.url` of a Cluster. No other machine has a name below `localhost`.
pub const INSIDE_URL: &str = "http://inventory.localhost";

/// The same without the scheme.
const INSIDE_HOST: &str = "inventory.localhost";

/// The largest answer, in bytes: as much as is read of any. The reader has limits of its own for each kind.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The gateway within this server. Cheap to clone.
#[derive(Clone)]
pub struct Inside(Router);

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inside")
    }
}

impl Inside {
    pub(super) const fn of(router: Router) -> Self {
        Self(router)
    }

    /// Answers a request. It ends with the future, as one over a connection does when that is closed.
    pub(super) async fn answer(&self, request: Request) -> reqwest::Result<Response> {
        let request: axum::http::Request<reqwest::Body> = request.try_into()?;
        let mut request = request.map(Body::new);
        request.headers_mut().insert(HOST, HeaderValue::from_static(INSIDE_HOST));
        let response = match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (mut parts, body) = response.into_parts();
        let bytes = to_bytes(body, MAX_ANSWER).await.unwrap_or_else(|error| {
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
            error.to_string().into()
        });
        Ok(axum::http::Response::from_parts(parts, bytes).into())
    }
}

/// Who answers at an address: the gateway within this server, or `None` for another machine.
///
/// # Errors
/// It is an address within a server, and this one has no inventory.
pub(super) fn answering(
    inside: Option<&Inside>,
    address: &str,
) -> Result<Option<Inside>, TooLittle> {
    let rest = address.strip_prefix(INSIDE_URL);
    if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Ok(None);
    }
    match inside {
        Some(inside) => Ok(Some(inside.clone())),
        None => {
            let message = "this server has no inventory; it was started without --inventory FILE";
            Err(TooLittle(message.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use reqwest::Method;

    use super::*;

    #[tokio::test]
    async fn requests_are_answered_without_a_connection() {
        let router = Router::new()
            .route("/nodes/{node}", post(|body: String| async move { format!("got {body}") }))
            .route("/large", get(|| async { vec![0_u8; MAX_ANSWER + 1] }));
        let inside = Inside::of(router);
        let ask = async |method: Method, path: &str, body: &'static str| {
            let url = format!("{INSIDE_URL}{path}").parse().unwrap();
            let mut request = Request::new(method, url);
            *request.body_mut() = Some(body.into());
            let response = inside.answer(request).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        let got = ask(Method::POST, "/nodes/a%2Fb", "it").await;
        assert_eq!(got, (200, "got it".to_owned()));
        assert_eq!(ask(Method::GET, "/other", "").await.0, 404);
        assert_eq!(ask(Method::GET, "/large", "").await.0, 500, "an answer has a limit");
    }

    #[test]
    fn only_its_own_name_is_inside() {
        let inside = Inside::of(Router::new());
        for address in [INSIDE_URL, "http://inventory.localhost/nodes/a"] {
            assert!(answering(Some(&inside), address).unwrap().is_some(), "{address}");
            let TooLittle(message) = answering(None, address).unwrap_err();
            assert!(message.contains("--inventory"), "{message}");
        }
        for address in [
            "http://inventory.localhost:81/nodes/a",
            "https://inventory.localhost",
            "http://inventory.localhost.example.com",
            "http://127.0.0.1:8300",
        ] {
            assert!(answering(Some(&inside), address).unwrap().is_none(), "{address}");
        }
    }
}
