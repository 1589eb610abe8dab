"""What `MeshPort` costs beside a plain forwarder of asyncio, HAProxy and nginx.

Each is a process of its own, with one thread, between the same clients and the same plain server, and
what is counted is the processor time and the memory of that process. All take turns in one run.

    python benchmarks/bench_port.py             all
    python benchmarks/bench_port.py memory      those whose title has this in it
"""

from __future__ import annotations

import resource
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import attrs
from forwarders import HOST, Files, Running, haproxy, haproxy_path, nginx, nginx_path, python
from ratios import show_spread

from meshid.testing import CA

ROUNDS = 15
UNIT = "a plain forwarder of asyncio: streams, ssl.SSLContext"
IDLE, STALLED = 2000, 500
_AT_ONCE = 4
Start: TypeAlias = Callable[[Files, Path], Any]


def main(wanted: str) -> None:
    """Measure what has *wanted* in its title."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    ca = CA("prod.example.org")
    client = ca.issue("/ns/checkout/sa/api").client_context()
    own = ca.issue("/ns/payments/sa/api")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        files = Files(folder / "chain.pem", folder / "authority.pem", 0)
        files.chain.write_bytes(own.chain_pem)
        files.key.write_bytes(own.key_pem)
        files.authority.write_bytes(ca.pem)
        upstream = stack.enter_context(python("upstream", "asyncio", files))
        files = attrs.evolve(files, upstream=upstream.port)
        compare(wanted, files, folder, client)
        for start_name, start in starts().items():
            if wanted in "memory":
                weigh(start_name, start, files, folder, client)


def starts() -> dict[str, Start]:
    """Return how to start each forwarder that is installed."""

    def ours(program: str, loop: str) -> Start:
        return lambda files, _: python(program, loop, files)

    found = {UNIT: ours("plain", "asyncio"), "MeshPort": ours("port", "asyncio")}
    if find_spec("uvloop"):
        found["the plain forwarder, on uvloop"] = ours("plain", "uvloop")
        found["MeshPort, on uvloop"] = ours("port", "uvloop")
    if haproxy_path():
        found["HAProxy, mode tcp"] = haproxy
    if nginx_path():
        found["nginx, stream"] = nginx
    return found


# -- Processor time -----------------------------------------------------------


def compare(wanted: str, files: Files, folder: Path, client: ssl.SSLContext) -> None:
    """Compare all in the processor time that each kind of work takes."""
    works: dict[str, Callable[[int], tuple[int, Callable[[], None]]]] = {
        "a request for 16 KiB": partial(requests, client, 16 * 1024, 50),
        "a request for 1 MiB": partial(requests, client, 1024 * 1024, 4),
        "a new connection, with a request for 100 bytes": partial(connections, client),
    }
    with ExitStack() as stack:
        running = {}
        for number, (name, start) in enumerate(starts().items()):
            own = folder / str(number)
            own.mkdir()
            running[name] = stack.enter_context(start(files, own))
        for title, work in works.items():
            if wanted in title:
                show_spread(f"Processor time of the forwarder for {title}", take_turns(running, work), UNIT)


def take_turns(
    running: Mapping[str, Running], work: Callable[[int], tuple[int, Callable[[], None]]]
) -> dict[str, list[float]]:
    """Return the seconds of processor time of one request or connection, for each round."""
    seconds: dict[str, list[float]] = {name: [] for name in running}
    ready = {name: work(each.port) for name, each in running.items()}
    for number in range(1 + ROUNDS):
        for name, each in running.items():
            count, call = ready[name]
            start = each.seconds()
            call()
            # The last of it may come after the answer.
            time.sleep(0.005)
            # The first round only warms up.
            if number:
                seconds[name].append((each.seconds() - start) / count)
    return seconds


def requests(client: ssl.SSLContext, size: int, count: int, port: int) -> tuple[int, Callable[[], None]]:
    """Return how many requests over open connections a call makes, and the call."""
    links = [connect(client, port) for _ in range(_AT_ONCE)]

    def one(link: ssl.SSLSocket) -> None:
        for _ in range(count):
            ask(link, size)

    pool = ThreadPoolExecutor(_AT_ONCE)
    return _AT_ONCE * count, partial(_all, pool, one, links)


def connections(client: ssl.SSLContext, port: int) -> tuple[int, Callable[[], None]]:
    """Return how many connections a call makes, and the call."""

    def one(_: int) -> None:
        with connect(client, port) as link:
            ask(link, 100)

    pool = ThreadPoolExecutor(_AT_ONCE)
    return 40, partial(_all, pool, one, range(40))


def _all(pool: ThreadPoolExecutor, one: Callable[[Any], None], each: Iterable[object]) -> None:
    for _ in pool.map(one, each):
        pass


def connect(client: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """Return a new connection."""
    plain = socket.create_connection((HOST, port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client.wrap_socket(plain)


def ask(link: ssl.SSLSocket, size: int) -> None:
    """Send one request and read its answer."""
    link.sendall(b"%d\n" % size)
    buffer = bytearray(256 * 1024)
    while size:
        got = link.recv_into(buffer)
        assert got
        size -= got


# -- Memory -------------------------------------------------------------------


def weigh(name: str, start: Start, files: Files, folder: Path, client: ssl.SSLContext) -> None:
    """Print what connections cost that do nothing, and what a good client notices of them."""
    print(f"\nMemory: {name}")
    for what, count, make in (
        ("idle connections", IDLE, partial(connect, client)),
        ("clients that say nothing", STALLED, silent),
        ("handshakes half done", STALLED, partial(stall, client)),
    ):
        with ExitStack() as stack:
            free, busy = (
                stack.enter_context(
                    start(files, Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder))))
                )
                for _ in range(2)
            )
            # What a first connection loads stays.
            slower(client, free.port, busy.port)
            before = busy.resident()
            for _ in range(count):
                stack.enter_context(make(busy.port))
            time.sleep(0.2)
            each = (busy.resident() - before) / count
            beside = slower(client, free.port, busy.port)
        print(f"  {count} {what:<25} {each:7.1f} KiB each; beside them, a good client needs {beside:.2f} x")


def slower(client: ssl.SSLContext, free: int, busy: int) -> float:
    """Return how many times as long a connection with one request takes at *busy* as at *free*."""
    seconds: dict[int, list[float]] = {free: [], busy: []}
    for port in (free, busy) * 100:
        start = time.perf_counter()
        with connect(client, port) as link:
            ask(link, 16 * 1024)
        seconds[port].append(time.perf_counter() - start)
    return statistics.median(seconds[busy]) / statistics.median(seconds[free])


@contextmanager
def silent(port: int) -> Iterator[None]:
    """Connect, and say nothing."""
    with socket.create_connection((HOST, port)):
        yield


@contextmanager
def stall(client: ssl.SSLContext, port: int) -> Iterator[None]:
    """Begin a handshake, take the server's answer, and say nothing more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client.wrap_bio(incoming, outgoing)
    with socket.create_connection((HOST, port)) as plain:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            plain.sendall(outgoing.read())
        assert plain.recv(1)
        yield


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
