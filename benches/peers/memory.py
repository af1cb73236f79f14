"""How much memory a gateway takes that knows NODES nodes (1,000) and holds as many connections as it ever does, without the
processes of ssh. `make bench-peers` runs it. It ends with 1 if that is more than MOST MiB (100).

In the place of `ssh` is a script whose masters are empty files, so that hundreds of them cost nothing: what the gateway keeps for
each of them is the same. What is asked of a node is run on this machine.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import urllib.request
import uuid

from contenders import Contender, Failed, Ours, clean_env

NODES = int(os.environ.get("NODES", "1000"))
MOST = int(os.environ.get("MOST", "100"))

# How many ask at the same time.
AT_ONCE = 32

SSH = """#!/bin/sh
for word; do
	case $word in
	ControlMaster=yes) master=1 ;;
	ControlPath=*) path=${word#*=\\"} path=${path%\\"} ;;
	esac
done
if [ -n "$master" ]; then
	printf "%s\\n" "${path%/*}" > "$FOLDER/masters"
	exec touch "$path"
fi
eval "last=\\${$#}"
exec sh -c "$last"
"""


class Gateway(Contender):
    """A gateway with nodes that are all on this machine."""

    document, listening = Ours.document, Ours.listening

    def __init__(self, folder):
        super().__init__(folder)
        self.replibook = pathlib.Path(os.environ.get("PROGRAMS", "target/debug")).absolute() / "replibook"
        if not self.replibook.exists():
            raise Failed(f"found no {self.replibook}; PROGRAMS names the folder")
        bin_, work = folder / "bin", folder / "work"
        bin_.mkdir()
        work.mkdir()
        (bin_ / "ssh").write_text(SSH)
        (bin_ / "ssh").chmod(0o755)
        path = f"{bin_}:{os.environ['PATH']}"
        self.env = clean_env(PATH=path, FOLDER=str(folder), REPLIBOOK_CONFIG=str(folder / "config.yaml"))
        self.names = [f"node-{number}" for number in range(NODES)]
        nodes = [{"id": name, "work_folder": f"{work}/{name}", "attributes": {"zone": "a"}} for name in self.names]
        spec = {"groups": {"all": {"allow": ["command"], "node_status": {"command": ["echo", "HEALTHY"]}}}, "nodes": nodes}
        self.document("inventory.json", "Inventory", {"name": "memory"}, spec)
        args = ["gateway", "--inventory", folder / "inventory.json", "--listen", "127.0.0.1:0"]
        self.url = self.listening("gateway", args)

    def ask(self, node, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.url}/nodes/{node}/api/unstable/{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def use(self, node):
        """What an engine does with a node."""
        status = self.ask(node, "info/node")["node_status"]
        if status != "HEALTHY":
            raise Failed(f"{node}: found {status}, expected HEALTHY")
        action = str(uuid.uuid4())
        args = {"argv": ["seq", "100"]}
        self.ask(node, "action", {"id": action, "kind": "replicante.io/command", "args": args})
        self.ask(node, f"action/{action}")

    def memory(self):
        """What it takes now, and what it took at most, in MiB."""
        status = pathlib.Path(f"/proc/{self.gateway_pid}/status").read_text()
        return [int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024 for name in ("VmRSS", "VmHWM")]

    def masters(self):
        folder = pathlib.Path((self.folder / "masters").read_text().strip())
        return sum(1 for file in folder.iterdir() if file.suffix != ".log")


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="peers-"))
    try:
        gateway = Gateway(folder)
        try:
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                for _ in pool.map(gateway.use, gateway.names):
                    pass
            (now, most), masters = gateway.memory(), gateway.masters()
        finally:
            gateway.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"memory of a gateway with {NODES} nodes and {masters} masters, without ssh: {now:.0f} MiB, at most {most:.0f} MiB")
    if most > MOST:
        sys.exit(f"found {most:.0f} MiB, expected at most {MOST} MiB")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(str(error))
