//! One master: how it is started and ended, and how a session over it is.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::masters::Target;
use super::said::{NO_MASTER, explain};
use crate::agent::gateway::nodes::error::Trouble;
use crate::agent::gateway::nodes::script::quote;
use crate::clock::Clock;

/// How long `ssh` may take for the TCP connection, in seconds.
const CONNECT_SECONDS: u32 = 10;

/// How long the whole of it may take, with jump hosts and logins. It ends before an exchange does.
const CONNECT_WITHIN: Duration = Duration::from_secs(40);

/// How long a master without sessions stays, in seconds. It ends by itself if the gateway was killed.
const IDLE_SECONDS: u32 = 600;

/// A connection on which nothing comes for three times this long, in seconds, is given up.
const ALIVE_SECONDS: u32 = 15;

/// How long a master may take to answer that it ends.
const END_WITHIN: Duration = Duration::from_secs(1);

/// The most bytes of what `ssh` says that are read.
const MAX_SAID: u64 = 16 * 1024;

/// The program, and its configuration if it is not the usual one.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) program: PathBuf,
    pub(super) config: Option<PathBuf>,
}

impl Client {
    /// Starts a master that listens at `socket`.
    pub(super) async fn start(
        &self,
        target: &Target,
        socket: &Path,
        clock: &dyn Clock,
    ) -> Result<(), Trouble> {
        // Of a master that was killed the socket may be left.
        let _ = std::fs::remove_file(socket);
        let log = socket.with_extension("log");
        let mut command = Command::new(&self.program);
        if let Some(config) = &self.config {
            command.arg("-F").arg(config);
        }
        command.args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        command.args(["-o", "ControlMaster=yes", "-o"]).arg(control_path(socket));
        command.arg("-o").arg(format!("ControlPersist={IDLE_SECONDS}"));
        command.arg("-o").arg(format!("ConnectTimeout={CONNECT_SECONDS}"));
        command.arg("-o").arg(format!("ServerAliveInterval={ALIVE_SECONDS}"));
        // What people's configurations have for their own logins would fail here, or is no business of ours.
        command.args(["-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no"]);
        command.args(["-o", "RemoteCommand=none", "-o", "LogLevel=INFO", "-T", "-f", "-N", "-n"]);
        target.add_to(&mut command);
        let said = File::create(&log).map_err(|error| self.not_run(&error))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // The master goes on with this, so a pipe would not end.
            .stderr(said)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| self.not_run(&error))?;
        let status = tokio::select! {
            status = child.wait() => status.map_err(|error| self.not_run(&error))?,
            () = clock.sleep(CONNECT_WITHIN) => {
                let place = target.to_string();
                return Err(Trouble::TimeIsUp { place, within: CONNECT_WITHIN });
            }
        };
        let mut said = Vec::new();
        if let Ok(file) = File::open(&log) {
            let _ = file.take(MAX_SAID).read_to_end(&mut said);
        }
        let _ = std::fs::remove_file(&log);
        if status.success() && socket.exists() {
            return Ok(());
        }
        Err(explain(&target.to_string(), &said))
    }

    fn not_run(&self, error: &std::io::Error) -> Trouble {
        Trouble::Program { program: self.program.display().to_string(), said: error.to_string() }
    }

    /// A session over the master at `socket`, which does not connect by itself if there is no master. What the
    /// configuration says has been heard by the master.
    pub(super) fn session(&self, target: &Target, socket: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o"]);
        command.arg(control_path(socket));
        command.arg("-o").arg(format!("ProxyCommand=echo {NO_MASTER} >&2"));
        command.arg("-T");
        target.add_to(&mut command);
        let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
        command.arg(format!("exec {}", words.join(" ")));
        command
    }
}

/// `ssh` puts other things in the place of what comes after `%`, and reads words as a shell does.
fn control_path(socket: &Path) -> String {
    format!("ControlPath=\"{}\"", socket.display().to_string().replace('%', "%%"))
}

/// Has the master at `socket` end. Blocks for a moment.
pub(super) fn end(socket: &Path) {
    // The protocol of OpenSSH between a session and its master: each message is a length and 32-bit numbers.
    const VERSION: u32 = 4;
    const HELLO: u32 = 1;
    const TERMINATE: u32 = 0x1000_0005;
    if let Ok(mut stream) = UnixStream::connect(socket) {
        let words = [8, HELLO, VERSION, 8, TERMINATE, 0];
        let message: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
        let _ = stream.set_read_timeout(Some(END_WITHIN));
        let _ = stream.set_write_timeout(Some(END_WITHIN));
        // It closes the connection when it is gone.
        let _ = stream.write_all(&message).and_then(|()| stream.read_to_end(&mut Vec::new()));
    }
    let _ = std::fs::remove_file(socket);
}
