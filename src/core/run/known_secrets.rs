//! The values of the secrets of a run that are known, so that what comes from outside can be searched for them.

use std::collections::{BTreeMap, VecDeque};

use super::scrub::Scrubber;
use super::secret::{SecretError, SecretText};

/// How many values of one secret are remembered: what was sent before it changed may still be in an answer.
const REMEMBERED: usize = 4;

/// The most bytes of all secrets of one run together. What searches for them takes about a hundred times as much memory,
/// for each run.
pub const MAX_SECRETS_BYTES: usize = 64 * 1024;

/// The values of some secrets, and of each also those that it had before.
#[derive(Default)]
pub struct KnownSecrets {
    /// The present value of each is the last.
    values: BTreeMap<String, VecDeque<SecretText>>,
}

impl KnownSecrets {
    /// Takes the present value of a secret. Returns whether it is a new one.
    ///
    /// # Errors
    /// [`SecretError::TooMuch`] if the present values of all secrets have more than [`MAX_SECRETS_BYTES`] together; then
    /// nothing has changed.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{KnownSecrets, SecretText};
    ///
    /// let mut known = KnownSecrets::default();
    /// let value = SecretText::read("pager", b"correct horse")?;
    /// assert!(known.take("pager", &value)?);
    /// assert!(!known.take("pager", &value)?);
    /// assert_eq!(known.scrubber().text("a correct horse"), "a [secret]");
    /// # Ok::<(), replibook_core::run::SecretError>(())
    /// ```
    pub fn take(&mut self, name: &str, value: &SecretText) -> Result<bool, SecretError> {
        let others = self.values.iter().filter(|(other, _)| *other != name);
        let others = others.filter_map(|(_, all)| all.back()).map(bytes).sum::<usize>();
        if others + bytes(value) > MAX_SECRETS_BYTES {
            return Err(SecretError::TooMuch { name: name.to_owned() });
        }
        let all = self.values.entry(name.to_owned()).or_default();
        if let Some(at) = all.iter().position(|known| known == value) {
            // It is the present one again.
            let known = all.remove(at);
            all.extend(known);
            return Ok(false);
        }
        all.push_back(value.clone());
        if all.len() > REMEMBERED {
            all.pop_front();
        }
        self.forget();
        Ok(true)
    }

    /// Whether any value of a secret is known.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// How many bytes the longest value has.
    pub fn longest(&self) -> usize {
        self.values.values().flatten().map(bytes).max().unwrap_or(0)
    }

    /// Finds all of them.
    pub fn scrubber(&self) -> Scrubber {
        Scrubber::new(self.values.values().flatten())
    }

    /// Forgets earlier values, as long as there are more bytes than may be.
    fn forget(&mut self) {
        let mut left = self.values.values().flatten().map(bytes).sum::<usize>();
        for values in self.values.values_mut() {
            while left > MAX_SECRETS_BYTES && values.len() > 1 {
                left -= values.pop_front().as_ref().map_or(0, bytes);
            }
        }
    }
}

fn bytes(value: &SecretText) -> usize {
    value.expose().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::MAX_SECRET_BYTES;

    fn value(text: &str) -> SecretText {
        SecretText::read("pager", text.as_bytes()).unwrap()
    }

    fn finds(known: &KnownSecrets, text: &str) -> bool {
        known.scrubber().text(text) == "[secret]"
    }

    #[test]
    fn the_last_few_values_of_a_secret_are_remembered() {
        let mut known = KnownSecrets::default();
        assert!(!known.has("pager"));
        let values: Vec<String> = (0..=REMEMBERED).map(|n| format!("{n}-correct-horse")).collect();
        for value in &values[..REMEMBERED] {
            assert!(known.take("pager", &self::value(value)).unwrap());
        }
        assert!(values[..REMEMBERED].iter().all(|value| finds(&known, value)));
        // The first is the present one again, and so not the one that is forgotten.
        assert!(!known.take("pager", &value(&values[0])).unwrap());
        assert!(known.take("pager", &value(&values[REMEMBERED])).unwrap());
        let found: Vec<bool> = values.iter().map(|value| finds(&known, value)).collect();
        assert_eq!(found, [true, false, true, true, true]);
        assert!(known.has("pager"));
    }

    #[test]
    fn all_secrets_together_have_a_bound_and_earlier_values_make_way() {
        let mut known = KnownSecrets::default();
        let large = |n: usize| value(&format!("{n}{}", "x".repeat(MAX_SECRET_BYTES - 1)));
        known.take("0", &value("before-that")).unwrap();
        let fits = MAX_SECRETS_BYTES / MAX_SECRET_BYTES;
        for number in 0..fits {
            assert!(known.take(&number.to_string(), &large(number)).unwrap(), "{number}");
        }
        assert!(!finds(&known, "before-that"), "it made way");
        let error = known.take("more", &value("12345678")).unwrap_err();
        assert_eq!(error, SecretError::TooMuch { name: "more".to_owned() });
        assert!(error.to_string().starts_with("secret-too-much: "), "{error}");
        assert!(!known.has("more"));
        // A secret that changes takes the place of its earlier value.
        assert!(known.take("1", &large(9)).unwrap());
        assert!(!finds(&known, large(1).expose()) && finds(&known, large(9).expose()));
    }
}
