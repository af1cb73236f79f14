//! The reference agent as a process: killed at bad moments, and stopped in every way that it supports.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::agent::support::{DEADLINE, ID, post, until, until_final};

const STALL: &str = "demo.example.com/stall";
const QUICK: &str = "demo.example.com/quick";

/// An agent as a process; it is killed when this is dropped.
pub(crate) struct Agent {
    process: Child,
    pub(crate) address: String,
}

/// The actions of the tests. STALL does not end; QUICK writes `both` to the log if STALL's process is still
/// alive, and `quick` otherwise.
fn actions(log: &Path) -> Value {
    let sh = |script: &str| json!({ "command": ["sh", "-c", script, "sh", log] });
    let stall = "echo $$ >> $1; sleep 1000";
    let quick = "pid=$(head -n 1 $1); \
                 if grep -qs ') [^ZX]' /proc/$pid/stat; then echo both; else echo quick; fi >> $1";
    json!({ STALL: sh(stall), QUICK: sh(quick) })
}

impl Agent {
    fn start(folder: &Path, more: &[&str]) -> Self {
        Self::start_with(folder, actions(&folder.join("log")), more)
    }

    pub(crate) fn start_with(folder: &Path, actions: Value, more: &[&str]) -> Self {
        let config = folder.join("agent.yaml");
        std::fs::write(&config, json!({ "actions": actions }).to_string()).unwrap();
        let data = folder.join("agent.sqlite");
        let config = config.to_str().unwrap();
        let mut args = vec!["--port", "0", "--tick", "5ms", "--config", config];
        args.extend(["--data", data.to_str().unwrap()]);
        args.extend(more);
        // The umask is set here, so that the test does not depend on that of its caller.
        let mut process = Command::new("sh")
            .args(["-c", "umask 000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_replibook"), "agent"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        let line = lines.find_map(|line| {
            line.split_once("listening on ").map(|(_, address)| address.to_owned())
        });
        let address = line.expect("the agent ended before it listened");
        // Reads all lines, so that the process never waits for its output to be read.
        std::thread::spawn(move || lines.count());
        Self { process, address }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().unwrap()).unwrap()
    }

    fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < DEADLINE, "the agent did not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn log(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Starts the command that does not end, waits until it runs, and returns the id of its process.
async fn stall(agent: &Agent, folder: &Path) -> Pid {
    post(&agent.address, ID, STALL, Value::Null).await;
    let start = Instant::now();
    loop {
        if let Some(pid) = log(folder).first() {
            return Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
        assert!(start.elapsed() < DEADLINE, "the command did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process is alive: one that is dead and not yet reaped is not.
fn is_there(pid: Pid) -> bool {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    std::fs::read_to_string(path).is_ok_and(|stat| !stat.contains(") Z"))
}

/// Waits until the process is gone.
fn gone(pid: Pid) {
    let start = Instant::now();
    while is_there(pid) {
        assert!(start.elapsed() < DEADLINE, "{pid:?} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks what the agent says about the command that its death interrupted.
async fn interrupted(agent: &Agent) {
    let action = until_final(&agent.address, ID).await;
    assert_eq!((&action["state"]["phase"], &action["executions"]), (&json!("FAILED"), &json!(1)));
    let message = action["state"]["error"]["error_msg"].as_str().unwrap();
    assert!(message.starts_with("interrupted: the agent ended before the end"), "{message}");
}

#[tokio::test]
async fn killed_in_a_command_it_ends_what_is_left_before_it_goes_on_with_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(folder.path(), &[]);
    let left = stall(&agent, folder.path()).await;
    let waiting = Uuid::from_u128(2);
    assert_eq!(post(&agent.address, waiting, QUICK, Value::Null).await.status, 200);
    agent.signal(Signal::KILL);
    agent.wait();
    // At the moment when an agent is killed, nothing ends its command.
    assert!(is_there(left));

    let agent = Agent::start(folder.path(), &[]);
    let done = until_final(&agent.address, waiting).await;
    assert_eq!((&done["state"]["phase"], &done["executions"]), (&json!("DONE"), &json!(1)));
    gone(left);
    interrupted(&agent).await;
    // The next command did not find the interrupted one alive.
    let log = log(folder.path());
    assert_eq!((log.len(), log[1].as_str()), (2, "quick"));
}

#[tokio::test]
async fn a_command_past_its_timeout_is_gone_before_the_next_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let mut actions = actions(&folder.path().join("log"));
    actions[STALL]["timeout"] = json!("2s");
    let agent = Agent::start_with(folder.path(), actions, &[]);
    let left = stall(&agent, folder.path()).await;
    let next = Uuid::from_u128(2);
    assert_eq!(post(&agent.address, next, QUICK, Value::Null).await.status, 200);
    assert_eq!(until_final(&agent.address, next).await["state"]["phase"], "DONE");
    assert_eq!(log(folder.path())[1..], ["quick"]);
    gone(left);
    let action = until_final(&agent.address, ID).await;
    let message = "the command was killed after 2 s, its timeout";
    assert_eq!(action["state"]["error"]["error_msg"], message);
}

#[tokio::test]
async fn what_is_left_is_ended_also_when_its_kind_is_no_longer_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(folder.path(), &[]);
    let left = stall(&agent, folder.path()).await;
    agent.signal(Signal::KILL);
    agent.wait();
    let agent = Agent::start_with(folder.path(), json!({}), &[]);
    interrupted(&agent).await;
    gone(left);
}

#[tokio::test]
async fn the_database_is_private_whatever_the_umask() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    post(&agent.address, ID, QUICK, Value::Null).await;
    until_final(&agent.address, ID).await;
    let mode = |name| {
        let about = std::fs::metadata(folder.path().join(name)).unwrap();
        about.permissions().mode() & 0o777
    };
    assert_eq!((mode("agent.sqlite"), mode("agent.sqlite-wal")), (0o600, 0o600));
    let link = folder.path().join("link");
    symlink(folder.path().join("agent.sqlite"), &link).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_replibook"))
        .args(["agent", "--port", "0", "--data", link.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("link: found a symbolic link, expected a file"), "{said}");
}

#[tokio::test]
async fn killed_over_and_over_it_runs_each_action_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = 12;
    for round in 0..count {
        let agent = Agent::start(folder.path(), &[]);
        let id = Uuid::from_u128(round);
        assert_eq!(post(&agent.address, id, QUICK, Value::Null).await.status, 200);
        // Each round kills at another moment: while the action is new, running or ended.
        std::thread::sleep(Duration::from_millis(u64::try_from(round).unwrap()));
        agent.signal(Signal::KILL);
    }
    let agent = Agent::start(folder.path(), &[]);
    for round in 0..count {
        let action = until_final(&agent.address, Uuid::from_u128(round)).await;
        assert_eq!(action["executions"], 1, "{action}");
    }
    let ran = log(folder.path()).len();
    assert!(ran <= usize::try_from(count).unwrap(), "{ran} runs of {count} actions");
}

#[tokio::test]
async fn asked_to_stop_it_kills_its_command_and_says_so_in_the_action() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut agent = Agent::start(folder.path(), &[]);
        let command = stall(&agent, folder.path()).await;
        agent.signal(signal);
        assert!(agent.wait().success());
        gone(command);
        let agent = Agent::start(folder.path(), &[]);
        let action = until(&agent.address, ID, |_| true).await;
        let message = "interrupted: the agent was stopped and killed the command";
        assert_eq!(action["state"]["error"]["error_msg"], message);
    }
}

#[tokio::test]
async fn it_ends_with_the_program_that_started_it_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(folder.path(), &["--until-stdin-closes"]);
    let command = stall(&agent, folder.path()).await;
    drop(agent.process.stdin.take());
    assert!(agent.wait().success());
    gone(command);
}
