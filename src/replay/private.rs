//! Files and folders of exports are for their owner alone, whatever the umask: an export has all parameters, arguments and
//! answers of a run, and a temporary folder is where everybody can look.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

use tempfile::TempDir;

/// A temporary folder, which is removed with this value.
///
/// # Errors
/// It can't be made.
pub fn temporary_folder() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("replibook-export-");
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir()
}

/// Makes a folder, which must not exist.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a file, which must not exist.
pub(super) fn make_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nobody_else_can_look() {
        let folder = temporary_folder().unwrap();
        let (inside, file) = (folder.path().join("plugins"), folder.path().join("run.json"));
        make_folder(&inside).unwrap();
        drop(make_file(&file).unwrap());
        for (path, expected) in [(folder.path(), 0o700), (&inside, 0o700), (&file, 0o600)] {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, expected, "{}", path.display());
        }
        assert!(make_folder(&inside).is_err() && make_file(&file).is_err());
    }
}
