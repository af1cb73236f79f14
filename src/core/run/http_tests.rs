//! What a request may be, and what of an answer is kept.

use super::*;

fn get(url: &str) -> Result<HttpRequest, String> {
    HttpRequest::new("GET", url, vec![], b"", 1_000)
}

fn with(name: &str, value: &str) -> Result<HttpRequest, String> {
    let headers = vec![(name.to_owned(), value.to_owned())];
    HttpRequest::new("GET", "https://a.example", headers, b"", 1_000)
}

#[test]
fn a_url_is_sent_in_one_form() {
    for (text, sent) in [
        ("HTTPS://A.Example", "https://a.example/"),
        ("http://a.example:80/x?y#z", "http://a.example/x?y"),
        ("http://a.example/b/%2e%2e/c", "http://a.example/c"),
        ("http://a.example\\b", "http://a.example/b"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
    ] {
        assert_eq!(get(text).unwrap().url(), sent);
    }
    for bad in ["", "a.example", "ftp://a.example", "file:///etc/passwd", "http://", "http:///"] {
        assert!(get(bad).is_err(), "{bad}");
    }
    for bad in ["https://u@a.example", "https://:p@a.example", "data:text/plain,x"] {
        assert!(get(bad).is_err(), "{bad}");
    }
    assert!(get(&format!("https://a.example/{}", "x".repeat(MAX_HTTP_URL))).is_err());
}

#[test]
fn headers_can_be_sent_and_are_not_those_of_the_host() {
    let request = with("X-Token", " a b\t").unwrap();
    assert_eq!(request.headers(), [("x-token".to_owned(), "a b".to_owned())]);
    for (name, value) in [
        ("a", "b\r\nhost: evil.example"),
        ("a", "b\n"),
        ("a", "\0"),
        ("a", "ä"),
        ("a b", "c"),
        ("a:", "b"),
        ("", "b"),
        ("Host", "evil.example"),
        ("Idempotency-Key", "1"),
        ("transfer-encoding", "chunked"),
    ] {
        let message = with(name, value).unwrap_err();
        assert!(!message.contains("evil"), "{message}");
    }
    let many = |count| vec![("a".to_owned(), "b".to_owned()); count];
    let sent = |headers| HttpRequest::new("GET", "https://a.example", headers, b"", 1);
    assert!(sent(many(MAX_HTTP_HEADERS)).is_ok());
    assert!(sent(many(MAX_HTTP_HEADERS + 1)).is_err());
    let long = |bytes| vec![("a".to_owned(), "b".repeat(bytes))];
    assert!(sent(long(MAX_HTTP_HEADER_BYTES - 1)).is_ok());
    assert!(sent(long(MAX_HTTP_HEADER_BYTES)).is_err());
}

#[test]
fn methods_bodies_and_timeouts_have_limits() {
    let request = |method: &str, bytes, timeout| {
        HttpRequest::new(method, "https://a.example", vec![], &vec![b'x'; bytes], timeout)
    };
    assert!(request("POST", MAX_HTTP_BODY, 600_000).is_ok());
    for bad in [
        request("POST", MAX_HTTP_BODY + 1, 1),
        request("CONNECT", 0, 1),
        request("get", 0, 1),
        request("GET", 0, 0),
        request("GET", 0, 600_001),
    ] {
        assert!(bad.is_err(), "{bad:?}");
    }
    let with_body = |bytes| request("POST", 0, 1).unwrap().with_body(vec![b'x'; bytes]);
    assert_eq!(with_body(MAX_HTTP_BODY), request("POST", MAX_HTTP_BODY, 1));
    assert!(with_body(MAX_HTTP_BODY + 1).is_err());
}

#[test]
fn the_hash_is_of_all_that_is_sent() {
    let one = |url: &str, value: &str, body: &[u8], timeout| {
        let headers = vec![("a".to_owned(), value.to_owned())];
        HttpRequest::new("PUT", url, headers, body, timeout).unwrap().hash()
    };
    let base = one("https://a.example", "b", b"c", 1);
    assert_eq!(base, one("https://A.example:443/", "b", b"c", 1));
    for other in [
        one("https://a.example/x", "b", b"c", 1),
        one("https://a.example", "x", b"c", 1),
        one("https://a.example", "b", b"x", 1),
        one("https://a.example", "b", b"c", 2),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn people_are_shown_no_query() {
    let request = get("https://a.example/b?token=secret").unwrap();
    assert_eq!(request.in_words(), "GET https://a.example/b");
    let long = get(&format!("https://a.example/{}", "x".repeat(300))).unwrap();
    assert!(long.in_words().ends_with("x…") && long.in_words().chars().count() < 210);
}

#[test]
fn a_body_is_stored_in_the_shorter_way_and_comes_back() {
    for bytes in [&b""[..], b"plain", "é\n".as_bytes(), &[0; 100], &[0xff, 0xfe], b"{\"a\":1}"] {
        let body = HttpBody::from(bytes);
        let json = serde_json::to_string(&body).unwrap();
        assert_eq!(serde_json::from_str::<HttpBody>(&json).unwrap(), body, "{json}");
        assert!(json.len() <= body.json_bytes() + 2, "{json}");
    }
    assert!(serde_json::from_str::<HttpBody>(r#"{"base64":"!"}"#).is_err());
    let worst = HttpBody::from(vec![0; MAX_HTTP_BODY]);
    assert!(worst.json_bytes() < 1_400 * 1024 + 32);
}
