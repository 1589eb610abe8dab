"""Why it cannot be listened at an address, and what to do."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from meshid.cli.no_answer import NoAnswer
from meshid.port.upstream import UNIX
from meshid.settings.host_port import Address
from meshid.support.quoting import quote

_FIRST_FREE_FOR_ALL = 1024

_ADVICE = {
    errno.EADDRINUSE: "; choose another port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "; write an address of this machine, 0.0.0.0 for all of them",
    socket.EAI_NONAME: "; write an address of this machine, 0.0.0.0 for all of them",
}
_LOW = (
    "; choose a port from 1024 on, let systemd open it with a socket unit, or give the process"
    " CAP_NET_BIND_SERVICE"
)


@contextmanager
def listening_at(host: str, port: int) -> Iterator[None]:
    """Say what is wrong in place of an `OSError` in the block.

    Raises:
        NoAnswer: In its place.
    """
    try:
        yield
    except OSError as error:
        raise NoAnswer(why_not(host, port, error)) from error
    except UnicodeError as error:
        # The resolver does not even ask for it.
        msg = f"cannot listen at {quote(str(Address(host, port)))}: that is no name of a host"
        raise NoAnswer(msg) from error


def why_not(host: str, port: int, error: OSError) -> str:
    """Return why it cannot be listened there."""
    code = error.errno or 0
    # What the resolver says has a negative number, and asyncio words the others at length.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    said = os.strerror(code) if code > 0 else cause.strerror
    if host.startswith(UNIX):
        return f"cannot listen at {quote(host)}: {said}"
    is_low = code in {errno.EACCES, errno.EPERM} and 0 < port < _FIRST_FREE_FOR_ALL
    advice = _LOW if is_low else _ADVICE.get(code, "")
    return f"cannot listen at {quote(str(Address(host, port)))}: {said}{advice}"
