//! The data directory: made when it is not there, and locked for one engine.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::failure::unavailable;
use crate::store::contract::Result;
use crate::store::error::StoreError;

/// Name of the database in the data directory.
pub const DATABASE_FILE: &str = "replibook.db";

/// Name of the file in the data directory whose lock says that an engine uses it.
pub const LOCK_FILE: &str = "replibook.lock";

/// A data directory that this process alone uses, until this is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be, readable by its owner only, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| failed("make the data directory", path, error))?;

        let lock_path = path.join(LOCK_FILE);
        let lock = create_private(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(unavailable(format!(
                    "the data directory {} is in use by another engine; stop it, or use another \
                     directory",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path, error)),
        }
        let directory = Self { path: path.to_owned(), _lock: lock };
        // SQLite gives the files that it makes beside the database the permissions of this one.
        create_private(&directory.database())?;
        Ok(directory)
    }

    /// Path of the database.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }
}

fn create_private(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| failed("open", path, error))
}

fn failed(doing: &str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Unavailable {
        message: format!("failed to {doing} {} ({})", path.display(), advice(error.kind())),
        source: Some(Box::new(error)),
    }
}

/// What a person can do about a data directory that can't be used.
fn advice(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    if kind == PermissionDenied {
        "the user of this process must own the data directory and all files in it, or be allowed to \
         write to them"
    } else if kind == ReadOnlyFilesystem {
        "the data directory must be on a file system that is mounted for writing"
    } else if [StorageFull, QuotaExceeded, FileTooLarge].contains(&kind) {
        "there is no room; free some, or use another directory"
    } else {
        "expected a directory that this process can write to"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_private_and_has_one_user() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = Directory::open(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&path), 0o700);
            assert_eq!(mode(&first.database()), 0o600);
        }
        let error = Directory::open(&path).unwrap_err();
        assert!(error.to_string().contains("in use by another engine"), "{error}");
        drop(first);
        Directory::open(&path).unwrap();
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        File::create(&path).unwrap();
        let error = Directory::open(&path).unwrap_err().to_string();
        assert!(error.contains("failed to make the data directory"), "{error}");
        assert!(error.contains("file"), "{error}");
    }
}
