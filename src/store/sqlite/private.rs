//! Keeps a data directory from others. Whoever can write to it can make the agents do any action.
//!
//! A group that this process is in is trusted: a volume in a container belongs to root and is open to the group of
//! the process, which also has all its files.

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::create::{FILES, beside};
use super::directory::{DATABASE_FILE, failed, refused};
use crate::contract::Result;

/// All permissions of the group.
const GROUP: u32 = 0o070;

/// The group's permission to write.
const GROUP_WRITE: u32 = 0o020;

/// All permissions of others.
const OTHERS: u32 = 0o007;

/// Others' permission to write.
const OTHERS_WRITE: u32 = 0o002;

/// The permissions of the group and of others to enter a directory.
const ENTER: u32 = 0o011;

pub(super) fn check_directory(path: &Path) -> Result<()> {
    let metadata = path.metadata().map_err(|error| failed("look at", path, error))?;
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != own && owner != 0 {
        return Err(refused(format!(
            "the data directory {} belongs to the user {owner}, expected {own} (the user of this process) or root: \
             run it as that user, or give the directory and all in it to this one (chown -R)",
            path.display()
        )));
    }
    let mode = mode(&metadata);
    let trusted = is_own_group(metadata.gid());
    if mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITE != 0 && !trusted) {
        return Err(refused(format!(
            "the data directory {} has the mode {mode:03o}, with which others may put files in it, expected 700 \
             (chmod 700), or name a new directory inside it: the server creates that",
            path.display()
        )));
    }
    if mode & GROUP_WRITE != 0 {
        let (path, group) = (path.display(), metadata.gid());
        tracing::warn!(%path, group, "whoever is in this group can write to the data directory");
    }
    // Closing it is left to whoever opened it: the files in it are closed, and it may have been opened for a reason.
    if mode & OTHERS != 0 {
        let path = path.display();
        tracing::warn!(%path, "others can see what files are in the data directory: chmod 700 closes it");
    }
    Ok(())
}

/// Checks the permissions of the database and of the files that SQLite keeps beside it. If others can't enter the
/// directory, a backup that was copied there is safe whatever its mode.
pub(super) fn check_files(directory: &Path) -> Result<()> {
    let entered = directory.metadata().map_or(0, |metadata| mode(&metadata) & ENTER);
    let database = directory.join(DATABASE_FILE);
    for path in FILES.map(|suffix| beside(&database, suffix)) {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        refuse_link(&path)?;
        let (mode, trusted) = (mode(&metadata), is_own_group(metadata.gid()));
        let by_others = entered & OTHERS != 0 && mode & OTHERS != 0;
        let by_group = entered != 0 && mode & GROUP != 0 && !trusted;
        if by_others || by_group {
            return Err(refused(format!(
                "{} has the mode {mode:03o}, with which others may open it, expected 600 (chmod 600)",
                path.display()
            )));
        }
        if mode & OTHERS != 0 {
            close(&path, &metadata);
        }
    }
    Ok(())
}

/// Closes a file of the store to others: only the directory kept them out, and that may be opened one day. Groups that
/// somebody let in stay.
fn close(path: &Path, metadata: &Metadata) {
    let closed = Permissions::from_mode(mode(metadata) & !OTHERS);
    if let Err(error) = fs::set_permissions(path, closed) {
        tracing::warn!(path = %path.display(), %error, "failed to close a file to others");
    }
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

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o777
}

fn is_own_group(group: u32) -> bool {
    let others = rustix::process::getgroups().unwrap_or_default();
    rustix::process::getegid().as_raw() == group || others.iter().any(|one| one.as_raw() == group)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;
    use crate::sqlite::directory::{Directory, LOCK_FILE};

    /// A group that no process of a test belongs to.
    const STRANGERS: u32 = 4_712;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Creates a file.
    fn make(path: &Path) {
        std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    }

    fn opens(path: &Path) {
        drop(Directory::open(path).unwrap());
    }

    fn is_refused(path: &Path, says: &str) {
        let error = Directory::open(path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn what_others_can_reach_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        opens(&path);
        for mode in [0o702, 0o777, 0o2777] {
            set(&path, mode);
            is_refused(&path, "with which others may put files in it, expected 700");
        }
        set(&path, 0o755);
        opens(&path);
        for (suffix, mode) in [("", 0o644), ("-wal", 0o604), ("-shm", 0o602)] {
            let file = path.join(format!("{DATABASE_FILE}{suffix}"));
            make(&file);
            set(&file, mode);
            is_refused(&path, "with which others may open it, expected 600");
            set(&path, 0o750);
            opens(&path);
            let closed = file.metadata().unwrap();
            assert_eq!(super::mode(&closed), mode & !OTHERS, "{suffix}");
            set(&path, 0o755);
            set(&file, 0o600);
        }
        for file in [DATABASE_FILE, LOCK_FILE, "replibook.db-wal"] {
            let (file, elsewhere) = (path.join(file), parent.path().join("elsewhere"));
            std::fs::rename(&file, &elsewhere).unwrap();
            symlink(&elsewhere, &file).unwrap();
            is_refused(&path, "is no ordinary file (a link?)");
            std::fs::rename(&elsewhere, &file).unwrap();
        }
        opens(&path);
    }

    /// Kubernetes gives a volume, and at each start everything in it, to the group of `fsGroup`.
    #[test]
    fn a_volume_of_a_container_is_taken_at_each_start() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        opens(&path);
        for mode in [0o2770, 0o2775, 0o770] {
            set(&path, mode);
            for suffix in ["", "-wal", "-shm"] {
                let file = path.join(format!("{DATABASE_FILE}{suffix}"));
                make(&file);
                set(&file, 0o660);
            }
            opens(&path);
        }
        set(&path.join(DATABASE_FILE), 0o664);
        set(&path, 0o2775);
        is_refused(&path, "with which others may open it");
    }

    #[test]
    fn other_users_and_other_groups_are_not_trusted() {
        if !rustix::process::geteuid().is_root() {
            // Only root can give files away; in containers, tests run as root.
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        opens(&path);
        chown(&path, None, Some(STRANGERS)).unwrap();
        set(&path, 0o2770);
        is_refused(&path, "with which others may put files in it");
        set(&path, 0o2750);
        let file = path.join(DATABASE_FILE);
        set(&file, 0o640);
        opens(&path);
        chown(&file, None, Some(STRANGERS)).unwrap();
        is_refused(&path, "with which others may open it");
        set(&file, 0o600);
        opens(&path);
        chown(&path, Some(4_711), None).unwrap();
        is_refused(&path, "belongs to the user 4711, expected 0");
    }
}
