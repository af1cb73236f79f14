//! A server of OpenSSH on loopback: Debian's, run by this user with keys of its own. `make test-nodes` installs it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const HINT: &str = "`make test-nodes` installs it";

/// How often to try another port: the server can't be told to take any, and somebody else may take a free one first.
const TRIES: usize = 5;

/// The server. It ends when this is dropped, with all of its sessions.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    child: Child,
    folder: TempDir,
}

impl Sshd {
    /// Starts a server on a free port, with these lines in its configuration.
    pub(crate) fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["host", "user", "other"] {
            keygen(&folder.path().join(name));
        }
        // Servers that are started in a boot script make it; root's need it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let (port, child) = (0..TRIES).find_map(|_| listening(&folder, more)).unwrap();
        let server = Self { port, child, folder };
        server.trust(port, "host");
        server
    }

    /// Writes the known hosts anew: the server at this port has this key.
    pub(crate) fn trust(&self, port: u16, key: &str) {
        let key = std::fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        std::fs::write(self.path("known_hosts"), format!("[127.0.0.1]:{port} {key}")).unwrap();
    }

    /// A configuration of `ssh` in which `node` is this server behind this port, and anybody uses this key.
    pub(crate) fn config(&self, port: u16, key: &str) -> PathBuf {
        let path = self.path(&format!("ssh_config-{port}-{key}"));
        let config = format!(
            "Host node*\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\nHost behind\n  HostName 127.0.0.1\n  Port 1\n  \
             ProxyJump node\n",
            self.path(key).display(),
            self.path("known_hosts").display(),
        );
        std::fs::write(&path, config).unwrap();
        path
    }

    /// A configuration of `ssh` in which each of these names is this server, reached at an address of its own. The algorithms
    /// are those that cost least: tests make hundreds of connections.
    pub(crate) fn config_of(&self, name: &str, hosts: &[(String, SocketAddr)]) -> PathBuf {
        let key = std::fs::read_to_string(self.path("host.pub")).unwrap();
        std::fs::write(self.path("known_as_one"), format!("one {key}")).unwrap();
        let mut config = String::new();
        for (host, at) in hosts {
            let (ip, port) = (at.ip(), at.port());
            config.push_str(&format!("Host {host}\n  HostName {ip}\n  Port {port}\n"));
        }
        config.push_str(&format!(
            "Host *\n  HostKeyAlias one\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
             GlobalKnownHostsFile /dev/null\n  KexAlgorithms curve25519-sha256\n  \
             Ciphers aes128-gcm@openssh.com\n",
            self.path("user").display(),
            self.path("known_as_one").display(),
        ));
        let path = self.path(&format!("ssh_config-{name}"));
        std::fs::write(&path, config).unwrap();
        path
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// All processes that serve connections: its own, and what was begun over them.
    pub(crate) fn processes(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// A path in the folder of the server.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The processes that hold a connection each.
    pub(crate) fn connections(&self) -> Vec<u32> {
        started_by(self.child.id())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let sessions = children(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        for session in sessions {
            let pid = i32::try_from(session).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// The processes that a process has started.
fn started_by(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// All processes that a process has started, and those that they have started.
fn children(process: u32) -> Vec<u32> {
    let children = started_by(process).into_iter();
    children.flat_map(|child| [vec![child], self::children(child)].concat()).collect()
}

/// Starts a server on a port that was free; none if it is no longer.
fn listening(folder: &TempDir, more: &str) -> Option<(u16, Child)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // With this, bash does not read what the user of the tests has for logins: that may take long, or wait for a lock which was
    // left behind by a login that a test killed.
    let config = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         MaxStartups 100:30:200\nSetEnv SHLVL=1\n{more}\n",
        at("host"),
        at("user.pub"),
    );
    std::fs::write(folder.path().join("sshd_config"), config).unwrap();
    let child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-e", "-f", &at("sshd_config")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("sshd: {error}; {HINT}"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let Some(_) = lines.find(|line| line.contains("Server listening")) else {
        child.wait().unwrap();
        return None;
    };
    // Whoever writes to a pipe that nobody reads stands still.
    std::thread::spawn(move || lines.for_each(drop));
    Some((port, child))
}

fn keygen(path: &Path) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| panic!("ssh-keygen: {error}; {HINT}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
