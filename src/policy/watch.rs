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
use crate::playbook::policy::{Match, Policy, parse_policy};
use crate::plugin::PluginHost;
use crate::run::{Millis, Timestamp};
use crate::store::Store;
use crate::watched_file::{LOOK, WatchedFile};

/// The largest file of a policy, in bytes: that of a playbook, which no person can read either.
pub const MAX_POLICY_BYTES: usize = MAX_PLAYBOOK_BYTES;

/// How long after a count of runs outside of the policy they are counted again, if there are any or the policy is new:
/// a request that came with the change may have started one under the policy before. Each count reads all unfinished runs.
const COUNT_AGAIN: Millis = Millis(60_000);

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
        let current = CurrentPolicy::of(policy, file.content());
        Ok(Self { file, hangup, current })
    }

    /// Checks what can be checked only with the plugins of the program.
    ///
    /// # Errors
    /// A rule is about a built-in plugin that there is not.
    pub fn check(&self, host: &PluginHost) -> anyhow::Result<()> {
        let wrong = self.current.now().and_then(|policy| unknown_builtin(&policy, host));
        match wrong {
            Some(wrong) => {
                Err(anyhow::anyhow!("failed to use {}: {wrong}", self.file.path().display()))
            }
            None => Ok(()),
        }
    }

    /// The policy that counts. It changes with the file once that is [followed](follow).
    pub fn current(&self) -> CurrentPolicy {
        self.current.clone()
    }
}

/// What is wrong with a rule for a built-in plugin: it would be passed over in silence, and the plugin that was meant
/// has no rule.
fn unknown_builtin(policy: &Policy, host: &PluginHost) -> Option<String> {
    let known: Vec<&str> = host.builtins().iter().map(|one| one.info.name.as_str()).collect();
    policy.plugins.iter().enumerate().find_map(|(index, rule)| match &rule.matches {
        Match::Builtin(Some(name)) if !known.contains(&name.as_str()) => Some(format!(
            "rule {} is about the built-in plugin {name:?}, expected one of {}",
            index + 1,
            known.join(", ")
        )),
        Match::Builtin(_) | Match::File | Match::Digest(_) | Match::Oci { .. } => None,
    })
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
    let mut count_at = Some(clock.now());
    loop {
        if count_at.is_some_and(|at| at <= clock.now()) {
            count_at = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                next = count(&current, store.as_ref(), &host, clock.as_ref()) => next,
            };
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = hangup.recv() => file.read_again(),
            () = clock.sleep(LOOK) => {}
        }
        let Some((looked, found)) = file.look_aside().await else {
            tracing::error!("failed to look at the policy; the last one still counts");
            return;
        };
        file = looked;
        match found {
            Ok(None) => {}
            Ok(Some(policy)) => match unknown_builtin(&policy, &host) {
                None => {
                    let (name, rules) = (policy.name.clone(), policy.plugins.len());
                    current.changed(policy, file.content());
                    tracing::info!(policy = name, rules, "the policy changed");
                    count_at = Some(clock.now());
                }
                Some(wrong) => {
                    broke(&current, format!("failed to use {}: {wrong}", file.path().display()));
                }
            },
            Err(error) => broke(&current, format!("{:#}", anyhow::Error::new(error))),
        }
    }
}

fn broke(current: &CurrentPolicy, error: String) {
    tracing::error!("{error}; the last good policy still counts");
    current.broke(error);
}

/// Counts the unfinished runs that the policy would not let start any more, and says so where that is new. Returns when
/// they are to be counted again.
async fn count(
    current: &CurrentPolicy,
    store: &dyn Store,
    host: &PluginHost,
    clock: &dyn Clock,
) -> Option<Timestamp> {
    let standing = current.standing()?;
    let again = clock.now().plus(COUNT_AGAIN);
    let outside = match runs_outside(&standing.policy, store, host).await {
        Ok(outside) => outside,
        Err(error) => {
            tracing::warn!(%error, "failed to look for runs that the policy would not let start");
            return Some(again);
        }
    };
    let was_counted = standing.outside.is_some();
    if let Some(why) = &outside.why
        && standing.outside.as_ref() != Some(&outside)
    {
        let first: Vec<String> = outside.first.iter().map(ToString::to_string).collect();
        tracing::warn!(
            policy = standing.policy.name,
            runs = outside.runs,
            first = first.join(", "),
            "unfinished runs go on that this policy would not let start: {why}"
        );
    }
    let has_some = outside.runs > 0;
    current.set_outside(outside);
    (has_some || !was_counted).then_some(again)
}
