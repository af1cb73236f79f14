//! Secrets in a run: the seed from which tokens are made, the tokens, and what can go wrong with a secret. No value of a
//! secret is part of a run: a token stands for it wherever something is kept, and the driver puts the value in its place
//! when it performs a call.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::call::CallError;
use super::http::HttpError;
use super::known_secrets::MAX_SECRETS_BYTES;
use crate::ids::{AttemptKey, RunId};
use crate::playbook::{SecretGrant, SecretTokens};

/// What every token begins with. Text from outside that has it is not let into a journal.
pub const TOKEN_PREFIX: &str = "replibook-secret.";

/// The largest secret, in bytes: a private key with its chain of certificates fits, and everything that is received is
/// searched for it.
pub const MAX_SECRET_BYTES: usize = 8 * 1024;

/// The shortest secret, in bytes. Answers are searched for secrets, and a shorter one is in many of them by chance.
pub const MIN_SECRET_BYTES: usize = 8;

/// The seed of the tokens of one run: 32 random bytes, which never leave the store and the engines.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct RunSeed([u8; 32]);

impl RunSeed {
    /// A seed of these bytes, which must be random.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The text that stands for a secret in the arguments of one attempt. Whoever does not know the seed can't guess it,
    /// not even from all other tokens of the run.
    ///
    /// # Example
    /// ```
    /// use replibook_core::ids::{AgentSeq, AttemptKey, RunId};
    /// use replibook_core::run::RunSeed;
    ///
    /// let (seed, run) = (RunSeed::new([7; 32]), RunId(uuid::Uuid::nil()));
    /// let first = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
    /// let token = seed.token(run, first, "pager");
    /// assert!(token.starts_with("replibook-secret.pager."));
    /// assert_ne!(token, seed.token(run, AttemptKey { attempt: 2, ..first }, "pager"));
    /// assert_ne!(token, RunSeed::new([8; 32]).token(run, first, "pager"));
    /// ```
    pub fn token(&self, run: RunId, attempt: AttemptKey, name: &str) -> String {
        // HMAC fills a key up to the length of a block with zeros.
        let mut key = [0; 64];
        key[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&key.into());
        let AttemptKey { agent, stage, step, attempt } = attempt;
        // No name of a secret has a slash.
        let of = format!("{run}/{}/{stage}/{step}/{attempt}/{name}", agent.0);
        mac.update(of.as_bytes());
        format!("{TOKEN_PREFIX}{name}.{}", hex::encode(mac.finalize().into_bytes()))
    }

    /// The tokens of these secrets in one attempt.
    pub fn tokens<'n>(
        &self,
        run: RunId,
        attempt: AttemptKey,
        names: impl IntoIterator<Item = &'n str>,
    ) -> SecretTokens {
        let token = |name: &str| (name.to_owned(), self.token(run, attempt, name));
        Arc::new(names.into_iter().map(token).collect::<BTreeMap<_, _>>())
    }
}

impl fmt::Debug for RunSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunSeed(…)")
    }
}

/// The text is no seed. It is not in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a seed of a run, expected 64 hex digits")]
pub struct NotASeed;

impl FromStr for RunSeed {
    type Err = NotASeed;

    fn from_str(text: &str) -> Result<Self, NotASeed> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotASeed)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RunSeed {
    type Error = NotASeed;

    fn try_from(text: String) -> Result<Self, NotASeed> {
        text.parse()
    }
}

impl From<RunSeed> for String {
    fn from(seed: RunSeed) -> Self {
        hex::encode(seed.0)
    }
}

/// A secret that an attempt may send, and the token that stands for it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitled {
    /// The secret, and where it may be sent.
    pub grant: SecretGrant,
    /// Its token in the attempt.
    pub token: String,
}

/// The value of a secret. It is never shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretText(Arc<str>);

impl SecretText {
    /// Reads the value of the secret `name` from the content of its file. One line break at the end is not part of it:
    /// editors and `echo` add it.
    ///
    /// # Errors
    /// [`SecretError`] if it is too large or too short, or no text.
    ///
    /// # Example
    /// ```
    /// use replibook_core::run::{SecretError, SecretText};
    ///
    /// let value = SecretText::read("pager", b"correct-horse\n")?;
    /// assert_eq!(value.expose(), "correct-horse");
    /// assert_eq!(format!("{value:?}"), "SecretText(…)");
    /// assert!(matches!(SecretText::read("pager", b"1234"), Err(SecretError::TooShort { .. })));
    /// # Ok::<(), SecretError>(())
    /// ```
    pub fn read(name: &str, content: &[u8]) -> Result<Self, SecretError> {
        let name = || name.to_owned();
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if content.len() > MAX_SECRET_BYTES {
            return Err(SecretError::TooLarge { name: name() });
        }
        if content.len() < MIN_SECRET_BYTES {
            return Err(SecretError::TooShort { name: name() });
        }
        let text = std::str::from_utf8(content).ok().and_then(Self::of_value);
        text.ok_or_else(|| SecretError::NotText { name: name() })
    }

    /// The value of a secret that was read already, as it is; `None` if no secret can have that value.
    pub(super) fn of_value(text: &str) -> Option<Self> {
        let fits = (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&text.len());
        (fits && !text.contains('\0')).then(|| Self(text.into()))
    }

    /// The value itself, to be put into a call that is about to be performed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Why a call that has the token of a secret is not performed. No message has a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The engine has no folder of secrets.
    #[error(
        "no-secrets: the engine has no secrets, but the call needs {name:?}; expected serve --secrets DIR"
    )]
    None {
        /// The secret.
        name: String,
    },
    /// There is no file of that name.
    #[error("secret-gone: the engine has no secret {name:?}: its file is not under --secrets")]
    Gone {
        /// The secret.
        name: String,
    },
    /// The file can't be read.
    #[error("secret-unreadable: failed to read the secret {name:?}: {why}")]
    Unreadable {
        /// The secret.
        name: String,
        /// The error of the system.
        why: String,
    },
    /// The value is larger than a secret may be.
    #[error("secret-too-large: the secret {name:?} has more than {MAX_SECRET_BYTES} bytes")]
    TooLarge {
        /// The secret.
        name: String,
    },
    /// The value is shorter than a secret may be.
    #[error(
        "secret-too-short: the secret {name:?} has fewer than {MIN_SECRET_BYTES} bytes, so answers could not be scrubbed \
         of it"
    )]
    TooShort {
        /// The secret.
        name: String,
    },
    /// With it the secrets of the run have more bytes than they may have together.
    #[error(
        "secret-too-much: with the secret {name:?} the secrets of the run have more than {MAX_SECRETS_BYTES} bytes together"
    )]
    TooMuch {
        /// The secret.
        name: String,
    },
    /// The value is no text.
    #[error("secret-not-text: the secret {name:?} is not UTF-8, or contains a NUL byte")]
    NotText {
        /// The secret.
        name: String,
    },
    /// The playbook does not let the secret go there.
    #[error("secret-elsewhere: the playbook lets the secret {name:?} go to {granted}, not to {to}")]
    Elsewhere {
        /// The secret.
        name: String,
        /// Where it was to go.
        to: String,
        /// Where it may go.
        granted: String,
    },
    /// The policy of the server does not let the secret go there.
    #[error("secret-refused: the secret {name:?} may not go to {to}: {why}")]
    Refused {
        /// The secret.
        name: String,
        /// Where it was to go.
        to: String,
        /// What the policy says.
        why: String,
    },
    /// It can't be found out now what the policy says.
    #[error(
        "secret-unjudged: failed to find out whether the secret {name:?} may go to {to}: {why}"
    )]
    Unjudged {
        /// The secret.
        name: String,
        /// Where it was to go.
        to: String,
        /// What happened.
        why: String,
    },
    /// The token is in a part of the call where no secret can be.
    #[error("secret-misplaced: the secret {name:?} can't be in {place}")]
    Misplaced {
        /// The secret.
        name: String,
        /// The part of the call.
        place: &'static str,
    },
    /// With the values in their places, the call can't be performed.
    #[error("secret-unfit: with its secrets in place the call can't be performed: {why}")]
    Unfit {
        /// What is wrong. It has no value.
        why: String,
    },
    /// An answer came, but a secret that may be in it can't be read any more, so the answer can't be scrubbed.
    #[error(
        "secret-withheld: an answer came, but it is withheld, since it can't be scrubbed: {why}"
    )]
    Withheld {
        /// Why the secret can't be read.
        why: String,
    },
}

impl SecretError {
    /// Whether there is nothing of the name, and not something that can't be used.
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::None { .. } | Self::Gone { .. })
    }
}

impl SecretError {
    /// Whether playbook or policy do not let the secret go there, or the plugin put it where no secret can be. Otherwise
    /// the secret itself is not what it should be.
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Elsewhere { .. } | Self::Refused { .. } | Self::Misplaced { .. } => true,
            Self::None { .. }
            | Self::Gone { .. }
            | Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::TooShort { .. }
            | Self::TooMuch { .. }
            | Self::NotText { .. }
            | Self::Unjudged { .. }
            | Self::Unfit { .. }
            | Self::Withheld { .. } => false,
        }
    }
}

impl From<SecretError> for CallError {
    fn from(error: SecretError) -> Self {
        match error.is_refusal() {
            true => Self::NotGranted(error.to_string()),
            false => Self::Secret(error.to_string()),
        }
    }
}

impl From<SecretError> for HttpError {
    fn from(error: SecretError) -> Self {
        match error.is_refusal() {
            true => Self::NotGranted(error.to_string()),
            false => Self::Secret(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AgentSeq;

    #[test]
    fn a_token_is_of_its_attempt_and_its_secret() {
        let seed = RunSeed::new([1; 32]);
        let runs = [RunId(uuid::Uuid::nil()), RunId(uuid::Uuid::from_u128(1))];
        let first = AttemptKey { agent: AgentSeq(0), stage: 0, step: 0, attempt: 1 };
        let keys = [
            first,
            AttemptKey { agent: AgentSeq(1), ..first },
            AttemptKey { stage: 1, ..first },
            AttemptKey { step: 1, ..first },
            AttemptKey { attempt: 2, ..first },
        ];
        let mut all = std::collections::BTreeSet::new();
        for run in runs {
            for key in keys {
                for name in ["a", "b"] {
                    let token = seed.token(run, key, name);
                    let fits = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
                    assert!(token.bytes().all(fits), "nothing has to be escaped in {token}");
                    all.insert(token);
                }
            }
        }
        assert_eq!(all.len(), runs.len() * keys.len() * 2);
    }

    #[test]
    fn a_seed_is_kept_as_hex_and_never_shown() {
        let seed = RunSeed::new([0xab; 32]);
        let text = serde_json::to_string(&seed).unwrap();
        assert_eq!(text, format!("{:?}", "ab".repeat(32)));
        assert_eq!(serde_json::from_str::<RunSeed>(&text).unwrap(), seed);
        assert!(!format!("{seed:?}").contains("ab"));
        for bad in ["", "ab", &"g".repeat(64), &"a".repeat(66)] {
            assert_eq!(bad.parse::<RunSeed>(), Err(NotASeed), "{bad}");
        }
    }

    #[test]
    fn a_secret_has_bounds_and_its_errors_have_no_value() {
        let read = |content: &[u8]| SecretText::read("pager", content);
        assert_eq!(read(b"12345678\r\n").unwrap().expose(), "12345678");
        assert_eq!(read(b"1234567\n\n").unwrap().expose(), "1234567\n", "only one line break");
        assert!(read(&[b'x'; MAX_SECRET_BYTES]).is_ok());
        let bad: [(&[u8], &str); 6] = [
            (b"", "secret-too-short"),
            (b"1234567\n", "secret-too-short"),
            (&[b'x'; MAX_SECRET_BYTES + 1], "secret-too-large"),
            (b"12345678\xff", "secret-not-text"),
            (b"1234\x005678", "secret-not-text"),
            (&[0; 9], "secret-not-text"),
        ];
        for (content, code) in bad {
            let error = read(content).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with(code) && message.contains("\"pager\""), "{message}");
            assert!(!message.contains("1234"), "{message}");
            assert!(!error.is_refusal());
        }
    }
}
