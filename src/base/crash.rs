//! Exact moments at which a test may have the process killed.
//!
//! The engine names them where it passes them, since it matters what a crash leaves there. Only a build with the
//! feature `faults`, which tests ask for, can be killed: in any other build [`pass`] does nothing.

/// A moment at which it matters what a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// What a transition writes is not committed yet.
    BeforeCommit,
    /// It is committed, and nothing of what follows was performed.
    AfterCommit,
    /// The call is committed, nothing is sent.
    BeforePost,
    /// The agent has answered the POST, nothing more is committed.
    AfterPost,
    /// A stage begins: its agents are about to be worked out.
    EnterStage,
    /// The records of a run that has ended are about to get its end, or more of them.
    Stamp,
}

#[cfg(feature = "faults")]
pub use deadly::pass;
#[cfg(not(feature = "faults"))]
pub use harmless::pass;

#[cfg(not(feature = "faults"))]
mod harmless {
    use super::Point;

    /// Passes the moment.
    pub const fn pass(_: Point) {}
}

#[cfg(feature = "faults")]
mod deadly {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Point;

    /// Environment variable that names the moment.
    const POINT: &str = "REPLIBOOK_CRASH_POINT";

    /// Environment variable that says at which passage, from 1.
    const AFTER: &str = "REPLIBOOK_CRASH_AFTER";

    /// Where this process is to die.
    struct Crash {
        point: String,
        /// Passages until then.
        left: AtomicU32,
    }

    /// Passes the moment, or kills this process there if the environment says so.
    pub fn pass(point: Point) {
        static CRASH: LazyLock<Option<Crash>> = LazyLock::new(|| {
            let point = std::env::var(POINT).ok()?;
            let after = std::env::var(AFTER).ok().and_then(|text| text.parse().ok());
            Some(Crash { point, left: AtomicU32::new(after.unwrap_or(1)) })
        });
        let is_here = |crash: &&Crash| crash.point == name(point);
        let Some(crash) = CRASH.as_ref().filter(is_here) else { return };
        if crash.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let own = rustix::process::getpid();
            if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::KILL) {
                tracing::error!(%error, "failed to die at {}", name(point));
            }
        }
    }

    const fn name(point: Point) -> &'static str {
        match point {
            Point::BeforeCommit => "before-commit",
            Point::AfterCommit => "after-commit",
            Point::BeforePost => "before-post",
            Point::AfterPost => "after-post",
            Point::EnterStage => "enter-stage",
            Point::Stamp => "stamp",
        }
    }
}
