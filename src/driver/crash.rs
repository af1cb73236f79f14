//! Exact moments at which a test may have the process killed.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Environment variable that names the point.
const POINT: &str = "REPLIBOOK_CRASH_POINT";

/// Environment variable that says at which passage, from 1.
const AFTER: &str = "REPLIBOOK_CRASH_AFTER";

/// Where this process is to die.
struct Crash {
    point: String,
    /// Passages until then.
    left: AtomicU32,
}

/// A moment at which it matters what a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
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

impl Point {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeCommit => "before-commit",
            Self::AfterCommit => "after-commit",
            Self::BeforePost => "before-post",
            Self::AfterPost => "after-post",
            Self::EnterStage => "enter-stage",
            Self::Stamp => "stamp",
        }
    }
}

/// Kills this process if the environment says so. Only builds with debug assertions ever do.
pub(super) fn pass(point: Point) {
    static CRASH: LazyLock<Option<Crash>> = LazyLock::new(|| {
        let point = std::env::var(POINT).ok().filter(|_| cfg!(debug_assertions))?;
        let after = std::env::var(AFTER).ok().and_then(|text| text.parse().ok());
        Some(Crash { point, left: AtomicU32::new(after.unwrap_or(1)) })
    });
    let Some(crash) = CRASH.as_ref().filter(|crash| crash.point == point.as_str()) else { return };
    if crash.left.fetch_sub(1, Ordering::AcqRel) == 1 {
        let own = rustix::process::getpid();
        if let Err(error) = rustix::process::kill_process(own, rustix::process::Signal::KILL) {
            tracing::error!(%error, "failed to die at {}", point.as_str());
        }
    }
}
