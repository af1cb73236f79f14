//! Ends what a command may have left behind, and says when it is gone. A killed process takes a moment to go,
//! or stays if the kernel or another user's process holds it, so this looks again in growing intervals.

use uuid::Uuid;

use super::process::ProcessId;
use crate::clock::Clock;
use crate::run::{Millis, Timestamp};

/// The first wait between two looks; each further wait is twice as long. A killed process is usually gone at
/// once, and each look at one that is not may read all of `/proc`.
const FIRST_WAIT: Millis = Millis(5);

/// Waits up to this one are spent at once: together they take over half a second. A longer wait is left to the
/// next tick.
const AT_ONCE: Millis = Millis(320);

/// The longest wait. The queue waits too, so the end of a process should be noticed soon.
const LONGEST_WAIT: Millis = Millis(5_000);

/// The process of a command, whose group may still have members.
#[derive(Debug)]
pub(super) struct Left {
    action: Uuid,
    process: ProcessId,
    wait: Millis,
    next: Timestamp,
}

impl Left {
    pub(super) fn of(action: Uuid, process: ProcessId) -> Self {
        Self { action, process, wait: FIRST_WAIT, next: Timestamp::MIN }
    }

    /// The same, but nobody looks before `next`.
    #[cfg(test)]
    pub(super) fn not_before(action: Uuid, process: ProcessId, next: Timestamp) -> Self {
        Self { next, ..Self::of(action, process) }
    }

    /// Ends what is left, and returns whether nothing is left. Does nothing before the time of the next look.
    pub(super) async fn is_gone(&mut self, clock: &dyn Clock) -> bool {
        while clock.now() >= self.next {
            if self.end().await {
                return true;
            }
            let wait = self.next_wait();
            if wait > AT_ONCE {
                self.next = clock.now().plus(wait);
                return false;
            }
            clock.sleep(wait.to_std()).await;
        }
        false
    }

    fn next_wait(&mut self) -> Millis {
        let wait = self.wait;
        self.wait = Millis(wait.0.saturating_mul(2)).min(LONGEST_WAIT);
        wait
    }

    async fn end(&self) -> bool {
        let (process, action) = (self.process.clone(), self.action);
        match tokio::task::spawn_blocking(move || process.end(action)).await {
            Ok(Ok(gone)) => return gone,
            Ok(Err(error)) => {
                tracing::error!(%error, "failed to look for what is left of a command");
            }
            Err(error) => {
                tracing::error!(%error, "failed to look for what is left of a command");
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;
    use crate::clock::TokioClock;

    /// A command in a group of its own. It exists until it is waited for, even after it was killed.
    fn command() -> (std::process::Child, ProcessId) {
        let mut command = Command::new("sleep");
        let child = command.arg("1000").process_group(0).spawn().unwrap();
        let process = ProcessId::of(child.id().try_into().unwrap()).unwrap();
        (child, process)
    }

    #[test]
    fn looks_become_rarer() {
        let (mut child, process) = command();
        let mut left = Left::of(Uuid::nil(), process);
        let hour: Vec<_> = (0..730).map(|_| left.next_wait()).collect();
        let sum: u64 = hour.iter().map(|wait| wait.0).sum();
        assert!(sum > 3_600_000, "so many looks take an hour: {sum} ms");
        let at_once: u64 = hour.iter().filter(|wait| **wait <= AT_ONCE).map(|wait| wait.0).sum();
        assert!((500..1_000).contains(&at_once), "{at_once} ms");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_killed_is_gone_and_before_its_time_nobody_looks() {
        let clock = TokioClock::starting_at(Timestamp::from_millis(1_000));
        let (mut child, process) = command();
        let mut left = Left::of(Uuid::nil(), process);
        left.next = clock.now().plus(Millis(100));
        assert!(!left.is_gone(&clock).await);
        assert_eq!(child.try_wait().unwrap(), None, "it was not killed");
        left.next = clock.now();
        let gone = left.is_gone(&clock).await;
        // The kill may take a moment.
        assert!(gone || left.next > clock.now());
        assert!(!child.wait().unwrap().success());
        left.next = clock.now();
        assert!(left.is_gone(&clock).await);
    }
}
