"""What users plug into a mesh: handlers that fail, and code that asks the mesh back."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from meshid import Mesh, Peer
from tests.helpers.tls_peers import TIMEOUT


class Handler(logging.Handler):
    """A log handler that acts on each record."""

    def __init__(self, act: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self.act = act

    def emit(self, record: logging.LogRecord) -> None:
        self.act(record)


@contextmanager
def handling(act: Callable[[logging.LogRecord], None], name: str = "meshid") -> Iterator[None]:
    """Add a log handler that acts on each record of meshid."""
    handler, logger = Handler(act), logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def failing(_: object) -> None:
    """Fail, as a handler does whose log server is down."""
    msg = "the log server is down"
    raise ConnectionError(msg)


class Asking:
    """Code of the user's that another thread of the user's waits in, while it asks the mesh everything.

    It asks once, when it is called and there is a peer to ask about.
    """

    def __init__(self) -> None:
        self.mesh: Mesh | None = None
        self.peer: Peer | None = None
        self.asked = 0

    def __call__(self, *_: object) -> None:
        if self.mesh is None or self.peer is None:
            return
        mesh, peer, self.mesh = self.mesh, self.peer, None
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ask_everything, mesh, peer).result(TIMEOUT)
        self.asked += 1


def ask_everything(mesh: Mesh, peer: Peer) -> None:
    """Call all that a mesh can be asked."""
    assert mesh.health()
    assert mesh.status()["ready"]
    mesh.refresh()
    mesh.counts()
    mesh.sources()
    mesh.check(peer)
    mesh.admit(peer.chain, expect="/**" if peer.role == "server" else None)
    mesh.publish(credentials=mesh.snapshot.credentials)


@contextmanager
def signalled(act: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Yield a function that interrupts the main thread, right there, with a signal handler that acts."""
    before = signal.signal(signal.SIGUSR1, lambda *_: act())
    try:
        yield lambda: signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
