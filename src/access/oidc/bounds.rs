//! Every limit of what tokens and issuers may do, in one place with its reason.

use std::time::Duration;

use crate::run::Millis;

/// The longest token, in bytes: servers refuse headers that are longer. A token with two hundred groups has about ten
/// kilobytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The longest header of a token, in bytes as it is written: with the key's name and a certificate's thumbprint it has a
/// few hundred.
pub(super) const MAX_HEADER: usize = 2 * 1024;

/// The longest name of a key, in bytes: issuers use checksums and UUIDs.
pub(super) const MAX_KEY_NAME: usize = 256;

/// The smallest RSA modulus, in bits. Smaller ones were factored, or are about to be.
pub(super) const MIN_RSA_BITS: usize = 2048;

/// The largest RSA modulus, in bits, that ring checks signatures with.
pub(super) const MAX_RSA_BITS: usize = 8192;

/// By how much the clocks of an issuer and of this machine may differ. Both are usually set by the network, within
/// milliseconds.
pub const LEEWAY: Millis = Millis(60_000);

/// The most keys of an issuer that are read: one is in use, one comes next, and a few for other algorithms.
pub(super) const MAX_KEYS: usize = 64;

/// The largest list of keys, in bytes: a key with its certificates has about five kilobytes.
pub(super) const MAX_KEYS_BYTES: usize = 512 * 1024;

/// The largest description of an issuer, in bytes: those of the large ones have about ten kilobytes.
pub(super) const MAX_DESCRIPTION: usize = 128 * 1024;

/// The largest answer with tokens, in bytes: it has up to three of them.
pub(super) const MAX_TOKENS_ANSWER: usize = 128 * 1024;

/// How many issuers are remembered: more than an operator's file has.
pub(super) const MAX_KNOWN: usize = 64;

/// How many browsers' codes are exchanged at once: an issuer takes a fraction of a second, and people log in once a day.
pub(super) const MAX_EXCHANGING: usize = 16;

/// The longest text of an issuer that an error shows, in characters.
pub(super) const SHOWN_CHARS: usize = 120;

/// How long an issuer may take, and how long its keys count. Tests use shorter times.
#[derive(Clone, Debug)]
pub struct OidcBounds {
    /// Establishing a connection, including the look-up of its name.
    pub connect: Duration,
    /// One request, from its first byte to the last one of its answer: issuers answer within milliseconds, and people wait.
    pub request: Duration,
    /// After this time keys are fetched again beside what goes on. An issuer that takes a key back wants it to count no
    /// more soon.
    pub fresh: Millis,
    /// After this time keys count no more, if they could not be fetched again: nobody could tell that one of them was
    /// taken back. An issuer that is restarted is there again by then.
    pub count: Millis,
    /// The wait after a fetch before a token with an unknown key makes the next one: otherwise anybody could make us ask
    /// the issuer all the time. Keys are announced minutes before they are used.
    pub again: Millis,
    /// The wait after a fetch that failed before the next one.
    pub retry: Millis,
}

impl Default for OidcBounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(10),
            fresh: Millis::from_secs(5 * 60),
            count: Millis::from_secs(60 * 60),
            again: Millis::from_secs(30),
            retry: Millis::from_secs(5),
        }
    }
}
