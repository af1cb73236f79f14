"""Opens connections that say nothing, from several addresses of this machine, and keeps them until its input closes.

idle.py ADDRESS PORT COUNT

Prints how many there are. There are fewer than COUNT if the system gives this process fewer descriptors.
"""

import resource
import socket
import sys

# Descriptors that are used for other things.
OTHERS = 100
# How many connections come from one address.
EACH = 1000

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
if most != resource.RLIM_INFINITY:
    count = min(count, most - OTHERS)
idle = []
for number in range(count):
    connection = socket.socket()
    connection.bind((f"127.0.0.{10 + number // EACH}", 0))
    connection.connect((address, port))
    idle.append(connection)
print(len(idle), flush=True)
sys.stdin.read()
