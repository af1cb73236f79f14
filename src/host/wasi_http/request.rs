//! A request until it is handed over: its parts as a guest sets them, and its timeouts.

use wasmtime::component::Resource;

use super::body::{Body, OutgoingBody};
use super::errors::{Refusal, internal};
use super::fields::Fields;
use crate::bindings::outgoing::wasi::http::types::{
    ErrorCode, HostOutgoingRequest, HostRequestOptions, Method, Scheme,
};
use crate::guest::Guest;
use crate::limits;
use replibook_core::playbook::HttpMethod;
use replibook_core::run::{HttpRequest, MAX_HTTP_BODY, MAX_HTTP_TIMEOUT, MAX_HTTP_URL};

/// Nanoseconds in a millisecond.
const NANOS: u64 = 1_000_000;

/// A request that is not handed over yet.
pub struct OutgoingRequest {
    method: Method,
    scheme: Option<Scheme>,
    authority: Option<String>,
    path: Option<String>,
    headers: Fields,
    pub(super) body: Option<Body>,
}

impl OutgoingRequest {
    /// The request without its body, as one that our own `http` would send.
    ///
    /// # Errors
    /// What is wrong with it, for which `wasi:http` has codes.
    pub(super) fn checked(&self, options: &RequestOptions) -> Result<HttpRequest, Refusal> {
        let method = word(&self.method);
        if !HttpMethod::ALL.iter().any(|known| known.as_str() == method) {
            let offered = HttpMethod::ALL.map(HttpMethod::as_str).join(", ");
            let message = format!("found the method {method:?}, expected {offered}");
            return Err(Refusal::invalid(ErrorCode::HttpRequestMethodInvalid, message));
        }
        let url = self.url()?;
        let timeout = options.timeout();
        let uri_invalid = |message| Refusal::invalid(ErrorCode::HttpRequestUriInvalid, message);
        // Without headers, nothing but the URL can be wrong.
        HttpRequest::new(method, &url, Vec::new(), b"", timeout).map_err(uri_invalid)?;
        let no_text = || Refusal::other("found a header whose value is no text".to_owned());
        let headers = self.headers.sent().ok_or_else(no_text)?;
        let length = self.headers.length().map_err(Refusal::other)?;
        // Some clients tell the length first and break off without a word where a write fails.
        if let Some(found) = length.filter(|found| *found > MAX_HTTP_BODY as u64) {
            let message = format!(
                "found a content-length of {found} bytes, expected at most {MAX_HTTP_BODY}"
            );
            return Err(Refusal::invalid(ErrorCode::HttpRequestBodySize(Some(found)), message));
        }
        if self.body.is_none() && length.is_some_and(|length| length > 0) {
            let message = "found a content-length without a body";
            return Err(Refusal::invalid(ErrorCode::HttpRequestBodySize(Some(0)), message));
        }
        HttpRequest::new(method, &url, headers, b"", timeout).map_err(Refusal::other)
    }

    fn url(&self) -> Result<String, Refusal> {
        let invalid = |message: &str| Refusal::invalid(ErrorCode::HttpRequestUriInvalid, message);
        let scheme = match &self.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
            Some(Scheme::Other(_)) => {
                return Err(invalid("found another scheme than http and https"));
            }
        };
        let authority =
            self.authority.as_deref().ok_or_else(|| invalid("found a request without a host"))?;
        let path = self.path.as_deref().unwrap_or_default();
        let url = format!("{scheme}://{authority}{path}");
        if url.len() > MAX_HTTP_URL {
            let message = format!("found a URL of more than {MAX_HTTP_URL} bytes");
            return Err(Refusal::invalid(ErrorCode::HttpRequestUriTooLong, message));
        }
        Ok(url)
    }
}

fn word(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(word) => word,
    }
}

/// Whether a method or a scheme that has no name of its own could be one.
fn is_word(text: &str, also: &[u8]) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || also.contains(&b);
    (1..=limits::WASI_WORD_BYTES).contains(&text.len()) && text.bytes().all(fits)
}

/// Whether a part of a URL has only what may stand there. `Url` and the grants decide about the rest.
fn is_part(text: &str, never: &[char]) -> bool {
    !text.chars().any(|c| c.is_control() || c == ' ' || never.contains(&c))
}

/// A part of a URL as it is kept: of one that is too long as much as makes the URL too long.
fn kept(mut text: String) -> String {
    let most = MAX_HTTP_URL;
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
    text
}

impl HostOutgoingRequest for Guest {
    fn new(&mut self, headers: Resource<Fields>) -> wasmtime::Result<Resource<OutgoingRequest>> {
        let headers = self.wasi.table.delete(headers)?.fixed();
        let (scheme, authority, path, body) = (None, None, None, None);
        let request =
            OutgoingRequest { method: Method::Get, scheme, authority, path, headers, body };
        Ok(self.wasi.table.push(request)?)
    }

    fn body(
        &mut self,
        request: Resource<OutgoingRequest>,
    ) -> wasmtime::Result<Result<Resource<OutgoingBody>, ()>> {
        let request = self.wasi.table.get_mut(&request)?;
        if request.body.is_some() {
            return Ok(Err(()));
        }
        // A length that can't be read is an error once the request is handed over.
        let expected = request.headers.length().unwrap_or(None);
        let body = Body::new(expected, &self.wasi.http.bytes);
        request.body = Some(body.clone());
        Ok(Ok(self.wasi.table.push(OutgoingBody { body, has_stream: false })?))
    }

    fn method(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Method> {
        Ok(self.wasi.table.get(&request)?.method.clone())
    }

    fn set_method(
        &mut self,
        request: Resource<OutgoingRequest>,
        method: Method,
    ) -> wasmtime::Result<Result<(), ()>> {
        if let Method::Other(word) = &method
            && !is_word(word, b"!#$%&'*+-.^_`|~")
        {
            return Ok(Err(()));
        }
        self.wasi.table.get_mut(&request)?.method = method;
        Ok(Ok(()))
    }

    fn path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
    ) -> wasmtime::Result<Option<String>> {
        Ok(self.wasi.table.get(&request)?.path.clone())
    }

    fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        path: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        let begins = |path: &str| path.is_empty() || path.starts_with(['/', '?']);
        if path.as_deref().is_some_and(|path| !begins(path) || !is_part(path, &['#'])) {
            return Ok(Err(()));
        }
        self.wasi.table.get_mut(&request)?.path = path.map(kept);
        Ok(Ok(()))
    }

    fn scheme(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<Option<Scheme>> {
        Ok(self.wasi.table.get(&request)?.scheme.clone())
    }

    fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> wasmtime::Result<Result<(), ()>> {
        if let Some(Scheme::Other(word)) = &scheme
            && !is_word(word, b"+-.")
        {
            return Ok(Err(()));
        }
        self.wasi.table.get_mut(&request)?.scheme = scheme;
        Ok(Ok(()))
    }

    fn authority(
        &mut self,
        request: Resource<OutgoingRequest>,
    ) -> wasmtime::Result<Option<String>> {
        Ok(self.wasi.table.get(&request)?.authority.clone())
    }

    fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> wasmtime::Result<Result<(), ()>> {
        let fits = |text: &str| !text.is_empty() && is_part(text, &['/', '?', '#', '\\']);
        if authority.as_deref().is_some_and(|text| !fits(text)) {
            return Ok(Err(()));
        }
        self.wasi.table.get_mut(&request)?.authority = authority.map(kept);
        Ok(Ok(()))
    }

    fn headers(
        &mut self,
        request: Resource<OutgoingRequest>,
    ) -> wasmtime::Result<Resource<Fields>> {
        let headers = self.wasi.table.get(&request)?.headers.clone();
        Ok(self.wasi.table.push(headers)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> wasmtime::Result<()> {
        let request = self.wasi.table.delete(request)?;
        if let Some(body) = request.body {
            body.fail(internal("the request of this body was dropped".to_owned()));
        }
        Ok(())
    }
}

/// Timeouts of a request, in nanoseconds.
#[derive(Default)]
pub struct RequestOptions {
    connect: Option<u64>,
    first_byte: Option<u64>,
    between_bytes: Option<u64>,
}

impl RequestOptions {
    /// How long the whole request may take, in milliseconds: as long as one whose body comes at once may take by all of
    /// these timeouts together.
    fn timeout(&self) -> u32 {
        let usual = limits::WASI_HTTP_TIMEOUT.0 * NANOS;
        let first = self.first_byte.unwrap_or(usual);
        let others = [self.connect, self.between_bytes].into_iter().flatten();
        let nanos = others.fold(first, u64::saturating_add);
        let millis = nanos.div_ceil(NANOS).clamp(1, MAX_HTTP_TIMEOUT.0);
        u32::try_from(millis).unwrap_or(u32::MAX)
    }
}

/// The three timeouts are set and read in the same way.
impl HostRequestOptions for Guest {
    fn new(&mut self) -> wasmtime::Result<Resource<RequestOptions>> {
        Ok(self.wasi.table.push(RequestOptions::default())?)
    }

    fn connect_timeout(
        &mut self,
        options: Resource<RequestOptions>,
    ) -> wasmtime::Result<Option<u64>> {
        Ok(self.wasi.table.get(&options)?.connect)
    }

    fn set_connect_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        nanos: Option<u64>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.wasi.table.get_mut(&options)?.connect = nanos;
        Ok(Ok(()))
    }

    fn first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
    ) -> wasmtime::Result<Option<u64>> {
        Ok(self.wasi.table.get(&options)?.first_byte)
    }

    fn set_first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        nanos: Option<u64>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.wasi.table.get_mut(&options)?.first_byte = nanos;
        Ok(Ok(()))
    }

    fn between_bytes_timeout(
        &mut self,
        options: Resource<RequestOptions>,
    ) -> wasmtime::Result<Option<u64>> {
        Ok(self.wasi.table.get(&options)?.between_bytes)
    }

    fn set_between_bytes_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        nanos: Option<u64>,
    ) -> wasmtime::Result<Result<(), ()>> {
        self.wasi.table.get_mut(&options)?.between_bytes = nanos;
        Ok(Ok(()))
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<()> {
        self.wasi.table.delete(options)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authority: &str, path: Option<&str>) -> OutgoingRequest {
        OutgoingRequest {
            method: Method::Get,
            scheme: None,
            authority: Some(authority.to_owned()),
            path: path.map(str::to_owned),
            headers: Fields::default(),
            body: None,
        }
    }

    fn refused(request: &OutgoingRequest) -> ErrorCode {
        match request.checked(&RequestOptions::default()) {
            Err(refusal) => refusal.code,
            Ok(request) => panic!("found {request:?}, expected an error"),
        }
    }

    #[test]
    fn the_parts_make_a_url_in_the_form_in_which_it_is_sent() {
        for (authority, path, sent) in [
            ("A.Example", None, "https://a.example/"),
            ("a.example:443", Some("/b/../c?d"), "https://a.example/c?d"),
            ("a.example", Some("?d"), "https://a.example/?d"),
            ("[::1]:8080", Some("/"), "https://[::1]:8080/"),
        ] {
            let options = RequestOptions::default();
            let Ok(request) = request(authority, path).checked(&options) else {
                panic!("{authority}")
            };
            assert_eq!(request.url(), sent);
            assert_eq!(request.timeout(), limits::WASI_HTTP_TIMEOUT);
        }
    }

    #[test]
    fn what_is_not_offered_has_its_code() {
        let fine = || request("a.example", Some("/"));
        for method in [Method::Connect, Method::Options, Method::Other("BREW".to_owned())] {
            let found = refused(&OutgoingRequest { method, ..fine() });
            assert!(matches!(found, ErrorCode::HttpRequestMethodInvalid), "{found:?}");
        }
        let scheme = Some(Scheme::Other("ftp".to_owned()));
        for bad in [
            OutgoingRequest { scheme, ..fine() },
            OutgoingRequest { authority: None, ..fine() },
            request("user@a.example", None),
            request("a.example:port", None),
        ] {
            let found = refused(&bad);
            assert!(matches!(found, ErrorCode::HttpRequestUriInvalid), "{found:?}");
        }
        let long = |path: usize| request("a.example", Some(&format!("/{}", "x".repeat(path))));
        assert!(long(MAX_HTTP_URL - 19).checked(&RequestOptions::default()).is_ok());
        assert!(matches!(refused(&long(MAX_HTTP_URL)), ErrorCode::HttpRequestUriTooLong));
    }

    #[test]
    fn of_a_part_that_is_too_long_only_that_is_kept() {
        for text in ["x".repeat(20 << 20), "é".repeat(10 << 20)] {
            let kept = kept(text);
            assert!(kept.len() == MAX_HTTP_URL && kept.capacity() < 2 * MAX_HTTP_URL);
        }
        assert_eq!(kept("/short".to_owned()), "/short");
    }

    #[test]
    fn timeouts_together_limit_the_whole_request() {
        let seconds = |connect: Option<u64>, first_byte: Option<u64>, between: Option<u64>| {
            let nanos = |seconds: Option<u64>| seconds.map(|it| it.saturating_mul(1_000 * NANOS));
            let (connect, first_byte) = (nanos(connect), nanos(first_byte));
            RequestOptions { connect, first_byte, between_bytes: nanos(between) }.timeout()
        };
        assert_eq!(seconds(None, None, None), 30_000);
        assert_eq!(seconds(Some(1), None, None), 31_000);
        assert_eq!(seconds(None, Some(2), None), 2_000);
        assert_eq!(seconds(Some(1), Some(2), Some(3)), 6_000);
        assert_eq!(seconds(None, Some(u64::MAX), Some(u64::MAX)), 600_000);
        assert_eq!(seconds(None, Some(0), None), 1);
        let options = RequestOptions { first_byte: Some(1), ..RequestOptions::default() };
        assert_eq!(options.timeout(), 1);
    }

    #[test]
    fn words_and_parts_have_their_characters() {
        assert!(is_word("PROPFIND", b"-") && is_word("git+ssh", b"+-."));
        assert!(!is_word("", b"-") && !is_word("a b", b"-"));
        assert!(!is_word(&"x".repeat(limits::WASI_WORD_BYTES + 1), b"-"));
        assert!(is_part("/a?b=c", &['#']) && !is_part("/a b", &['#']));
        assert!(!is_part("/a#b", &['#']) && !is_part("/a\nb", &['#']));
    }
}
