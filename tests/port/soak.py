"""A soak: clients of all kinds come and go for a while, and nothing of them stays.

Run it for as long as you like: ``python -m tests.port.soak --seconds 300 --loop uvloop``. It prints what
was seen as JSON; the status is 1 if anything of it was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import ctypes
import gc
import json
import logging
import os
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs

from meshid import Mesh, Revocations
from meshid.port import MeshPort
from meshid.testing import CA
from tests.helpers.mounted import eventually
from tests.helpers.ports import MAKERS, Line, Running, connect, running_port
from tests.helpers.tls_peers import HOST, PATH, TIMEOUT, mesh_of, stranger

CLIENTS = 12
"""Clients at the same time."""

MAX_GROWTH = 24.0
"""MiB by which the process may grow in the last two thirds of the time.

Twelve threads of a busy machine leave 12 MiB to the allocator; a thousand connections that stayed take 27."""

BULK = bytes(range(251)) * 4177

REMOVED = "/ns/shop/sa/removed"


@attrs.define
class Report:
    """What was seen.

    Attributes:
        counts: How often each thing happened.
        wrong: What must not happen, and did.
        grown: The MiB by which the process grew in the last two thirds of the time.
    """

    counts: collections.Counter[str] = attrs.field(factory=collections.Counter)
    wrong: list[str] = attrs.field(factory=list)
    grown: float = 0.0


@attrs.frozen
class Level:
    """What the process holds."""

    resident: float
    files: int
    threads: int

    @classmethod
    def now(cls) -> Level:
        """Measure it; what was freed is given back to the system first."""
        gc.collect()
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        return cls(resident, len(list(Path("/proc/self/fd").iterdir())), threading.active_count())


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class Soak:
    """Clients of all kinds, for a while.

    Args:
        running: The port; its upstream sends back what it gets.
        authority: Who has issued the certificates that are admitted.
        mesh: Its mesh.
        seed: What chance begins with.
    """

    def __init__(self, running: Running, authority: CA, mesh: Mesh, seed: int) -> None:
        self.report = Report()
        self._running = running
        self._mesh = mesh
        self._seed = seed
        self._good = stranger(authority.issue(PATH))
        self._removed = stranger(authority.issue(REMOVED))
        self._forged = stranger(CA("prod.example.org").issue(PATH))
        self._stop = threading.Event()
        self._removal = threading.Lock()

    def run(self, seconds: float) -> Report:
        """Let them come for some *seconds*."""
        threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(CLIENTS)]
        for each in threads:
            each.start()
        time.sleep(seconds / 3)
        before = self._settled(threads, restart=True)
        time.sleep(2 * seconds / 3)
        after = self._settled(threads, restart=False)
        self.report.grown = after.resident - before.resident
        if self.report.grown > MAX_GROWTH:
            self.report.wrong.append(f"it grew by {self.report.grown:.1f} MiB")
        if (before.files, before.threads) != (after.files, after.threads):
            self.report.wrong.append(f"files and threads: {before} became {after}")
        return self.report

    def _settled(self, threads: list[threading.Thread], *, restart: bool) -> Level:
        """Wait until all have gone, and measure; then let them come again."""
        self._stop.set()
        for each in threads:
            each.join(2 * TIMEOUT)
            if each.is_alive():
                self.report.wrong.append("a client hangs")
        if not self._running.is_empty():
            self.report.wrong.append(f"connections stay: {self._running.port.figures()}")
        # The upstream's own ends.
        time.sleep(0.3)
        level = Level.now()
        if restart:
            self._stop.clear()
            threads[:] = [threading.Thread(target=self._visit, args=(number,)) for number in range(CLIENTS)]
            for each in threads:
                each.start()
        return level

    def _visit(self, number: int) -> None:
        chance = random.Random(self._seed + number)  # noqa: S311 - a drill
        visits = [self._exchange] * 4 + [
            self._stay_and_be_removed,
            self._break_off,
            self._leave,
            self._be_refused,
            self._be_silent,
            self._babble,
        ]
        while not self._stop.is_set():
            visit = chance.choice(visits)
            self.report.counts[visit.__name__.strip("_")] += 1
            try:
                visit(chance)
            except Exception as error:  # noqa: BLE001 - all are reported
                self.report.wrong.append(f"{visit.__name__}: {error!r}")
                return

    def _exchange(self, chance: random.Random) -> None:
        """Send, end, and read all back."""
        said = BULK[: chance.choice([10, 10_000, 200_000])]
        with Line(connect(self._running), self._good) as line:
            line.shake_hands(said)
            line.end()
            answer, ending = line.rest()
            if (answer, ending) != (said, "end"):
                self.report.wrong.append(f"{len(answer)} of {len(said)} bytes came back: {ending}")

    def _stay_and_be_removed(self, _: random.Random) -> None:
        # One at a time: another's end of this would let the peer in again, before the port has seen it.
        with (
            self._removal,
            Line(connect(self._running), self._removed) as line,
            suppress(ssl.SSLError, ConnectionError),
        ):
            line.shake_hands(b"hello")
            self._mesh.publish(revocations=Revocations(deny=[f"spiffe://prod.example.org{REMOVED}"]))
            try:
                seen = line.rest()
            finally:
                self._mesh.publish(revocations=Revocations())
            # Refused at the end of the handshake, it sees an end as well, and nothing before it.
            if seen == (b"hello", "end"):
                self.report.wrong.append("a peer that was removed saw an end")

    def _break_off(self, chance: random.Random) -> None:
        """Reset the connection with much under way."""
        with Line(connect(self._running), self._good) as line, suppress(ConnectionError):
            line.shake_hands()
            line.plain.settimeout(0.05)
            with suppress(TimeoutError):
                line.send(BULK[: chance.randrange(len(BULK))])
            line.reset()

    def _leave(self, _: random.Random) -> None:
        """Close TCP in the middle, without a word."""
        with Line(connect(self._running), self._good) as line:
            line.shake_hands(b"half a requ")

    def _be_refused(self, _: random.Random) -> None:
        with Line(connect(self._running), self._forged) as line, suppress(ssl.SSLError, ConnectionError):
            line.shake_hands(b"let me in")
            if line.rest()[0]:
                self.report.wrong.append("a stranger got an answer")

    def _be_silent(self, chance: random.Random) -> None:
        with connect(self._running):
            self._stop.wait(chance.random() / 4)

    def _babble(self, chance: random.Random) -> None:
        with Line(connect(self._running)) as line, suppress(ConnectionError):
            line.send(chance.randbytes(chance.randrange(1, 3000)))
            line.end()
            line.rest()


def soak(seconds: float, make_loop: Callable[[], asyncio.AbstractEventLoop], seed: int) -> Report:
    """Run it, and tell what was seen."""
    authority = CA("prod.example.org")
    mesh = mesh_of(authority)
    loop, started = asyncio.new_event_loop(), threading.Event()
    upstream: list[asyncio.Server] = []

    async def serve() -> None:
        upstream.append(await asyncio.start_server(_echo, HOST, 0))
        started.set()

    def run() -> None:
        task = loop.create_task(serve())
        loop.run_forever()
        task.result()

    serving = threading.Thread(target=run)
    serving.start()
    started.wait(TIMEOUT)
    port = MeshPort(mesh, f"{HOST}:{upstream[0].sockets[0].getsockname()[1]}", handshake_timeout=1.0)
    try:
        with running_port(port, make_loop) as running:
            report = Soak(running, authority, mesh, seed).run(seconds)
        figures = port.figures()
        if not (figures.admitted and figures.refused and figures.broken_off):
            report.wrong.append(f"not all kinds came: {figures}")
        return report
    finally:
        loop.call_soon_threadsafe(upstream[0].close)
        loop.call_soon_threadsafe(loop.stop)
        serving.join(TIMEOUT)
        eventually(lambda: not loop.is_running())
        loop.close()


parser = argparse.ArgumentParser(prog="python -m tests.port.soak", description=__doc__)
parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
parser.add_argument("--loop", choices=list(MAKERS), default="asyncio", help="the loop of the port (asyncio)")
parser.add_argument("--seed", type=int, default=int(time.time()), help="what chance begins with (the time)")

if __name__ == "__main__":
    given = parser.parse_args()
    logging.disable()
    seen = soak(given.seconds, MAKERS[given.loop], given.seed)
    sys.stdout.write(json.dumps({"seed": given.seed, **attrs.asdict(seen)}, indent=2) + "\n")
    sys.exit(bool(seen.wrong))
