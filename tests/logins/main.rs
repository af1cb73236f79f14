//! People who log in: the real programs, and an issuer as others make them.

use std::process::{Output, Stdio};
use std::time::Duration;

use replibook::cli::demo::Process;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::issuer::Issuer;

mod browser;
mod code;
mod device;

/// No command takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// An issuer, a server that knows it, and a home for `replictl`.
struct Scene {
    issuer: Issuer,
    server: Process,
    folder: TempDir,
}

impl Scene {
    /// With tokens that count for so many seconds. `audience` is what the server expects them to be for.
    async fn start(seconds: u32, audience: &str) -> Self {
        let issuer = Issuer::start(seconds);
        let folder = tempfile::tempdir().unwrap();
        let access = folder.path().join("access.yaml");
        let text = format!(
            "apiVersion: replicante.io/v1\nkind: Access\nmetadata: {{ name: ops }}\nspec:\n  oidc:\n    \
             - {{ name: id, issuer: '{}', audience: {audience}, user: email, groups: groups, client: replictl }}\n  \
             rules:\n    - {{ who: ['group:id/dba'], may: [view] }}\n",
            issuer.url
        );
        std::fs::write(&access, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_replibook"));
        command.args(["serve", "--until-stdin-closes", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(folder.path().join("server")).arg("--access").arg(access);
        let log = folder.path().join("server.log");
        let server = Process::start("the server", command, &log).await.unwrap();
        Self { issuer, server, folder }
    }

    /// The server under a name that is another site than the issuer.
    fn localhost(&self, path: &str) -> String {
        let port = self.server.address().rsplit(':').next().unwrap();
        format!("http://localhost:{port}{path}")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replictl"));
        command.args(args).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("REPLIBOOK_TOKEN")
            .env_remove("REPLIBOOK_CONFIG");
        command.env("REPLIBOOK_SERVER", self.server.address());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn replictl(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output();
        let output = tokio::time::timeout(DEADLINE, output).await.expect("in time").unwrap();
        read(&output)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap()
    }
}

fn read(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Reads the lines of a program until one of them has an address, and returns that with what is left to read.
async fn address_of<R: tokio::io::AsyncRead + Unpin>(
    said: R,
) -> (String, tokio::io::Lines<BufReader<R>>) {
    let mut lines = BufReader::new(said).lines();
    let found = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("an address");
            if line.trim().starts_with("http") {
                return line.trim().to_owned();
            }
        }
    };
    let found = tokio::time::timeout(DEADLINE, found).await.expect("an address in time");
    (found, lines)
}
