"""Visitors who come, stay and are removed, while parts go bad and good and other people's code misbehaves."""

from __future__ import annotations

import collections
import logging
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs
from typing_extensions import override

from meshid import AuditEvent, Mesh
from meshid.sources import SourceUnavailable
from tests.chaos.scene import Guest, Scene
from tests.helpers.tls_peers import HELLO, HOST, TIMEOUT, asyncio_server

LIMIT = 2.0
"""Seconds after a change until which the old state may be seen."""

SETTLING = LIMIT
"""Seconds for which a part is left alone after a change, so that it is read before it is spoilt."""

MAX_GROWTH = 24.0
"""MiB by which the process may grow in the last two thirds of the time."""

JUMP = 400 * 86_400.0
"""Seconds by which the clock jumps: beyond the end of every certificate."""


class JumpingClock:
    """A clock that is wrong now and then."""

    def __init__(self) -> None:
        self.off = 0.0
        self.wrong_until = -LIMIT

    def __call__(self) -> float:
        return time.time() + self.off

    def jump(self, by: float, seconds: float) -> None:
        """Be wrong for some seconds."""
        self.wrong_until, self.off = float("inf"), by
        time.sleep(seconds)
        self.off, self.wrong_until = 0.0, time.monotonic()

    def was_right_since(self, began: float) -> bool:
        """Tell whether it has been right since *began*, and for a while before."""
        return self.wrong_until + LIMIT < began


@attrs.define
class Report:
    """What was seen.

    Attributes:
        counts: How often each thing happened.
        wrong: What must not happen, and did.
        slowest: The seconds that the slowest `Mesh.health` and `Mesh.status` took together.
        grown: The MiB by which the process grew in the last two thirds of the time.
    """

    counts: collections.Counter[str] = attrs.field(factory=collections.Counter)
    wrong: list[str] = attrs.field(factory=list)
    slowest: float = 0.0
    grown: float = 0.0


class Unruly:
    """Other people's code: a sink, a callback and log handlers that are slow, ask back, and raise."""

    def __init__(self, chance: random.Random, report: Report) -> None:
        self.mesh: Mesh | None = None
        self._chance, self._report = chance, report

    def sink(self, _: AuditEvent) -> None:
        """Be slow now and then; a sink that raises refuses, which is another test."""
        self.misbehave(raising=False, seconds=0.05)

    def on_revoked(self, *_: object) -> None:
        """Do anything."""
        self._report.counts["ended and told"] += 1
        self.misbehave(raising=True, seconds=3.0)

    def misbehave(self, *, raising: bool, seconds: float) -> None:
        """Do anything; sleep for at most some *seconds*."""
        self._report.counts["other people's code"] += 1
        what = self._chance.randrange(12)
        if what == 0:
            time.sleep(self._chance.random() * seconds)
        elif what == 1 and self.mesh is not None:
            self.mesh.health()
            self.mesh.status()
        elif what == 2 and self.mesh is not None:
            with suppress(SourceUnavailable):
                self.mesh.refresh()
        elif what in {3, 4} and raising:
            raise self._chance.choice([ValueError, OSError, RecursionError])


class Handler(logging.Handler):
    """A log handler that lets every exception out."""

    def __init__(self, unruly: Unruly) -> None:
        super().__init__(logging.DEBUG)
        self._unruly = unruly

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._unruly.misbehave(raising=True, seconds=0.05)


class Drill:
    """One run.

    Args:
        root: An empty directory.
        seed: The same one makes the same choices, though not at the same instants.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.report = Report()
        self._chance = random.Random(seed)  # noqa: S311 - not a secret
        self._clock = JumpingClock()
        self._scene = Scene(root, self._chance)
        self._over = threading.Event()
        self._unruly = Unruly(self._chance, self.report)

    def run(self, seconds: float) -> Report:
        """Let everything happen for some seconds."""
        for name in ("meshid.refresh", "meshid.audit"):
            logger = logging.getLogger(name)
            logger.setLevel(logging.INFO)
            logger.propagate = False
            logger.addHandler(Handler(self._unruly))
        before = _resources()
        mesh = Mesh.from_sources(
            self._scene.sources(),
            service="payments",
            audit=self._unruly.sink,
            on_revoked=self._unruly.on_revoked,
            clock=self._clock,
        )
        with mesh, asyncio_server(mesh.server_context()) as service:
            self._unruly.mesh = mesh
            acts: list[Callable[[], None]] = [
                *[lambda: self._visit(service.port)] * 2,
                *[lambda: self._stay(service.port)] * 2,
                self._spoil,
                self._remove,
                lambda: self._probe(mesh),
                self._jump,
            ]
            threads = [threading.Thread(target=self._keep, args=(act,)) for act in acts]
            for thread in threads:
                thread.start()
            begun, warm = time.monotonic(), 0.0
            while (gone := time.monotonic() - begun) < seconds:
                time.sleep(min(2.0, seconds / 10))
                self._fork(mesh)
                if not warm and gone > seconds / 3:
                    warm = _resident()
            self._over.set()
            for thread in threads:
                thread.join(TIMEOUT)
                if thread.is_alive():
                    self.report.wrong.append(f"deadlock: {thread.name} does not end")
            self.report.counts["generations"] = mesh.snapshot.generation
        self._compare(before, mesh)
        self.report.grown = _resident() - warm
        if self.report.grown > MAX_GROWTH:
            self.report.wrong.append(f"leak: the process grew by {self.report.grown:.0f} MiB")
        return self.report

    def _keep(self, act: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                act()
            except Exception as error:  # noqa: BLE001 - whatever it is, the drill has found it
                self.report.wrong.append(f"{type(error).__name__}: {error}")

    # -- Visitors

    def _visit(self, port: int) -> None:
        self._come(port, calls=1)

    def _stay(self, port: int) -> None:
        self._come(port, calls=self._chance.randrange(2, 400))

    def _come(self, port: int, calls: int) -> None:
        guest = self._chance.choice(self._scene.guests)
        state, began = (guest.removed, guest.since), time.monotonic()
        plain = socket.create_connection((HOST, port), TIMEOUT)
        try:
            tls = guest.issued.client_context().wrap_socket(plain)
        except OSError:
            self._judge(guest, state, began, admitted=False)
            return
        with tls:
            for number in range(calls):
                if number:
                    time.sleep(0.05)
                    state, began = (guest.removed, guest.since), time.monotonic()
                answered = self._asks(tls)
                self.report.counts["calls on open connections"] += answered and number > 0
                self._judge(guest, state, began, admitted=answered)
                if not answered or self._over.is_set():
                    return

    def _asks(self, tls: ssl.SSLSocket) -> bool:
        try:
            tls.sendall(HELLO)
            return tls.recv(1024).startswith(b"spiffe://")
        except OSError:
            return False

    def _judge(self, guest: Guest, state: tuple[bool, float], began: float, *, admitted: bool) -> None:
        removed, since = state
        self.report.counts["admitted" if admitted else "refused"] += 1
        if (guest.removed, guest.since) != state or began - since < LIMIT:
            return
        if removed and admitted:
            text = f"{guest.name} was admitted {began - since:.1f} s after {guest.part} removed it"
            self.report.wrong.append(text)
        if not removed and not admitted and self._clock.was_right_since(began):
            text = f"{guest.name} was refused {began - since:.1f} s after it was good"
            self.report.wrong.append(text)

    # -- What goes wrong

    def _spoil(self) -> None:
        part = self._free_part()
        if part is not None:
            way = self._chance.choice(list(self._scene.parts[part].spoilt))
            self._scene.parts[part].spoilt[way]()
            self.report.counts[f"{part} spoilt"] += 1
            time.sleep(self._chance.random())
            self._scene.parts[part].write()
            self._scene.parts[part].busy_until = time.monotonic() + SETTLING

    def _remove(self) -> None:
        part = self._free_part()
        if part is not None:
            self._scene.remove_or_restore(part)
            self.report.counts[f"{part} changed"] += 1
            self._scene.parts[part].busy_until = time.monotonic() + SETTLING
        time.sleep(self._chance.random() / 2)

    def _free_part(self) -> str | None:
        """Return a part that is left alone now, and is ours from here on."""
        name = self._chance.choice(list(self._scene.parts))
        part = self._scene.parts[name]
        if part.busy_until > time.monotonic():
            time.sleep(0.02)
            return None
        part.busy_until = float("inf")
        return name

    def _jump(self) -> None:
        if self._over.wait(self._chance.uniform(6, 12)):
            return
        self._clock.jump(self._chance.choice([-JUMP, JUMP]), 0.3)
        self.report.counts["clock jumps"] += 1

    def _probe(self, mesh: Mesh) -> None:
        began = time.monotonic()
        mesh.health()
        mesh.status()
        self.report.slowest = max(self.report.slowest, time.monotonic() - began)
        self.report.counts["probes"] += 1
        time.sleep(0.05)

    def _fork(self, mesh: Mesh) -> None:
        friend = self._scene.guests[0].issued.chain
        child = os.fork()
        if child == 0:
            os._exit(_admits(mesh, friend))
        end = time.monotonic() + TIMEOUT
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(child, 9)
                self.report.wrong.append("deadlock: a forked child does not end")
                os.waitpid(child, 0)
                return
            time.sleep(0.005)
        self.report.counts["forks"] += 1
        if ended[1] and self._clock.was_right_since(time.monotonic() - TIMEOUT):
            self.report.wrong.append("a forked child refused a good peer")

    # -- What is left

    def _compare(self, before: tuple[int, int], mesh: Mesh) -> None:
        end = time.monotonic() + TIMEOUT
        while (after := _resources()) > before and time.monotonic() < end:
            time.sleep(0.05)
        if after > before:
            self.report.wrong.append(f"leak: (threads, files) were {before}, and are {after}")
        if mesh.open_connections:
            self.report.wrong.append(f"leak: {mesh.open_connections} connections are still open")


def _admits(mesh: Mesh, chain: tuple[bytes, ...]) -> int:
    """Return the status of a forked child."""
    try:
        mesh.admit(chain)
        mesh.health()
    except Exception as error:  # noqa: BLE001 - a child has no other way to tell
        os.write(2, f"child: {error!r} {getattr(error, 'detail', '')}\n".encode())
        return 1
    return 0


def _resources() -> tuple[int, int]:
    # The process keeps one thread for the deadlines of handshakes, once there was a handshake.
    threads = [each for each in threading.enumerate() if each.name != "meshid-handshakes"]
    return len(threads), len(list(Path("/proc/self/fd").iterdir()))


def _resident() -> float:
    """Return the MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
