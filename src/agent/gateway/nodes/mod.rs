//! Reaches nodes: starts jobs there, and looks at them.
//!
//! A node needs a POSIX `sh` and nothing else. A *carrier* is a command that gives a shell there: `ssh`, `docker exec`,
//! or simply `sh`. Each call of [`Jobs`] is one *exchange*: the carrier runs one script, which is told what to do, and
//! whose answer is framed by marks that a banner can't know. What was done is written down on the node itself, so a
//! gateway that dies, or moves, forgets nothing, and nothing is done twice.
//!
//! `jobs` has the calls. An `order` is what a job is on its way to a node, and `told` what comes back. `job.sh` is
//! the `script`; how it makes sure that nothing is done twice is said there, and in `docs/gateway.md`. An `exchange`
//! is one process of a `carrier`, whose `answer` is read as it comes. `ssh` keeps connections.

mod answer;
mod carrier;
mod error;
mod exchange;
mod jobs;
mod limits;
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
pub use exchange::{MAX_ANSWERS, QUICK, WITHIN};
pub use jobs::{Jobs, MAX_EXCHANGES};
pub use limits::{
    MAX_KEPT, MAX_LISTED, MAX_OWN_FACTS, MAX_PIECE, MAX_STATUS_SECONDS, MAX_STDERR, MAX_STDOUT,
};
pub use order::{MAX_INPUT, MAX_WORDS};
pub use place::{DEFAULT_FOLDER, Engine, Node, Place};
pub use put::{MAX_DIFF, put_result};
pub use seen::{
    End, Facts, JobState, Killed, Listed, Lost, Phase, Piece, Said, Seen, Started, Stream,
};
pub use ssh::{MAX_CONNECTING, MAX_MASTERS, MAX_SESSIONS};
pub use work::{Job, Work};
