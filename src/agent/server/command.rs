//! Performs an action that is a command.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::config::CommandSpec;
use crate::clock::Clock;

/// How long a command may take unless its declaration says otherwise.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The longest that a declaration may say: an agent does nothing else meanwhile.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// Bytes of output that a command may write: the payload that engines accept.
const MAX_OUTPUT_BYTES: usize = 1024 * 1024;

/// Bytes of standard error that are kept, the last ones: that is where programs say why they failed.
const STDERR_BYTES: usize = 2_048;

/// How long output may come after the end of the command, from a process that left its group and
/// kept its output open.
const DRAIN: Duration = Duration::from_secs(1);

/// `PATH` of commands when the agent has none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A command to perform.
pub(super) struct Job<'a> {
    pub(super) spec: &'a CommandSpec,
    pub(super) args: &'a Value,
    /// Environment variables besides `PATH`.
    pub(super) env: Vec<(&'static str, String)>,
}

/// How a command ended.
#[derive(Debug, PartialEq)]
pub(super) enum CommandEnd {
    Done(Value),
    Failed(String),
    /// The agent stops; the command was killed.
    Stopped,
}

/// Runs a command to its end, its timeout, or the stop of the agent. No process of its group is left
/// when this returns, nor when its future is dropped.
pub(super) async fn perform(
    job: &Job<'_>,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> CommandEnd {
    let mut child = match spawn(job) {
        Ok(child) => child,
        Err(error) => return CommandEnd::Failed(format!("failed to start the command: {error}")),
    };
    let group = Group::of(&child);
    let end = tokio::select! {
        end = run(&mut child, &group, job.args, clock) => end,
        () = clock.sleep(job.spec.timeout) => {
            let seconds = job.spec.timeout.as_secs_f64();
            CommandEnd::Failed(format!("the command was killed after {seconds} s, its timeout"))
        }
        () = stop.cancelled() => CommandEnd::Stopped,
    };
    group.kill();
    // Reaps the process, if that did not happen yet; after the kill it ends at once.
    tokio::select! {
        _ = child.wait() => {}
        () = clock.sleep(DRAIN) => {}
    }
    end
}

fn spawn(job: &Job<'_>) -> std::io::Result<Child> {
    let mut words = job.spec.command.iter();
    let program = words.next().map_or("", String::as_str);
    Command::new(program)
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()))
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn run(child: &mut Child, group: &Group, args: &Value, clock: &dyn Clock) -> CommandEnd {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut output, mut errors) = (Output::default(), Tail::default());
    let status = {
        let talk = async {
            tokio::join!(
                write_args(stdin, args),
                read_all(stdout, |bytes| output.add(bytes)),
                read_all(stderr, |bytes| errors.add(bytes)),
            )
        };
        tokio::pin!(talk);
        let mut talking = true;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = &mut talk, if talking => talking = false,
            }
        };
        // Whoever is left in the group may hold the output open.
        group.kill();
        if talking {
            tokio::select! {
                _ = &mut talk => {}
                () = clock.sleep(DRAIN) => {}
            }
        }
        status
    };
    match status {
        Ok(status) if status.success() => output.payload(),
        Ok(status) => CommandEnd::Failed(errors.message(status)),
        Err(error) => CommandEnd::Failed(format!("failed to wait for the command: {error}")),
    }
}

/// A command may end without reading its arguments, so a failed write is no error.
async fn write_args(stdin: Option<ChildStdin>, args: &Value) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(args.to_string().as_bytes()).await;
    }
}

/// Reads to the end and gives away all bytes. A pipe that fails has ended.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        take(buffer.get(..length).unwrap_or_default());
    }
}

/// What a command wrote to standard output. What is over the limit is read, so that the command goes
/// on, but not kept.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    written: usize,
}

impl Output {
    fn add(&mut self, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len());
        if self.written <= MAX_OUTPUT_BYTES {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn payload(&self) -> CommandEnd {
        if self.written > MAX_OUTPUT_BYTES {
            let found = self.written;
            return CommandEnd::Failed(format!(
                "the command wrote {found} bytes, expected at most {MAX_OUTPUT_BYTES}"
            ));
        }
        if self.kept.trim_ascii().is_empty() {
            return CommandEnd::Done(Value::Null);
        }
        match serde_json::from_slice(&self.kept) {
            Ok(payload) => CommandEnd::Done(payload),
            Err(error) => CommandEnd::Failed(format!(
                "the command ended well, but its output is not JSON: {error}"
            )),
        }
    }
}

/// The last bytes that a command wrote to standard error.
#[derive(Default)]
struct Tail {
    kept: Vec<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        let excess = self.kept.len().saturating_sub(STDERR_BYTES);
        self.kept.drain(..excess);
    }

    fn message(&self, status: ExitStatus) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        match text.trim() {
            "" => format!("the command ended with {status}"),
            text => format!("the command ended with {status}: {text}"),
        }
    }
}

/// The process group of a command: it and its children. Killed when dropped.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    fn kill(&self) {
        if let Some(pid) = self.0 {
            // The only error is that nobody is left.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use serde_json::json;

    async fn perform_within(script: &str, timeout: Duration, args: &Value) -> CommandEnd {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let spec = CommandSpec { command, timeout };
        let env = vec![("REPLIBOOK_NODE_ID", "node-1".to_owned())];
        let job = Job { spec: &spec, args, env };
        perform(&job, &SystemClock, &CancellationToken::new()).await
    }

    async fn sh(script: &str) -> CommandEnd {
        perform_within(script, Duration::from_secs(30), &json!({"a": 1})).await
    }

    fn message(end: CommandEnd) -> String {
        match end {
            CommandEnd::Failed(message) => message,
            CommandEnd::Done(_) | CommandEnd::Stopped => panic!("{end:?}"),
        }
    }

    #[tokio::test]
    async fn arguments_come_in_and_the_payload_goes_out() {
        assert_eq!(sh("cat").await, CommandEnd::Done(json!({"a": 1})));
        assert_eq!(sh("true").await, CommandEnd::Done(Value::Null));
        assert_eq!(
            sh("printf '\"%s\"' $REPLIBOOK_NODE_ID").await,
            CommandEnd::Done(json!("node-1"))
        );
        assert!(
            message(sh("echo well").await).starts_with("the command ended well, but its output")
        );
    }

    #[tokio::test]
    async fn the_environment_has_nothing_else() {
        let script = "env | cut -d= -f1 | grep -v -e '^PWD$' -e '^_$' -e '^SHLVL$' | sort \
                      | tr '\\n' ' ' | sed 's/.*/\"&\"/'";
        assert_eq!(sh(script).await, CommandEnd::Done(json!("PATH REPLIBOOK_NODE_ID ")));
    }

    #[tokio::test]
    async fn a_failure_says_how_it_ended_and_what_was_said_last() {
        assert_eq!(
            message(sh("echo no disk >&2; exit 3").await),
            "the command ended with exit status: 3: no disk"
        );
        let long = message(sh("yes x | head -c 100000 >&2; echo the end >&2; exit 1").await);
        assert!(long.ends_with("the end") && long.len() < STDERR_BYTES + 100, "{}", long.len());
        let command = vec!["/no/such/program".to_owned()];
        let spec = CommandSpec { command, timeout: DEFAULT_TIMEOUT };
        let job = Job { spec: &spec, args: &Value::Null, env: Vec::new() };
        let end = perform(&job, &SystemClock, &CancellationToken::new()).await;
        assert!(message(end).starts_with("failed to start the command: "));
    }

    #[tokio::test]
    async fn arguments_and_output_larger_than_a_pipe_pass() {
        let args = json!("x".repeat(500_000));
        let end = perform_within("cat", Duration::from_secs(30), &args).await;
        assert_eq!(end, CommandEnd::Done(args.clone()));
        // A command that reads nothing.
        let end = perform_within("echo 1", Duration::from_secs(30), &args).await;
        assert_eq!(end, CommandEnd::Done(json!(1)));
    }

    #[tokio::test]
    async fn output_over_the_limit_is_a_failure() {
        let end = sh("yes | head -c 3000000").await;
        assert_eq!(message(end), "the command wrote 3000000 bytes, expected at most 1048576");
    }

    #[tokio::test]
    async fn a_command_past_its_timeout_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let end = perform_within(&script, Duration::from_millis(300), &Value::Null).await;
        assert_eq!(message(end), "the command was killed after 0.3 s, its timeout");
        let pid = std::fs::read_to_string(&file).unwrap();
        gone(pid.trim()).await;
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_is_killed_at_its_end() {
        let CommandEnd::Done(pid) = sh("sleep 1000 & echo $!").await else { panic!("failed") };
        gone(&pid.to_string()).await;
    }

    /// Waits until a process is gone, or dead and only not yet reaped.
    async fn gone(pid: &str) {
        for _ in 0..500 {
            match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                Ok(stat) if !stat.contains(") Z") => {}
                Ok(_) | Err(_) => return,
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {pid} is still there");
    }

    #[tokio::test]
    async fn a_stop_of_the_agent_ends_the_command() {
        let command = ["sleep", "1000"].map(str::to_owned).to_vec();
        let spec = CommandSpec { command, timeout: DEFAULT_TIMEOUT };
        let job = Job { spec: &spec, args: &Value::Null, env: Vec::new() };
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(perform(&job, &SystemClock, &stop).await, CommandEnd::Stopped);
    }
}
