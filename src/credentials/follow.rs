//! Reads credentials again when they change, and says what expires.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::CredentialsError;
use super::expiry::Expiry;
use super::folder::{Credentials, Stamp};
use super::kept::{Kept, KeptCredentials, Standing, read};
use crate::clock::Clock;
use crate::run::{Digest, Millis, Timestamp};

/// How often the folder is looked at: whoever puts new certificates there does not notice the wait.
const LOOK: Duration = Duration::from_secs(1);

/// How often the log says again that a certificate expires soon.
const SAID_AGAIN: Millis = Millis::from_secs(24 * 3_600);

/// What was found under a name at the last look.
#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    /// The content, or the error, that was found last. One that is new may be half of what is being written, so it counts
    /// when it is found twice in a row.
    found: Option<String>,
    /// What was made of it.
    taken: Option<String>,
}

/// Looks at a folder again and again.
struct Watch {
    kept: KeptCredentials,
    folder: Credentials,
    seen: BTreeMap<String, Seen>,
    /// Whether it was said that the folder can't be read.
    is_unreadable: bool,
    /// What was said last about what expires, and when.
    said: Option<(Vec<Expiry>, Timestamp)>,
}

impl KeptCredentials {
    /// Follows the folder until `stop`, also on SIGHUP, which no longer ends the process.
    ///
    /// # Errors
    /// Signals can't be listened for.
    pub fn follow(
        &self,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
        let hangup = signal(SignalKind::hangup())?;
        let watch = self.folder.clone().map(|folder| Watch {
            kept: self.clone(),
            folder,
            seen: BTreeMap::new(),
            is_unreadable: false,
            said: None,
        });
        Ok(async move {
            if let Some(watch) = watch {
                watch.run(clock.as_ref(), hangup, stop).await;
            }
        })
    }
}

impl Watch {
    async fn run(mut self, clock: &dyn Clock, mut hangup: Signal, stop: CancellationToken) {
        loop {
            self.say_expiries(clock.now());
            let is_asked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = clock.sleep(LOOK) => false,
            };
            // On another thread, which may wait for the disk.
            let looked = tokio::task::spawn_blocking(move || {
                self.look(is_asked);
                self
            });
            self = match looked.await {
                Ok(watch) => watch,
                Err(_) => {
                    tracing::error!(
                        "failed to look at the credentials; those of before still count"
                    );
                    return;
                }
            };
        }
    }

    /// Looks at every name. `is_whole`: somebody said that what is there is whole.
    fn look(&mut self, is_whole: bool) {
        let names = match self.folder.names() {
            Ok(names) => names,
            Err(error) => {
                if !std::mem::replace(&mut self.is_unreadable, true) {
                    tracing::error!("{error}; the credentials of before still count");
                }
                return;
            }
        };
        self.is_unreadable = false;
        let present: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        self.seen.retain(|name, _| present.contains(name.as_str()));
        let gone = |name: &String| !present.contains(name.as_str());
        let mut kept = self.kept.names.write().unwrap_or_else(PoisonError::into_inner);
        for name in kept.keys().filter(|name| gone(name)) {
            tracing::info!(name, "these credentials are gone");
        }
        kept.retain(|name, _| !gone(name));
        drop(kept);
        for name in names {
            self.look_at(name, is_whole);
        }
    }

    fn look_at(&mut self, name: String, is_whole: bool) {
        let stamp = self.folder.stamp(&name);
        let seen = self.seen.entry(name.clone()).or_default();
        if seen.stamp.is_some() && seen.stamp == stamp && !is_whole {
            return;
        }
        let found = read(&self.folder, &name);
        let text = match &found {
            Ok(kept) => kept.content.to_string(),
            Err(error) => error.to_string(),
        };
        let is_same = seen.found.replace(text.clone()).as_ref() == Some(&text);
        if !is_same && !is_whole {
            return;
        }
        seen.stamp = stamp;
        if seen.taken.replace(text.clone()) != Some(text) {
            self.take(name, found);
        }
    }

    fn take(&self, name: String, found: Result<Kept, CredentialsError>) {
        let mut names = self.kept.names.write().unwrap_or_else(PoisonError::into_inner);
        let standing: &mut Standing = names.entry(name.clone()).or_default();
        match found {
            Ok(kept) => {
                let content = |kept: &Arc<Kept>| -> Digest { kept.content.clone() };
                let before = standing.good.as_ref().map(content);
                let is_new = before.as_ref() != Some(&kept.content);
                if is_new || standing.problem.is_some() {
                    tracing::info!(name, "the credentials were read");
                }
                if is_new {
                    standing.good = Some(Arc::new(kept));
                    standing.held = None;
                }
                standing.problem = None;
            }
            Err(error) => {
                let still = match standing.good {
                    Some(_) => "; what was there before still counts",
                    None => "",
                };
                tracing::error!(name, "{error}{still}");
                standing.problem = Some(error.to_string());
            }
        }
    }

    /// Says what expires soon: when that changed, and once a day.
    fn say_expiries(&mut self, now: Timestamp) {
        let near: Vec<Expiry> =
            self.kept.expiries().into_iter().filter(|expiry| expiry.is_near(now)).collect();
        let is_said = match &self.said {
            Some((said, at)) => *said == near && now.since(*at) < SAID_AGAIN,
            None => near.is_empty(),
        };
        if is_said {
            return;
        }
        for expiry in &near {
            let Expiry { name, file, at } = expiry;
            match expiry.is_over(now) {
                true => tracing::error!(name, file, "the certificate expired at {at}"),
                false => tracing::warn!(name, file, "the certificate expires soon, at {at}"),
            }
        }
        self.said = Some((near, now));
    }
}
