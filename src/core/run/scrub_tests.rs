//! Tests of scrubbing: each named encoding, wherever it is and in whichever way it is spelled.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::super::fill::{Written, write};
use super::super::scrub_search::cut_here;
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

/// The text as it is in a text of JSON.
fn inner(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    json[1..json.len() - 1].to_owned()
}

/// A text in lines of so many bytes.
fn in_lines(text: &str, bytes: usize, between: &str) -> String {
    let lines = text.as_bytes().chunks(bytes).map(|line| String::from_utf8_lossy(line));
    lines.collect::<Vec<_>>().join(between)
}

/// The secret in each encoding, with its name.
fn encoded() -> Vec<(&'static str, String)> {
    let json = inner(SECRET);
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
        ("JSON in JSON", inner(&json)),
        ("JSON in JSON in JSON", inner(&inner(&json))),
        ("percent twice", percent(&percent(SECRET, b"", true), b"", false)),
        ("JSON in percent", percent(&json, b"", true)),
        ("percent in JSON in percent", percent(&inner(&percent(SECRET, b"\\", true)), b"", true)),
        ("JSON in base64", STANDARD_NO_PAD.encode(&json)),
        ("JSON in hex", hex::encode(&json)),
        ("percent in base64url", URL_SAFE_NO_PAD.encode(write(SECRET, Written::InForm))),
        ("base64 in a form", percent(&STANDARD_NO_PAD.encode(SECRET), b"", true)),
        ("base64 in lines", in_lines(&STANDARD_NO_PAD.encode(SECRET), 16, "\n")),
        ("base64 in lines of mails", in_lines(&STANDARD_NO_PAD.encode(SECRET), 19, "\r\n")),
        ("base64 in lines in JSON", in_lines(&STANDARD_NO_PAD.encode(SECRET), 17, "\\r\\n")),
        ("base64url in lines of YAML", in_lines(&URL_SAFE_NO_PAD.encode(SECRET), 18, "\n    ")),
        ("base64 in lines in a form", in_lines(&STANDARD_NO_PAD.encode(SECRET), 21, "%0A")),
        ("hex in lines", in_lines(&hex::encode(SECRET), 30, "\n")),
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
    for text in
        ["", "password", "%41", "a\\u0041", "p\u{e9}ss \"", "p\u{e9}ss \"w/rd\".", "[secret]"]
    {
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
    assert!(matches!(scrubber.text(&format!("{body}.")), Cow::Borrowed(_)));
    // Each piece ends as if the secret had been cut there.
    let scrubbed = scrubber.text(&format!("{}…", "ab".repeat(4_095)).repeat(100)).into_owned();
    assert_eq!(scrubbed, "[secret]…".repeat(100));
}

#[test]
fn a_secret_is_found_in_each_reading_of_a_large_body() {
    let scrubber = Scrubber::new([&secret("correct horse")]);
    let many = r"%5C%5C%255C\u005c%2525u0025\\u005c%252Bu0041+";
    let many = many.repeat(1024 * 1024 / many.len());
    let escaped = [
        "correct%252520horse",
        r"correct\\\\u0020horse",
        r"correct%255cu0020horse",
        "correct+horse",
    ];
    let body = format!("{many}/{}/{many}", escaped.join("/"));
    let scrubbed = scrubber.text(&body);
    let found = format!("{many}/[secret]/[secret]/[secret]/[secret]/{many}");
    assert!(scrubbed == found, "{}", scrubbed.len());
}

#[test]
fn a_part_of_a_text_has_no_part_of_a_secret() {
    let scrubber = Scrubber::new([&secret("correct horse")]);
    let text = b"before correct horse after";
    for from in 0..=text.len() {
        for to in from..=text.len() {
            let part = String::from_utf8(scrubber.part(text, from..to)).unwrap();
            // Of an empty part nothing is shown, wherever it is.
            let is_touched = from < to && from < 20 && to > 7;
            assert_eq!(part.contains(SCRUBBED), is_touched, "{from}..{to}: {part}");
            let rest = part.replace(SCRUBBED, "");
            let before = "before ".get(from.min(7)..to.min(7)).unwrap();
            let after = " after".get(from.max(20) - 20..to.max(20) - 20).unwrap();
            assert_eq!(rest, format!("{before}{after}"), "{from}..{to}");
        }
    }
    assert_eq!(scrubber.part(text, 20..1_000), b" after");
    assert_eq!(Scrubber::of_unknown().part(text, 0..6), SCRUBBED.as_bytes());
}

#[test]
fn the_end_of_a_text_has_no_end_of_a_secret() {
    let scrubber = Scrubber::new([&secret("correct horse")]);
    let said = b"correct horse says no";
    let end = |from: usize| String::from_utf8(scrubber.end(said, from)).unwrap();
    assert_eq!(end(0), "[secret] says no");
    assert_eq!(end(6), "[secret] says no");
    assert_eq!(end(13), " says no");
    assert_eq!(end(said.len()), "");
    assert_eq!(String::from_utf8(Scrubber::of_unknown().end(said, 15)).unwrap(), SCRUBBED);
}

#[test]
fn the_beginning_of_a_secret_is_taken_out_where_a_text_was_cut() {
    let scrubber = scrubber();
    for (name, text) in encoded() {
        // Where a secret in base64 begins in the middle, the first characters are of something else.
        for end in (0..text.len()).step_by(3).filter(|end| text.is_char_boundary(*end)) {
            for cut in [format!("said {}", &text[..end]), format!("said {}…: b", &text[..end])] {
                let scrubbed = scrubber.text(&cut);
                let kept = scrubbed.trim_start_matches("said ").trim_end_matches("…: b");
                // A line break may be left at the end, in whichever way it is spelled.
                let is_break = |left: &str| {
                    left.trim().is_empty() || "\\r\\n".starts_with(left) || "%0A".starts_with(left)
                };
                let is_gone = kept.strip_prefix(SCRUBBED).is_some_and(is_break);
                // What stands for fewer than eight bytes can't be told from anything else.
                let is_short = readings(kept).iter().any(|read| whole_bytes(read) < 8);
                assert!(is_gone || is_short, "{name}: {cut} became {scrubbed}");
            }
        }
    }
    let whole = format!("x{SECRET}y");
    assert_eq!(scrubber.text(&whole), "x[secret]y");
    let server = TOKEN_PREFIX.trim_end_matches("-secret.");
    assert!(matches!(scrubber.text(server), Cow::Borrowed(_)), "a word that servers say");
}

#[test]
fn a_name_or_a_number_with_which_a_secret_begins_stays() {
    let scrubber = Scrubber::new([&secret("replicator:pw-1234"), &secret("20261130-7c1e")]);
    let value = json!({"replicator": "replicator", "at": 20_261_130, "in": ["20261130-7c1"]});
    let mut scrubbed = value.clone();
    assert!(!scrubber.value(&mut scrubbed));
    assert_eq!(scrubbed, value);
    assert_eq!(scrubber.text("replicator…"), "[secret]…");
    assert_eq!(scrubber.text("user replicator:pw"), "user [secret]");
}

/// How many bytes come before what is left of an escape.
fn whole_bytes(text: &[u8]) -> usize {
    (0..text.len()).find(|at| cut_here(&text[*at..]).is_some()).unwrap_or(text.len())
}

fn readings(text: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    spellings(text.as_bytes(), &mut |read| all.push(read.bytes().to_vec()));
    all
}

#[test]
fn pieces_one_after_the_other_make_the_whole_without_secrets() {
    let scrubber = Scrubber::new([&secret("correct horse")]);
    let text = b"before correct horsecorrect horse, after correct horse";
    let whole = scrubber.bytes(text).into_owned();
    for size in 1..text.len() + 2 {
        let (mut all, mut from) = (Vec::new(), 0);
        while from < text.len() {
            let (piece, end) = scrubber.piece(text, from..from + size);
            assert!(end > from, "{size}");
            all.extend(piece);
            from = end;
        }
        assert_eq!(String::from_utf8_lossy(&all), String::from_utf8_lossy(&whole), "{size}");
    }
    assert_eq!(Scrubber::of_unknown().piece(text, 0..3), (SCRUBBED.into(), text.len()));
}

#[test]
fn a_secret_is_found_as_messages_and_headers_show_it() {
    let pem = " -----BEGIN KEY-----\r\nMIIEv\u{7}QIBADANBg\r\n-----END KEY-----\t\n";
    let scrubber = Scrubber::new([&secret(pem)]);
    let message = crate::door::told_error(&json!({"error_msg": format!("bad key {pem}!")}));
    assert!(message.contains('\u{fffd}'), "{message}");
    assert_eq!(scrubber.text(&message), "bad key [secret]\n!");
    assert_eq!(scrubber.text(pem.trim()), SCRUBBED);
    let body = format!("bad key: {pem}");
    assert_eq!(scrubber.text(&crate::door::error_message(body.as_bytes())), "bad key: [secret]");
}

#[test]
fn messages_that_the_door_cuts_have_nothing_of_a_secret() {
    let long = "0123456789abcdef".repeat(256);
    let scrubber = Scrubber::new([&secret(&long)]);
    let clean = |message: &str| {
        let scrubbed = scrubber.text(message).into_owned();
        assert!(scrubbed.contains(SCRUBBED) && !scrubbed.contains("01234567"), "{scrubbed}");
    };
    let before = "x".repeat(6_000);
    clean(&crate::door::cut(&format!("{before}{long}")));
    clean(&crate::door::error_message(format!("{before}{long}").as_bytes()));
    let spaces = " ".repeat(32 * 1024 - 3_000);
    clean(&crate::door::error_message(format!("{spaces}{long}").as_bytes()));
    // Of a cause less is kept.
    let error = json!({"error_msg": "a", "error_trail": [format!("b{long}"), "c"]});
    clean(&crate::door::told_error(&error));
}
