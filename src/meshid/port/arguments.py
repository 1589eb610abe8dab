"""What a port is given, checked when it is made: a mistake of calling code is told there, in one sentence."""

from __future__ import annotations

import resource

from meshid.admission.question import Expected
from meshid.port.upstream import UNIX, Upstream, is_loopback, unix_path
from meshid.support.quoting import quote
from meshid.support.types import check_type
from meshid.tls.handshakes import MAX_HANDSHAKES

MAX_CONNECTIONS = 10_000
"""Connections at once, if the limit of open files allows as many; idle ones take 30 KiB each."""

MAX_FILES = 1 << 30
"""More open files than any system allows."""

MAX_PORT = 65535

SPARE_FILES = 128
"""Open files that are left for all else that the process does, and for strangers who are on their way out."""


def place(host: str, port: int) -> tuple[str, int]:
    """Return where to listen.

    Raises:
        TypeError, ValueError: If nothing can listen there.
    """
    check_type(type(host), str, "host", "a str")
    if host.startswith(UNIX):
        unix_path(host, "host")
    return host, whole(port, "port", 0, MAX_PORT)


def check_sides(  # noqa: PLR0913  # all named
    upstream: Upstream,
    host: str,
    expect: Expected | None,
    *,
    has_target: bool,
    client: bool,
    remote: bool,
    proxy_protocol: bool,
    alpn: tuple[str, ...],
) -> None:
    """Refuse what would let plain text out, and what means nothing.

    Raises:
        ValueError: If there is such a thing.
    """
    msg = None
    if client and expect is None:
        msg = "client=True needs expect=: the name that the upstream must have, such as '/ns/pay/sa/api'"
    elif client and has_target:
        msg = "target is for clients with a certificate: leave it out with client=True"
    elif client and not (host.startswith(UNIX) or is_loopback(host)):
        msg = (
            f"host {quote(host)} is not of the loopback, and with client=True whoever can connect speaks as"
            " this service: listen on 127.0.0.1, or on unix:/path"
        )
    elif expect is None and not (remote or upstream.is_local):
        msg = (
            f"upstream {quote(str(upstream))} is not of the loopback, and would get plain text: pass expect="
            " with the name of the server for TLS, or remote_upstream=True"
        )
    elif client and len(alpn) > 1:
        msg = (
            "alpn must be one protocol with client=True: clients speak plainly, and do not hear of the other"
        )
    elif expect is not None and proxy_protocol:
        msg = "proxy_protocol is for a plain upstream: leave it out with expect="
    if msg is not None:
        raise ValueError(msg)


def whole(value: object, name: str, least: int, most: int) -> int:
    """Return a whole number.

    Raises:
        TypeError, ValueError: If it is none, or out of its range.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{name} must be a whole number, not {type(value).__name__}"
        raise TypeError(msg)
    if not least <= value <= most:
        msg = f"{name} must be from {least} to {most}, not {value}"
        raise ValueError(msg)
    return value


def limits(most: int | None) -> tuple[int, int]:
    """Return how many handshakes and how many connections there may be.

    A connection has two open files, and handshakes get a quarter of all: what strangers hold is never what
    an admitted peer lacks.

    Args:
        most: The connections that were asked for; None for as many as there can be.
    """
    handshakes, room = room_for()
    return handshakes, most or min(MAX_CONNECTIONS, room)


def room_for() -> tuple[int, int]:
    """Return how many handshakes and how many connections the limit of open files allows."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = MAX_FILES
    handshakes = min(MAX_HANDSHAKES, files // 4)
    return handshakes, max(1, (files - handshakes - SPARE_FILES) // 2)
