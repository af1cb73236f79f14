//! Reads the file that says who may do what, and reads it again on SIGHUP or when it changes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::current::CurrentAccess;
use crate::clock::Clock;
use crate::playbook::MAX_PLAYBOOK_BYTES;
use crate::playbook::access::{Access, parse_access};
use crate::watched_file::{LOOK, WatchedFile};

/// The largest file that says who may do what, in bytes: that of a playbook, which no person can read either.
pub const MAX_ACCESS_BYTES: usize = MAX_PLAYBOOK_BYTES;

/// The file that says who may do what, and what counts since it was read.
#[derive(Debug)]
pub struct AccessFile {
    file: WatchedFile<Access>,
    hangup: Signal,
    current: CurrentAccess,
}

impl AccessFile {
    /// Reads the file for the first time. From now on SIGHUP does not end the process.
    ///
    /// # Errors
    /// The file can't be read, or is not valid: a server does not start without what was asked for.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
        let (file, access) = WatchedFile::open(path, MAX_ACCESS_BYTES, parse_access)?;
        let current = CurrentAccess::of(access, file.content());
        Ok(Self { file, hangup, current })
    }

    /// Who may do what. It changes with the file once that is [followed](Self::follow).
    pub fn current(&self) -> CurrentAccess {
        self.current.clone()
    }

    /// Follows the file until `stop`. A content that is not valid changes nothing, but is said.
    pub async fn follow(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let Self { mut file, mut hangup, current } = self;
        let path = file.path().display().to_string();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = hangup.recv() => file.read_again(),
                () = clock.sleep(LOOK) => {}
            }
            let Some((looked, found)) = file.look_aside().await else {
                let error = format!("failed to look at {path}, which is not looked at any more");
                tracing::error!("{error}; what was read last counts until a restart");
                current.broke(error);
                return;
            };
            file = looked;
            match found {
                Ok(None) => {}
                Ok(Some(access)) => {
                    let (name, rules) = (access.name.clone(), access.rules.len());
                    current.changed(access, file.content());
                    tracing::info!(access = name, rules, "who may do what changed");
                }
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::error!("{error}; what was read last still counts");
                    current.broke(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TokioClock;
    use crate::playbook::Problems;
    use crate::run::Timestamp;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_not_looked_at_any_more_is_a_problem() {
        fn read(bytes: &[u8]) -> Result<Access, Problems> {
            assert!(!bytes.starts_with(b"#"), "a fault of ours");
            parse_access(bytes)
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.yaml");
        let text = "apiVersion: replicante.io/v1\nkind: Access\nmetadata: { name: x }\nspec: {}\n";
        std::fs::write(&path, text).unwrap();
        let (file, access) = WatchedFile::open(&path, MAX_ACCESS_BYTES, read).unwrap();
        let current = CurrentAccess::of(access, file.content());
        let hangup = signal(SignalKind::hangup()).unwrap();
        let watched = AccessFile { file, hangup, current: current.clone() };
        std::fs::write(&path, format!("# changed\n{text}")).unwrap();
        let clock = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1)));
        watched.follow(clock, CancellationToken::new()).await;
        let problem = current.standing().unwrap().problem.unwrap();
        assert!(problem.ends_with("access.yaml, which is not looked at any more"), "{problem}");
    }
}
