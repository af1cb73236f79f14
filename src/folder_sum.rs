//! One digest of a folder of the server, without the secrets in it, by which engines see that their servers do not have the
//! same.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::run::Digest;

/// How often to look at a folder: as often as engines report what was found.
const LOOK: Duration = Duration::from_secs(4);

/// Looks at a folder now.
type Look = Arc<dyn Fn() -> Result<Digest, String> + Send + Sync>;

/// The digest of a folder, as it was found last. Clones share it.
#[derive(Clone)]
pub struct FolderSum {
    look: Look,
    found: Arc<RwLock<Digest>>,
}

impl fmt::Debug for FolderSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FolderSum").field(&self.now()).finish()
    }
}

impl FolderSum {
    /// Looks at a folder for the first time, by `look`.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn of<E: fmt::Display>(
        look: impl Fn() -> Result<Digest, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let found = Arc::new(RwLock::new(look()?));
        let look: Look = Arc::new(move || look().map_err(|error| error.to_string()));
        Ok(Self { look, found })
    }

    /// What was found last.
    pub fn now(&self) -> Digest {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the folder again and again until `stop`, on another thread, which may wait for the disk. While it can't be
    /// read, what was found before stays.
    pub async fn follow(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut was_readable = true;
        loop {
            let look = Arc::clone(&self.look);
            let looked = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                looked = look_again(look, clock.as_ref()) => looked,
            };
            match looked {
                Ok(sum) => {
                    *self.found.write().unwrap_or_else(PoisonError::into_inner) = sum;
                    was_readable = true;
                }
                Err(error) if was_readable => {
                    tracing::warn!("{error}; other engines still see what was found before");
                    was_readable = false;
                }
                Err(_) => {}
            }
        }
    }
}

/// Looks once, after a while.
async fn look_again(look: Look, clock: &dyn Clock) -> Result<Digest, String> {
    clock.sleep(LOOK).await;
    match tokio::task::spawn_blocking(move || look()).await {
        Ok(looked) => looked,
        Err(error) => Err(format!("the look at a folder broke off: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::clock::TokioClock;
    use crate::credentials::Credentials;
    use crate::run::Timestamp;
    use crate::secrets::SecretFolder;

    fn put(folder: &Path, name: &str, file: &str, text: &str) {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join(file), text).unwrap();
    }

    fn sum(folder: &Path) -> Digest {
        Credentials::open(folder).unwrap().sum().unwrap()
    }

    #[test]
    fn it_is_of_names_and_rules_and_of_no_secret() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(sum(one.path()), sum(other.path()));
        let rules = "use: agent\norigins: [https://a.example]\n";
        let alone = sum(one.path());
        for folder in [&one, &other] {
            put(folder.path(), "b", "for.yaml", rules);
            put(folder.path(), "a", "for.yaml", "use: platform\n");
        }
        let same = sum(one.path());
        assert!(same == sum(other.path()) && same != alone);
        // Whoever sees the sum can't try which password fits it.
        put(one.path(), "a", "token", "ada:hunter2");
        put(one.path(), "b", "ca.pem", "authority");
        assert_eq!(sum(one.path()), same);
        put(one.path(), "b", "for.yaml", "use: agent\norigins: [https://b.example]\n");
        assert_ne!(sum(one.path()), same);
        put(one.path(), "b", "for.yaml", rules);
        assert_eq!(sum(one.path()), same);
        fs::rename(one.path().join("b"), one.path().join("c")).unwrap();
        assert_ne!(sum(one.path()), same, "the name counts");
    }

    #[test]
    fn a_name_whose_rules_can_not_be_read_counts_too() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a", "for.yaml", "use: agent\n");
        let opened = Credentials::open(folder.path()).unwrap();
        let whole = opened.sum().unwrap();
        fs::create_dir(folder.path().join("half")).unwrap();
        let half = opened.sum().unwrap();
        assert_ne!(whole, half);
        fs::create_dir(folder.path().join("half/for.yaml")).unwrap();
        assert_eq!(opened.sum().unwrap(), half);
    }

    #[test]
    fn that_of_secrets_is_of_their_names_alone() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sum = |folder: &Path| SecretFolder::sum(folder).unwrap();
        let put =
            |folder: &Path, name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        let none = sum(one.path());
        put(one.path(), "pager", "correct-horse");
        put(one.path(), "db", "battery-staple");
        assert_ne!(sum(one.path()), none);
        put(other.path(), "db", "another value");
        assert_ne!(sum(one.path()), sum(other.path()));
        put(other.path(), "pager", "another value");
        assert_eq!(sum(one.path()), sum(other.path()));
        // As Kubernetes mounts them: what is not the name of a secret does not count.
        fs::create_dir(other.path().join("..data")).unwrap();
        assert_eq!(sum(one.path()), sum(other.path()));
        assert!(SecretFolder::sum(&one.path().join("none")).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_found_and_a_folder_that_is_gone_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("credentials");
        put(&kept, "a", "for.yaml", "use: agent\n");
        let opened = Credentials::open(&kept).unwrap();
        let found = FolderSum::of(move || opened.sum()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::default()));
        let stop = CancellationToken::new();
        let following = tokio::spawn(found.clone().follow(clock.clone(), stop.clone()));
        // While it looks, the time of the runtime stands still.
        let looked = async || clock.sleep(2 * LOOK).await;
        let first = found.now();
        put(&kept, "b", "for.yaml", "use: agent\n");
        looked().await;
        let second = found.now();
        assert!(second != first && second == sum(&kept));
        fs::rename(&kept, folder.path().join("gone")).unwrap();
        looked().await;
        assert_eq!(found.now(), second);
        fs::rename(folder.path().join("gone"), &kept).unwrap();
        fs::remove_dir_all(kept.join("b")).unwrap();
        looked().await;
        assert_eq!(found.now(), first);
        stop.cancel();
        following.await.unwrap();
    }
}
