"""systemd: the sockets that it listens on for us, and what we tell it of our state.

Both are plain protocols of an environment variable and a file descriptor or a datagram
(sd_listen_fds(3), sd_notify(3)), so no library of systemd's is needed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

READY = "READY=1"
STOPPING = "STOPPING=1"

_FIRST = 3
"""The first file descriptor that is handed over (SD_LISTEN_FDS_START)."""

_MAX_SOCKETS = 64
_SECONDS = 1.0
"""A full queue of systemd's must not hold up the connections."""


def listening_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd has handed over to this process; an empty list if there are none.

    Args:
        environ: The variables of the process: ``LISTEN_PID`` and ``LISTEN_FDS``.

    Raises:
        InvalidInput: If one of them is no TCP socket that listens.
    """
    # The variables of a parent are inherited, its sockets may not be: the PID tells them apart.
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    number = environ.get("LISTEN_FDS", "")
    if not number.isascii() or not number.isdecimal() or int(number[:9]) > _MAX_SOCKETS:
        msg = f"LISTEN_FDS is {quote(number)}; it must be a number of sockets, at most {_MAX_SOCKETS}"
        raise InvalidInput(msg)
    found: list[socket.socket] = []
    try:
        found.extend(_listening(_FIRST + each) for each in range(int(number)))
    except InvalidInput:
        for each in found:
            each.close()
        raise
    return found


def _listening(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        handed = socket.socket(fileno=descriptor)
    except OSError as error:
        msg = f"file descriptor {descriptor}, from LISTEN_FDS, is no socket: {error.strerror}"
        raise InvalidInput(msg) from error
    is_tcp = handed.family in {socket.AF_INET, socket.AF_INET6} and handed.type == socket.SOCK_STREAM
    if not is_tcp or not handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        handed.close()
        msg = (
            f"file descriptor {descriptor}, from LISTEN_FDS, is no TCP socket that listens:"
            " write ListenStream=PORT and Accept=no into the socket unit"
        )
        raise InvalidInput(msg)
    handed.setblocking(False)
    return handed


def notify(environ: Mapping[str, str], *states: str) -> bool:
    """Tell systemd our state; return whether it was sent.

    Args:
        environ: The variables of the process: ``NOTIFY_SOCKET``.
        states: Such as `READY`, or ``STATUS=draining``; a line break in one is a space.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    # What is not a path or an abstract name (a vsock, of virtual machines) is not spoken.
    if not address.startswith(("/", "@")):
        return False
    name = f"\0{address[1:]}" if address.startswith("@") else address
    data = "\n".join(" ".join(state.splitlines()) for state in states).encode()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifying:
            notifying.settimeout(_SECONDS)
            notifying.sendto(data, name)
    except OSError:
        # A service must not end because nobody listens to how it is.
        return False
    return True
