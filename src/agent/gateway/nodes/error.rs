//! Why a node could not be asked, and what to do about it.

use std::time::Duration;

/// Why a node could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{trouble}")]
pub struct NodeError {
    /// What is wrong.
    pub trouble: Trouble,
    /// Whether what was asked for may have happened all the same.
    pub(super) may_have_begun: bool,
}

impl NodeError {
    pub(in crate::agent::gateway) const fn before(trouble: Trouble) -> Self {
        Self { trouble, may_have_begun: false }
    }

    pub(in crate::agent::gateway) const fn unknown(trouble: Trouble) -> Self {
        Self { trouble, may_have_begun: true }
    }

    /// Whether a job that was to be started may be at work. Then nobody may start it again before a look at it.
    pub const fn may_have_begun(&self) -> bool {
        self.may_have_begun
    }
}

/// What is wrong. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No connection.
    #[error("failed to reach {place}: {said}; see whether the node is up and its address is right")]
    Unreachable {
        /// Which node.
        place: String,
        /// What the program that connects said.
        said: String,
    },
    /// The connection ended in the middle.
    #[error("the connection to {place} ended before the answer did: {said}")]
    CutOff {
        /// Which node.
        place: String,
        /// What is known about it.
        said: String,
    },
    /// The machine on the way.
    #[error(
        "failed to reach {place} through its jump host: {said}; see whether `ssh` to the jump host works"
    )]
    JumpHost {
        /// Which node.
        place: String,
        /// What the program that connects said.
        said: String,
    },
    /// Another key than the known one.
    #[error(
        "the host key of {place} is another one than before; if the node was installed anew, remove the old key with \
         `ssh-keygen -R`, else somebody may be in between: {said}"
    )]
    HostKeyChanged {
        /// Which node.
        place: String,
        /// What the program that connects said.
        said: String,
    },
    /// No key is known.
    #[error(
        "the host key of {place} is not known: {said}; compare it and add it to the known_hosts of the user that runs \
         the gateway (`ssh-keyscan` prints it)"
    )]
    HostKeyUnknown {
        /// Which node.
        place: String,
        /// What the program that connects said.
        said: String,
    },
    /// The node lets nobody in.
    #[error(
        "{place} refused to let us in: {said}; the gateway's user needs a key or an agent that the node accepts"
    )]
    Denied {
        /// Which node.
        place: String,
        /// What the program that connects said.
        said: String,
    },
    /// Something answered, but not our script.
    #[error(
        "found no POSIX shell on {place}: {said}; the login there has to run commands, so look for a forced command, \
         a restricted shell or `exit` in its profile"
    )]
    NoShell {
        /// Which node.
        place: String,
        /// What it said.
        said: String,
    },
    /// No room.
    #[error("the disk of {place} is full: {said}; make room where {folder} is")]
    DiskFull {
        /// Which node.
        place: String,
        /// The work folder.
        folder: String,
        /// What the node said.
        said: String,
    },
    /// The work folder can't be written.
    #[error(
        "{folder} on {place} is on a read-only file system: {said}; name another folder in the inventory"
    )]
    ReadOnly {
        /// Which node.
        place: String,
        /// The work folder.
        folder: String,
        /// What the node said.
        said: String,
    },
    /// The work folder can't be used for another reason.
    #[error(
        "failed to use {folder} on {place}: {said}; it has to be a folder of the user there, or name another one in \
         the inventory"
    )]
    Folder {
        /// Which node.
        place: String,
        /// The work folder.
        folder: String,
        /// What the node said.
        said: String,
    },
    /// sudo would ask.
    #[error(
        "sudo on {place} does not let this user become {user}: {said}; it needs a rule with NOPASSWD in sudoers"
    )]
    Sudo {
        /// Which node.
        place: String,
        /// Whom.
        user: String,
        /// What sudo said.
        said: String,
    },
    /// The shell there would show secrets.
    #[error(
        "the shell of {place} has no `printf` of its own, so it can't hand anything over unseen; install dash or bash"
    )]
    NoPrintf {
        /// Which node.
        place: String,
    },
    /// The answer makes no sense.
    #[error("the answer of {place} can't be read: {said}")]
    NotUnderstood {
        /// Which node.
        place: String,
        /// What was found.
        said: String,
    },
    /// Nothing came in time.
    #[error("{place} did not answer within {} s", within.as_secs())]
    TimeIsUp {
        /// Which node.
        place: String,
        /// How long we waited.
        within: Duration,
    },
    /// The job or the node can't be written in a way that is safe.
    #[error("{what}: found {found}, expected {expected}")]
    Refused {
        /// What is refused.
        what: &'static str,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The program that connects could not be run here.
    #[error(
        "failed to run {program} on the machine of the gateway: {said}; install it, or name it in PATH"
    )]
    Program {
        /// Which program.
        program: String,
        /// Why.
        said: String,
    },
}
