"""Where the connections of a port go to."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from ipaddress import ip_address

import attrs

from meshid.support.quoting import quote

UNIX = "unix:"
MAX_UNIX_PATH = 107
"""Bytes: ``sun_path`` of unix(7), without its NUL."""

MAX_HOST = 253
"""Characters of a host name (RFC 1035 section 2.3.4, as text)."""

_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")

_FIRST_PAUSE, _LAST_PAUSE = 0.01, 0.5
"""Seconds between two attempts to connect to a Unix socket whose queue is full."""

_PORTS = range(1, 65536)
_NUMBER = re.compile(r"[0-9]{1,5}")


@attrs.frozen
class Upstream:
    """The address of an upstream.

    Attributes:
        host: Its host, or the path of its Unix socket.
        port: Its port; None for a Unix socket.
    """

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str, name: str = "upstream") -> Upstream:
        """Return the address that *text* has: ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:/path``.

        Raises:
            TypeError, ValueError: If it is none of these.
        """
        if not isinstance(text, str):
            kind = type(text).__name__
            msg = f"{name} must be a str such as '127.0.0.1:8080' or 'unix:/run/app.sock', not {kind}"
            raise TypeError(msg)
        if text.startswith(UNIX):
            return cls(unix_path(text, name), None)
        host, _, port = text.rpartition(":")
        in_brackets = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if in_brackets else host
        if not in_brackets and _is_ipv6(host):
            msg = f"{name} {quote(text)} has more than one colon: write an IPv6 address as [::1]:8080"
            raise ValueError(msg)
        if not (_is_ipv6(host) if in_brackets else is_host(host)):
            msg = f"{name} {quote(text)} is neither HOST:PORT, such as 127.0.0.1:8080, nor unix:/path"
            raise ValueError(msg)
        if not (_NUMBER.fullmatch(port) and int(port) in _PORTS):
            msg = f"{name} {quote(text)} has no port from 1 to 65535 after its last colon"
            raise ValueError(msg)
        return cls(host, int(port))

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine for sure: a Unix socket, or an address of the loopback."""
        return self.port is None or is_loopback(self.host)

    async def connect(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        """Connect a protocol to it.

        Raises:
            OSError: If it cannot be reached.
        """
        if self.port is None:
            await loop.create_unix_connection(make, sock=await _connected(self.host))
        else:
            await loop.create_connection(make, self.host, self.port)

    def __str__(self) -> str:
        if self.port is None:
            return UNIX + self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


async def _connected(path: str) -> socket.socket:
    """Return a Unix socket that is connected; wait while the queue of the one that listens is full.

    Such a socket says so at once, and is taken for connected by asyncio then; TCP waits by itself.
    """
    pause = _FIRST_PAUSE
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(path)
        except BlockingIOError:
            sock.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)
        except OSError:
            sock.close()
            raise
        else:
            return sock


def unix_path(text: str, name: str) -> str:
    """Return the path in ``unix:/path``.

    Raises:
        ValueError: If a Unix socket cannot have it.
    """
    path = text.removeprefix(UNIX)
    if not path.startswith("/") or "\0" in path or len(os.fsencode(path)) > MAX_UNIX_PATH:
        msg = f"{name} {quote(text)} must be unix: and an absolute path of at most {MAX_UNIX_PATH} bytes"
        raise ValueError(msg)
    return path


def is_host(text: str) -> bool:
    """Tell whether it is an IP address, or can be the name of a host."""
    return _is_ipv6(text) or (len(text) <= MAX_HOST and _HOST.fullmatch(text) is not None)


def is_loopback(host: str) -> bool:
    """Tell whether a host is of the loopback: ``localhost`` (RFC 6761 section 6.3) or such an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(host).version == 6  # noqa: PLR2004 - the name of it
    except ValueError:
        return False
