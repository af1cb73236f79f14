use proptest::prelude::*;
use serde_json::json;

use super::*;

const SMALL: Bounds = Bounds { bytes: 400, depth: 3, values: 20, text: 40, key: 10 };

fn object(body: &str) -> Result<Value, String> {
    read_object(body.as_bytes(), &SMALL).map(Value::Object).map_err(|error| error.to_string())
}

fn refused(body: &str) -> String {
    object(body).unwrap_err()
}

#[test]
fn an_object_within_its_bounds_comes_in_as_it_is() {
    let body =
        json!({"a": [1, -2, 2.5, u64::MAX], "b": {"c": {}}, "d": null, "e": "ä\u{0}", "": true});
    assert_eq!(object(&body.to_string()).unwrap(), body);
}

#[test]
fn each_bound_is_told_with_what_was_found() {
    for (body, told) in [
        (json!({"a": [[[]]]}), "the body: found more than 3 levels, expected at most that"),
        (json!({"a": vec![0; 20]}), "the body: found more than 20 values, expected at most that"),
        (json!({"a": "x".repeat(41)}), "the body: found a text of 41 bytes, expected at most 40"),
        (
            json!({"k".repeat(11): 1}),
            "the body: found a key of 11 bytes (\"kkkkkkkkkkk\"), expected at most 10",
        ),
        (json!(vec!["x".repeat(40); 10]), "the body: found 431 bytes, expected at most 400"),
        (json!([1]), "the body: found [1], expected a JSON object"),
    ] {
        assert_eq!(refused(&body.to_string()), told);
    }
    let twice = refused(r#"{"a": 1, "b": {"a": 1, "a": 2}}"#);
    assert_eq!(twice, "the body: found the key \"a\" twice, expected it once");
}

#[test]
fn what_is_no_json_is_told_with_where_it_is_not() {
    let told = |body: &[u8]| read_object(body, &SMALL).unwrap_err().to_string();
    assert!(told(b"\xef\xbb\xbf{}").contains("found a byte order mark"));
    assert!(told(b"{\"a\": \"\xff\"}").contains("not UTF-8 at 7"));
    assert!(told(b"\xff\xfe{\0}\0").contains("not UTF-8 at 0"));
    for bad in [
        "",
        "<html>",
        "{",
        "{} {}",
        r#"{"a": NaN}"#,
        r#"{"a": 1e999}"#,
        r#"{"a": "\ud800"}"#,
        r#"{"a": '1'}"#,
        "{\"a\": \"\u{1}\"}",
    ] {
        let told = told(bad.as_bytes());
        assert!(told.contains("expected a JSON object ("), "{bad}: {told}");
    }
    // The parser would make a float of it, and a float may well be that large.
    let integer = format!(r#"{{"a": {}}}"#, "9".repeat(300));
    let expected = "found a whole number of about 1e300, expected at most 64 bits";
    assert!(refused(&integer).contains(expected));
    assert_eq!(object(r#"{"a": 1e300}"#).unwrap()["a"], json!(1e300));
    let most =
        r#"{"a": [18446744073709551615, -9223372036854775808], "b": "18446744073709551616"}"#;
    assert_eq!(object(most).unwrap()["a"], json!([u64::MAX, i64::MIN]));
    assert!(refused(&format!(r#"{{"a": {}}}"#, "9".repeat(350))).contains("number out of range"));
}

#[test]
fn wanted_members_are_found_and_all_others_passed_over() {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let body = format!(
        r#"{{"x": {deep}, "s": {{"y": [{}1], "p": "in", "q": {deep}}}, "s/p": 7, "k": [1,2]}}"#,
        "1,".repeat(10_000)
    );
    let wanted = [("/k", SMALL), ("/s/p", SMALL), ("/s/q", SMALL), ("/s/none", SMALL)];
    let found = read_members(body.as_bytes(), 1_000_000, &wanted).unwrap();
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["/k", "/s/p", "/s/q"]);
    assert_eq!(found["/k"], Found::Value(json!([1, 2])));
    assert_eq!(found["/s/p"], Found::Value(json!("in")));
    assert!(matches!(&found["/s/q"], Found::TooMuch(what) if what.contains("3 levels")));
    let read = |body: &str| read_members(body.as_bytes(), 100, &wanted);
    for (body, value) in [
        (r#"{"s": [1]}"#, json!([1])),
        (r#"{"s": "x"}"#, json!("x")),
        (r#"{"s": 2.5}"#, json!(2.5)),
    ] {
        assert_eq!(read(body).unwrap()["/s"], Found::Value(value));
    }
    let twice = read(r#"{"k": 1, "k": 2}"#).unwrap_err().to_string();
    assert!(twice.contains("/k: found the key twice"), "{twice}");
    assert!(read(r#"{"x": 1, "x": 2}"#).is_ok());
    assert_eq!(read("[]").unwrap_err().to_string(), "the body: found [], expected a JSON object");
    assert!(
        read(&format!("{{}}{}", " ".repeat(99))).unwrap_err().to_string().contains("101 bytes")
    );
}

/// JSON text of any shape, including text that no `Value` can hold.
fn any_text() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<f64>().prop_map(|n| format!("{n:?}")),
        any::<i64>().prop_map(|n| n.to_string()),
        (1_usize..500).prop_map(|digits| "7".repeat(digits)),
        (-400_i32..400, 0_u64..u64::MAX).prop_map(|(e, n)| format!("0.{n}e{e}")),
    ];
    let text = prop_oneof![
        any::<String>().prop_map(|text| Value::String(text).to_string()),
        Just(r#""\u0000\ud83d\ude00""#.to_owned()),
        Just(r#""\ud83d""#.to_owned()),
        (1_usize..200).prop_map(|n| format!("\"{}\"", "é".repeat(n))),
    ];
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, text.clone()];
    let inner = leaf.prop_recursive(8, 200, 20, move |inner| {
        let members = prop::collection::vec((text.clone(), inner.clone()), 0..12);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..30)
                .prop_map(|items| format!("[{}]", items.join(","))),
            members.prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
            (inner, 1_usize..300).prop_map(|(inner, n)| format!(
                "{}{inner}{}",
                "[".repeat(n),
                "]".repeat(n)
            )),
        ]
    });
    inner.prop_map(|text| format!(r#"{{"x":{text}}}"#))
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + below.unwrap_or(0)
}

fn check(value: &Value, bounds: &Bounds, values: &mut usize) {
    *values += 1;
    match value {
        Value::String(text) => assert!(text.len() <= bounds.text),
        Value::Array(items) => items.iter().for_each(|item| check(item, bounds, values)),
        Value::Object(members) => members.iter().for_each(|(key, item)| {
            assert!(key.len() <= bounds.key);
            check(item, bounds, values);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #[test]
    fn what_comes_in_is_bounded_and_is_the_same_when_it_is_read_back(body in any_text()) {
        let bounds = Bounds { bytes: 2_000, depth: 12, values: 100, text: 200, key: 50 };
        let found = read_object(body.as_bytes(), &bounds);
        // The result agrees with that of a parser without bounds, where that parser can read the text.
        if let Ok(map) = found {
            let value = Value::Object(map);
            let mut values = 0;
            check(&value, &bounds, &mut values);
            prop_assert!(values <= bounds.values && depth(&value) <= bounds.depth);
            let text = value.to_string();
            prop_assert!(text.len() <= bounds.bytes);
            prop_assert_eq!(json_bytes(&value), text.len());
            let back: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(back, value);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_a_short_message(body in any::<Vec<u8>>()) {
        if let Err(error) = read_object(&body, &SMALL) {
            prop_assert!(error.to_string().len() < 1_000);
        }
    }
}
