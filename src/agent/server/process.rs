//! Finds the processes of a command again after the agent that started them was killed.
//!
//! The number of a process may later be given to another one. So it is kept together with the time at which the
//! process began and the boot of the machine: the same three never occur twice.

use std::io;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Environment variable that tells a command the identifier of its action.
pub(super) const ACTION_ID: &str = "REPLIBOOK_ACTION_ID";

/// Where the kernel gives the identifier of the current boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The first process of a command, which leads the command's process group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    boot: String,
    pid: i32,
    /// When it began, in clock ticks since the boot.
    start: u64,
}

impl ProcessId {
    /// Identifies an existing process, which may have ended if nobody has waited for it yet.
    pub(super) fn of(pid: i32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self { boot: boot_id()?, pid, start: stat.start })
    }

    /// Kills what is left of the command of `action`, and returns whether nothing was left. Blocks.
    ///
    /// A killed process is gone a moment later, or never if the kernel or another user's process holds it. So
    /// this has to be called until it says that nothing is left.
    ///
    /// # Errors
    /// The machine's processes can't be listed.
    pub(super) fn end(&self, action: Uuid) -> io::Result<bool> {
        self.end_by(action, environment)
    }

    /// Like [`Self::end`], with another way to read the environment of a process, for tests.
    fn end_by(
        &self,
        action: Uuid,
        environment: impl Fn(i32) -> io::Result<Vec<u8>>,
    ) -> io::Result<bool> {
        // No command has these numbers, and a signal to such a group would go to everybody.
        if self.pid <= 1 || boot_id()? != self.boot {
            return Ok(true);
        }
        let first = Stat::read(self.pid).ok();
        if first.as_ref().is_some_and(|first| first.start != self.start) {
            // The number belongs to another process, which can't happen while the group has members.
            return Ok(true);
        }
        // Usually nothing is left, and then not all processes need to be read.
        let left = if first.is_none() && self.group_is_gone() { Vec::new() } else { self.left()? };
        if left.is_empty() {
            return Ok(true);
        }
        let owners: Vec<_> =
            left.iter().map(|stat| Owner::of(environment(stat.pid), action)).collect();
        if first.is_none() && !owners.contains(&Owner::Ours) {
            // A process that can't be read may be another user's that the command started. It is waited for but
            // not killed, since it may have nothing to do with the command.
            return Ok(!owners.contains(&Owner::Unknown));
        }
        // An error means that no process is left, or only those of other users; the next look shows which.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process_group(pid, Signal::KILL);
            if first.is_some() {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        Ok(false)
    }

    fn group_is_gone(&self) -> bool {
        let gone = Pid::from_raw(self.pid).map(test_kill_process_group);
        gone == Some(Err(rustix::io::Errno::SRCH))
    }

    /// The first process and the other members of its group, except those that have ended.
    fn left(&self) -> io::Result<Vec<Stat>> {
        let mut left = Vec::new();
        for entry in Path::new("/proc").read_dir()? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that can't be read has ended in the meantime.
            let Ok(stat) = Stat::read(pid) else { continue };
            if (stat.group == self.pid || stat.pid == self.pid) && !stat.ended {
                left.push(stat);
            }
        }
        Ok(left)
    }
}

/// Whether a process was started by the command of an action, according to its environment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    Ours,
    Others,
    /// Its environment may only be read by another user.
    Unknown,
}

impl Owner {
    fn of(environment: io::Result<Vec<u8>>, action: Uuid) -> Self {
        let wanted = format!("{ACTION_ID}={action}");
        match environment {
            Ok(found) if found.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()) => {
                Self::Ours
            }
            Ok(_) => Self::Others,
            // The process has ended since the list was made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::Others,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Self::Others
            }
            Err(_) => Self::Unknown,
        }
    }
}

/// The environment with which a process began: variables that each end with a zero byte.
fn environment(pid: i32) -> io::Result<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/environ"))
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

/// What the kernel says about a process.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: i32,
    group: i32,
    start: u64,
    /// The process has ended, but nobody has waited for it yet.
    ended: bool,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let text = std::fs::read(format!("/proc/{pid}/stat"))?;
        let text = String::from_utf8_lossy(&text);
        Self::parse(pid, &text).ok_or_else(|| {
            io::Error::other(format!("found {text:?}, expected the fields of a process"))
        })
    }

    /// Reads the text after the name of the program, which is in parentheses and may contain any character.
    fn parse(pid: i32, text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            ended: matches!(*fields.first()?, "Z" | "X"),
            group: fields.get(2)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use super::*;

    const ACTION: Uuid = Uuid::from_u128(7);

    /// A process in a group of its own.
    fn sleeper(action: Uuid) -> (Child, ProcessId) {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0).env(ACTION_ID, action.to_string());
        let child = command.spawn().unwrap();
        let process = ProcessId::of(child.id().try_into().unwrap()).unwrap();
        (child, process)
    }

    #[test]
    fn the_fields_of_a_process_are_found_whatever_its_name() {
        let text =
            "42 (a) b) R 7 40 25038 0 -1 4194304 101 0 0 0 0 0 0 0 20 0 1 0 181662 3133440 359";
        let expected = Stat { pid: 42, group: 40, start: 181_662, ended: false };
        assert_eq!(Stat::parse(42, text), Some(expected));
        for bad in ["", "42 (a", "42 (a) R 7", "42 (a) R 7 x 7 25038 0 -1"] {
            assert_eq!(Stat::parse(42, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_command_that_is_left_is_ended() {
        let (mut child, process) = sleeper(ACTION);
        assert!(!process.end(ACTION).unwrap());
        assert!(!process.group_is_gone());
        child.wait().unwrap();
        assert!(process.group_is_gone());
        assert!(process.end(ACTION).unwrap());
    }

    #[test]
    fn another_process_of_the_same_number_is_left_alone() {
        let (mut child, process) = sleeper(ACTION);
        let later = ProcessId { start: process.start - 1, ..process.clone() };
        assert!(later.end(ACTION).unwrap());
        let boot = ProcessId { boot: "before".to_owned(), ..process.clone() };
        assert!(boot.end(ACTION).unwrap());
        for pid in [1, 0, -1] {
            assert!(ProcessId { pid, ..process.clone() }.end(ACTION).unwrap());
        }
        assert_eq!(child.try_wait().unwrap(), None);
        assert!(!process.end(ACTION).unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn a_group_whose_first_process_has_ended_is_known_by_its_environment() {
        let (mut first, process) = sleeper(ACTION);
        let join = |action: Uuid| {
            let mut command = Command::new("sleep");
            command.arg("1000").process_group(process.pid).env(ACTION_ID, action.to_string());
            command.spawn().unwrap()
        };
        let mut second = join(ACTION);
        first.kill().unwrap();
        first.wait().unwrap();
        // As if the number had been given to the group of another command that has ended since.
        assert!(process.end(Uuid::from_u128(8)).unwrap());
        assert_eq!(second.try_wait().unwrap(), None);
        assert!(!process.end(ACTION).unwrap());
        second.wait().unwrap();
        assert!(process.end(ACTION).unwrap());
    }

    #[test]
    fn a_group_that_can_not_be_read_is_waited_for() {
        let (mut first, process) = sleeper(ACTION);
        let mut other_user = Command::new("sleep");
        let mut left = other_user.arg("1000").process_group(process.pid).spawn().unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        let fails =
            |error: io::Error| move |_| Err(io::Error::new(error.kind(), error.to_string()));
        let denied = fails(io::ErrorKind::PermissionDenied.into());
        assert!(!process.end_by(ACTION, &denied).unwrap());
        assert_eq!(left.try_wait().unwrap(), None);
        // The process ended between two looks.
        assert!(process.end_by(ACTION, fails(io::ErrorKind::NotFound.into())).unwrap());
        left.kill().unwrap();
        left.wait().unwrap();
        assert!(process.end_by(ACTION, denied).unwrap());
    }

    #[test]
    fn only_what_says_another_owner_is_of_others() {
        let variable = format!("A=b\0{ACTION_ID}={ACTION}\0").into_bytes();
        let gone = rustix::io::Errno::SRCH.into();
        for (environment, owner) in [
            (Ok(variable), Owner::Ours),
            (Ok(Vec::new()), Owner::Others),
            (Err(gone), Owner::Others),
            (Err(io::ErrorKind::NotFound.into()), Owner::Others),
            (Err(rustix::io::Errno::ACCESS.into()), Owner::Unknown),
            (Err(rustix::io::Errno::PERM.into()), Owner::Unknown),
            (Err(io::Error::other("?")), Owner::Unknown),
        ] {
            let text = format!("{environment:?}");
            assert_eq!(Owner::of(environment, ACTION), owner, "{text}");
        }
    }
}
