//! Where secrets are in the arguments of an action. The engine tells the agent, so that one that can keeps the arguments
//! without them.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::Call;
use super::known_secrets::MAX_SECRETS_BYTES;
use super::scrub::{SCRUBBED, Scrubber};
use super::secret::{Entitled, SecretText};

/// The label of an action that says where secrets are: a JSON text of a list of [`SecretPlace`]s.
pub const SECRET_PLACES: &str = "replibook.secrets";

/// The most places that a label has. With more of them, all of the arguments count as secret, and one place of each
/// secret says what to search for. A step has fewer secrets than that.
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

impl SecretPlace {
    /// All of the arguments.
    const fn all() -> Self {
        Self { at: String::new(), from: 0, to: None }
    }

    /// The part of a text; `None` if there is none at these bytes.
    fn part<'t>(&self, text: &'t str) -> Option<(Range<usize>, &'t str)> {
        let range = self.from..self.to.unwrap_or(text.len());
        Some((range.clone(), text.get(range)?))
    }
}

/// Where the values of secrets are in an action once they are in the place of their tokens.
pub fn secret_places(call: &Call, secrets: &[(&Entitled, SecretText)]) -> Vec<SecretPlace> {
    let Call::RunAction { arguments, .. } = call else { return Vec::new() };
    let mut places = Places { secrets, found: Vec::new(), first: BTreeMap::new() };
    places.find(&arguments.value(), &mut String::new());
    if places.found.len() > MAX_PLACES {
        return iter::once(SecretPlace::all()).chain(places.first.into_values()).collect();
    }
    places.found
}

/// The places of secrets that were found so far.
struct Places<'s> {
    secrets: &'s [(&'s Entitled, SecretText)],
    /// One too many at most.
    found: Vec<SecretPlace>,
    /// The first place of each secret, by its index.
    first: BTreeMap<usize, SecretPlace>,
}

impl Places<'_> {
    fn find(&mut self, value: &Value, at: &mut String) {
        let length = at.len();
        match value {
            Value::String(text) => self.find_in(text, at),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    at.push_str(&format!("/{index}"));
                    self.find(item, at);
                    at.truncate(length);
                }
            }
            Value::Object(map) => {
                for (key, item) in map {
                    at.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1")));
                    self.find(item, at);
                    at.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Finds the tokens in a text, one after the other, and where their values will be.
    fn find_in(&mut self, text: &str, at: &str) {
        let (mut rest, mut from) = (text, 0);
        // What comes after one too many matters only for a secret that was not seen yet.
        while self.found.len() <= MAX_PLACES || self.first.len() < self.secrets.len() {
            let hits = self.secrets.iter().enumerate().filter_map(|(secret, (entitled, value))| {
                let index = rest.find(&entitled.token)?;
                Some((index, entitled.token.len(), secret, value.expose().len()))
            });
            let Some((index, length, secret, bytes)) = hits.min_by_key(|(index, ..)| *index) else {
                return;
            };
            let start = from + index;
            let end = start + bytes;
            let place = || SecretPlace { at: at.to_owned(), from: start, to: Some(end) };
            if self.found.len() <= MAX_PLACES {
                self.found.push(place());
            }
            self.first.entry(secret).or_insert_with(place);
            (rest, from) = (&rest[index + length..], end);
        }
    }
}

/// What was secret in the arguments of an action. `None` if that is not known for sure.
#[derive(Debug)]
pub struct Withheld(Option<BTreeSet<SecretText>>);

impl Withheld {
    /// Finds it in anything else. If it is not known, nothing is let through.
    pub fn scrubber(&self) -> Scrubber {
        self.0.as_ref().map_or_else(Scrubber::of_unknown, Scrubber::new)
    }

    /// How many bytes the longest secret has. `None` if it is not known what is secret.
    pub fn longest(&self) -> Option<usize> {
        let values = self.0.as_ref()?;
        Some(values.iter().map(|value| value.expose().len()).max().unwrap_or(0))
    }

    /// What these places name. A place within another one says what to search for there.
    fn of(arguments: &Value, places: &[SecretPlace]) -> Option<BTreeSet<SecretText>> {
        let mut values = BTreeSet::new();
        let mut left = MAX_SECRETS_BYTES;
        let mut add = |text: &str| {
            let value = SecretText::of_value(text)?;
            if values.insert(value) {
                left = left.checked_sub(text.len())?;
            }
            Some(())
        };
        for place in places {
            let value = arguments.pointer(&place.at)?;
            match value.as_str().and_then(|text| place.part(text)) {
                Some((_, part)) => add(part)?,
                None if places.iter().any(|inner| is_within(inner, place)) => {}
                None => each_text(value, &mut add)?,
            }
        }
        Some(values)
    }
}

fn is_within(inner: &SecretPlace, outer: &SecretPlace) -> bool {
    inner.at.strip_prefix(&outer.at).is_some_and(|rest| rest.starts_with('/'))
}

/// The arguments of an action without what is secret in them, and what that was. All of them are secret if a place is not
/// in them, or if there are more places than the label of an action has.
///
/// # Example
/// ```
/// use replibook_core::run::{SecretPlace, without_secrets};
/// use serde_json::json;
///
/// let place = SecretPlace { at: "/auth".to_owned(), from: 7, to: Some(20) };
/// let arguments = json!({"auth": "Bearer correct-horse", "user": "ann"});
/// let (kept, withheld) = without_secrets(arguments, &[place]);
/// assert_eq!(kept, json!({"auth": "Bearer [secret]", "user": "ann"}));
/// assert_eq!(withheld.scrubber().text("I am given correct-horse"), "I am given [secret]");
/// ```
pub fn without_secrets(mut arguments: Value, places: &[SecretPlace]) -> (Value, Withheld) {
    let is_there = |place: &SecretPlace| arguments.pointer(&place.at).is_some();
    if places.len() > MAX_PLACES + 1 || !places.iter().all(is_there) {
        return (Value::String(SCRUBBED.to_owned()), Withheld(None));
    }
    // All of it is read before anything is replaced.
    let values = Withheld::of(&arguments, places);
    hide(&mut arguments, places);
    (arguments, Withheld(values))
}

/// Hides what is at these places.
fn hide(arguments: &mut Value, places: &[SecretPlace]) {
    let mut texts: BTreeMap<&str, Vec<&SecretPlace>> = BTreeMap::new();
    for place in places {
        texts.entry(&place.at).or_default().push(place);
    }
    // What is within something else comes before it.
    for (at, places) in texts.into_iter().rev() {
        let Some(value) = arguments.pointer_mut(at) else { continue };
        let parts = value.as_str().and_then(|text| {
            let parts = places.iter().map(|place| place.part(text).map(|(range, _)| range));
            parts.collect::<Option<Vec<_>>>()
        });
        // Parts that overlap, or are in another order than the engine's: then all of the text is hidden.
        let parts = parts.filter(|parts| parts.is_sorted_by(|one, next| one.end <= next.start));
        match (parts, value) {
            (Some(parts), Value::String(text)) => {
                // From the last to the first, so that the others stay where they are.
                parts.into_iter().rev().for_each(|part| text.replace_range(part, SCRUBBED));
            }
            (_, other) => *other = Value::String(SCRUBBED.to_owned()),
        }
    }
}

/// Adds each text in a value, until one can't be added. `None` then, and also if something else is in the value: it is
/// secret, too, but can't be searched for.
fn each_text(value: &Value, add: &mut impl FnMut(&str) -> Option<()>) -> Option<()> {
    match value {
        Value::String(text) => add(text),
        Value::Array(items) => items.iter().try_for_each(|item| each_text(item, add)),
        Value::Object(map) => map.values().try_for_each(|item| each_text(item, add)),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
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
        let (kept, withheld) = without_secrets(arguments.value(), &read);
        let expected =
            json!({"a/b~": ["[secret][secret]:[secret]", 1, "plain"], "only": "[secret]"});
        assert_eq!(kept, expected);
        let scrubber = withheld.scrubber();
        assert_eq!(scrubber.text("first \u{e9} secret, second%20secret"), "[secret], [secret]");
    }

    #[test]
    fn with_too_many_places_all_of_the_arguments_are_secret_and_each_secret_is_searched_for() {
        let (one, two) = (entitled("one"), entitled("two"));
        let value = |text: &[u8]| SecretText::read("", text).unwrap();
        let secrets = [(&one, value(b"first secret")), (&two, value(b"second secret\n\n"))];
        let call = |count: usize| {
            let mut all = vec![format!("Bearer {}", one.token); count - 1];
            // The secret that comes last is beyond the most places.
            all.push(format!("{}{}: and more", "x".repeat(9_000), two.token));
            let arguments = json!({"all": all, "user": "ann", "count": 5}).into();
            Call::RunAction { kind: KIND.to_owned(), arguments }
        };
        let hide = |count: usize| {
            let places = secret_places(&call(count), &secrets);
            let filled = filled(&call(count), &secrets).unwrap();
            let Call::RunAction { arguments, .. } = filled else { panic!() };
            let (kept, withheld) = without_secrets(arguments.value(), &places);
            (places.len(), kept, withheld.scrubber())
        };
        let (count, kept, _) = hide(MAX_PLACES);
        assert_eq!((count, &kept["user"]), (MAX_PLACES, &json!("ann")));
        let (count, kept, scrubber) = hide(2 * MAX_PLACES);
        assert_eq!((count, kept), (3, json!(SCRUBBED)));
        let said = "ann has first secret/second secret\n/x";
        assert_eq!(scrubber.text(said), "ann has [secret]/[secret]/x");
    }

    #[test]
    fn places_that_do_not_fit_hide_more_and_not_less() {
        let arguments = json!({"a": "short \u{e9}", "b": {"c": "deep secret"}, "n": [5]});
        let hide = |places: &[(&str, usize, Option<usize>)]| {
            let place = |&(at, from, to): &(&str, usize, Option<usize>)| SecretPlace {
                at: at.to_owned(),
                from,
                to,
            };
            let places: Vec<SecretPlace> = places.iter().map(place).collect();
            let (kept, withheld) = without_secrets(arguments.clone(), &places);
            (kept, withheld.scrubber().text("x deep secret, short \u{e9}").into_owned())
        };
        let with = |at: &str, to: Value| {
            let mut all = arguments.clone();
            *all.pointer_mut(at).unwrap() = to;
            all
        };
        let hidden = "x [secret], short \u{e9}".to_owned();
        assert_eq!(hide(&[("/b", 0, Some(1))]), (with("/b", json!(SCRUBBED)), hidden.clone()));
        // In the middle of a character, beyond the end, backwards.
        for (from, to) in [(7, None), (0, Some(99)), (5, Some(2))] {
            let (kept, said) = hide(&[("/a", from, to)]);
            assert_eq!(
                (kept, said.as_str()),
                (with("/a", json!(SCRUBBED)), "x deep secret, [secret]")
            );
        }
        // What can't be searched for: a part that is too short, and a number.
        let unknown = SCRUBBED.to_owned();
        assert_eq!(
            hide(&[("/a", 0, Some(5))]),
            (with("/a", json!("[secret] \u{e9}")), unknown.clone())
        );
        assert_eq!(hide(&[("/n", 0, None)]), (with("/n", json!(SCRUBBED)), unknown.clone()));
        // Nothing is there, and too many.
        let all = (json!(SCRUBBED), unknown);
        assert_eq!(hide(&[("/none", 0, None), ("/b/c", 0, None)]), all);
        assert_eq!(hide(&[("/b/c", 0, None); MAX_PLACES + 2]), all);
        // In another order, and on top of each other.
        let (kept, said) =
            hide(&[("/b/c", 3, None), ("/b", 0, None), ("/b/c", 0, Some(9)), ("/b/c", 0, None)]);
        assert_eq!((kept, said), (with("/b", json!(SCRUBBED)), hidden));
        for (from, to) in [(0, 8), (3, 4), (1, 9)] {
            let (kept, _) = hide(&[("/b/c", from, None), ("/b/c", 0, Some(to))]);
            assert_eq!(kept, with("/b/c", json!(SCRUBBED)));
        }
    }

    #[test]
    fn more_than_secrets_may_have_is_not_searched_for_one_by_one() {
        let part = |n: usize| format!("{n:04}{}", "x".repeat(1_020));
        let scrubbed = |count: usize| {
            let arguments = json!((0..count).map(part).collect::<Vec<_>>());
            let (_, withheld) = without_secrets(arguments, &[SecretPlace::all()]);
            withheld.scrubber().text("nothing secret").into_owned()
        };
        let fits = MAX_SECRETS_BYTES / 1_024;
        assert_eq!(scrubbed(fits), "nothing secret");
        assert_eq!(scrubbed(fits + 1), SCRUBBED);
    }
}
