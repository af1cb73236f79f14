//! How much one call of the store reads and writes.

/// The most documents that one commit writes in addition to the run, and that one call of
/// [`Store::stamp`](super::Store::stamp) changes. This keeps a transaction well below the limits of document
/// databases, and too short for anyone to notice the pause.
pub const MAX_COMMIT_DOCUMENTS: usize = 1_000;

/// The most bytes that one commit writes, for the same reason. Counts its documents as JSON, without the run and
/// without the largest document, which can't be split.
pub const MAX_COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// The most documents in one page of any read, however many are asked for.
pub const MAX_PAGE: u32 = 1_000;

/// The most documents that [`Store::put_all`](super::Store::put_all) keeps at once, in one transaction: the files of
/// one person.
pub const MAX_PUT: usize = 100;

/// The most runs that [`Locked::Waits`](super::Locked::Waits) counts. A run that waits behind a hundred others does not
/// need the exact number, and each run that waits has to count them.
pub const MAX_QUEUED: u32 = 100;

/// The most plugins that one [`Store::sweep_plugins`](super::Store::sweep_plugins) looks at: what pins each of them is
/// asked for, and each that goes may have tens of MiB.
pub const MAX_SWEPT_PLUGINS: u32 = 20;
