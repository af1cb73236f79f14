"""How many nodes a second, and how much processor time a node: Ansible, bare ssh, and a gateway with its engine, over the
same sshd. `make bench-peers` runs it; HOSTS, FORKS, ROUNDS, ONLY and PROGRAMS (environment) say how.

Each does a task once before it is measured, so that all of them have their connections: what is compared is work over warm
masters. All that is started ends with this program, also on Ctrl-C, and all files are in one folder that is removed.
"""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from contenders import Ansible, Bare, Failed, Ours
from nodes import Nodes, addresses

HOSTS = [int(word) for word in os.environ.get("HOSTS", "50 200").replace(",", " ").split()]
FORKS = int(os.environ.get("FORKS", "50"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
ONLY = os.environ.get("ONLY", "ssh ansible replibook").replace(",", " ").split()

TASKS = {"true": "/bin/true", "script": "a script of 20 lines"}
CONTENDERS = {"ssh": Bare, "ansible": Ansible, "replibook": Ours}


def machine():
    """The machine and its state, as the other benchmarks print them."""
    cpus = os.cpu_count()
    model = ""
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
        model = f" {found[1]}" if found else ""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    versions = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr.split(",")[0]
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return f"{day}, {cpus} processors{model}, load before {load}, {versions}"


def measured(contender, nodes, task, hosts):
    """The rounds of one contender: hosts a second, and seconds of processor time a host of controller and nodes."""
    contender.play(task)
    rounds = []
    for _ in range(ROUNDS):
        before = nodes.cpu()
        done = contender.play(task)
        rounds.append((len(hosts) / done["wall"], done["cpu"] / len(hosts), (nodes.cpu() - before) / len(hosts)))
    return tuple(statistics.median(column) for column in zip(*rounds))


def play(folder, hosts):
    """All contenders over so many hosts: {(task, name): figures}, and what is to be said besides."""
    nodes = Nodes(folder)
    found, notes = {}, []
    try:
        for name in ONLY:
            print(f"  {name} over {len(hosts)} hosts", file=sys.stderr)
            home = folder / name
            home.mkdir()
            contender = None
            try:
                contender = CONTENDERS[name](home, nodes, hosts, FORKS)
                for task in TASKS:
                    found[task, name] = measured(contender, nodes, task, hosts)
                notes += contender.notes()
            except Failed as failed:
                notes.append(f"{name}: {failed}")
            finally:
                if contender is not None:
                    contender.end()
    finally:
        nodes.end()
    return found, notes


def times(figure, of, is_more_better):
    if figure is None or not of:
        return ""
    return f"{figure / of:.1f} ×" if is_more_better else f"1/{of / figure:.1f}" if figure else ""


def rows(count, found):
    for task, title in TASKS.items():
        known = {name: found.get((task, name)) for name in ONLY}
        ansible, floor = known.get("ansible"), known.get("ssh")
        for name in ONLY:
            if (figures := known[name]) is None:
                continue
            speed, cpu, node = figures
            yield [
                str(count),
                title,
                name,
                f"{speed:.1f}",
                f"{cpu * 1000:.1f}",
                f"{node * 1000:.1f}",
                times(speed, ansible and ansible[0], True),
                times(cpu, ansible and ansible[1], False),
                f"{speed / floor[0]:.2f}" if floor else "",
            ]


HEAD = [
    "hosts",
    "task",
    "by",
    "hosts/s",
    "CPU ms/host",
    "nodes' CPU ms/host",
    "speed of Ansible's",
    "CPU of Ansible's",
    "of bare ssh",
]


def table(lines):
    widths = [max(len(line[n]) for line in [HEAD, *lines]) for n in range(len(HEAD))]
    cells = lambda line: "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
    return "\n".join([cells(HEAD), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(cells, lines)])


def main():
    unknown = [name for name in ONLY if name not in CONTENDERS]
    if unknown or ROUNDS < 1 or FORKS < 1 or not all(1 <= count <= 1000 for count in HOSTS):
        sys.exit(f"found HOSTS={HOSTS} FORKS={FORKS} ROUNDS={ROUNDS} ONLY={ONLY}; expected 1 to 1000 hosts, {list(CONTENDERS)}")
    # Also where whoever started this ignores it, as shells do for what is in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # A short path: sockets of masters are in it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="peers-", dir="/tmp"))
    about, lines, notes = machine(), [], []
    try:
        for count in HOSTS:
            here = folder / str(count)
            here.mkdir()
            found, said = play(here, addresses(count))
            lines += rows(count, found)
            notes += [f"{count} hosts: {note}" for note in said]
    except KeyboardInterrupt:
        notes.append("interrupted: what is missing was not measured")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{about}; {FORKS} hosts at a time, median of {ROUNDS} rounds over warm masters\n")
    print(table(lines))
    for note in notes:
        print(f"- {note}")
    sys.exit(0 if len(lines) == len(HOSTS) * len(TASKS) * len(ONLY) else 1)


if __name__ == "__main__":
    main()
