//! How much nodes may say. The limits of connections are beside those.

/// The most bytes of standard output that an answer has: as much as an action's result may have.
pub const MAX_STDOUT: usize = crate::agent::door::bounds::PAYLOAD.bytes;

/// The most bytes of standard error that an answer has, from its end: that is where programs say why they failed, and
/// enough before it to find secrets in it.
pub const MAX_STDERR: usize = 64 * 1024;

/// The most bytes that a job may write while it is at work: a disk must not be filled by a program that never stops.
pub const MAX_KEPT: u64 = 64 * 1024 * 1024;

/// The most bytes of output in one answer to `output`.
pub const MAX_PIECE: usize = 64 * 1024;

/// The most jobs in one list.
pub const MAX_LISTED: usize = 10_000;

/// The most files of facts that a node may have.
pub const MAX_OWN_FACTS: usize = 200;

/// How long the command for the status of a node may take, in seconds: longer than whoever asks waits for it. The next one
/// who asks ends it.
pub const MAX_STATUS_SECONDS: u64 = 15;

/// How often somebody who asks for the status looks whether the command that another one began is over, a second apart. It
/// is well within what a request may take.
pub(super) const STATUS_TURNS: u64 = 6;
