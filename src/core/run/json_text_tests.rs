use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::ANY.prop_map(Value::from),
        "[a\"\\\\\u{1}/é,:\\[\\]{}]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        let key = "[a\"\\\\\u{1}é,:{}]{0,4}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_text_is_the_value_and_is_written_as_it(value in value()) {
        let text = JsonText::from(&value);
        let plain = value.to_string();
        prop_assert_eq!(text.as_str(), &plain);
        prop_assert_eq!(text.value(), value.clone());
        // As part of a document that other code writes.
        prop_assert_eq!(serde_json::to_string(&text).unwrap(), plain.clone());
        let (kept, was) = (json!({ "kept": [text] }), json!({ "kept": [value] }));
        prop_assert_eq!(kept.to_string(), was.to_string());
        let depth = json_text_depth(&plain);
        prop_assert!(crate::playbook::json_depth_ok(&value) == (depth <= crate::playbook::MAX_JSON_DEPTH));
    }

    #[test]
    fn a_document_with_a_value_in_it_is_read_as_one_with_a_text(value in value()) {
        // With spaces, as people write JSON.
        let document = serde_json::to_string_pretty(&value).unwrap();
        let read: JsonText = serde_json::from_str(&document).unwrap();
        let plain: Value = serde_json::from_str(&document).unwrap();
        prop_assert_eq!(read, JsonText::from(plain));
    }
}

#[test]
fn numbers_are_exact() {
    // The JSON parser is off by the last bit for some of these.
    for number in [1.0_f64, -0.0, 1e-7, 0.1, 1e308, 5e-324, 8.988_465_674_311_582e307, 1e23] {
        let text = JsonText::from(Value::from(number));
        assert_eq!(text.value().as_f64().map(f64::to_bits), Some(number.to_bits()), "{text}");
        assert!(text.value().is_f64(), "{text}");
    }
    assert!(JsonText::from(json!(u64::MAX)).value().is_u64());
    assert!(JsonText::from(json!(i64::MIN)).value().is_i64());
}

#[test]
fn brackets_count_outside_of_strings_only() {
    let cases = [
        ("7", 0),
        ("[]", 1),
        (r#"{"a": [1], "b": [[2]]}"#, 3),
        (r#"["[[[", "\"[[", "\\", [] ]"#, 2),
    ];
    for (text, expected) in cases {
        assert_eq!(json_text_depth(text), expected, "{text}");
    }
}

#[test]
fn what_is_a_member_of_an_object_shares_its_text() {
    let object = json!({"a": "}", "b\"": [{"c": [1, "]\""]}, 2], "d": {}, "e": -1.5, "f": true});
    let text = JsonText::from(&object);
    for member in object.as_object().unwrap().values() {
        let part = JsonText::from(member).as_member_of(&text);
        assert!(part.is_shared_with(&text) && part == *member, "{part}");
        assert_eq!(part.to_string(), member.to_string());
    }
    let inner = JsonText::from(&object["b\""]).as_member_of(&text);
    let outer = JsonText::from(json!({ "x": object["b\""], "y": 1 }));
    assert_eq!(inner.clone().as_member_of(&outer), inner, "of a part as well");
    for other in [json!(1), json!("a"), json!([1, "]\""]), object.clone(), json!({"a": "}"})] {
        assert!(!JsonText::from(&other).as_member_of(&text).is_shared_with(&text), "{other}");
    }
    assert!(!JsonText::from(json!(1)).as_member_of(&JsonText::from(json!([1]))).is_null());
}

#[test]
fn clones_are_one_text() {
    let text = JsonText::from(json!({"a": [1, {"b": null}]}));
    assert!(text.is_shared_with(&text.clone()));
    let other = JsonText::from(text.value());
    assert!(other == text && !other.is_shared_with(&text));
    assert!(text == json!({"a": [1, {"b": null}]}) && text != json!(1));
    assert!(JsonText::from(Value::Null).is_null() && !text.is_null());
    let nothing = Value::Object(Map::new());
    assert_eq!(JsonText::from(&nothing).bytes(), 2);
}

#[test]
fn bytes_are_counted_as_they_are_escaped() {
    let controls: String = (0..0x20_u8).map(char::from).collect();
    for text in ["", "plain", "\"\\/\u{7f}\u{80}é字😀", &controls] {
        let json = serde_json::to_string(text).unwrap();
        assert_eq!(escaped_bytes(text), json.len() - 2, "{text:?}");
    }
}
