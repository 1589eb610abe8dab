"""What meshid costs a FastAPI application on uvicorn: processor time of the server's process.

Each server is a process of its own, with the same application and the same clients, over TLS 1.3 with client
certificates and without session tickets. A new connection is a handshake of a known peer, one request and the
end; a kept one sends its requests one after the other. In a round, one server follows the other.

    python benchmarks/bench_frameworks.py [--rounds 25] [--plot]     # --plot draws docs/frameworks-cost.svg
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import ssl
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from bar_plot import Bar, plot
from bench_handshake import plain
from fastapi import FastAPI
from ratios import Timed, take_turns
from scene import POLICY

from meshid import BundleSet, Mesh
from meshid.http import ASGIMiddleware
from meshid.testing import CA, Issued

ROUNDS = 25
CONNECTIONS = 40
REQUESTS = 400
_CLIENTS = 4
_HOST = "127.0.0.1"
_REQUEST = b"GET /v1/charges/42 HTTP/1.1\r\nHost: payments\r\n\r\n"
_PLOT = Path(__file__).parents[1] / "docs" / "frameworks-cost.svg"

STACKS = {"h11 and asyncio": ("h11", "asyncio"), "httptools and uvloop": ("httptools", "uvloop")}
PLAIN, CONTEXT, MIDDLEWARE = "a plain context", "our context", "our context and ASGIMiddleware"
WANTED = {"new connections": (PLAIN, 0.95), "requests on kept connections": (CONTEXT, 0.90)}
"""Beside which server, and how many of its connections or requests in the same processor time."""

Serve = Callable[[socket.socket], None]
App = Callable[..., Any]


def application() -> App:
    """Return what a user has."""
    app = FastAPI()

    @app.get("/v1/charges/{number}")
    async def charge(number: int) -> dict[str, int]:
        return {"charge": number}

    return app


def servers(ca: CA, stack: str) -> dict[str, Serve]:
    """Return the servers that are compared."""
    own, (http, loop), app = ca.issue("/ns/payments/sa/api"), STACKS[stack], application()
    mesh = Mesh(credentials=own.svid, bundles=BundleSet([ca.bundle()]), policy=POLICY, service="payments")

    def serve(app: App, context: ssl.SSLContext, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            http=http,
            loop=loop,
            log_config=None,
            access_log=False,
            timeout_keep_alive=3600,
            ssl_context_factory=lambda *_: context,
        )
        uvicorn.Server(config).run(sockets=[listener])

    return {
        PLAIN: partial(serve, app, plain(ca, own, tickets=0)),
        CONTEXT: partial(serve, app, mesh.server_context(http=True)),
        MIDDLEWARE: partial(serve, ASGIMiddleware(app, mesh), mesh.server_context(http=True)),
    }


class Served:
    """A server in a process of its own.

    Args:
        serve: The server.
    """

    def __init__(self, serve: Serve) -> None:
        self._listener = socket.create_server((_HOST, 0))
        # As where uvicorn binds: asyncio sets it for sockets of the protocol TCP, and ours says 0. Without it
        # h11, which writes head and body apart, waits 40 ms for each request.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._listener.getsockname()[1]
        self._asking, answering = multiprocessing.Pipe()
        # Forked, so that it has what was made here; there are no threads yet.
        self.process = multiprocessing.get_context("fork").Process(
            target=self._run, args=(serve, answering), daemon=True
        )
        self.process.start()
        self._listener.close()

    def _run(self, serve: Serve, answering: Connection) -> None:
        def tell() -> None:
            while True:
                answering.recv()
                answering.send(time.process_time())

        threading.Thread(target=tell, daemon=True).start()
        serve(self._listener)

    @property
    def seconds(self) -> float:
        """The processor time that it has used."""
        self._asking.send(None)
        seconds: float = self._asking.recv()
        return seconds


class Client:
    """Connects, and asks.

    Args:
        context: Presents a certificate.
        port: That of the server.
    """

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        tcp = socket.create_connection((_HOST, port))
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_socket(tcp)

    def ask(self, times: int) -> None:
        """Ask, one request after the other."""
        for _ in range(times):
            self.tls.sendall(_REQUEST)
            answer = self.tls.recv(65536)
            while not answer.endswith(b"}"):
                more = self.tls.recv(65536)
                assert more, answer
                answer += more
            assert answer.startswith(b"HTTP/1.1 200 OK"), answer

    def close(self) -> None:
        """Go away."""
        self.tls.close()


def connections(pool: ThreadPoolExecutor, context: ssl.SSLContext, server: Served) -> float:
    """Return the seconds of the server's processor time for a connection with one request."""

    def visit(_: int) -> None:
        client = Client(context, server.port)
        client.ask(1)
        client.close()

    start = server.seconds
    list(pool.map(visit, range(CONNECTIONS)))
    return (server.seconds - start) / CONNECTIONS


def requests(pool: ThreadPoolExecutor, clients: list[Client], server: Served) -> float:
    """Return the seconds of the server's processor time for a request."""
    start = server.seconds
    list(pool.map(lambda client: client.ask(REQUESTS // _CLIENTS), clients))
    return (server.seconds - start) / REQUESTS


@contextmanager
def running(ca: CA, stack: str) -> Iterator[dict[str, Served]]:
    """Run the servers."""
    served = {name: Served(serve) for name, serve in servers(ca, stack).items()}
    try:
        yield served
    finally:
        for each in served.values():
            each.process.kill()
            each.process.join()


def compare(stack: str, rounds: int) -> Iterator[Bar]:
    """Measure the servers of one stack, and print and return how they compare."""
    ca = CA("prod.example.org")
    with running(ca, stack) as served, ThreadPoolExecutor(_CLIENTS) as pool:
        context = known(ca).client_context()
        kept = {name: [Client(context, it.port) for _ in range(_CLIENTS)] for name, it in served.items()}
        calls: dict[str, dict[str, Timed]] = {
            "new connections": {name: partial(connections, pool, context, it) for name, it in served.items()},
            "requests on kept connections": {
                name: partial(requests, pool, kept[name], it) for name, it in served.items()
            },
        }
        for kind, each in calls.items():
            take_turns(each, 2, 1)
            yield from report(f"{kind}, {stack}", *WANTED[kind], take_turns(each, rounds, 1))


def known(ca: CA) -> Issued:
    """Return a client that may connect, and is known after its first connection."""
    return ca.issue("/ns/checkout/sa/api")


def report(title: str, beside: str, wanted: float, rounds: dict[str, list[float]]) -> Iterator[Bar]:
    """Print the medians and the ratios of the rounds; return them."""
    print(f"\n{title}")
    for name, each in rounds.items():
        ratios = [theirs / mine for mine, theirs in zip(each, rounds[beside], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        # What else runs on the machine only adds to a round: the fastest tenth has the least of it.
        fastest, unit = (
            statistics.quantiles(which, n=10, method="inclusive")[0] * 1e6 for which in (each, rounds[beside])
        )
        microseconds = statistics.median(each) * 1e6
        print(f"  {name:<34} {microseconds:8.1f} us   {middle:5.2f} of it ({low:.2f} to {high:.2f})")
        print(f"  {'the fastest tenth':>34} {fastest:8.1f} us   {unit / fastest:5.2f} of it")
        yield Bar(title, name, fastest, unit / fastest, is_unit=name == beside)
        if name == MIDDLEWARE and middle < wanted:
            print(f"  TOO SLOW: {wanted:.2f} of what {beside} does in the same time is wanted")


def main() -> None:
    """Measure both stacks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--plot", action="store_true")
    arguments = parser.parse_args()
    bars = [bar for stack in STACKS for bar in compare(stack, arguments.rounds)]
    if arguments.plot:
        caption = (
            f"Python {sys.version.split()[0]}, uvicorn {uvicorn.__version__}; the fastest tenth of the rounds"
        )
        _PLOT.write_text(plot("Processor time of a FastAPI application on uvicorn", bars, caption))


if __name__ == "__main__":
    main()
