"""Processes, with all that comes of them: how much processor time they used, and their end.

`Tree()` starts this file as a helper of its own. Whatever is started in it stays below it, also what makes itself
independent, as masters of SSH and wrappers of jobs do: the helper is the reaper of its orphans. So the processor time of
all is known (that of the living, and of those that were waited for), and nothing of it is left when it ends. The helper ends
with whoever started it, however that ends.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TICKS = os.sysconf("SC_CLK_TCK")

# How long processes may take to end by themselves.
PATIENCE = 5.0


class Tree:
    """A helper, as its user sees it."""

    def __init__(self):
        self.helper = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _ask(self, **request):
        self.helper.stdin.write(json.dumps(request) + "\n")
        self.helper.stdin.flush()
        answer = self.helper.stdout.readline()
        if not answer:
            raise RuntimeError("a helper ended early")
        return json.loads(answer)

    def run(self, argv, log, env=None, cwd=None):
        """Runs a program to its end: {"code", "wall", "cpu"}, in seconds."""
        return self._ask(do="run", argv=[str(a) for a in argv], log=str(log), env=env, cwd=cwd and str(cwd))

    def spawn(self, argv, log, env=None):
        """Starts a program that goes on, and gives its process."""
        return self._ask(do="spawn", argv=[str(a) for a in argv], log=str(log), env=env)["pid"]

    def cpu(self):
        """Seconds of processor time so far, of all that was ever started here."""
        return self._ask(do="cpu")["cpu"]

    def end(self):
        """Ends all that is here."""
        with contextlib.suppress(OSError):
            self.helper.stdin.close()
        try:
            self.helper.wait(timeout=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.helper.kill()
            self.helper.wait()
        self.helper.stdout.close()


def processes():
    """All processes: {pid: (parent, seconds of itself and of those that it waited for)}."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b") ")[2].split()
        except OSError:
            continue
        found[int(name)] = (int(fields[1]), sum(map(int, fields[11:15])) / TICKS)
    return found


def below(root):
    """The living descendants of a process, with their seconds."""
    known = processes()
    children = {}
    for pid, (parent, _) in known.items():
        children.setdefault(parent, []).append(pid)
    found, open_ = {}, [root]
    while open_:
        for pid in children.get(open_.pop(), []):
            found[pid] = known[pid][1]
            open_.append(pid)
    return found


def seconds():
    """Processor time of all that was started below this process."""
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return waited.ru_utime + waited.ru_stime + sum(below(os.getpid()).values())


def reap():
    """Waits for whoever has ended, and gives how each did."""
    ended = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def start(request):
    with open(request["log"], "ab") as log, open(os.devnull, "rb") as nothing:
        return os.posix_spawnp(
            request["argv"][0],
            request["argv"],
            request["env"] or os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD],
        )


def perform(request):
    match request["do"]:
        case "cpu":
            reap()
            return {"cpu": seconds()}
        case "spawn":
            return {"pid": start(request)}
        case "run":
            if request["cwd"]:
                os.chdir(request["cwd"])
            before, began = seconds(), time.monotonic()
            pid = start(request)
            while True:
                # Woken by the end of a child, at the latest after a moment.
                signal.sigtimedwait([signal.SIGCHLD], 0.05)
                ended = reap()
                if pid in ended:
                    wall = time.monotonic() - began
                    return {"code": ended[pid], "wall": wall, "cpu": seconds() - before}


def end_all():
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            reap()
            living = below(os.getpid())
            if not living:
                return
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            signal.sigtimedwait([signal.SIGCHLD], 0.1)


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    for what, value in ((PR_SET_CHILD_SUBREAPER, 1), (PR_SET_PDEATHSIG, signal.SIGTERM)):
        if libc.prctl(what, value, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for line in sys.stdin:
            print(json.dumps(perform(json.loads(line))), flush=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_all()


if __name__ == "__main__":
    main()
