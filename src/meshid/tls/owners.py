"""Who reads and writes for an `ssl.SSLObject`, so that its connection can be ended from any thread.

An `ssl.SSLObject` has no socket: an owner moves the bytes. No library offers a way from the object
to its owner, so the owner is looked for when the handshake begins:

- asyncio, trio and anyio call `do_handshake` in a method of the owner, so it is the ``self`` of the
  calling frame. It is not looked for earlier: when asyncio makes the object, its transport is not
  there yet, and anyio makes it in a worker thread.
- uvloop's owner is compiled, and has no frame: see `meshid.tls.uvloop_transports`.

Any other owner is unknown: its connection ends when it next reads or writes.

No loop is imported here, since it is of no use in a process that does not use it: an owner is known
by the names of its class and module. What is read of it is private for the most part, and the same
in CPython 3.11 to 3.13, trio 0.32 and anyio 4.12 or newer.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol, TypeAlias, cast

from meshid.tls.uvloop_transports import Loop, Transport, Transports, running_uvloop, transports_of

_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Owner(Protocol):
    """Who reads and writes for an SSL object."""

    @property
    def peername(self) -> object:
        """What ``getpeername()`` of its socket returned at the start; None if that is not known."""

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""

    def close(self, error: Exception) -> None:
        """End the connection now, from any thread; whoever reads or writes gets the *error*, if possible."""

    def send(self, data: bytes) -> bool:
        """Write these bytes to the wire, if called in a call of the owner; tell whether they were."""

    def acknowledge(self) -> None:
        """Acknowledge now what the other end has sent, if possible."""


class TransportOwner:
    """A transport of asyncio or uvloop.

    Args:
        transport: The transport below TLS.
        loop: Its loop.
    """

    def __init__(self, transport: Transport, loop: Loop) -> None:
        self._transport = transport
        self._loop = loop
        self._thread = threading.get_ident()
        # At once: uvloop asks the descriptor, which may be another connection's later.
        self.peername = transport.get_extra_info("peername")

    @property
    def is_open(self) -> bool:
        """Whether its connection is open."""
        return self._transport.get_protocol() is not None

    def close(self, error: Exception) -> None:
        """Close the transport, and give the *error* to its protocol."""
        _fail(self._transport, self._loop, error)

    def send(self, data: bytes) -> bool:
        """Write these bytes to the wire, if called in the loop's thread."""
        if threading.get_ident() != self._thread:
            return False
        self._transport.write(data)
        return True

    def acknowledge(self) -> None:
        """Acknowledge now what the other end has sent."""
        acknowledge(cast("socket.socket | None", self._transport.get_extra_info("socket")))


def _fail(transport: Transport, loop: Loop, error: Exception) -> None:
    # A closed loop raises, and has closed its connections.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(transport._force_close, error)  # noqa: SLF001 - `abort` would look like an orderly end


class HiddenOwner:
    """A transport of uvloop that was not found at once; it is looked for when it must end.

    Args:
        transports: Those of the loop.
        loop: The loop.
        outgoing: The memory BIO that the SSL object writes to.
    """

    peername: object = None
    is_open: bool = True

    def __init__(self, transports: Transports, loop: Loop, outgoing: object) -> None:
        self._transports = transports
        self._loop = loop
        self._outgoing = outgoing

    def close(self, error: Exception) -> None:
        """Close the transport, and give the *error* to its protocol."""
        transport = self._transports.of(self._outgoing)
        if transport is not None:
            _fail(transport, self._loop, error)

    def send(self, _: bytes) -> bool:
        """Do nothing: it is not known where to."""
        return False

    def acknowledge(self) -> None:
        """Do nothing."""


class SocketOwner:
    """A socket that trio, or anyio on a Unix socket, reads and writes.

    Args:
        sock: The socket, as a `socket.socket` or a `trio.socket.SocketType`.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.peername: object = None
        with suppress(OSError):
            self.peername = sock.getpeername()

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._socket.fileno() >= 0

    def close(self, _: Exception) -> None:
        """Shut it down, which wakes up whoever reads or writes; the SSL object then raises the error."""
        # Not by the method of trio's: whoever writes after that gets an error for a mistake of its own.
        with suppress(OSError):
            getattr(self._socket, "_sock", self._socket).shutdown(socket.SHUT_RDWR)

    def send(self, data: bytes) -> bool:
        """Write these bytes to the wire, if it does not take them all."""
        # Not `send()`, which is a coroutine function of trio's sockets.
        with suppress(OSError):
            return os.write(self._socket.fileno(), data) == len(data)
        return False

    def acknowledge(self) -> None:
        """Acknowledge now what the other end has sent."""
        acknowledge(self._socket)


def acknowledge(sock: socket.socket | None) -> None:
    """Acknowledge now what the other end has sent; TCP waits for 40 ms otherwise (Linux alone can be told).

    Nothing of ours follows the client's last handshake message that could carry its acknowledgement, and
    a client without ``TCP_NODELAY`` holds its request back until it comes.

    Args:
        sock: The socket; None if there is none.
    """
    if sock is not None and _QUICKACK is not None:
        # A Unix socket has no such option, and one that was closed has none.
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


def owner_of(caller: FrameType, outgoing: object) -> Owner | None:
    """Return the owner of an SSL object.

    Args:
        caller: The frame that calls `do_handshake`.
        outgoing: The memory BIO that the SSL object writes to.
    """
    calling = caller.f_locals.get("self")
    for each in type(calling).__mro__:
        make = _MAKERS.get((each.__module__, each.__qualname__))
        if make is not None:
            # A version that has changed it; so the connection ends with the next byte.
            with suppress(AttributeError):
                return make(calling)
    loop = running_uvloop()
    transports = None if loop is None else transports_of(loop)
    if loop is None or transports is None:
        return None
    transport = transports.of_new(outgoing)
    return HiddenOwner(transports, loop, outgoing) if transport is None else TransportOwner(transport, loop)


_Socket: TypeAlias = socket.socket


class _Asyncio(Protocol):
    _transport: Transport
    _loop: Loop


class _Stream(Protocol):
    """A stream of trio or anyio."""

    transport_stream: _Stream
    socket: _Socket
    _transport: Transport

    def extra(self, attribute: object) -> _Socket:
        """Return an attribute of it."""


def _of_asyncio(protocol: _Asyncio) -> Owner:
    return TransportOwner(protocol._transport, protocol._loop)  # noqa: SLF001 - it has no other way


def _of_trio(stream: _Stream) -> Owner:
    return SocketOwner(_lowest(stream).socket)


def _of_anyio(stream: _Stream) -> Owner:
    below = _lowest(stream)
    if hasattr(below, "_transport"):
        return TransportOwner(below._transport, sys.modules["asyncio"].get_running_loop())  # noqa: SLF001
    raw_socket = sys.modules["anyio.abc"].SocketAttribute.raw_socket
    return SocketOwner(below.extra(raw_socket))  # noqa: S610 - not Django's


def _lowest(stream: _Stream) -> _Stream:
    """Return the stream below all TLS."""
    while hasattr(stream, "transport_stream"):
        stream = stream.transport_stream
    return stream


_MAKERS: dict[tuple[str, str], Callable[[Any], Owner]] = {
    ("asyncio.sslproto", "SSLProtocol"): _of_asyncio,
    ("trio", "SSLStream"): _of_trio,
    ("anyio.streams.tls", "TLSStream"): _of_anyio,
}
