//! Reads what an agent says about its store and its shards. Agents write shards in several forms; here they get
//! one, so that nothing further in has to know the others.

use serde_json::{Map, Value};

use super::bounds::{SHARDS, SHARDS_KEPT, STORE};
use super::json::{Malformed, json_bytes, read_members, read_object};

/// Reads what an agent says about its store. All of it is kept.
///
/// # Errors
/// [`Malformed`] when the answer is over its bounds, or when a field that is understood has the wrong shape.
pub fn read_store(body: &[u8]) -> Result<Value, Malformed> {
    let answer = read_object(body, &STORE)?;
    match answer.get("attributes") {
        None | Some(Value::Null | Value::Object(_)) => {}
        other => return Err(Malformed::unexpected("/attributes", other, "an object")),
    }
    match answer.get("cluster_id") {
        None | Some(Value::Null | Value::String(_)) => Ok(Value::Object(answer)),
        other => Err(Malformed::unexpected("/cluster_id", other, "a text")),
    }
}

/// Reads an agent's shards. Agents write them in several forms; the result has one form, with the fields `id`,
/// `role`, `commit_offset` and `lag`. Further fields are passed over.
///
/// - The identifier is `id`, or `shard_id` as the specification calls it.
/// - A role is a word, which is put in capitals here, or `{"Other": …}`, whose text stays as it is; agents of the
///   released generation write `{"unknown": …}`.
/// - An offset and a lag have a `value`, which is a number, and a `unit`, which is a word or `{"unit": …}`. An
///   unknown lag is null.
///
/// # Errors
/// [`Malformed`], also for more shards than [`SHARDS_KEPT`] allows.
pub fn read_shards(body: &[u8]) -> Result<Value, Malformed> {
    let mut answer = read_members(body, SHARDS.bytes, &[("/shards", SHARDS)])?;
    let shards = match answer.remove("/shards") {
        Some(found) => Some(found.value("/shards")?),
        None => None,
    };
    let Some(Value::Array(shards)) = shards else {
        return Err(Malformed::unexpected("/shards", shards.as_ref(), "a list of shards"));
    };
    let count = shards.len();
    let shards = shards.iter().enumerate().map(|(index, shard)| read(index, shard));
    let shards = Value::Array(shards.collect::<Result<_, _>>()?);
    match json_bytes(&shards) {
        bytes if bytes > SHARDS_KEPT => Err(Malformed::new(format!(
            "/shards: found {count} shards, {bytes} bytes, expected at most {SHARDS_KEPT} bytes"
        ))),
        _ => Ok(shards),
    }
}

fn read(index: usize, shard: &Value) -> Result<Value, Malformed> {
    let wrong = |name: &str, found, expected: &str| {
        Malformed::unexpected(&format!("/shards/{index}/{name}"), found, expected)
    };
    let id = shard.get("id").or_else(|| shard.get("shard_id"));
    let Some(Value::String(_)) = id else { return Err(wrong("id", id, "a text")) };
    let said = shard.get("role");
    let role = match said {
        Some(Value::String(word)) => Some(word.to_uppercase()),
        other => word_in(other, "Other").or_else(|| word_in(other, "unknown")).map(str::to_owned),
    };
    let role = role.ok_or_else(|| wrong("role", said, "a word or {\"Other\": a text}"))?;
    let measure = |name: &str| {
        let expected = "null or {\"unit\": a word or {\"unit\": a text}, \"value\": a number}";
        let said = shard.get(name);
        read_measure(said).ok_or_else(|| wrong(name, said, expected))
    };
    Ok(Value::Object(Map::from_iter([
        ("id".to_owned(), id.cloned().unwrap_or_default()),
        ("role".to_owned(), role.into()),
        ("commit_offset".to_owned(), measure("commit_offset")?),
        ("lag".to_owned(), measure("lag")?),
    ])))
}

/// A measure as `{unit, value}`, or null if the agent gave no measure. `None` if what it gave is not a measure.
fn read_measure(said: Option<&Value>) -> Option<Value> {
    let Some(Value::Object(measure)) = said else {
        return said.is_none_or(Value::is_null).then_some(Value::Null);
    };
    let unit = match measure.get("unit") {
        Some(Value::String(word)) => word,
        other => word_in(other, "unit")?,
    };
    let value = measure.get("value").filter(|value| value.is_number())?;
    let fields = [("unit".to_owned(), unit.into()), ("value".to_owned(), value.clone())];
    Some(Value::Object(Map::from_iter(fields)))
}

/// The text of `field`, in an object that has no other field.
fn word_in<'a>(value: Option<&'a Value>, field: &str) -> Option<&'a str> {
    let object = value?.as_object().filter(|object| object.len() == 1)?;
    object.get(field)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shards(list: &str) -> Result<Value, String> {
        let body = format!(r#"{{"shards":{list}}}"#);
        read_shards(body.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn recorded_answers_are_read() {
        let store = r#"{"cluster_id":"rs0","attributes":{}}"#;
        assert_eq!(read_store(store.as_bytes()).unwrap().to_string(), store);
        let list = r#"[{"commit_offset":{"unit":"seconds","value":42},"lag":null,"role":"Secondary","id":"rs0"}]"#;
        let expected = json!([{
            "id": "rs0", "role": "SECONDARY", "lag": null,
            "commit_offset": {"unit": "seconds", "value": 42},
        }]);
        assert_eq!(shards(list).unwrap(), expected);
        assert_eq!(shards("[]").unwrap(), json!([]));
    }

    #[test]
    fn each_way_to_write_a_shard_is_read_as_one_form() {
        let list = r#"[
            {"shard_id": "a", "role": "PRIMARY", "commit_offset": {"unit": {"unit": "events"}, "value": 1}, "more": [1]},
            {"id": "b", "role": {"Other": "arbiter"}, "lag": {"unit": "seconds", "value": 0.5}},
            {"id": "c", "role": {"unknown": "observer"}}
        ]"#;
        let expected = json!([
            {"id": "a", "role": "PRIMARY", "commit_offset": {"unit": "events", "value": 1}, "lag": null},
            {"id": "b", "role": "arbiter", "commit_offset": null, "lag": {"unit": "seconds", "value": 0.5}},
            {"id": "c", "role": "observer", "commit_offset": null, "lag": null},
        ]);
        assert_eq!(shards(list).unwrap(), expected);
    }

    #[test]
    fn what_is_no_shard_is_malformed_and_says_where() {
        let shard = |more: &str| format!(r#"[{{"id":"a","role":"Primary",{more}}}]"#);
        for (list, told) in [
            ("7".to_owned(), "/shards: found 7, expected a list of shards"),
            ("[7]".to_owned(), "/shards/0/id: found nothing, expected a text"),
            (r#"[{"id":"a"}]"#.to_owned(), "/shards/0/role: found nothing, expected a word or"),
            (r#"[{"id":"a","role":{"Other":1}}]"#.to_owned(), "/shards/0/role: found {"),
            (shard(r#""lag":3"#), "/shards/0/lag: found 3, expected null or {"),
            (shard(r#""lag":{"unit":"s","value":"3"}"#), "/shards/0/lag: found {"),
            (shard(r#""commit_offset":{"unit":{"x":"s"},"value":3}"#), "/shards/0/commit_offset: "),
            (format!("[{}]", "0,".repeat(50_000) + "0"), "/shards: found more than 20000 values"),
        ] {
            let found = shards(&list).unwrap_err();
            assert!(found.starts_with(told), "{found}");
        }
        assert!(read_shards(b"{}").unwrap_err().to_string().starts_with("/shards: found nothing"));
    }

    #[test]
    fn no_more_is_kept_than_fits_a_record() {
        let shard = |n: usize| format!(r#"{{"id":"shard-{n}","role":"Primary"}}"#);
        let list = |count| format!("[{}]", (0..count).map(shard).collect::<Vec<_>>().join(","));
        assert_eq!(shards(&list(200)).unwrap().as_array().unwrap().len(), 200);
        let told = shards(&list(300)).unwrap_err();
        assert!(
            told.starts_with("/shards: found 300 shards, ") && told.contains("16384"),
            "{told}"
        );
        let store = format!(r#"{{"cluster_id":"{}"}}"#, "x".repeat(9_000));
        assert!(read_store(store.as_bytes()).is_err());
        let odd = read_store(br#"{"cluster_id":7}"#).unwrap_err().to_string();
        assert_eq!(odd, "/cluster_id: found 7, expected a text");
    }
}
