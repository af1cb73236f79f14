//! Tests of scrubbing: each named encoding, wherever it is and in whichever way it is spelled.

use serde_json::json;

use super::*;

/// Has what JSON, percent encoding and headers escape, and bytes whose base64 differs between the two alphabets.
const SECRET: &str = "p\u{e9}ss \"w/rd\"\\?>~+%41\u{ff}\u{1f600}~~~";

fn secret(text: &str) -> SecretText {
    SecretText::read("pager", text.as_bytes()).unwrap()
}

fn scrubber() -> Scrubber {
    Scrubber::new([&secret(SECRET)])
}

/// Percent-encodes all but `kept`.
fn percent(text: &str, kept: &[u8], upper: bool) -> String {
    let encode = |byte: u8| match (kept.contains(&byte), upper) {
        (true, _) => char::from(byte).to_string(),
        (false, true) => format!("%{byte:02X}"),
        (false, false) => format!("%{byte:02x}"),
    };
    text.bytes().map(encode).collect()
}

fn ascii_json(text: &str, upper: bool) -> String {
    let unit = |unit: u16| match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        Ok(_) | Err(_) if upper => format!("\\u{unit:04X}"),
        Ok(_) | Err(_) => format!("\\u{unit:04x}"),
    };
    text.encode_utf16().map(unit).collect()
}

/// The secret in each encoding, with its name.
fn encoded() -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(SECRET).unwrap();
    let json = json.trim_matches('"').to_owned();
    vec![
        ("plain", SECRET.to_owned()),
        ("JSON", json.clone()),
        ("JSON with all slashes escaped", json.replace('/', "\\/")),
        ("JSON in ASCII", ascii_json(SECRET, false)),
        ("JSON in ASCII, upper case", ascii_json(SECRET, true)),
        ("base64", STANDARD_NO_PAD.encode(SECRET)),
        ("base64url", URL_SAFE_NO_PAD.encode(SECRET)),
        ("hex", hex::encode(SECRET)),
        ("HEX", hex::encode_upper(SECRET)),
        ("percent", percent(SECRET, b"", true)),
        ("percent, lower case", percent(SECRET, b"ps/wrd~", false)),
        ("a form", percent(SECRET, b" pswrd", true).replace(' ', "+")),
        (
            "percent in JSON",
            percent(SECRET, b"/\\", true).replace('\\', "\\\\").replace('/', "\\/"),
        ),
    ]
}

#[test]
fn a_secret_is_found_in_each_encoding_and_nothing_else_is_touched() {
    let scrubber = scrubber();
    for (name, text) in encoded() {
        for (before, after) in [("", ""), ("x=", "&y"), ("\"", "\""), ("{\"a\": \"", "\\n\"}")] {
            let all = format!("{before}{text}{after}");
            let expected = format!("{before}[secret]{after}");
            assert_eq!(scrubber.text(&all), expected, "{name}");
            assert!(scrubber.bytes(all.as_bytes()).len() <= all.len(), "{name}");
        }
    }
    for text in ["", "password", "%41", "a\\u0041", "p\u{e9}ss \"w/rd\"", "[secret]"] {
        assert!(matches!(scrubber.text(text), Cow::Borrowed(_)), "{text}");
    }
}

#[test]
fn base64_of_something_longer_has_nothing_of_the_secret() {
    let scrubber = Scrubber::new([&secret("correct-horse")]);
    for before in 0..7 {
        for after in 0..7 {
            let whole = format!("{}correct-horse{}", "u".repeat(before), ":".repeat(after));
            for text in [STANDARD_NO_PAD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                let scrubbed = scrubber.text(&text);
                assert!(scrubbed.contains(SCRUBBED), "{whole}");
                let left = scrubbed.len() - SCRUBBED.len();
                // Only whole characters of what is around the secret are left.
                let around = 8 * (before + after);
                assert!(6 * left < around + 6, "{whole}: {text} became {scrubbed}");
            }
        }
    }
}

#[test]
fn secrets_that_overlap_and_such_as_are_in_pieces_of_a_body_are_found() {
    let scrubber = Scrubber::new([&secret("abcdefgh"), &secret("efghijkl")]);
    assert_eq!(scrubber.text("1abcdefghijkl2"), "1[secret]2");
    assert_eq!(scrubber.text("abcdefghabcdefgh."), "[secret].", "two in a row");
    let body = [&b"abcd"[..], b"efgh"].concat();
    assert_eq!(&*scrubber.bytes(&body), SCRUBBED.as_bytes());
}

#[test]
fn what_begins_like_a_token_is_taken_out_in_every_spelling() {
    let scrubber = Scrubber::new([]);
    let token = format!("{TOKEN_PREFIX}pager.{}", "0".repeat(64));
    for text in [
        token.clone(),
        token.to_uppercase(),
        token.replace('.', "%2e"),
        token.replace('-', "\\u002d"),
    ] {
        assert!(scrubber.text(&text).starts_with(SCRUBBED), "{text}");
    }
}

#[test]
fn values_are_scrubbed_everywhere_and_stay_values() {
    let scrubber = Scrubber::new([&secret("12345678"), &secret("pass\"word")]);
    let mut value = json!({
        "a": ["x pass\"word", 12_345_678, 1_234, null, true],
        "pass\"word": {"deep": "{\"in\": \"pass\\\"word\"}"},
        "n": 123_456_789,
    });
    assert!(scrubber.value(&mut value));
    let expected = json!({
        "a": ["x [secret]", "[secret]", 1_234, null, true],
        "[secret]": {"deep": "{\"in\": \"[secret]\"}"},
        "n": "[secret]9",
    });
    assert_eq!(value, expected);
    assert!(!scrubber.value(&mut json!({"a": [1, "x", {"b": null}]})));
}

#[test]
fn a_large_body_that_is_made_to_be_slow_is_searched_in_time() {
    let value = "ab".repeat(4_096);
    let scrubber = Scrubber::new([&secret(&value)]);
    let body = format!("{}c", "ab".repeat(500_000));
    assert_eq!(scrubber.text(&body), "[secret]c");
    let body = format!("%61{}", &"ab".repeat(4_095)).repeat(100);
    assert!(matches!(scrubber.text(&body), Cow::Borrowed(_)));
}
