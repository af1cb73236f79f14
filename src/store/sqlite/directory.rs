//! The data directory: made when it is not there, and locked for one engine.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// The database as it was opened.
    database: File,
    /// It was said that the database is another one now.
    said: AtomicBool,
}

impl Directory {
    /// Makes the directory if need be, readable by its owner only, and locks it.
    ///
    /// # Errors
    /// It is in use, belongs to another user, or others may write to it or read what is in it: they could have any
    /// action done by the agents. A file of the store is a link: whoever made that says what is written where.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path).map_err(|error| failed("make the data directory", path, error))?;
        #[cfg(unix)]
        private::check_directory(path)?;

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
        // SQLite gives the files that it makes beside the database the permissions of this one.
        let database = create_private(&path.join(DATABASE_FILE))?;
        #[cfg(unix)]
        private::check_files(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock, database, said: AtomicBool::new(false) })
    }

    /// Checks that the database is still where it was: what is written to a file that nobody can open again is
    /// lost, and actions that were done would be done again.
    ///
    /// # Errors
    /// It was removed, or replaced, for people.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        let path = self.database();
        let what = match same_file(&self.database, &path) {
            Ok(true) => {
                self.said.store(false, Ordering::Relaxed);
                return Ok(());
            }
            Ok(false) => "was replaced".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "was removed".to_owned(),
            Err(error) => format!("can't be looked at ({error})"),
        };
        let message = format!(
            "the database {} {what} under the running server, which writes nothing any more: stop it, put the \
             database in order, and start it again",
            path.display()
        );
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::error!(%message, "the store is gone");
        }
        Err(message)
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
    #[cfg(unix)]
    private::refuse_link(path)?;
    options.open(path).map_err(|error| failed("open", path, error))
}

#[cfg(unix)]
fn same_file(open: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (open, there) = (open.metadata()?, std::fs::symlink_metadata(path)?);
    Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> io::Result<bool> {
    std::fs::symlink_metadata(path).map(|_| true)
}

/// What keeps a data directory from others.
#[cfg(unix)]
mod private {
    use std::os::unix::fs::MetadataExt as _;

    use super::{DATABASE_FILE, Path, Result, failed, refused};

    /// Write permission of the group and of all others.
    const WRITE: u32 = 0o022;

    /// Permission to enter a directory of the group and of all others.
    const ENTER: u32 = 0o011;

    /// Any permission of the group and of all others.
    const ANY: u32 = 0o077;

    pub(super) fn check_directory(path: &Path) -> Result<()> {
        let metadata = path.metadata().map_err(|error| failed("look at", path, error))?;
        let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
        if owner != own {
            return Err(refused(format!(
                "the data directory {} belongs to the user {owner}, expected {own}, as whom this process runs: \
                 run it as that user, or give the directory and all in it to this one (chown -R)",
                path.display()
            )));
        }
        let mode = metadata.mode() & 0o777;
        if mode & WRITE != 0 {
            return Err(refused(format!(
                "the data directory {} has the mode {mode:03o}, with which others may put files in it, expected \
                 700 (chmod 700)",
                path.display()
            )));
        }
        if mode & ANY != 0 {
            let path = path.display();
            tracing::warn!(%path, mode = format!("{mode:03o}"), "others may see which files are in the data directory");
        }
        Ok(())
    }

    /// The database, and what SQLite has beside it. Where others can't enter the directory, a backup that was copied
    /// there with any mode is safe.
    pub(super) fn check_files(directory: &Path) -> Result<()> {
        let entered = directory.metadata().is_ok_and(|metadata| metadata.mode() & ENTER != 0);
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let path = directory.join(format!("{DATABASE_FILE}{suffix}"));
            let Ok(metadata) = path.symlink_metadata() else { continue };
            refuse_link(&path)?;
            let mode = metadata.mode() & 0o777;
            if entered && mode & ANY != 0 {
                return Err(refused(format!(
                    "{} has the mode {mode:03o}, with which others may open it, expected 600 (chmod 600)",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    pub(super) fn refuse_link(path: &Path) -> Result<()> {
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.is_file() => Err(refused(format!(
                "{} is no ordinary file (a link?), expected the file itself: name the directory where that is",
                path.display()
            ))),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn refused(message: String) -> StoreError {
    StoreError::Unfit { message, source: None }
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

    #[cfg(unix)]
    #[test]
    fn what_others_can_reach_is_refused() {
        use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
        let set = |path: &Path, mode: u32| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |path: &Path, says: &str| {
            let error = Directory::open(path).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        drop(Directory::open(&path).unwrap());
        for mode in [0o720, 0o702, 0o777] {
            set(&path, mode);
            refused(&path, "with which others may put files in it, expected 700");
        }
        set(&path, 0o755);
        drop(Directory::open(&path).unwrap());

        let database = path.join(DATABASE_FILE);
        for (suffix, mode) in [("", 0o640), ("-wal", 0o604), ("-shm", 0o620)] {
            let file = path.join(format!("{DATABASE_FILE}{suffix}"));
            std::fs::write(&file, "").unwrap();
            set(&file, mode);
            refused(&path, "with which others may open it, expected 600");
            set(&path, 0o700);
            drop(Directory::open(&path).unwrap());
            set(&path, 0o755);
            set(&file, 0o600);
        }
        for file in [DATABASE_FILE, LOCK_FILE, "replibook.db-wal"] {
            let (file, elsewhere) = (path.join(file), parent.path().join("elsewhere"));
            std::fs::rename(&file, &elsewhere).unwrap();
            symlink(&elsewhere, &file).unwrap();
            refused(&path, "is no ordinary file (a link?)");
            std::fs::rename(&elsewhere, &file).unwrap();
        }
        assert!(database.exists());
        drop(Directory::open(&path).unwrap());
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(4_711), None).unwrap();
            refused(&path, "belongs to the user 4711, expected 0");
        }
    }

    #[test]
    fn a_database_that_is_removed_or_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        assert_eq!(directory.check(), Ok(()));
        let (database, aside) = (directory.database(), folder.path().join("aside"));
        std::fs::rename(&database, &aside).unwrap();
        assert!(directory.check().unwrap_err().contains("was removed under the running server"));
        std::fs::copy(&aside, &database).unwrap();
        assert!(directory.check().unwrap_err().contains("was replaced under the running server"));
        std::fs::rename(&aside, &database).unwrap();
        assert_eq!(directory.check(), Ok(()));
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
