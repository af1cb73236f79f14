//! Reads the file of a policy, and reads it again on SIGHUP or when it changes.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::current::CurrentPolicy;
use super::runs::runs_outside;
use crate::clock::Clock;
use crate::playbook::MAX_PLAYBOOK_BYTES;
use crate::playbook::policy::{Policy, parse_policy};
use crate::plugin::PluginHost;
use crate::run::Digest;
use crate::store::Store;
use crate::watched_file::{LOOK, WatchedFile};

/// The largest file of a policy, in bytes: that of a playbook, which no person can read either.
pub const MAX_POLICY_BYTES: usize = MAX_PLAYBOOK_BYTES;

/// The file of a policy that was read, and the policy that counts since.
#[derive(Debug)]
pub struct PolicyFile {
    file: WatchedFile<Policy>,
    hangup: Signal,
    current: CurrentPolicy,
}

impl PolicyFile {
    /// Reads the file for the first time. From now on SIGHUP does not end the process.
    ///
    /// # Errors
    /// The file can't be read, or is no valid policy: a server does not start without what was asked for.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
        let (file, policy) = WatchedFile::open(path, MAX_POLICY_BYTES, parse_policy)?;
        let current = CurrentPolicy::of(policy, content_of(&file));
        Ok(Self { file, hangup, current })
    }

    /// The policy that counts. It changes with the file once that is [followed](follow).
    pub fn current(&self) -> CurrentPolicy {
        self.current.clone()
    }
}

fn content_of(file: &WatchedFile<Policy>) -> Digest {
    file.content().cloned().unwrap_or_else(|| Digest::of(b""))
}

/// Follows the file until `stop`. A content that is no valid policy changes nothing, but is said.
pub async fn follow(
    opened: PolicyFile,
    store: Arc<dyn Store>,
    host: PluginHost,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let PolicyFile { mut file, mut hangup, current } = opened;
    // Runs may have been started under another policy, before this server was.
    tell_outside(&current, store.as_ref(), &host).await;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = hangup.recv() => file.read_again(),
            () = clock.sleep(LOOK) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let found = file.look();
            (file, found)
        });
        let Ok((looked, found)) = looked.await else {
            tracing::error!("failed to look at the policy; the last one still counts");
            return;
        };
        file = looked;
        match found {
            Ok(None) => {}
            Ok(Some(policy)) => {
                let (name, rules) = (policy.name.clone(), policy.plugins.len());
                current.changed(policy, content_of(&file));
                tracing::info!(policy = name, rules, "the policy changed");
                tell_outside(&current, store.as_ref(), &host).await;
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::error!("{error}; the last good policy still counts");
                current.broke(error);
            }
        }
    }
}

/// Says which unfinished runs the policy would not let start any more.
async fn tell_outside(current: &CurrentPolicy, store: &dyn Store, host: &PluginHost) {
    let Some(policy) = current.now() else { return };
    match runs_outside(&policy, store, host).await {
        Ok(outside) => {
            if let Some(why) = &outside.why {
                let first: Vec<String> = outside.first.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    policy = policy.name,
                    runs = outside.runs,
                    first = first.join(", "),
                    "unfinished runs go on that this policy would not let start: {why}"
                );
            }
            current.set_outside(outside);
        }
        Err(error) => {
            tracing::warn!(%error, "failed to look for runs that the policy would not let start")
        }
    }
}
