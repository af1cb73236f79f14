//! Where hosts come from that are in no document of ours: a file, or the program `ansible-inventory`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::ansible::read_ansible;
use super::hosts::Hosts;
use super::ssh_config::read_ssh_config;
use crate::playbook::{MAX_CLUSTER_BYTES, Problems};

/// The program that knows every inventory of Ansible, also dynamic ones.
const PROGRAM: &str = "ansible-inventory";

/// How long the program may take: a dynamic inventory asks a cloud for all its machines.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(120);

/// How many bytes of what the program says on standard error are shown, from its end.
const SHOWN_ERRORS: usize = 2_048;

/// Where hosts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostsFrom {
    /// A file of Ansible: a static inventory in INI or YAML, or what `ansible-inventory --list` printed.
    Ansible(PathBuf),
    /// What `ansible-inventory -i PATH --list` prints, asked again and again.
    AnsibleInventory(PathBuf),
    /// The aliases of a configuration of OpenSSH.
    SshConfig(PathBuf),
}

/// What may follow `--hosts-from`, as human-readable text.
const EXPECTED: &str = "ansible:FILE, ansible-inventory:PATH or ssh-config:FILE";

impl FromStr for HostsFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("found {text:?}, expected {EXPECTED}");
        let (kind, path) =
            text.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or_else(wrong)?;
        match kind {
            "ansible" => Ok(Self::Ansible(path.into())),
            "ansible-inventory" => Ok(Self::AnsibleInventory(path.into())),
            "ssh-config" => Ok(Self::SshConfig(path.into())),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for HostsFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ansible(path) | Self::SshConfig(path) => write!(f, "{}", path.display()),
            Self::AnsibleInventory(path) => write!(f, "{PROGRAM} -i {} --list", path.display()),
        }
    }
}

impl HostsFrom {
    /// The file that is read; `None` where a program is asked.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::Ansible(path) | Self::SshConfig(path) => Some(path),
            Self::AnsibleInventory(_) => None,
        }
    }

    /// The hosts in what was read. `vars` are the variables of Ansible that become attributes.
    pub(super) fn hosts(&self, bytes: &[u8], vars: &[String]) -> Result<Hosts, Problems> {
        match self {
            Self::Ansible(_) | Self::AnsibleInventory(_) => read_ansible(bytes, vars),
            Self::SshConfig(_) => read_ssh_config(bytes),
        }
    }
}

/// Asks `ansible-inventory` for all that it knows of an inventory.
///
/// # Errors
/// The program can't be run, fails, says too much or takes too long, as human-readable text.
pub(crate) async fn list_by_ansible(path: &Path) -> Result<Vec<u8>, String> {
    list_by(PROGRAM, path, PROGRAM_TIMEOUT).await
}

async fn list_by(program: &str, path: &Path, within: Duration) -> Result<Vec<u8>, String> {
    let child = Command::new(program)
        .arg("-i")
        .arg(path)
        .arg("--list")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| format!("failed to run {program}: {error}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        // One byte more than may be, so that too much is found to be so.
        let listed = read(stdout, MAX_CLUSTER_BYTES.saturating_add(1));
        let (listed, said) = tokio::join!(listed, read(stderr, 1024 * 1024));
        (listed, said, child.wait().await)
    };
    let Ok((listed, said, status)) = tokio::time::timeout(within, all).await else {
        return Err(format!("{program} did not end within {} s", within.as_secs()));
    };
    let status = status.map_err(|error| format!("failed to wait for {program}: {error}"))?;
    if listed.len() > MAX_CLUSTER_BYTES {
        return Err(format!("{program} printed more than {MAX_CLUSTER_BYTES} bytes"));
    }
    if !status.success() {
        let end = said.len().saturating_sub(SHOWN_ERRORS);
        let said = String::from_utf8_lossy(said.get(end..).unwrap_or_default());
        return Err(format!("{program} ended with {status}: {}", said.trim()));
    }
    Ok(listed)
}

/// Reads to the end and keeps at most so many bytes. A pipe that fails has ended.
async fn read(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let bytes = buffer.get(..length).unwrap_or_default();
        let room = most.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn where_hosts_come_from_is_said_in_one_word() {
        let file = |text: &str| text.parse::<HostsFrom>();
        assert_eq!(file("ansible:/etc/hosts.ini"), Ok(HostsFrom::Ansible("/etc/hosts.ini".into())));
        assert_eq!(file("ssh-config:a:b"), Ok(HostsFrom::SshConfig("a:b".into())));
        let program = file("ansible-inventory:eu.yml").unwrap();
        assert_eq!(program.to_string(), "ansible-inventory -i eu.yml --list");
        for bad in ["", "hosts.ini", "ansible:", "yaml:x", ":x"] {
            assert!(file(bad).unwrap_err().contains("expected ansible:FILE"), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_program_is_asked_and_its_failure_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let program = |text: &str| {
            let path = folder.path().join(format!("p{}", text.len()));
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path.display().to_string()
        };
        let ask = async |text: &str, within| {
            list_by(&program(text), Path::new("eu.yml"), Duration::from_secs(within)).await
        };
        assert_eq!(ask("echo \"$@\"", 60).await.unwrap(), b"-i eu.yml --list\n");
        let failed = ask("echo no such file >&2; exit 4", 60).await.unwrap_err();
        assert!(failed.contains("exit status: 4: no such file"), "{failed}");
        let much = ask("head -c 17000000 /dev/zero", 60).await.unwrap_err();
        assert!(much.contains("more than 16777216 bytes"), "{much}");
        let slow = ask("exec sleep 1000", 0).await.unwrap_err();
        assert!(slow.contains("did not end within"), "{slow}");
        let none = list_by("/no/such/program", Path::new("x"), PROGRAM_TIMEOUT).await.unwrap_err();
        assert!(none.contains("failed to run /no/such/program"), "{none}");
    }
}
