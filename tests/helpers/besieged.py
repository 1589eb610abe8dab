"""A server in a process of its own, for clients that keep it waiting: `python -m tests.helpers.besieged`."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import resource
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from meshid import BundleSet, Mesh, TrustBundle, X509Svid
from tests.helpers.tls_peers import HELLO, HOST, policy

Serve = Callable[[ssl.SSLContext, Callable[[int], None]], None]
"""Serves, and tells the port; never returns."""


class Greeter(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(HELLO)))
        self.end_headers()
        self.wfile.write(HELLO)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve_http(context: ssl.SSLContext, tell: Callable[[int], None]) -> None:
    server = http.server.ThreadingHTTPServer((HOST, 0), Greeter)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    tell(server.server_address[1])
    server.serve_forever()


def serve_asyncio(context: ssl.SSLContext, tell: Callable[[int], None]) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + HELLO)
            await writer.drain()
        writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(greet, HOST, 0, ssl=context, backlog=1024) as server:
            tell(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    asyncio.run(serve())


SERVERS: dict[str, Serve] = {"http": serve_http, "asyncio": serve_asyncio}


def say(*numbers: int) -> None:
    sys.stdout.write(" ".join(map(str, numbers)) + "\n")
    sys.stdout.flush()


def answer() -> None:
    """For each line that is read, write how many kB the process has, and how many descriptors."""
    for _ in sys.stdin:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        say(pages * resource.getpagesize() // 1024, len(list(Path("/proc/self/fd").iterdir())))


def main(kind: str, timeout: str, own: str, trusted: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    mesh = Mesh(
        credentials=X509Svid.from_pem(Path(own).read_bytes()),
        bundles=BundleSet([TrustBundle.from_pem("prod.example.org", Path(trusted).read_bytes())]),
        policy=policy(),
        service="payments",
    )
    threading.Thread(target=answer, daemon=True).start()
    SERVERS[kind](mesh.server_context(handshake_timeout=float(timeout)), say)


if __name__ == "__main__":
    main(*sys.argv[1:])
