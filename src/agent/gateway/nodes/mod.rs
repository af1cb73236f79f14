//! Reaches nodes: starts jobs there, and looks at them.
//!
//! A node needs a POSIX `sh` and nothing else. A *carrier* is a command that gives a shell there: `ssh`, `docker exec`,
//! or simply `sh`. Each call of [`Jobs`] is one *exchange*: the carrier runs one script, which is told what to do, and
//! whose answer is framed by marks that nobody else can know. What was done is written down on the node itself, so a
//! gateway that dies, or moves, forgets nothing, and nothing is done twice.
//!
//! [`jobs`] has the calls. An [`order`] is what a job is on its way to a node, and [`told`] what comes back. `job.sh` is
//! the [`script`]; how it makes sure that nothing is done twice is said there, and in `docs/gateway.md`. An [`exchange`]
//! is one process of a [`carrier`], whose [`answer`] is read as it comes. [`ssh`] keeps connections.

mod answer;
mod carrier;
mod error;
mod exchange;
mod jobs;
mod order;
mod place;
mod put;
mod remembered;
mod script;
mod seen;
mod ssh;
mod told;
mod work;

pub use carrier::Programs;
pub use error::{NodeError, Trouble};
pub use exchange::{QUICK, WITHIN};
pub use jobs::{Jobs, MAX_EXCHANGES};
pub use order::{MAX_INPUT, MAX_WORDS};
pub use place::{DEFAULT_FOLDER, Engine, Node, Place};
pub use put::{MAX_DIFF, put_result};
pub use seen::{
    End, Facts, JobState, Killed, Listed, Lost, Phase, Piece, Said, Seen, Started, Stream,
};
pub use ssh::{MAX_MASTERS, MAX_SESSIONS};
pub use work::{Job, Work};

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
pub const MAX_OWN_FACTS: usize = 64;
