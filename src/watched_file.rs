//! A file that a program reads again when it changes: versions are told apart by time, size and inode, so that a file that
//! was replaced is noticed too. Content that is not good is reported once, and whoever has the last good content keeps it.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::playbook::Problems;
use crate::run::Digest;

/// How often a file is checked: a person who saved it does not notice the wait.
pub const LOOK: Duration = Duration::from_millis(500);

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

/// Reads the content of a file.
pub type Read<T> = fn(&[u8]) -> Result<T, Problems>;

/// A file that is looked at again and again.
#[derive(Debug)]
pub struct WatchedFile<T> {
    path: PathBuf,
    read: Read<T>,
    /// The most bytes that are read. `read` has to refuse a content that is larger.
    most: usize,
    /// What tells one version of the file from another without reading its content.
    stamp: Option<(SystemTime, u64, u64)>,
    /// Digest of the content that was last read, good or not.
    content: Option<Digest>,
    /// Digest of a content that was seen once, and may be half of what is being written.
    seen: Option<Digest>,
    /// Whether the next content is taken as it is found: the first one, and after somebody said that it is whole.
    at_once: bool,
    /// Whether it was already reported that the file can't be read.
    unreadable: bool,
}

impl<T> WatchedFile<T> {
    /// Reads the file for the first time. Content of more than `most` bytes is cut to one byte more, which `read` has to
    /// refuse.
    ///
    /// # Errors
    /// [`FileError`]: there is no content yet.
    pub fn open(path: &Path, most: usize, read: Read<T>) -> Result<(Self, T), FileError> {
        let path = path.to_owned();
        let (stamp, content, seen) = (None, None, None);
        let mut file =
            Self { path, read, most, stamp, content, seen, at_once: true, unreadable: false };
        match file.look()? {
            Some(content) => Ok((file, content)),
            // Nothing was read before, so a first look always finds something new.
            None => Err(file.error(io::ErrorKind::NotFound.into())),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Digest of the content that was last read, good or not.
    pub fn content(&self) -> Digest {
        self.content.clone().unwrap_or_else(|| Digest::of(b""))
    }

    /// Forgets what the file looked like, so that the next look reads it, and takes it as it is.
    pub fn read_again(&mut self) {
        self.stamp = None;
        self.at_once = true;
    }

    /// The content of the file, if it differs from the last one. Content that is seconds old is taken once two looks in
    /// a row have found the same: a program that writes piece by piece may be half done.
    ///
    /// # Errors
    /// [`FileError`], once each time that the file becomes unusable in a new way.
    pub fn look(&mut self) -> Result<Option<T>, FileError> {
        match self.read_if_changed() {
            Ok(Some(bytes)) => {
                let problems = |problems| FileError::Invalid { path: self.path.clone(), problems };
                (self.read)(&bytes).map(Some).map_err(problems)
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

    /// [Looks](Self::look) on another thread, which may wait for the disk. `None` if the look broke off: the file is not
    /// watched any more.
    pub async fn look_aside(mut self) -> Option<(Self, Result<Option<T>, FileError>)>
    where
        T: Send + 'static,
    {
        let looked = tokio::task::spawn_blocking(move || {
            let found = self.look();
            (self, found)
        });
        looked.await.ok()
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
        let most = u64::try_from(self.most).unwrap_or(u64::MAX).saturating_add(1);
        fs::File::open(&self.path)?.take(most).read_to_end(&mut bytes)?;
        let content = Digest::of(&bytes);
        // Whatever is written while this reads is seen by the next look.
        self.stamp = settled.then_some(stamp);
        let seen = self.seen.replace(content.clone());
        let is_whole =
            std::mem::take(&mut self.at_once) || settled || seen.as_ref() == Some(&content);
        let is_new = self.unreadable || self.content.as_ref() != Some(&content);
        if !is_new || !is_whole {
            return Ok(None);
        }
        self.unreadable = false;
        self.content = Some(content);
        Ok(Some(bytes))
    }

    fn error(&self, source: io::Error) -> FileError {
        FileError::Read { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::MAX_PLAYBOOK_BYTES;
    use crate::playbook::policy::{Policy, parse_policy};

    fn text(name: &str) -> String {
        format!(
            "apiVersion: replicante.io/v1\nkind: Policy\nmetadata: {{ name: {name} }}\nspec: {{}}\n"
        )
    }

    fn open(path: &Path) -> Result<(WatchedFile<Policy>, Policy), FileError> {
        WatchedFile::open(path, MAX_PLAYBOOK_BYTES, parse_policy)
    }

    #[test]
    fn a_change_is_seen_once_and_a_broken_file_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.yaml");
        assert!(matches!(open(&path), Err(FileError::Read { .. })));
        fs::write(&path, text("a")).unwrap();
        let (mut file, policy) = open(&path).unwrap();
        assert_eq!(policy.name, "a");
        assert_eq!(file.look().unwrap(), None);
        // The new content has the same length, and perhaps the same time.
        fs::write(&path, text("b")).unwrap();
        assert_eq!(file.look().unwrap(), None, "it may be half of what is being written");
        assert_eq!(file.look().unwrap().map(|policy| policy.name).as_deref(), Some("b"));
        fs::write(&path, text("b").replace("{}", "[")).unwrap();
        assert_eq!(file.look().unwrap(), None);
        let error = file.look().unwrap_err().to_string();
        assert!(error.contains("policy.yaml:\n"), "{error}");
        assert_eq!(file.look().unwrap(), None, "it is said once");
        file.read_again();
        assert_eq!(file.look().unwrap(), None, "even if it is read again");
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.look(), Err(FileError::Read { .. })));
        assert_eq!(file.look().unwrap(), None);
        // Replaced in the way of programs that don't want half a file to be seen.
        fs::write(folder.path().join("new"), text("c")).unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(file.look().unwrap(), None);
        assert_eq!(file.look().unwrap().map(|policy| policy.name).as_deref(), Some("c"));
        assert_eq!(file.content(), Digest::of(text("c").as_bytes()));
    }

    #[test]
    fn half_of_a_file_is_not_taken_for_a_whole_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |content: &str| fs::write(file.path(), content).unwrap();
        write(&text("a"));
        let (mut watched, _) = open(file.path()).unwrap();
        write("apiVersion: replicante.io/v1\n");
        assert_eq!(watched.look().unwrap(), None);
        write(&text("b"));
        assert_eq!(watched.look().unwrap(), None, "it has grown since");
        assert_eq!(watched.look().unwrap().map(|policy| policy.name).as_deref(), Some("b"));
        // Whoever asks for the file to be read again says that it is whole.
        write(&text("c"));
        watched.read_again();
        assert_eq!(watched.look().unwrap().map(|policy| policy.name).as_deref(), Some("c"));
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "#".repeat(MAX_PLAYBOOK_BYTES + 10)).unwrap();
        let error = open(file.path()).unwrap_err().to_string();
        assert!(error.contains("at most 1048576 bytes"), "{error}");
    }
}
