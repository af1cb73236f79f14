use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::clock::SystemClock;

/// Far longer than anything here takes, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn target(host: usize) -> Target {
    Target { host: host.to_string(), user: None, port: None }
}

fn masters(program: &Path) -> Masters {
    Masters::new(program.to_owned(), None, Arc::new(SystemClock)).unwrap()
}

#[tokio::test]
async fn the_master_that_was_not_used_for_longest_makes_room() {
    let masters = masters(Path::new("ssh"));
    for host in 0..MAX_MASTERS {
        masters.master(&target(host));
    }
    masters.master(&target(0));
    let held = masters.master(&target(1));
    masters.master(&target(MAX_MASTERS));
    masters.master(&target(MAX_MASTERS + 1));
    let all = masters.lock();
    let has = |host| all.contains_key(&target(host));
    assert_eq!(all.len(), MAX_MASTERS);
    assert_eq!([0, 1, 2, 3, 4, MAX_MASTERS].map(has), [true, true, false, false, true, true]);
    drop(held);
}

#[test]
fn sockets_are_for_this_user_and_have_room_for_their_names() {
    let masters = masters(Path::new("ssh"));
    let folder = masters.folder.path();
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    // A name of twenty digits, and the 17 characters that ssh adds.
    assert!(folder.as_os_str().len() + 1 + 20 + 17 < 108, "{}", folder.display());
}

/// A stand-in for `ssh` that connects when something comes through a pipe: a line of nothing is a login, another one is what it
/// says before it fails. It notes each start.
struct Slow {
    folder: tempfile::TempDir,
}

impl Slow {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let text = format!(
            "#!/bin/sh\nfor word; do case $word in ControlPath=*) path=${{word#*=\\\"}} path=${{path%\\\"}};; esac; done\n\
             echo started >> {}\nread line < {}\n\
             if [ -n \"$line\" ]; then echo \"$line\" >&2; exit 255; fi\n: > \"$path\"\n",
            at("starts"),
            at("pipe"),
        );
        std::fs::write(folder.path().join("ssh"), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("ssh"), mode).unwrap();
        Self { folder }
    }

    fn starts(&self) -> usize {
        let starts = std::fs::read_to_string(self.folder.path().join("starts"));
        starts.unwrap_or_default().lines().count()
    }

    async fn until_started(&self, times: usize) {
        let started = async {
            while self.starts() < times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, started).await.unwrap();
    }

    /// Somebody wants a session, and gives up while it connects.
    async fn given_up(&self, masters: &Masters, times: usize) {
        let wanted = target(1);
        tokio::select! {
            biased;
            () = self.until_started(times) => {}
            _ = masters.session(&wanted) => panic!("it was connected already"),
        }
    }

    /// The login comes to its end.
    async fn end(&self, line: &'static str) {
        let pipe = self.folder.path().join("pipe");
        let written =
            tokio::task::spawn_blocking(move || std::fs::write(pipe, format!("{line}\n")));
        tokio::time::timeout(LIMIT, written).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_login_goes_on_when_nobody_waits_for_it() {
    let slow = Slow::new();
    let masters = masters(&slow.folder.path().join("ssh"));
    slow.given_up(&masters, 1).await;
    slow.end("").await;
    let session = tokio::time::timeout(LIMIT, masters.session(&target(1))).await.unwrap();
    assert!(session.is_ok(), "the next one finds the connection");
    assert_eq!(slow.starts(), 1);
}

#[tokio::test]
async fn why_a_login_failed_is_told_to_the_next_one_and_only_to_that() {
    let slow = Slow::new();
    let masters = masters(&slow.folder.path().join("ssh"));
    slow.given_up(&masters, 1).await;
    slow.end("ada@node: Permission denied (publickey).").await;
    let next = tokio::time::timeout(LIMIT, masters.session(&target(1))).await.unwrap();
    let trouble = next.map(drop).unwrap_err();
    assert!(matches!(trouble, Trouble::Denied { .. }), "{trouble}");
    assert_eq!(slow.starts(), 1);
    slow.given_up(&masters, 2).await;
    slow.end("").await;
    let after = tokio::time::timeout(LIMIT, masters.session(&target(1))).await.unwrap();
    assert!(after.is_ok(), "it is tried again");
}

#[tokio::test]
async fn only_so_many_connect_at_once() {
    let slow = Slow::new();
    let masters = Arc::new(masters(&slow.folder.path().join("ssh")));
    let mut all = tokio::task::JoinSet::new();
    for host in 0..=MAX_CONNECTING {
        let masters = Arc::clone(&masters);
        all.spawn(async move { masters.session(&target(host)).await.map(drop) });
    }
    slow.until_started(MAX_CONNECTING).await;
    assert_eq!((slow.starts(), masters.connecting.available_permits()), (MAX_CONNECTING, 0));
    slow.end("").await;
    slow.until_started(MAX_CONNECTING + 1).await;
    all.abort_all();
}
