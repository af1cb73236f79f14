"""Runs a program on a terminal of its own, and prints what the terminal got.

terminal.py COLUMNS DATA WAIT KEYS PROGRAM ARGUMENT...

DATA: a file that standard output goes to instead of the terminal, or empty.
WAIT, KEYS: once the terminal has got the text WAIT, KEYS are typed (in hex); or empty.
The exit code is that of the program.
"""

import fcntl
import os
import pty
import struct
import sys
import termios

columns, data, wait, keys, *command = sys.argv[1:]
master, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(columns), 0, 0))
child = os.fork()
if child == 0:
    os.close(master)
    os.login_tty(terminal) if hasattr(os, "login_tty") else None
    if not hasattr(os, "login_tty"):
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        for stream in (0, 1, 2):
            os.dup2(terminal, stream)
    if data:
        os.dup2(os.open(data, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.execv(command[0], command)
os.close(terminal)
got = b""
while True:
    try:
        more = os.read(master, 65536)
    except OSError:  # Linux reports this when the program has closed its side.
        break
    if not more:
        break
    got += more
    if wait and wait.encode() in got:
        os.write(master, bytes.fromhex(keys))
        wait = ""
sys.stdout.buffer.write(got)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
