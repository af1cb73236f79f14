"""The nodes: one sshd of the machine on loopback, which answers at as many addresses of 127.0.0.0/8 as are wanted."""

import getpass
import os
import pathlib
import shutil
import socket
import subprocess
import time

from tree import Tree

# How long sshd may take until it answers.
PATIENCE = 20.0

# How many ports are tried.
TRIES = 5


def addresses(count):
    """Addresses of loopback, without those that end in 0 or 255, and without 127.0.0.x, which others use."""
    return [f"127.1.{1 + n // 250}.{1 + n % 250}" for n in range(count)]


class Nodes:
    """An sshd with keys of its own, and the configuration with which clients reach it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder / "sshd"
        self.folder.mkdir()
        self.tree = Tree()
        for name in ("host", "user"):
            key = self.folder / name
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", key], check=True)
        shutil.copy(self.folder / "user.pub", self.folder / "authorized")
        if os.getuid() == 0:
            # What Debian's sshd wants to be there.
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        # Another program may take the port that was free a moment ago.
        for _ in range(TRIES):
            if self.start():
                return
        self.end()
        raise SystemExit(f"sshd did not answer: {self.log.read_text()[-2000:]}")

    def start(self):
        """Starts the server on a free port. Whether it answers."""
        self.port = free_port()
        host_key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        # Patterns: all addresses have the one key.
        (self.folder / "known").write_text(f"[127.*]:{self.port} {host_key}\n")
        # Without files that a login shell would read: what they do counts for nobody.
        (self.folder / "home").mkdir(exist_ok=True)
        user = getpass.getuser()
        server = self.folder / "sshd_config"
        server.write_text(
            f"""Port {self.port}
ListenAddress 0.0.0.0
HostKey {self.folder}/host
PidFile none
AuthorizedKeysFile {self.folder}/authorized
AllowUsers {user}@127.0.0.0/8
PermitRootLogin prohibit-password
AuthenticationMethods publickey
SetEnv HOME={self.folder}/home
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 1000
LogLevel ERROR
"""
        )
        self.config = self.folder / "ssh_config"
        self.config.write_text(
            f"""Host *
  User {user}
  Port {self.port}
  IdentityFile {self.folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {self.folder}/known
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 30
"""
        )
        sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if sshd is None:
            raise SystemExit("found no sshd; `make test-nodes` installs it")
        self.log = self.folder / "log"
        self.log.write_bytes(b"")
        self.tree.spawn([sshd, "-D", "-e", "-f", server], self.log)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and "Cannot bind" not in self.log.read_text():
            if answers(self.port):
                return True
            time.sleep(0.05)
        return False

    def cpu(self):
        """Seconds of processor time of all nodes so far."""
        return self.tree.cpu()

    def end(self):
        self.tree.end()


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            return connection.recv(3) == b"SSH"
    except OSError:
        return False
