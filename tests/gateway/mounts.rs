//! File systems of one's own for a node: full, read-only, or without the right to run anything. They are mounted where only the
//! shells of that node see them, which needs root or user namespaces.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// Mounts that are there as long as this.
pub(crate) struct Mounts {
    keeper: Child,
    /// What `nsenter` has to be told.
    words: &'static str,
}

impl Mounts {
    /// Does this in a shell that has mounts of its own. `None` where nobody lets us have any: in some containers.
    pub(crate) fn made_by(script: &str) -> Option<Self> {
        for (unshare, words) in [("-m", "-m"), ("-Urm", "-U --preserve-credentials -m")] {
            let script = format!("{{ {script}; }} >&2 && echo made && exec cat");
            let keeper = Command::new("unshare")
                .args([unshare, "sh", "-e", "-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let mut mounts = Self { keeper: keeper.ok()?, words };
            let mut line = String::new();
            let stdout = mounts.keeper.stdout.take().unwrap();
            if BufReader::new(stdout).read_line(&mut line).is_ok() && line == "made\n" {
                return Some(mounts);
            }
        }
        None
    }

    /// A program that is this shell, where these mounts are seen.
    pub(crate) fn shell(&self, shell: &str) -> String {
        format!("#!/bin/sh\nexec {} {shell} \"$@\"\n", self.enter())
    }

    /// A program that runs where these mounts are seen.
    pub(crate) fn command(&self, program: &str) -> Command {
        let enter = self.enter();
        let mut words = enter.split(' ').chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }

    /// Does something where these mounts are seen.
    pub(crate) fn run(&self, script: &str) {
        let output = self.command("sh").args(["-e", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn enter(&self) -> String {
        format!("nsenter {} -t {}", self.words, self.keeper.id())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
