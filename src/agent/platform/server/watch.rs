//! Watches whether the file changed. It looks at the path again and again, and tells versions apart by time,
//! size and inode, so that it also notices a file that was replaced.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::file::{self, Nodes};
use crate::clock::Clock;
use crate::playbook::{MAX_CLUSTER_BYTES, Problems};
use crate::run::Digest;

/// How often the file is checked: a person who saved it does not notice the wait.
const LOOK: Duration = Duration::from_millis(500);

/// A file that was changed this recently may have been changed again without a visible sign: file systems store
/// times with limited precision. So it is read again.
const FRESH: Duration = Duration::from_secs(3);

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file can't be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file does not have the expected content.
    #[error("failed to use {}:\n{problems}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Everything that is wrong, with line and column.
        problems: Problems,
    },
}

/// Watches one file.
pub(super) struct Watcher {
    path: PathBuf,
    /// What tells one version of the file from another without reading its content.
    stamp: Option<(SystemTime, u64, u64)>,
    /// Digest of the content that was last read, good or not.
    content: Option<Digest>,
    /// Whether it was already reported that the file can't be read.
    unreadable: bool,
}

impl Watcher {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`FileError`]: there is nothing to serve.
    pub(super) fn open(path: &Path) -> Result<(Self, Nodes), FileError> {
        let mut watcher =
            Self { path: path.to_owned(), stamp: None, content: None, unreadable: false };
        match watcher.look()? {
            Some(nodes) => Ok((watcher, nodes)),
            // Nothing was read before, so a first look always finds something new.
            None => Err(watcher.error(io::ErrorKind::NotFound.into())),
        }
    }

    /// The content of the file, if it differs from that of the last look.
    ///
    /// # Errors
    /// [`FileError`], once each time that the file becomes unusable in a new way.
    pub(super) fn look(&mut self) -> Result<Option<Nodes>, FileError> {
        match self.read_if_changed() {
            Ok(Some(bytes)) => {
                let problems = |problems| FileError::Invalid { path: self.path.clone(), problems };
                file::read(&bytes).map(Some).map_err(problems)
            }
            Ok(None) => Ok(None),
            Err(_) if self.unreadable => Ok(None),
            Err(error) => {
                self.unreadable = true;
                self.stamp = None;
                Err(self.error(error))
            }
        }
    }

    fn read_if_changed(&mut self) -> io::Result<Option<Vec<u8>>> {
        let about = fs::metadata(&self.path)?;
        let stamp = (about.modified()?, about.len(), about.ino());
        let settled = SystemTime::now().duration_since(stamp.0).is_ok_and(|age| age > FRESH);
        if settled && self.stamp == Some(stamp) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        // One byte more than allowed, so that a file that is too large is found to be so.
        let most = u64::try_from(MAX_CLUSTER_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        fs::File::open(&self.path)?.take(most).read_to_end(&mut bytes)?;
        let content = Digest::of(&bytes);
        // Whatever is written while this reads is seen by the next look.
        self.stamp = settled.then_some(stamp);
        let was_away = std::mem::take(&mut self.unreadable);
        if !was_away && self.content.as_ref() == Some(&content) {
            return Ok(None);
        }
        self.content = Some(content);
        Ok(Some(bytes))
    }

    fn error(&self, source: io::Error) -> FileError {
        FileError::Read { path: self.path.clone(), source }
    }

    /// Checks the file for ever. Good content is served as soon as it is found; until then the last good
    /// content stays.
    pub(super) async fn run(mut self, clock: Arc<dyn Clock>, served: watch::Sender<Nodes>) {
        loop {
            clock.sleep(LOOK).await;
            let looked = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            let Ok((watcher, found)) = looked.await else {
                tracing::error!("failed to look at the file; its last content is still served");
                return;
            };
            self = watcher;
            match found {
                Ok(None) => {}
                Ok(Some(nodes)) => {
                    let (clusters, count) = (nodes.clusters, nodes.nodes);
                    tracing::info!(clusters, nodes = count, "the file changed");
                    served.send_replace(nodes);
                }
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!("{error:#}; the last good content is still served");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(nodes: usize) -> String {
        let node = |n| format!("    - {{ node_id: n{n}, agent_address: 'http://n{n}' }}\n");
        let nodes: String = (0..nodes).map(node).collect();
        format!("clusters:\n- cluster_id: eu\n  nodes:\n{nodes}")
    }

    #[test]
    fn a_change_is_seen_once_and_a_broken_file_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.yaml");
        assert!(matches!(Watcher::open(&path), Err(FileError::Read { .. })));
        fs::write(&path, text(1)).unwrap();
        let (mut watcher, nodes) = Watcher::open(&path).unwrap();
        assert_eq!(nodes.nodes, 1);
        assert_eq!(watcher.look().unwrap(), None);
        // The new content has the same length, and perhaps the same time.
        fs::write(&path, text(1).replace("n0", "n9")).unwrap();
        assert_eq!(watcher.look().unwrap().map(|nodes| nodes.nodes), Some(1));
        fs::write(&path, "clusters:\n- cluster_id: [eu\n").unwrap();
        let error = watcher.look().unwrap_err().to_string();
        assert!(error.contains("nodes.yaml:\n3:1: "), "{error}");
        assert_eq!(watcher.look().unwrap(), None, "it is said once");
        fs::remove_file(&path).unwrap();
        assert!(matches!(watcher.look(), Err(FileError::Read { .. })));
        assert_eq!(watcher.look().unwrap(), None);
        // Replaced in the way of programs that don't want half a file to be seen.
        fs::write(folder.path().join("new"), text(3)).unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(watcher.look().unwrap().map(|nodes| nodes.nodes), Some(3));
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "#".repeat(MAX_CLUSTER_BYTES + 10)).unwrap();
        let Err(error) = Watcher::open(file.path()) else { panic!("it was read") };
        assert!(error.to_string().contains("at most 16777216 bytes"), "{error}");
    }
}
