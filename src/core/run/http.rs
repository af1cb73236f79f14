//! HTTP requests of steps and their responses, as values. A request is checked when it is made, so that a host only
//! sends what can be sent, and what a server answers is bounded before it is kept.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::agent_record::FailureReason;
use super::json_text::escaped_bytes;
use crate::playbook::{HttpMethod, PluginPin};
use crate::time::Millis;

/// The most bytes of a body, of a request as well as of a response. The response is kept in the journal, which is
/// one document and holds 1.5 MiB of answers.
pub const MAX_HTTP_BODY: usize = 1024 * 1024;

/// The most headers of a request or a response. Clients and servers commonly refuse more than a hundred.
pub const MAX_HTTP_HEADERS: usize = 64;

/// The most bytes of all names and values of headers together. Many servers refuse more than 16 KiB, and what a
/// response has is kept in the journal.
pub const MAX_HTTP_HEADER_BYTES: usize = 16 * 1024;

/// The longest time for a response. Whoever needs longer asks again: a connection that is open for minutes is
/// seldom still there.
pub const MAX_HTTP_TIMEOUT: Millis = Millis::from_secs(10 * 60);

/// The longest URL in bytes. Servers refuse longer ones.
pub const MAX_HTTP_URL: usize = 8 * 1024;

/// How many characters of a URL people are shown.
const SHOWN_URL: usize = 200;

/// Headers that the host sets itself, or that belong to one connection.
const OF_THE_HOST: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept-encoding",
];

/// A request that may be sent as it is.
///
/// # Example
/// ```
/// use replibook_core::run::HttpRequest;
///
/// let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
/// let request = HttpRequest::new("POST", "https://Hooks.example.com:443/a/../b", headers, b"{}", 5_000)?;
/// assert_eq!(request.url(), "https://hooks.example.com/b");
/// assert!(HttpRequest::new("POST", "file:///etc/passwd", vec![], b"", 5_000).is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HttpRequest {
    method: HttpMethod,
    url: String,
    headers: Vec<(String, String)>,
    body: HttpBody,
    timeout: Millis,
}

impl HttpRequest {
    /// Checks and normalizes a request. `timeout` is in milliseconds.
    ///
    /// # Errors
    /// What can't be sent, as a message for the author of the step. It quotes no value of a header and no query:
    /// both may hold what is not for everybody.
    pub fn new(
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: &[u8],
        timeout: u32,
    ) -> Result<Self, String> {
        let of_word = HttpMethod::ALL.into_iter().find(|known| known.as_str() == method);
        let expected = || HttpMethod::ALL.map(HttpMethod::as_str).join(", ");
        let method = of_word
            .ok_or_else(|| format!("found the method {method:?}, expected {}", expected()))?;
        let url = check_url(url)?;
        let headers = check_headers(headers)?;
        check_body(body)?;
        let timeout = Millis(u64::from(timeout));
        if timeout.0 == 0 || timeout > MAX_HTTP_TIMEOUT {
            let (found, most) = (timeout.0, MAX_HTTP_TIMEOUT.0);
            return Err(format!("found a timeout of {found} ms, expected 1 to {most}"));
        }
        Ok(Self { method, url, headers, body: HttpBody::from(body), timeout })
    }

    /// The same request with this body.
    ///
    /// # Errors
    /// A body that is too long, as a message like those of [`new`](Self::new).
    pub fn with_body(self, body: Vec<u8>) -> Result<Self, String> {
        check_body(&body)?;
        Ok(Self { body: HttpBody::from(body), ..self })
    }

    /// Whether only the host sets this header, in any spelling: a request that has it is refused.
    pub fn is_header_of_the_host(name: &str) -> bool {
        OF_THE_HOST.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The method.
    pub const fn method(&self) -> HttpMethod {
        self.method
    }

    /// The absolute URL in the form in which it is sent.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The headers, with their names in lower case.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body.
    pub const fn body(&self) -> &HttpBody {
        &self.body
    }

    /// How long to wait for the response.
    pub const fn timeout(&self) -> Millis {
        self.timeout
    }

    /// Method and URL for people, without the query.
    pub fn in_words(&self) -> String {
        let url = self.url.split('?').next().unwrap_or_default();
        let shown: String = url.chars().take(SHOWN_URL).collect();
        let more = if shown.len() < url.len() { "…" } else { "" };
        format!("{} {shown}{more}", self.method)
    }

    /// The sha256 of the whole request, in hex.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(self.method.as_str().as_bytes());
        part(self.url.as_bytes());
        part(&self.timeout.0.to_be_bytes());
        part(self.body.bytes());
        for (name, value) in &self.headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        hex::encode(hash.finalize())
    }
}

fn check_body(body: &[u8]) -> Result<(), String> {
    let found = body.len();
    match found > MAX_HTTP_BODY {
        true => Err(format!("found a body of {found} bytes, expected at most {MAX_HTTP_BODY}")),
        false => Ok(()),
    }
}

fn check_url(text: &str) -> Result<String, String> {
    if text.len() > MAX_HTTP_URL {
        let found = text.len();
        return Err(format!("found a URL of {found} bytes, expected at most {MAX_HTTP_URL}"));
    }
    let expected = "expected http:// or https://, a host, and perhaps a path and a query";
    let mut url =
        Url::parse(text).map_err(|error| format!("found a URL with {error}, {expected}"))?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let scheme = url.scheme();
    if !matches!(scheme, "http" | "https") || !url.has_host() {
        return Err(format!("found a URL of the scheme {scheme}, {expected}"));
    }
    if !is_plain {
        return Err(format!("found a URL with a user or a password in it, {expected}"));
    }
    url.set_fragment(None);
    Ok(url.into())
}

fn check_headers(headers: Vec<(String, String)>) -> Result<Vec<(String, String)>, String> {
    if headers.len() > MAX_HTTP_HEADERS {
        let found = headers.len();
        return Err(format!("found {found} headers, expected at most {MAX_HTTP_HEADERS}"));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_HTTP_HEADER_BYTES {
        return Err(format!(
            "found {bytes} bytes of headers, expected at most {MAX_HTTP_HEADER_BYTES}"
        ));
    }
    headers.into_iter().map(|(name, value)| check_header(name, value)).collect()
}

fn check_header(mut name: String, value: String) -> Result<(String, String), String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!(
            "found the name of a header {name:?}, expected letters, digits and dashes"
        ));
    }
    name.make_ascii_lowercase();
    if OF_THE_HOST.contains(&name.as_str()) {
        return Err(format!("found the header {name}, which only the host sets"));
    }
    let fits = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
    if !value.bytes().all(fits) {
        let expected = "expected visible ASCII characters and spaces";
        return Err(format!("found a value of the header {name} that can't be sent, {expected}"));
    }
    Ok((name, value.trim_matches([' ', '\t']).to_owned()))
}

/// On whose behalf a request is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// Name of the playbook.
    pub playbook: String,
    /// The plugin, as the playbook pins it.
    pub plugin: PluginPin,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HttpResponse {
    /// Status code. A redirect is an answer like any other, and is not followed.
    pub status: u16,
    /// Headers in the order in which they came, with their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: HttpBody,
}

impl HttpResponse {
    /// Bytes that the response takes as JSON text, approximately.
    pub(crate) fn json_bytes(&self) -> usize {
        let header =
            |(name, value): &(String, String)| escaped_bytes(name) + escaped_bytes(value) + 8;
        self.headers.iter().map(header).sum::<usize>() + self.body.json_bytes()
    }
}

/// The bytes of a body. They are stored as text where they are text, and as base64 where that is shorter. Clones
/// share them.
///
/// # Example
/// ```
/// use replibook_core::run::HttpBody;
///
/// let text = HttpBody::from("{\"ok\":true}".as_bytes());
/// assert_eq!(serde_json::to_string(&text)?, r#""{\"ok\":true}""#);
/// let other = HttpBody::from(&[0_u8, 255][..]);
/// assert_eq!(serde_json::to_string(&other)?, r#"{"base64":"AP8="}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "Form", into = "Form")]
#[schemars(with = "Form")]
pub struct HttpBody(Arc<[u8]>);

impl HttpBody {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The body as text, where that is not longer than base64 as a part of JSON.
    fn as_short_text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        (escaped_bytes(text) <= base64_bytes(self.0.len())).then_some(text)
    }

    fn json_bytes(&self) -> usize {
        match self.as_short_text() {
            Some(text) => escaped_bytes(text),
            None => base64_bytes(self.0.len()),
        }
    }
}

impl From<&[u8]> for HttpBody {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl From<Vec<u8>> for HttpBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

const fn base64_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4 + r#"{"base64":}"#.len()
}

/// How a body is stored.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum Form {
    Text(String),
    Bytes { base64: String },
}

impl From<HttpBody> for Form {
    fn from(body: HttpBody) -> Self {
        match body.as_short_text() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes { base64: STANDARD.encode(&body.0) },
        }
    }
}

impl TryFrom<Form> for HttpBody {
    type Error = base64::DecodeError;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        match form {
            Form::Text(text) => Ok(Self::from(text.into_bytes())),
            Form::Bytes { base64 } => STANDARD.decode(base64).map(Self::from),
        }
    }
}

/// Why there is no response.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, thiserror::Error,
)]
#[serde(rename_all = "kebab-case", tag = "error", content = "message")]
pub enum HttpError {
    /// The address that the name has is not one that the plugin may reach, or a secret may not go there.
    #[error("not granted: {0}")]
    NotGranted(String),
    /// No response came in time.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The connection failed, or what came is no response that can be kept.
    #[error("failed: {0}")]
    Failed(String),
    /// The request has a secret that can't be used. Nothing was sent.
    #[error("secret not usable: {0}")]
    Secret(String),
}

impl HttpError {
    /// Why an attempt fails that ends with this error.
    pub const fn reason(&self) -> FailureReason {
        match self {
            Self::NotGranted(_) => FailureReason::NotGranted,
            Self::TimedOut(_) => FailureReason::TimedOut,
            Self::Failed(_) => FailureReason::StepFailed,
            Self::Secret(_) => FailureReason::SecretUnavailable,
        }
    }

    /// Bytes of the message.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::NotGranted(message)
            | Self::TimedOut(message)
            | Self::Failed(message)
            | Self::Secret(message) => message.len(),
        }
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
