"""Processes that are started as systemd starts them: with sockets that listen already."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

_LAUNCHER = """
import fcntl, os, sys
pid, numbers, *command = sys.argv[1:]
above = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 100) for number in numbers.split()]
os.closerange(3, 100)
for number, each in enumerate(above, 3):
    os.dup2(each, number)
os.closerange(100, 200)
# The PID stays when this process becomes another program.
os.environ["LISTEN_PID"] = pid or str(os.getpid())
os.execv(command[0], command)
"""


def activated(command: Sequence[str], *sockets: socket.socket, pid: str = "") -> list[str]:
    """Return a command that starts *command* with *sockets* from descriptor 3 on, for `subprocess`.

    The caller passes their descriptors on (``pass_fds``), and sets ``LISTEN_FDS``. Without *pid*,
    ``LISTEN_PID`` is that of the process.
    """
    numbers = " ".join(str(each.fileno()) for each in sockets)
    return [sys.executable, "-c", _LAUNCHER, pid, numbers, *command]
