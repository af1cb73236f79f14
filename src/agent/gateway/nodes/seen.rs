//! What nodes say about jobs.

use bytes::Bytes;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::run::{Millis, Timestamp};

/// What became of a request to start a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Started {
    /// It begins now, and may have ended already.
    Begun(JobState),
    /// The node had a job of this identifier before. If that had not begun yet, it begins now.
    Known,
}

/// What a job does. All moments are by the clock of the gateway: that of a node may be wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum JobState {
    /// It is at work.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It has ended.
    Ended(End),
    /// It began, and nobody knows how far it got.
    Lost {
        /// When it began.
        since: Timestamp,
        /// What is known.
        why: Lost,
    },
    /// The node knows what to do and has not begun, since the connection ended in between. A start of the same
    /// identifier begins it.
    NotStarted,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// The exit code as shells have it: 128 and more stand for a signal, 127 for a program that is not there.
    pub code: i32,
    /// Why the gateway killed it, if it did.
    pub killed: Option<Killed>,
    /// The beginning of standard output, at most [`MAX_STDOUT`](super::MAX_STDOUT) bytes.
    pub stdout: Bytes,
    /// Whether standard output had more.
    pub cut: bool,
    /// The end of standard error, at most [`MAX_STDERR`](super::MAX_STDERR) bytes.
    pub stderr: Bytes,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// Why the gateway killed a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    /// Its time was over.
    Timeout,
    /// It wrote more than [`MAX_KEPT`](super::MAX_KEPT) bytes.
    Output,
}

/// Why nobody knows how far a job got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The node was started again in the meantime.
    Rebooted,
    /// Its processes are gone, and nobody wrote down how it ended.
    Killed,
    /// The power of the node was cut: of what was written about the job only names of files have reached the disk.
    Torn,
}

impl Lost {
    /// What it means, for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Rebooted => {
                "the node was rebooted before the job ended; how far it got is not known, so look at the node before \
                 this is done again"
            }
            Self::Killed => {
                "the job's processes were killed on the node before it ended; how far it got is not known, so look \
                 at the node before this is done again"
            }
            Self::Torn => {
                "the power of the node was cut, and what it had written down about the job is gone; how far it got is \
                 not known, so look at the node before this is done again"
            }
        }
    }
}

/// A job, as its node knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The kind of the action.
    pub kind: String,
    /// Its arguments, without secrets.
    pub args: Value,
    /// Its metadata.
    pub metadata: Map<String, Value>,
    /// When the action was made.
    pub created: Timestamp,
    /// When it came to the gateway that sent it to the node.
    pub sent: Timestamp,
    /// What it does.
    pub state: JobState,
}

/// One line of the list of the jobs of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The identifier of the action.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// When it was sent to the node.
    pub sent: Timestamp,
    /// What it does.
    pub phase: Phase,
}

/// What a job does, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    NotStarted,
    /// It is at work.
    Running,
    /// It has ended with this code.
    Ended(i32),
    /// It began, and nobody knows how far it got.
    Lost,
}

/// What a job wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A piece of what a job wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes from the offset that was asked for, at most [`MAX_PIECE`](super::MAX_PIECE).
    pub bytes: Bytes,
    /// The offset of the next byte.
    pub next: u64,
    /// Whether nothing comes after this piece.
    pub ended: bool,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The distribution and its version (`debian 12`), or else the name of the system.
    pub os: String,
    /// The kernel and its release (`Linux 6.1.0-18-amd64`).
    pub kernel: String,
    /// The machine, as `uname -m` has it.
    pub arch: String,
    /// The name of the node, as it knows it.
    pub hostname: String,
    /// Time since the boot, where it can be told.
    pub uptime: Option<Millis>,
    /// The first lines of the files in the folder `facts` beside the jobs, by name.
    pub own: Map<String, Value>,
    /// How the command for the status ended, and what it said.
    pub status: Option<Said>,
}

/// How a short command ended, and what it wrote to standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// The beginning of standard output.
    pub stdout: Bytes,
}
