//! HTTP to the server: time limits, repetitions, and errors told apart. The individual requests are in
//! `endpoints.rs`; how each may fail and be repeated is decided here.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use super::error::{ClientError, is_passing};
use super::trust::{Trust, why_not_secured};
use crate::api::wire::ProblemDetails;
use crate::outbound::innermost;

/// The server that is used unless another one is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8900";

/// How long establishing a connection may take: a server that is running accepts at once.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an ordinary request may take, including its answer: the slowest is a page of 1,000 records.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the upload of a plugin may take: tens of MiB over a slow line, then its compilation.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

/// How often a repeatable request is tried in all: enough for a server that is just restarting, and few enough
/// that a wrong address is reported within a second.
pub const MAX_TRIES: u32 = 3;

/// The wait before the second try; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The largest answer that is read, in bytes: a page of 1,000 agent records of 64 KiB each.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// How many characters of an unexpected answer an error shows.
const SHOWN_ANSWER_CHARS: usize = 200;

/// Sends requests to a server. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: Url,
    has_ca: bool,
    /// What proves who asks. It is never shown.
    proof: Option<HeaderValue>,
    http: reqwest::Client,
}

/// When a request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Whenever its answer was lost: a second one changes nothing.
    Always,
    /// Only if the first one was certainly not sent.
    Unsent,
}

impl Client {
    /// A client of the server at `server`: a base URL, which may have a path.
    ///
    /// # Errors
    /// [`ClientError::Address`] when that is not a URL with http or https, or when the machine has no
    /// certificates to check an https server against. Nothing is sent yet.
    pub fn new(server: &str) -> Result<Self, ClientError> {
        Self::trusting(server, &Trust::default())
    }

    /// Like [`new`](Self::new), with other certificates than those that the system trusts.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when a file of certificates can't be used.
    pub fn trusting(server: &str, trust: &Trust) -> Result<Self, ClientError> {
        let wrong = |message: String| ClientError::Address { server: server.to_owned(), message };
        let base = Url::parse(server).map_err(|error| wrong(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(wrong(format!("expected a URL such as {DEFAULT_SERVER}")));
        }
        // Another part of the process may have installed the provider before; the first one stays, and it is
        // the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // Wherever another server points, nobody has said that it may be asked, or told who asks.
            .redirect(Policy::none())
            .user_agent(concat!("replictl/", env!("CARGO_PKG_VERSION")));
        if base.scheme() == "http" {
            // Plain HTTP needs no certificates, so a machine that has none is no obstacle.
            builder = builder.tls_certs_only([]);
        } else {
            builder = trust.on(builder).map_err(wrong)?;
        }
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| wrong(innermost(&error)))?;
        Ok(Self { base, has_ca: trust.ca.is_some(), proof: None, http })
    }

    /// The same client, which proves with this token who asks.
    ///
    /// # Errors
    /// [`ClientError::Address`] if the token would go over the network for everybody to read.
    pub fn proving(self, token: &str) -> Result<Self, ClientError> {
        let wrong = |message: &str| ClientError::Address {
            server: self.server().to_owned(),
            message: message.to_owned(),
        };
        if self.base.scheme() == "http" && !is_loopback(&self.base) {
            return Err(wrong("expected https, since a token would be sent to it"));
        }
        let proof = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut proof = proof.map_err(|_| wrong("the token can't be sent: expected one line"))?;
        proof.set_sensitive(true);
        Ok(Self { proof: Some(proof), ..self })
    }

    /// Base URL of the server, without a slash at its end.
    pub fn server(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request to `/api/v1/…`. Each segment is escaped, including slashes in it.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        self.prove(self.http.request(method, url))
    }

    fn prove(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.proof {
            Some(proof) => request.header(AUTHORIZATION, proof.clone()),
            None => request,
        }
    }

    /// Whether the server is up and says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("readyz");
        }
        let answer = self.http.get(url).timeout(CONNECT_TIMEOUT).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Sends a request and reads its answer as JSON, all within [`REQUEST_TIMEOUT`].
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        repeat: Repeat,
    ) -> Result<T, ClientError> {
        self.json_within(request, repeat, REQUEST_TIMEOUT).await
    }

    pub(crate) async fn json_within<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        repeat: Repeat,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        let name = name_of(&request);
        let body = self.bytes(request.timeout(timeout), repeat).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Malformed {
            server: self.server().to_owned(),
            request: name,
            message: format!("{error} in {}", excerpt(&body)),
        })
    }

    /// Sends a request and reads its answer, and tries again as `repeat` allows.
    pub(crate) async fn bytes(
        &self,
        request: RequestBuilder,
        repeat: Repeat,
    ) -> Result<Bytes, ClientError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..MAX_TRIES {
            // Bodies are entirely in memory, so every request can be copied.
            let Some(copy) = request.try_clone() else { break };
            match self.try_bytes(copy).await {
                Ok(body) => return Ok(body),
                Err(failure) if failure.may_repeat(repeat) => {}
                Err(failure) => return Err(failure.error),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.try_bytes(request).await.map_err(|failure| failure.error)
    }

    async fn try_bytes(&self, request: RequestBuilder) -> Result<Bytes, Failure> {
        let name = name_of(&request);
        let answer = request.send().await.map_err(|error| self.failure(&error))?;
        let answer = self.check(answer, &name).await.map_err(Failure::answered)?;
        self.read(answer, &name).await
    }

    /// Turns an answer without success into an error.
    pub(crate) async fn check(
        &self,
        answer: Response,
        name: &str,
    ) -> Result<Response, ClientError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if let Some(to) = answer.headers().get(LOCATION).filter(|_| status.is_redirection()) {
            let to = excerpt(to.as_bytes());
            return Err(ClientError::Malformed {
                server: self.server().to_owned(),
                request: name.to_owned(),
                message: format!("{status} to {to}, which is not followed; expected an answer"),
            });
        }
        let body = self.read(answer, name).await.map_err(|failure| failure.error)?;
        match serde_json::from_slice::<ProblemDetails>(&body) {
            Ok(problem) => Err(ClientError::Refused(Box::new(ProblemDetails {
                // The status line counts, also for everything between here and the server.
                status: status.as_u16(),
                ..problem
            }))),
            Err(_) if is_passing(status.as_u16()) => Err(ClientError::Unreachable {
                server: self.server().to_owned(),
                message: format!("answered {status}"),
            }),
            Err(_) => Err(ClientError::Malformed {
                server: self.server().to_owned(),
                request: name.to_owned(),
                message: format!("{status}: {}; expected problem+json", excerpt(&body)),
            }),
        }
    }

    async fn read(&self, mut answer: Response, name: &str) -> Result<Bytes, Failure> {
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.failure(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::answered(ClientError::TooLarge {
                    server: self.server().to_owned(),
                    request: name.to_owned(),
                    limit: MAX_ANSWER_BYTES,
                }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn failure(&self, error: &reqwest::Error) -> Failure {
        let message = if error.is_timeout() && !error.is_connect() {
            "no answer in time".to_owned()
        } else {
            why_not_secured(error, self.has_ca).unwrap_or_else(|| innermost(error))
        };
        Failure {
            error: ClientError::Unreachable { server: self.server().to_owned(), message },
            unsent: error.is_connect(),
            // A server that takes so long will not be faster next time.
            hopeless: error.is_timeout(),
        }
    }

    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        self.failure(error).error
    }
}

/// How one try failed.
struct Failure {
    error: ClientError,
    unsent: bool,
    hopeless: bool,
}

impl Failure {
    fn answered(error: ClientError) -> Self {
        let hopeless = !error.retryable();
        Self { error, unsent: false, hopeless }
    }

    fn may_repeat(&self, repeat: Repeat) -> bool {
        !self.hopeless && (self.unsent || repeat == Repeat::Always)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

pub(crate) fn name_of(request: &RequestBuilder) -> String {
    let request = request.try_clone().and_then(|request| request.build().ok());
    request.map_or_else(String::new, |request| {
        format!("{} {}", request.method(), request.url().path())
    })
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let shown: String = text.chars().take(SHOWN_ANSWER_CHARS).collect();
    format!("{shown:?}{}", if shown.len() < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_must_be_a_url_of_http() {
        for bad in ["", "localhost:8900", "ftp://example.com", "file:///tmp"] {
            let error = Client::new(bad).unwrap_err();
            assert!(error.to_string().contains("invalid address"), "{bad}: {error}");
        }
        assert_eq!(Client::new("http://[::1]:1/").unwrap().server(), "http://[::1]:1");
    }

    #[test]
    fn segments_are_escaped_and_a_path_of_the_server_is_kept() {
        let client = Client::new("http://127.0.0.1:1/ops/").unwrap();
        let request = client.request(Method::GET, &["playbooks", "team/x y"]);
        assert_eq!(name_of(&request), "GET /ops/api/v1/playbooks/team%2Fx%20y");
    }

    #[test]
    fn only_what_was_not_sent_is_repeated_blindly() {
        let error = || ClientError::Unreachable { server: String::new(), message: String::new() };
        let lost = Failure { error: error(), unsent: false, hopeless: false };
        assert!(lost.may_repeat(Repeat::Always) && !lost.may_repeat(Repeat::Unsent));
        let unsent = Failure { error: error(), unsent: true, hopeless: false };
        assert!(unsent.may_repeat(Repeat::Unsent));
        let slow = Failure { error: error(), unsent: false, hopeless: true };
        assert!(!slow.may_repeat(Repeat::Always));
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = Client::new(&format!("http://{address}")).unwrap();
        let request = client.request(Method::GET, &["runs"]);
        let timeout = Duration::from_millis(50);
        let error = client.json_within::<()>(request, Repeat::Always, timeout).await.unwrap_err();
        assert!(error.to_string().ends_with("no answer in time"), "{error}");
        assert!(error.retryable());
    }
}
