"""Who is compared. Each is made with a folder, the nodes, their addresses and how many of them go at a time; `play` does a
task on all of them, and `end` ends all that it started."""

import json
import os
import pathlib
import re
import shlex
import shutil
import sys
import time

from tree import Tree

SCRIPT = pathlib.Path(__file__).with_name("script.sh")

# How long programs may take until they listen.
PATIENCE = 60.0

# How much of a log is shown where something failed.
SHOWN = 2000


class Failed(Exception):
    """Something did not do its task."""


class Contender:
    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.tree = Tree()

    def run(self, argv, env=None):
        done = self.tree.run(argv, self.log, env=env, cwd=self.folder)
        if done["code"] != 0:
            said = self.log.read_text(errors="replace")[-SHOWN:]
            raise Failed(f"{shlex.join(map(str, argv))} ended with {done['code']}:\n{said}")
        return done

    def notes(self):
        return []

    def end(self):
        self.tree.end()


class Bare(Contender):
    """The client of OpenSSH alone, over masters that are there: nobody is faster."""

    def __init__(self, folder, nodes, hosts, forks):
        super().__init__(folder)
        config = folder / "ssh_config"
        # The first value of an option counts.
        control = f"ControlMaster auto\nControlPersist 600\nControlPath {folder}/%C\n"
        config.write_text(control + nodes.config.read_text())
        (folder / "hosts").write_text("".join(f"{host}\n" for host in hosts))
        ssh = f"ssh -F {config}"
        each = f"xargs -P {forks} -n 1"
        self.commands = {
            "true": f"{each} -I {{}} {ssh} {{}} /bin/true < hosts",
            "script": f"{each} sh -c '{ssh} \"$0\" sh -s < {SCRIPT}' < hosts",
        }

    def play(self, task):
        return self.run(["sh", "-c", self.commands[task]])


class Ansible(Contender):
    """ansible-playbook, set up as its documentation has it for speed."""

    def __init__(self, folder, nodes, hosts, forks):
        super().__init__(folder)
        programs = pathlib.Path(os.environ.get("ANSIBLE", ".tools/ansible/bin")).absolute()
        self.program = programs / "ansible-playbook"
        if not self.program.exists():
            raise Failed(f"found no {self.program}; `make ansible` installs it")
        (folder / "hosts.ini").write_text("[all]\n" + "".join(f"{host}\n" for host in hosts))
        (folder / "ansible.cfg").write_text(
            f"""[defaults]
inventory = {folder}/hosts.ini
forks = {forks}
gathering = explicit
interpreter_python = {sys.executable}
local_tmp = {folder}/local
remote_tmp = {folder}/remote
[ssh_connection]
pipelining = true
ssh_args = -F {nodes.config} -o ControlMaster=auto -o ControlPersist=600s
control_path_dir = {folder}/cp
"""
        )
        tasks = {"true": "ansible.builtin.raw: /bin/true", "script": f"ansible.builtin.script: {SCRIPT}"}
        for name, task in tasks.items():
            text = f"- hosts: all\n  gather_facts: false\n  tasks:\n    - {task}\n"
            (folder / f"{name}.yml").write_text(text)
        self.env = clean_env(ANSIBLE_CONFIG=str(folder / "ansible.cfg"), ANSIBLE_HOME=str(folder / "home"))

    def play(self, task):
        return self.run([self.program, f"{task}.yml"], env=self.env)


class Ours(Contender):
    """A server and a gateway, and a run over all nodes."""

    def __init__(self, folder, nodes, hosts, forks):
        super().__init__(folder)
        programs = pathlib.Path(os.environ.get("PROGRAMS", "target/debug")).absolute()
        self.replibook, self.replictl = programs / "replibook", programs / "replictl"
        for program in (self.replibook, self.replictl):
            if not program.exists():
                raise Failed(f"found no {program}; PROGRAMS names the folder")
        self.env = clean_env(REPLIBOOK_CONFIG=str(folder / "config.yaml"))
        work = folder / "work"
        listed = [{"id": host, "work_folder": f"{work}/{host}"} for host in hosts]
        work.mkdir()
        spec = {"groups": {"all": {"allow": ["command", "script"]}}, "nodes": listed}
        self.document("inventory.json", "Inventory", {"name": "peers"}, spec)
        gateway = self.listening(
            "gateway",
            ["gateway", "--inventory", folder / "inventory.json", "--ssh-config", nodes.config, "--listen", "127.0.0.1:0"],
        )
        server = self.listening("server", ["serve", "--listen", "127.0.0.1:0", "--data", folder / "data"])
        self.env["REPLIBOOK_SERVER"] = server
        cluster = {"discovery": {"url": gateway, "cluster": "peers"}}
        self.document("cluster.json", "Cluster", {"name": "peers"}, cluster)
        actions = {
            "true": ("replicante.io/command", {"command": ["/bin/true"]}),
            "script": ("replicante.io/script", {"text": SCRIPT.read_text()}),
        }
        files = ["cluster.json"]
        for name, (action, args) in actions.items():
            stage = {
                "name": "all",
                "strategy": {"use": "rolling", "with": {"batch": forks, "mode": "window"}},
                "budget": {"max_failed": 0, "on_exceeded": "abort"},
                "steps": [{"name": "it", "action": action, "args": args}],
            }
            self.document(f"{name}.json", "Playbook", {"name": name, "version": "1.0.0"}, {"stages": [stage]})
            files.append(f"{name}.json")
        self.run([self.replictl, "apply", *(word for file in files for word in ("-f", file))], env=self.env)

    def document(self, file, kind, metadata, spec):
        document = {"apiVersion": "replicante.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
        (self.folder / file).write_text(json.dumps(document))

    def listening(self, name, args):
        """Starts a program, and gives the address at which it says that it listens."""
        log = self.folder / f"{name}.log"
        pid = self.tree.spawn([self.replibook, *args], log, env=self.env)
        setattr(self, f"{name}_pid", pid)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            text = log.read_text(errors="replace") if log.exists() else ""
            if found := re.search(r"listening on (https?://\S+)", text):
                return found[1]
            time.sleep(0.05)
        raise Failed(f"the {name} does not listen: {text[-SHOWN:]}")

    def play(self, task):
        return self.run([self.replictl, "run", "start", task, "--cluster", "peers", "--watch"], env=self.env)

    def notes(self):
        for name in ("gateway", "server"):
            status = pathlib.Path(f"/proc/{getattr(self, f'{name}_pid')}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
            yield f"memory of the {name}: at most {peak / 1024:.0f} MiB"


def clean_env(**more):
    """The environment without what a person has set for these programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "REPLIBOOK_"))}
    return {**kept, "LC_ALL": "C.UTF-8", **more}


assert shutil.which("xargs"), "found no xargs"
