//! All files that the programs make are for their owner alone, whatever the umask.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::scene::{Scene, plainly};
use crate::wait;

/// Far longer than anything here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Umasks that let others in.
const UMASKS: [&str; 3] = ["000", "022", "027"];

/// A program that is started with this umask.
fn with_umask(umask: &'static str) -> impl Fn(&'static str) -> Command {
    move |program| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), program]);
        command
    }
}

/// Everything in a folder, and the folder itself, with its mode and whether it is a folder.
fn modes(path: &Path, found: &mut Vec<(PathBuf, u32, bool)>) {
    let about = fs::symlink_metadata(path).unwrap();
    found.push((path.to_owned(), about.permissions().mode() & 0o777, about.is_dir()));
    if about.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            modes(&entry.unwrap().path(), found);
        }
    }
}

fn assert_private(path: &Path, umask: &str) {
    let mut found = Vec::new();
    modes(path, &mut found);
    for (path, mode, is_folder) in found {
        let expected = if is_folder { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{} with umask {umask}: found {mode:03o}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_for_their_owner_alone_whatever_the_umask() {
    for umask in UMASKS {
        let dir = tempfile::tempdir().unwrap();
        let (data, export) = (dir.path().join("server"), dir.path().join("run.tar.zst"));
        let started = with_umask(umask);
        let scene = Scene::start(dir.path(), &started, &started).await;
        scene.run(dir.path(), &started).await;
        let to = export.to_str().unwrap();
        scene.replictl(&started, &["run", "export", "last", "-o", to]).await;

        // While both run: also the files that SQLite keeps beside its own.
        assert!(data.join("replibook.db-wal").exists() && data.join("replibook.db-shm").exists());
        for path in [&data, &dir.path().join("agent"), &export] {
            assert_private(path, umask);
        }
        scene.stop().await;
        assert_private(&data, umask);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_others_can_look_into_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("server");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let scene = Scene::start(dir.path(), &plainly, &plainly).await;
    wait::until("the warning", DEADLINE, async || {
        let log = fs::read_to_string(dir.path().join("server.log")).unwrap();
        log.contains("others can see what files are in the data directory").then_some(())
    })
    .await;
    let mode = fs::metadata(data.join("replibook.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    scene.stop().await;
}
