//! A child process that prints where it listens, and that never outlives its parent, however the parent ends.
//! Tests use this too.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// How long a process may take until it listens: a debug build compiles its plugins first, and the machine may
/// be busy with a dozen of them.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a process may take to stop by itself: an agent first ends the command that it runs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Bytes on standard output before the line that says where the process listens; a program that writes more is
/// not ours.
const GREETING_LIMIT: u64 = 16 * 1024;

/// Bytes of the log that an error shows: enough for the last messages.
const TAIL_LIMIT: usize = 2 * 1024;

/// What stands before the address in the line that says where the process listens.
const GREETING: &str = "listening on ";

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The process could not be started.
    #[error("failed to start {name}")]
    Spawn {
        /// Name of the process, for people.
        name: String,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The process ended, or closed its standard output, before it listened.
    #[error("{name} ended before it listened ({status}); the end of its log:\n{log}")]
    Ended {
        /// Name of the process, for people.
        name: String,
        /// Its exit status, as human-readable text.
        status: String,
        /// End of its log.
        log: String,
    },
    /// The process did not listen in time.
    #[error("{name} does not listen after {} s; the end of its log:\n{log}", limit.as_secs())]
    Silent {
        /// Name of the process, for people.
        name: String,
        /// How long it was given.
        limit: Duration,
        /// End of its log.
        log: String,
    },
}

/// A child process that listens on an address of its own.
///
/// Its standard input is a pipe that closes when this process ends, however it ends. A child that stops then
/// (`--until-stdin-closes`) is never left behind. Its standard error goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    address: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with its standard error in the file `log`, and waits until it has written a line with `listening
    /// on ADDRESS` to its standard output.
    pub async fn start(name: &str, command: Command, log: &Path) -> Result<Self, ProcessError> {
        Self::start_within(name, command, log, START_LIMIT).await
    }

    async fn start_within(
        name: &str,
        mut command: Command,
        log: &Path,
        limit: Duration,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Spawn { name: name.to_owned(), source };
        let stderr = std::fs::File::options().create(true).append(true).open(log);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr.map_err(failed)?);
        let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed(std::io::Error::other("no stdout")));
        let mut stdout = BufReader::new(stdout?);
        let mut before = String::new();
        match tokio::time::timeout(limit, greeting(&mut stdout, &mut before)).await {
            Ok(Ok(Some(address))) => {
                // Further output is read and dropped, so that the process never blocks on a full pipe.
                tokio::spawn(
                    async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await },
                );
                Ok(Self { name: name.to_owned(), child, address, log: log.to_owned() })
            }
            Ok(Ok(None) | Err(_)) => {
                let status = match tokio::time::timeout(limit, child.wait()).await {
                    Ok(Ok(status)) => status.to_string(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it still runs".to_owned(),
                };
                let log = [tail_of(before.as_bytes()), tail(log)].join("\n");
                Err(ProcessError::Ended { name: name.to_owned(), status, log })
            }
            Err(_) => {
                let log = [tail_of(before.as_bytes()), tail(log)].join("\n");
                Err(ProcessError::Silent { name: name.to_owned(), limit, log })
            }
        }
    }

    /// Name of the process, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; `None` once it has ended and was waited for.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where it listens, as it printed it: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        // `Child::wait` would close its standard input, which tells it to stop.
        let stdin = self.child.stdin.take();
        let status = self.child.wait().await;
        drop(stdin);
        status
    }

    /// Kills it at once, as in a crash (SIGKILL), and waits until it is gone.
    pub async fn kill(mut self) -> std::io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// Makes it stop by closing its standard input, and kills it if it does not stop in time.
    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        if tokio::time::timeout(STOP_LIMIT, self.child.wait()).await.is_err() {
            // This can only fail because the process is gone, which is the aim.
            let _ = self.kill().await;
        }
    }
}

/// The address in the first line that has one after [`GREETING`]; `None` when standard output ends before that. The lines
/// before it go to `before`. In programs of others the line is one of a log, and so may have more in it.
async fn greeting(
    stdout: &mut BufReader<ChildStdout>,
    before: &mut String,
) -> std::io::Result<Option<String>> {
    let mut lines = stdout.take(GREETING_LIMIT).lines();
    while let Some(line) = lines.next_line().await? {
        let address = line.split_once(GREETING).map(|(_, rest)| rest);
        let address = address.and_then(|rest| rest.split(['"', ' ']).next());
        if let Some(address) = address.filter(|address| !address.is_empty()) {
            return Ok(Some(address.to_owned()));
        }
        before.push_str(&line);
        before.push('\n');
    }
    Ok(None)
}

fn tail(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => tail_of(&bytes),
        Err(error) => format!("failed to read {}: {error}", log.display()),
    }
}

fn tail_of(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(
        bytes.get(bytes.len().saturating_sub(TAIL_LIMIT)..).unwrap_or_default(),
    );
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_process_is_known_by_the_address_it_says_and_stops_with_its_stdin() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "echo hello; echo listening on http://127.0.0.1:9; cat; echo bye >&2";
        let process = Process::start("one", shell(script), &log).await.unwrap();
        assert_eq!(process.address(), "http://127.0.0.1:9");
        process.stop().await;
        assert_eq!(tail(&log), "bye");
    }

    #[tokio::test]
    async fn the_address_may_be_in_a_line_of_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"echo 'level=info msg="listening on 127.0.0.1:9" go.version=go1'; cat"#;
        let process = Process::start("one", shell(script), &dir.path().join("log")).await.unwrap();
        assert_eq!(process.address(), "127.0.0.1:9");
        process.stop().await;

        let script = "echo no folder; exit 3";
        let ended = Process::start("two", shell(script), &dir.path().join("log")).await;
        assert!(ended.unwrap_err().to_string().contains("no folder"), "its output is shown");
    }

    #[tokio::test]
    async fn a_killed_process_is_gone_at_once() {
        use std::os::unix::process::ExitStatusExt;
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM INT; echo listening on http://127.0.0.1:9; cat";
        let process = Process::start("one", shell(script), &dir.path().join("log")).await.unwrap();
        assert_eq!(process.kill().await.unwrap().signal(), Some(9));
    }

    #[tokio::test]
    async fn a_process_that_ends_or_stays_silent_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "echo no port left >&2; exit 3";
        let error = Process::start("one", shell(script), &log).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no port left"), "{error}");

        let limit = Duration::from_millis(20);
        let silent = Process::start_within("two", shell("cat"), &log, limit).await;
        assert!(matches!(silent, Err(ProcessError::Silent { .. })), "{silent:?}");
    }

    #[tokio::test]
    async fn a_greeting_that_comes_too_late_in_the_output_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let script = "head -c 20000 /dev/zero | tr '\\0' 'x'; echo; echo listening on http://x";
        let ended = Process::start("one", shell(script), &dir.path().join("log")).await;
        assert!(matches!(ended, Err(ProcessError::Ended { .. })), "{ended:?}");
    }
}
