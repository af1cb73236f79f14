//! Performs an action that is a command, so that it begins at most once whenever the agent dies.
//!
//! Every command is written down before it runs. The agent first starts a shell, which waits on standard input
//! for a word from the agent and then becomes the command: it stays the same process. Its number is written to
//! the database before the word is given. If the agent dies before that, the pipe closes and the shell ends. If
//! the agent dies later, the next agent knows what to end.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command};
use tokio_util::sync::CancellationToken;

use super::config::CommandSpec;
use super::live::{Ending, LiveOutput, Secrets, Showing, exit_code};
use super::output::{Output, Tail};
use super::process::ProcessId;
use crate::agent::OutputStream;
use crate::clock::Clock;

/// How long a command may take unless its declaration says otherwise.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The longest time that a declaration may give: meanwhile the agent does nothing else.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3_600);

/// How long output may still come after the end of the command, from a process that left its group and kept the
/// output open.
const DRAIN: Duration = Duration::from_secs(1);

/// `PATH` of commands when the agent has none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The shell that waits for the word. POSIX makes it read no byte beyond the line.
const SHELL: &str = "/bin/sh";

/// The script of the shell. Variables that the shell sets by itself are not meant for the command.
const GATE: &str = "IFS= read -r go || exit 125; unset go PWD OLDPWD SHLVL; exec \"$@\"";

/// The word that lets the command begin.
const GO: &[u8] = b"go\n";

/// A command to perform, for one action.
pub(super) struct Job<'a> {
    pub(super) spec: &'a CommandSpec,
    /// Arguments of the action, in JSON.
    pub(super) args: &'a str,
    /// Finds the secrets in them.
    pub(super) secrets: Option<Secrets<'a>>,
    /// Where it is shown what the command has written so far.
    pub(super) live: &'a LiveOutput,
    /// Environment variables besides `PATH`.
    pub(super) env: Vec<(&'static str, String)>,
}

/// The result of a command.
#[derive(Debug, PartialEq)]
pub(super) enum CommandEnd {
    /// It ended with status 0; the payload is JSON.
    Done(String),
    /// It failed by itself or before it began, or it was killed; this says how.
    Failed(String),
}

/// The result of a command, and the process that may need to be ended.
#[derive(Debug, PartialEq)]
pub(super) struct Performed {
    pub(super) end: CommandEnd,
    /// The process of the command, if it began. However the command ended, something of it may still exist: a
    /// killed process takes a moment to go, and another user's process stays.
    pub(super) left: Option<ProcessId>,
}

/// Runs a command until it ends, its time is over, or the agent is stopped. `record` writes down which process
/// the command will be, before it begins. All processes of its group are killed when this returns, or when its
/// future is dropped.
///
/// # Errors
/// Those of `record`: then the command has not begun.
pub(super) async fn perform<E>(
    job: &Job<'_>,
    clock: &dyn Clock,
    stop: &CancellationToken,
    record: impl AsyncFnOnce(&ProcessId) -> Result<(), E>,
) -> Result<Performed, E> {
    let (mut child, process) = match spawn(job) {
        Ok(started) => started,
        Err(error) => {
            let end = CommandEnd::Failed(format!("failed to start the command: {error}"));
            return Ok(Performed { end, left: None });
        }
    };
    let mut group = Group::of(&child);
    record(&process).await?;
    let end = tokio::select! {
        end = run(&mut child, &mut group, job, clock) => end,
        () = clock.sleep(job.spec.timeout) => {
            let seconds = job.spec.timeout.as_secs_f64();
            CommandEnd::Failed(format!("the command was killed after {seconds} s, its timeout"))
        }
        () = stop.cancelled() => {
            let message = "interrupted: the agent was stopped and killed the command";
            CommandEnd::Failed(message.to_owned())
        }
    };
    group.kill();
    // Reaps the process if that did not happen yet; after the kill it ends at once.
    tokio::select! {
        _ = child.wait() => {}
        () = clock.sleep(DRAIN) => {}
    }
    Ok(Performed { end, left: Some(process) })
}

/// Starts the shell that becomes the command.
fn spawn(job: &Job<'_>) -> io::Result<(Child, ProcessId)> {
    let mut words = job.spec.command.iter();
    let search = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let program = find(words.next().map_or("", String::as_str), &search)?;
    let child = Command::new(SHELL)
        .args(["-c", GATE, "sh"])
        .arg(program)
        .args(words)
        .env_clear()
        .env("PATH", search)
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let process = ProcessId::of(pid.ok_or_else(|| io::Error::other("it has no number"))?)?;
    Ok((child, process))
}

/// The file of a program, found as a shell finds it. The shell itself would report too late that there is no
/// such program.
fn find(program: &str, search: &std::ffi::OsStr) -> io::Result<PathBuf> {
    let runs = |path: &Path| {
        let about = path.metadata()?;
        match about.is_file() && about.permissions().mode() & 0o111 != 0 {
            true => Ok(()),
            false => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        }
    };
    if program.contains('/') {
        // The shell must not take the name for one of its own options.
        let path = if program.starts_with('-') {
            Path::new(".").join(program)
        } else {
            PathBuf::from(program)
        };
        let wrong = |error| io::Error::other(format!("{program}: {error}"));
        return runs(&path).map(|()| path).map_err(wrong);
    }
    let found = std::env::split_paths(search).map(|folder| folder.join(program)).find(|path| {
        // A program of the same name that can't be run does not hide one in a later directory.
        runs(path).is_ok()
    });
    found.ok_or_else(|| io::Error::other(format!("found no program {program:?} in PATH")))
}

async fn run(child: &mut Child, group: &mut Group, job: &Job<'_>, clock: &dyn Clock) -> CommandEnd {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let Job { args, secrets, live, .. } = *job;
    let scrubber = secrets.map(|secrets| secrets.scrubber);
    let (mut output, mut errors) = (Output::default(), Tail::new(scrubber.is_some()));
    let mut ending = Ending::of(live);
    let mut shown_output = Showing::new(live, OutputStream::Stdout, secrets);
    let mut shown_errors = Showing::new(live, OutputStream::Stderr, secrets);
    let status = {
        let talk = async {
            tokio::join!(
                let_go(stdin, args),
                read_all(stdout, |bytes| {
                    output.add(bytes);
                    shown_output.add(bytes);
                }),
                read_all(stderr, |bytes| {
                    errors.add(bytes);
                    shown_errors.add(bytes);
                }),
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
        // Any process left in the group may hold the output open.
        group.kill();
        if talking {
            tokio::select! {
                _ = &mut talk => {}
                () = clock.sleep(DRAIN) => {}
            }
        }
        status
    };
    // Nothing more comes, so nothing is held back any longer.
    drop((shown_output, shown_errors));
    ending.exit = status.as_ref().ok().and_then(|status| exit_code(*status));
    match status {
        Ok(status) if status.success() => CommandEnd::Done(output.payload(scrubber)),
        Ok(status) => CommandEnd::Failed(errors.message(status, scrubber)),
        Err(error) => CommandEnd::Failed(format!("failed to wait for the command: {error}")),
    }
}

/// Lets the command begin, and gives it its arguments. It may end without reading them, so a failed
/// write is not an error.
async fn let_go(stdin: Option<ChildStdin>, args: &str) {
    if let Some(mut stdin) = stdin
        && stdin.write_all(GO).await.is_ok()
    {
        let _ = stdin.write_all(args.as_bytes()).await;
    }
}

/// Reads to the end and passes all bytes to `take`. A pipe that fails has ended.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, mut take: impl FnMut(&[u8])) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        take(buffer.get(..length).unwrap_or_default());
    }
}

/// The process group of a command: the command and its children. It is killed once, at the latest when this is
/// dropped. Once the first process was waited for, the number may belong to another group.
struct Group(Option<rustix::process::Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(rustix::process::Pid::from_raw))
    }

    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // An error means that no process is left, or only processes of other users.
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
    use std::convert::Infallible;

    use serde_json::{Value, json};

    use super::super::output::STDERR_BYTES;
    use super::*;
    use crate::clock::SystemClock;

    async fn recorded(_: &ProcessId) -> Result<(), Infallible> {
        Ok(())
    }

    async fn performed(command: &[&str], timeout: Duration, args: &Value) -> CommandEnd {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let spec = CommandSpec { command, timeout };
        let env = vec![("REPLIBOOK_NODE_ID", "node-1".to_owned())];
        let args = args.to_string();
        let job =
            Job { spec: &spec, args: &args, secrets: None, live: &LiveOutput::default(), env };
        let Ok(done) = perform(&job, &SystemClock, &CancellationToken::new(), recorded).await;
        done.end
    }

    async fn perform_within(script: &str, timeout: Duration, args: &Value) -> CommandEnd {
        performed(&["sh", "-c", script], timeout, args).await
    }

    async fn sh(script: &str) -> CommandEnd {
        perform_within(script, Duration::from_secs(30), &json!({"a": 1})).await
    }

    fn message(end: CommandEnd) -> String {
        match end {
            CommandEnd::Failed(message) => message,
            CommandEnd::Done(_) => panic!("{end:?}"),
        }
    }

    fn payload(end: CommandEnd) -> Value {
        match end {
            CommandEnd::Done(payload) => serde_json::from_str(&payload).unwrap(),
            CommandEnd::Failed(_) => panic!("{end:?}"),
        }
    }

    #[tokio::test]
    async fn arguments_come_in_and_the_payload_goes_out() {
        assert_eq!(payload(sh("cat").await), json!({"a": 1}));
        assert_eq!(payload(sh("true").await), Value::Null);
        assert_eq!(payload(sh("printf '\"%s\"' $REPLIBOOK_NODE_ID").await), json!("node-1"));
        assert_eq!(payload(sh("echo well").await), json!({"stdout": "well"}));
    }

    #[tokio::test]
    async fn a_command_begins_once_it_is_written_down_and_never_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("effect");
        let command = vec!["touch".to_owned(), file.display().to_string()];
        let spec = CommandSpec { command, timeout: DEFAULT_TIMEOUT };
        let job = Job {
            spec: &spec,
            args: "null",
            secrets: None,
            live: &LiveOutput::default(),
            env: Vec::new(),
        };
        let stop = CancellationToken::new();
        let mut shell = None;
        let full = async |process: &ProcessId| {
            shell = Some(process.clone());
            assert!(!file.exists());
            Err("the disk is full")
        };
        assert_eq!(perform(&job, &SystemClock, &stop, full).await, Err("the disk is full"));
        // The shell that waited is gone, and nothing ran before it became the command.
        let shell = shell.unwrap();
        while !shell.end(uuid::Uuid::nil()).unwrap() {
            tokio::task::yield_now().await;
        }
        assert!(!file.exists());
        assert!(matches!(
            perform(&job, &SystemClock, &stop, recorded).await,
            Ok(Performed { end: CommandEnd::Done(_), .. })
        ));
        assert!(file.exists());
    }

    #[tokio::test]
    async fn the_process_that_is_written_down_is_the_command() {
        let command = ["sh", "-c", "echo $$"].map(str::to_owned).to_vec();
        let spec = CommandSpec { command, timeout: DEFAULT_TIMEOUT };
        let job = Job {
            spec: &spec,
            args: "null",
            secrets: None,
            live: &LiveOutput::default(),
            env: Vec::new(),
        };
        let mut written = Value::Null;
        let record = async |process: &ProcessId| {
            written = serde_json::to_value(process).unwrap();
            Ok::<_, Infallible>(())
        };
        let Ok(done) = perform(&job, &SystemClock, &CancellationToken::new(), record).await;
        // However it ends, the process that it may have left is returned.
        assert_eq!(serde_json::to_value(&done.left).unwrap(), written);
        assert_eq!(payload(done.end), written["pid"]);
    }

    #[tokio::test]
    async fn words_are_the_programs_and_not_the_shells() {
        let words = ["printf", "%s|", "-n", "$HOME", "a b", "'", "*"];
        let end = performed(&words, DEFAULT_TIMEOUT, &Value::Null).await;
        assert_eq!(payload(end), json!({"stdout": "-n|$HOME|a b|'|*|"}));
    }

    #[tokio::test]
    async fn the_environment_has_nothing_else() {
        let script = "env | cut -d= -f1 | grep -v -e '^PWD$' -e '^_$' -e '^SHLVL$' | sort \
                      | tr '\\n' ' ' | sed 's/.*/\"&\"/'";
        assert_eq!(payload(sh(script).await), json!("PATH REPLIBOOK_NODE_ID "));
        // A program that is no shell sees what the agent gives it, and one variable (`_`) that the shell sets
        // last.
        let seen = payload(performed(&["env"], DEFAULT_TIMEOUT, &Value::Null).await);
        let seen = seen["stdout"].as_str().unwrap().to_owned();
        let names: Vec<_> = seen.lines().filter_map(|line| line.split('=').next()).collect();
        for name in &names {
            assert!(["PATH", "REPLIBOOK_NODE_ID", "_"].contains(name), "{names:?}");
        }
    }

    #[tokio::test]
    async fn a_failure_says_how_it_ended_and_what_was_said_last() {
        assert_eq!(
            message(sh("echo no disk >&2; exit 3").await),
            "the command ended with exit status: 3: no disk"
        );
        let long = message(sh("yes x | head -c 100000 >&2; echo the end >&2; exit 1").await);
        assert!(long.ends_with("the end") && long.len() < STDERR_BYTES + 100, "{}", long.len());
        let program = tempfile::NamedTempFile::new().unwrap();
        let plain = program.path().to_str().unwrap();
        for (word, says) in [
            ("/no/such/program", "/no/such/program: No such file"),
            ("no-such-program", "found no program \"no-such-program\" in PATH"),
            (plain, "permission denied"),
            ("/", "permission denied"),
            ("-x/y", "-x/y: No such file"),
        ] {
            let found = message(performed(&[word], DEFAULT_TIMEOUT, &Value::Null).await);
            assert!(found.starts_with("failed to start the command: "), "{found}");
            assert!(found.contains(says), "{found}");
        }
    }

    #[tokio::test]
    async fn arguments_and_output_larger_than_a_pipe_pass() {
        let args = json!("x".repeat(500_000));
        let end = perform_within("cat", Duration::from_secs(30), &args).await;
        assert_eq!(payload(end), args);
        // The command reads nothing.
        let end = perform_within("echo 1", Duration::from_secs(30), &args).await;
        assert_eq!(payload(end), json!(1));
    }

    #[tokio::test]
    async fn output_over_the_limit_is_read_to_its_end() {
        let end = payload(sh("yes | head -c 3000000; echo end >&2").await);
        assert_eq!((&end["cut"], &end["bytes"]), (&json!(true), &json!(3_000_000)));
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
        let pid = payload(sh("sleep 1000 & echo $!").await);
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
    async fn a_group_is_killed_once() {
        let command = ["true"].map(str::to_owned).to_vec();
        let spec = CommandSpec { command, timeout: DEFAULT_TIMEOUT };
        let job = Job {
            spec: &spec,
            args: "null",
            secrets: None,
            live: &LiveOutput::default(),
            env: Vec::new(),
        };
        let (mut child, _) = spawn(&job).unwrap();
        let mut group = Group::of(&child);
        assert!(group.0.is_some());
        let end = run(&mut child, &mut group, &job, &SystemClock).await;
        assert_eq!((end, group.0), (CommandEnd::Done("null".to_owned()), None));
    }

    #[tokio::test]
    async fn a_stop_of_the_agent_ends_the_command() {
        let command = ["sleep", "1000"].map(str::to_owned).to_vec();
        let spec = CommandSpec { command, timeout: DEFAULT_TIMEOUT };
        let job = Job {
            spec: &spec,
            args: "null",
            secrets: None,
            live: &LiveOutput::default(),
            env: Vec::new(),
        };
        let stop = CancellationToken::new();
        stop.cancel();
        let Ok(stopped) = perform(&job, &SystemClock, &stop, recorded).await;
        assert!(message(stopped.end).starts_with("interrupted: the agent was stopped"));
    }
}
