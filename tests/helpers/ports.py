"""A port in a thread of its own, a client and an upstream that a test drives from both ends."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import attrs

from meshid import Mesh
from meshid.port import MeshPort
from meshid.port.hub import Hub
from meshid.port.relay import Relay
from tests.helpers.loops import new_uvloop
from tests.helpers.mounted import eventually
from tests.helpers.tls_peers import HOST, TIMEOUT

_T = TypeVar("_T")

MAKERS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": new_uvloop,
}
"""The loops that a port runs on."""

Ending = Literal["end", "reset", "truncated"]
"""How a connection ended: as it should, by a reset, or (TLS) without close_notify."""


@attrs.frozen
class Running:
    """A port that runs in another thread."""

    port: MeshPort
    loop: asyncio.AbstractEventLoop

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the port's loop, and return what it does."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(TIMEOUT)

    def ask(self, what: Callable[[], _T]) -> _T:
        """Call something in the port's loop."""

        async def asked() -> _T:
            return what()

        return self.call(asked())

    @property
    def number(self) -> int:
        address = self.port.addresses[0]
        assert isinstance(address, tuple)
        number: int = address[1]
        return number

    @property
    def hub(self) -> Hub:
        hub = self.port._hub  # noqa: SLF001 - what it holds is not for users
        assert hub is not None
        return hub

    def relay(self) -> Relay:
        """Return the only connection."""
        (relay,) = self.hub._relays  # noqa: SLF001 - as above
        return relay

    def is_empty(self) -> bool:
        """Wait until no connection is left, and no handshake."""
        return eventually(lambda: not self.hub._relays)  # noqa: SLF001 - as above


@contextlib.contextmanager
def running_port(
    port: MeshPort,
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    sockets: list[socket.socket] | None = None,
) -> Iterator[Running]:
    """Run a port until the end of the block; nothing may fail in its loop unseen."""
    failures: list[dict[str, Any]] = []
    started: queue.SimpleQueue[Running | BaseException] = queue.SimpleQueue()
    stopped = threading.Event()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, failure: failures.append(failure))
        try:
            await port.start(sockets)
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits for the start
            started.put(error)
            return
        started.put(Running(port, loop))
        await asyncio.to_thread(stopped.wait)
        await port.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        found = started.get(timeout=TIMEOUT)
        if isinstance(found, BaseException):
            raise found
        yield found
    finally:
        stopped.set()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    assert failures == []


# -- The upstream -------------------------------------------------------------


class Line:
    """One end of a connection; a blocking socket, with or without TLS.

    Args:
        plain: A connected socket; it is closed with the block.
        context: The context of a client with TLS; None for no TLS.
    """

    def __init__(self, plain: socket.socket, context: ssl.SSLContext | None = None) -> None:
        self.plain = plain
        plain.settimeout(TIMEOUT)
        if plain.family != socket.AF_UNIX:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = None if context is None else context.wrap_bio(self._incoming, self._outgoing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.plain.close()

    def shake_hands(self, early: bytes = b"") -> Line:
        """Shake hands; send *early* together with the last flight."""
        assert self.tls is not None
        self._run(self.tls.do_handshake, flush=not early)
        if early:
            self.send(early)
        return self

    def send(self, data: bytes) -> None:
        if self.tls is None:
            self.plain.sendall(data)
            return
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        self._flush()

    def end(self) -> None:
        """Say that nothing more is to come, and go on reading."""
        if self.tls is None:
            self.plain.shutdown(socket.SHUT_WR)
            return
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()

    def reset(self) -> None:
        """Close it with a reset."""
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.plain.close()

    def receive(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        received = bytearray()
        while len(received) < size:
            chunk = self._read(size - len(received))
            assert chunk, f"it ended after {len(received)} bytes"
            received += chunk
        return bytes(received)

    def rest(self) -> tuple[bytes, Ending]:
        """Read to the end; return what came, and how it ended."""
        received = bytearray()
        try:
            while chunk := self._read(65536):
                received += chunk
        except ssl.SSLZeroReturnError:
            return bytes(received), "end"
        except ssl.SSLEOFError:
            return bytes(received), "truncated"
        except ConnectionResetError:
            return bytes(received), "reset"
        return bytes(received), "end"

    def _read(self, size: int) -> bytes:
        tls = self.tls
        return self.plain.recv(size) if tls is None else self._run(lambda: tls.read(size))

    def _run(self, call: Callable[[], _T], *, flush: bool = True) -> _T:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self.plain.recv(65536):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                if flush:
                    self._flush()
                return result

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self.plain.sendall(data)


class Upstream:
    """A service that a test plays itself: it takes each connection by hand."""

    def __init__(self, listener: socket.socket, address: str) -> None:
        self._listener = listener
        listener.settimeout(TIMEOUT)
        self.address = address

    def take(self) -> Line:
        """Return the next connection."""
        plain, _ = self._listener.accept()
        return Line(plain)

    def is_quiet(self) -> bool:
        """Return whether nobody has connected; ask when everything that could cause it has ended."""
        self._listener.settimeout(0)
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(TIMEOUT)
        return False


@contextlib.contextmanager
def tcp_upstream(backlog: int = 16) -> Iterator[Upstream]:
    with socket.create_server((HOST, 0), backlog=backlog) as listener:
        yield Upstream(listener, f"{HOST}:{listener.getsockname()[1]}")


@contextlib.contextmanager
def unix_upstream(path: Path, backlog: int = 16) -> Iterator[Upstream]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(backlog)
        yield Upstream(listener, f"unix:{path}")


def connect(running: Running) -> socket.socket:
    return socket.create_connection((HOST, running.number), TIMEOUT)


@contextlib.contextmanager
def joined(
    running: Running, upstream: Upstream, context: ssl.SSLContext | None
) -> Iterator[tuple[Line, Line]]:
    """Yield both ends of a connection through a port: the client's and the upstream's."""
    with Line(connect(running), context) as client:
        if context is not None:
            client.shake_hands()
        with upstream.take() as service:
            yield client, service


def port_of(mesh: Mesh, upstream: Upstream, **options: Any) -> MeshPort:  # noqa: ANN401 - those of a port
    return MeshPort(mesh, upstream.address, **options)
