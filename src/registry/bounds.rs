//! Every limit of what a registry may do, in one place with its reason.

use std::time::Duration;

/// The largest manifest, in bytes. Ours has less than a kilobyte; others add annotations. Registries allow 4 MiB,
/// which is more than any artefact of one layer needs.
pub const MAX_MANIFEST: usize = 2 * 1024 * 1024;

/// The largest component, in bytes: the same as for uploads.
pub const MAX_LAYER: usize = 64 * 1024 * 1024;

/// The most signatures of one plugin that are read, and the most artefacts that hold them: each key may have signed it
/// several times. Artefacts of other types are passed over, however many there are.
pub const MAX_REFERRERS: usize = 32;

/// Pages in which a registry may list what refers to a plugin: it lists hundreds on each.
pub(super) const MAX_PAGES: usize = 8;

/// The largest manifest of a signature, in bytes. Ours has less than a kilobyte; others add annotations.
pub(super) const MAX_SIGNATURE_MANIFEST: usize = 32 * 1024;

/// How often a list of signatures is written again when others change it at the same time.
pub(super) const MAX_REWRITES: u32 = 4;

/// The largest answer of a token server, in bytes: tokens have a few kilobytes.
pub(super) const MAX_TOKEN_ANSWER: usize = 64 * 1024;

/// The longest token, in bytes: servers refuse headers that are longer.
pub(super) const MAX_TOKEN: usize = 16 * 1024;

/// Bytes of a refusal that are read to find its codes.
pub(super) const MAX_REFUSAL: usize = 16 * 1024;

/// Redirects that one request follows: registries need one, to the place where they keep blobs.
pub(super) const MAX_REDIRECTS: usize = 4;

/// How often a request is sent when the registry asks to come again later, and a manifest when the registry misses a blob that
/// it was just given; the first time included.
pub(super) const MAX_TRIES: u32 = 4;

/// The largest body that is sent at once, in bytes: a larger one takes its time before an answer can begin.
pub(super) const SMALL_BODY: usize = 64 * 1024;

/// The longest text of a registry that an error shows, in characters.
pub(super) const SHOWN_CHARS: usize = 120;

/// How long a registry may take. Tests use shorter times.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Everything together: the largest component over a slow line, and some waiting for a registry that is busy.
    pub in_all: Duration,
    /// The signatures of one plugin: a few small requests.
    pub signatures: Duration,
    /// Establishing a connection, including the look-up of its name.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of it.
    pub silence: Duration,
    /// After this time, an answer has to come at [`rate`](Self::rate).
    pub grace: Duration,
    /// The fewest bytes per second, on average: the slowest lines carry several times that.
    pub rate: u32,
    /// The longest wait that a registry may ask for with `Retry-After`; one that asks for more is refused at once.
    pub wait: Duration,
    /// The wait before another try when a registry does not say how long; each further one is twice as long.
    pub first_wait: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_all: Duration::from_secs(600),
            signatures: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            rate: 32 * 1024,
            wait: Duration::from_secs(60),
            first_wait: Duration::from_secs(1),
        }
    }
}
