//! Compresses answers for clients that accept gzip. Only answers whose length is known: streams have to be sent
//! at once.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::bodies::off_loop;
use super::error::ApiError;
use super::limits::{INLINE_JSON, LARGEST_BODY};

/// Shorter answers are not compressed: they fit one packet, and would hardly become smaller.
const WORTH_IT: u64 = 1_024;

/// Level of compression, out of 9: a higher one takes several times as long and makes JSON hardly any smaller.
const LEVEL: Compression = Compression::new(2);

/// Compresses an answer whose length is known. Streams have no known end, so they stay as they are.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let accepted = accepts_gzip(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if !is_text(headers) || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let length = response.body().size_hint().exact();
    if !accepted || length.is_none_or(|length| length < WORTH_IT) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let packed = match to_bytes(body, LARGEST_BODY).await {
        Ok(bytes) if bytes.len() <= INLINE_JSON => gzip(&bytes),
        Ok(bytes) => off_loop(move || gzip(&bytes)).await.flatten(),
        Err(error) => Err(ApiError::internal(error)),
    };
    match packed {
        Ok(packed) => {
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(head, Body::from(packed))
        }
        Err(error) => error.into_response(),
    }
}

/// Whether the client accepts gzip: it names gzip, or everything, and does not refuse it.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let texts = accepted.filter_map(|value| value.to_str().ok());
    let mut any = None;
    for one in texts.flat_map(|text| text.split(',')) {
        let mut parts = one.split(';').map(str::trim);
        let named = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok());
        let takes = quality.is_none_or(|quality| quality > 0.0);
        if named.eq_ignore_ascii_case("gzip") || named.eq_ignore_ascii_case("x-gzip") {
            return takes;
        }
        if named == "*" {
            any = Some(takes);
        }
    }
    any.unwrap_or(false)
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        crate::web::is_json(essence)
            || ["text/plain", "application/openmetrics-text"].contains(&essence)
    })
}

/// The bytes in the format of RFC 1952.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut packed = GzEncoder::new(Vec::new(), LEVEL);
    let written = packed.write_all(bytes).and_then(|()| packed.finish());
    written.map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    fn accepts(text: &str) -> bool {
        accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, text.parse().unwrap())]))
    }

    #[test]
    fn gzip_is_for_those_who_accept_it() {
        for yes in ["gzip", "br, GZIP;q=0.5", "deflate;q=0.1,gzip", "*", "x-gzip"] {
            assert!(accepts(yes), "{yes}");
        }
        for no in ["", "identity", "br", "gzip;q=0", "*, gzip; q=0", "*;q=0"] {
            assert!(!accepts(no), "{no}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn texts_are_compressed_and_streams_are_not() {
        let kind = |text: &str| {
            is_text(&HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]))
        };
        for yes in ["application/json", "application/problem+json", "text/plain; version=0.0.4"] {
            assert!(kind(yes), "{yes}");
        }
        for no in ["text/event-stream", "application/wasm", ""] {
            assert!(!kind(no), "{no}");
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_by_the_program_of_that_name() {
        for text in [String::new(), "x".to_owned(), "a line of text\n".repeat(10_000)] {
            let mut program = Command::new("gzip");
            program.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = program.spawn().unwrap();
            let packed = gzip(text.as_bytes()).unwrap();
            assert!(text.len() < 1_000 || packed.len() < text.len() / 10);
            let mut stdin = child.stdin.take().unwrap();
            let writer = std::thread::spawn(move || stdin.write_all(&packed).unwrap());
            let mut back = String::new();
            child.stdout.take().unwrap().read_to_string(&mut back).unwrap();
            writer.join().unwrap();
            assert!(child.wait().unwrap().success() && back == text);
        }
    }
}
