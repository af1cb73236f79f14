//! Where secrets are in the arguments of an action. The engine tells the agent, so that one that can keeps the arguments
//! without them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::Call;
use super::scrub::{SCRUBBED, Scrubber};
use super::secret::{Entitled, SecretText};

/// The label of an action that says where secrets are: a JSON text of a list of [`SecretPlace`]s.
pub const SECRET_PLACES: &str = "replibook.secrets";

/// The most places that a label has. With more of them, all of the arguments count as secret.
const MAX_PLACES: usize = 64;

/// A part of a text in the arguments of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretPlace {
    /// The text, as a JSON pointer. A pointer to anything else stands for all that is there.
    pub at: String,
    /// The first byte of the part.
    #[serde(default)]
    pub from: usize,
    /// The byte after the part. None is the end of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<usize>,
}

/// Where the values of secrets are in an action once they are in the place of their tokens.
pub fn secret_places(call: &Call, secrets: &[(&Entitled, SecretText)]) -> Vec<SecretPlace> {
    let Call::RunAction { arguments, .. } = call else { return Vec::new() };
    let mut places = Vec::new();
    find(&arguments.value(), &mut String::new(), secrets, &mut places);
    if places.len() > MAX_PLACES {
        return vec![SecretPlace { at: String::new(), from: 0, to: None }];
    }
    places
}

fn find(
    value: &Value,
    at: &mut String,
    secrets: &[(&Entitled, SecretText)],
    places: &mut Vec<SecretPlace>,
) {
    let length = at.len();
    match value {
        Value::String(text) => find_in(text, at, secrets, places),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push_str(&format!("/{index}"));
                find(item, at, secrets, places);
                at.truncate(length);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                at.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")));
                find(item, at, secrets, places);
                at.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Finds the tokens in a text, one after the other, and where their values will be.
fn find_in(
    text: &str,
    at: &str,
    secrets: &[(&Entitled, SecretText)],
    places: &mut Vec<SecretPlace>,
) {
    let (mut rest, mut from) = (text, 0);
    // What comes after one too many does not matter.
    while places.len() <= MAX_PLACES {
        let hits = secrets.iter().filter_map(|(entitled, value)| {
            rest.find(&entitled.token).map(|index| (index, entitled.token.len(), value))
        });
        let Some((index, length, value)) = hits.min_by_key(|(index, ..)| *index) else { return };
        let start = from + index;
        let end = start + value.expose().len();
        places.push(SecretPlace { at: at.to_owned(), from: start, to: Some(end) });
        (rest, from) = (&rest[index + length..], end);
    }
}

/// The arguments of an action without what is secret in them, and what finds it in anything else.
///
/// # Example
/// ```
/// use replibook_core::run::{SecretPlace, without_secrets};
/// use serde_json::json;
///
/// let place = SecretPlace { at: "/auth".to_owned(), from: 7, to: Some(20) };
/// let arguments = json!({"auth": "Bearer correct-horse", "user": "ann"});
/// let (kept, scrubber) = without_secrets(arguments, &[place]);
/// assert_eq!(kept, json!({"auth": "Bearer [secret]", "user": "ann"}));
/// assert_eq!(scrubber.text("I am given correct-horse"), "I am given [secret]");
/// ```
pub fn without_secrets(mut arguments: Value, places: &[SecretPlace]) -> (Value, Scrubber) {
    let mut values = Vec::new();
    // From the last to the first, so that the others stay where they are.
    for SecretPlace { at, from, to } in places.iter().rev() {
        let Some(value) = arguments.pointer_mut(at) else { continue };
        let part = value.as_str().map(|text| *from..to.unwrap_or(text.len()));
        let found = part.clone().and_then(|part| value.as_str()?.get(part));
        match (part, found.map(str::to_owned), value) {
            (Some(part), Some(found), Value::String(text)) => {
                text.replace_range(part, SCRUBBED);
                values.push(found);
            }
            (_, _, other) => {
                texts(other, &mut values);
                *other = Value::String(SCRUBBED.to_owned());
            }
        }
    }
    let values = values.iter().filter_map(|text| SecretText::read("", text.as_bytes()).ok());
    let scrubber = Scrubber::new(&values.collect::<Vec<_>>());
    (arguments, scrubber)
}

/// All texts in a value.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{AgentSeq, AttemptKey, RunId};
    use crate::playbook::SecretGrant;
    use crate::run::{RunSeed, filled};

    const KIND: &str = "demo.example.com/rotate";

    fn entitled(name: &str) -> Entitled {
        let key = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
        let token = RunSeed::new([1; 32]).token(RunId(uuid::Uuid::nil()), key, name);
        let grant = SecretGrant { name: name.to_owned(), to: vec![KIND.to_owned()] };
        Entitled { grant, token }
    }

    #[test]
    fn what_the_engine_puts_in_an_agent_can_take_out() {
        let (one, two) = (entitled("one"), entitled("two"));
        let value = |text: &str| SecretText::read("", text.as_bytes()).unwrap();
        let secrets = [(&one, value("first \u{e9} secret")), (&two, value("second secret"))];
        let arguments = json!({
            "a/b~": [format!("{}{}:{}", two.token, one.token, two.token), 1, "plain"],
            "only": one.token,
        });
        let call = Call::RunAction { kind: KIND.to_owned(), arguments: arguments.into() };
        let places = secret_places(&call, &secrets);
        assert_eq!(places.len(), 4);
        let text = serde_json::to_string(&places).unwrap();
        let read: Vec<SecretPlace> = serde_json::from_str(&text).unwrap();
        let Call::RunAction { arguments, .. } = filled(&call, &secrets).unwrap() else { panic!() };
        let (kept, scrubber) = without_secrets(arguments.value(), &read);
        let expected =
            json!({"a/b~": ["[secret][secret]:[secret]", 1, "plain"], "only": "[secret]"});
        assert_eq!(kept, expected);
        assert_eq!(scrubber.text("first \u{e9} secret, second%20secret"), "[secret], [secret]");
    }

    #[test]
    fn with_too_many_places_all_of_the_arguments_are_secret() {
        let one = entitled("one");
        let secrets = [(&one, SecretText::read("", b"first secret").unwrap())];
        let places = |count: usize| {
            let arguments = json!(vec![one.token.as_str(); count]).into();
            secret_places(&Call::RunAction { kind: KIND.to_owned(), arguments }, &secrets)
        };
        assert_eq!(places(MAX_PLACES).len(), MAX_PLACES);
        assert_eq!(places(MAX_PLACES + 1), [SecretPlace { at: String::new(), from: 0, to: None }]);
        let all = json!(["first secret", {"other": "text that is here"}]);
        let (kept, scrubber) = without_secrets(all, &places(MAX_PLACES + 1));
        assert_eq!(kept, SCRUBBED);
        assert_eq!(scrubber.text("first secret/text that is here"), "[secret]/[secret]");
    }

    #[test]
    fn places_that_do_not_fit_hide_more_and_not_less() {
        let arguments = json!({"a": "short \u{e9}", "b": {"c": "deep secret"}});
        let place = |at: &str, from: usize, to: Option<usize>| {
            let place = SecretPlace { at: at.to_owned(), from, to };
            without_secrets(arguments.clone(), &[place]).0
        };
        let b = &arguments["b"];
        // In the middle of a character, beyond the end, backwards.
        for (from, to) in [(7, None), (0, Some(99)), (5, Some(2))] {
            assert_eq!(place("/a", from, to), json!({"a": SCRUBBED, "b": b}));
        }
        assert_eq!(place("/b", 0, Some(1)), json!({"a": "short \u{e9}", "b": SCRUBBED}));
        assert_eq!(place("/none", 0, None), arguments, "nothing is there");
    }
}
