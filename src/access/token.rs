//! Tokens for programs: 256 random bits, of which a server knows only the sum.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::identity::Identity;
use crate::playbook::access::{Access, AccessToken};
use crate::run::Timestamp;

/// What every token begins with, so that people and scanners of secrets know what they have found.
pub const TOKEN_PREFIX: &str = "rpb_";

/// Random bytes of a token: nobody guesses it, however fast they may ask.
pub const TOKEN_BYTES: usize = 32;

/// The longest text that is looked at as a token. Ours are much shorter.
const MAX_TEXT: usize = 256;

/// A new token from random bytes, as text, and its sum for the file of the server.
pub fn new_token(random: [u8; TOKEN_BYTES]) -> (String, String) {
    let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let sum = token_sum(&token);
    (token, sum)
}

/// SHA-256 of a token, as the file of the server has it.
pub fn token_sum(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// There is no such token. Which one was meant is not known, and is not asked.
    #[error("the token is not known")]
    Unknown,
    /// It was good until a moment that is over.
    #[error("the token has expired at {0}")]
    Expired(Timestamp),
}

/// Who has this token. It is compared with all tokens that there are, each time, in a time that does not depend on what it
/// has in common with any of them.
///
/// # Errors
/// [`TokenRefused`].
pub(super) fn who_has(
    access: &Access,
    token: &str,
    now: Timestamp,
) -> Result<Identity, TokenRefused> {
    if token.len() > MAX_TEXT {
        return Err(TokenRefused::Unknown);
    }
    let sum = token_sum(token);
    let mut found: Option<&AccessToken> = None;
    for one in &access.tokens {
        if bool::from(is_same(&one.sha256, &sum)) {
            found = Some(one);
        }
    }
    match found {
        Some(one) if one.expires > now => Ok(Identity::token(&one.name, Some(one.expires))),
        Some(one) => Err(TokenRefused::Expired(one.expires)),
        None => Err(TokenRefused::Unknown),
    }
}

/// Whether two sums are the same, in a time that does not tell what they have in common. Eight bytes at once: a server may know
/// hundreds of tokens, and each request is compared with all of them.
fn is_same(one: &str, other: &str) -> Choice {
    let (one, other) = (one.as_bytes().chunks(8), other.as_bytes().chunks(8));
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word)
    };
    let is_as_long = one.len().ct_eq(&other.len());
    one.zip(other).fold(is_as_long, |same, (one, other)| same & word(one).ct_eq(&word(other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::access::parse_access;

    #[test]
    fn a_token_is_known_by_its_sum_until_it_expires() {
        let (token, sum) = new_token([7; TOKEN_BYTES]);
        assert_eq!(token, "rpb_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: x }}\nspec:\n  tokens: [{{ name: ci, sha256: \
             {sum}, expires: 2027-01-01T00:00:00Z }}, {{ name: cd, sha256: {}, expires: 2027-01-01T00:00:00Z }}]\n",
            "ab".repeat(32)
        );
        let access = parse_access(text.as_bytes()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, end) = (at("2026-12-31T23:59:59Z"), at("2027-01-01T00:00:00Z"));
        let known = who_has(&access, &token, before);
        assert_eq!(known, Ok(Identity::token("ci", Some(end))));
        assert_eq!(who_has(&access, &token, end), Err(TokenRefused::Expired(end)));
        let longer = format!("{token}x");
        for other in ["", TOKEN_PREFIX, &token[..40], &longer, &sum, &"x".repeat(MAX_TEXT + 1)] {
            assert_eq!(who_has(&access, other, before), Err(TokenRefused::Unknown), "{other}");
        }
    }

    #[test]
    fn sums_that_differ_anywhere_are_not_the_same() {
        let sum = token_sum("x");
        assert!(bool::from(is_same(&sum, &sum.clone())));
        for at in 0..sum.len() {
            let mut other = sum.clone().into_bytes();
            other[at] ^= 1;
            assert!(!bool::from(is_same(&sum, std::str::from_utf8(&other).unwrap())), "{at}");
        }
        for other in ["", &sum[..56], &format!("{sum}00000000")] {
            assert!(!bool::from(is_same(&sum, other)), "{other}");
        }
    }

    #[test]
    fn no_two_tokens_are_alike() {
        assert_ne!(new_token([1; TOKEN_BYTES]), new_token([2; TOKEN_BYTES]));
    }
}
