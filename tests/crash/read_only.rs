//! A data directory that can't be written to.
//!
//! Mounting a file system read-only needs rights that a test does not have. So here the files themselves are
//! read-only, which is the same to the server: it can't open them for writing. Root may write to every file,
//! so for root the server runs as another user, who owns the files. The unit tests of the thread that writes
//! cover a database that becomes read-only while it is open.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::crash::server::{Server, Settings};
use crate::crash::stages::Scene;

/// The user "nobody", who owns nothing.
const NOBODY: u32 = 65_534;

/// A user other than "nobody".
const SOMEBODY: u32 = 4_711;

/// Exit code of a server that can't start.
const FAILED: i32 = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_can_not_be_written_to_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = as_a_user(dir.path());
    std::fs::create_dir(&settings.data).unwrap();
    set_writable(&settings, false);
    let said = refused(&settings).await;
    assert!(said.contains("failed to open the store in"), "{said}");
    assert!(said.contains("replibook.lock (the user of this process must own"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_of_another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = as_a_user(dir.path());
    if settings.user.is_none() {
        // Only root can give files to another user.
        return;
    }
    std::fs::create_dir(&settings.data).unwrap();
    chown(&settings.data, Some(SOMEBODY), None).unwrap();
    let said = refused(&settings).await;
    assert!(said.contains("belongs to the user 4711, expected 65534"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_place_of_the_data_directory_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::in_dir(dir.path());
    std::fs::write(&settings.data, "not a directory").unwrap();
    let said = refused(&settings).await;
    assert!(said.contains("failed to make the data directory"), "{said}");
    assert!(said.contains("expected a directory that this process can write to"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_a_time_in_which_its_store_may_not_be_written_to() {
    let scene = Scene::new(3).await;
    let settings = as_a_user(scene.path());
    std::fs::create_dir(&settings.data).unwrap();
    set_writable(&settings, true);
    let server = Server::start_with(settings, None).await;
    let run = scene.start_run(&server).await;
    let remains = server.kill().await;

    set_writable(&remains.settings, false);
    let said = refused(&remains.settings).await;
    assert!(said.contains("replibook.lock (the user of this process must own"), "{said}");
    set_writable(&remains.settings, true);

    let server = Server::again(remains, None).await;
    scene.end_well(server, &run).await;
}

/// A server with no more rights than its files give it.
fn as_a_user(dir: &Path) -> Settings {
    let settings = Settings::in_dir(dir);
    if !rustix::process::getuid().is_root() {
        return settings;
    }
    // That user may not even reach the program where it was built.
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    let program = dir.join("replibook");
    if std::fs::hard_link(&settings.program, &program).is_err() {
        std::fs::copy(&settings.program, &program).unwrap();
    }
    Settings { program, user: Some(NOBODY), ..settings }
}

/// Lets the server's user read and write the files, or only read them.
fn set_writable(settings: &Settings, writable: bool) {
    let entries = std::fs::read_dir(&settings.data).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.push(settings.data.clone());
    for path in paths {
        let owner = settings.user.unwrap_or(rustix::process::getuid().as_raw());
        chown(&path, Some(owner), None).unwrap();
        let mode = match (path.is_dir(), writable) {
            (true, true) => 0o700,
            (true, false) => 0o500,
            (false, true) => 0o600,
            (false, false) => 0o400,
        };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
}

/// Starts a server that is expected to fail, and returns what it said.
async fn refused(settings: &Settings) -> String {
    let output = settings.command("127.0.0.1:0", None).stdin(std::process::Stdio::piped()).output();
    let output = tokio::time::timeout(crate::crash::server::LIMIT, output).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(FAILED), "{said}");
    assert_eq!(output.stdout, b"", "{said}");
    said
}
