"""What a `MeshContext` adds to a connection of an asyncio server: processor time of its process.

Real sockets on the loopback, the clients in another process. A connection is a full handshake
of TLS 1.3 with client certificates, one line, one answer, and the end.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import ssl
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from bench_handshake import UNIT, Key, plain
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from ratios import show_spread
from scene import POLICY

from meshid import BundleSet, Mesh
from meshid.testing import CA

ROUNDS = 25
CONNECTIONS = 40
_AT_ONCE = 4
_HOST = "127.0.0.1"
_LINE, _ANSWER = b"who am I?\n", b"one of us\n"


def main() -> None:
    """Measure with the two kinds of keys that meshes use."""
    compare("P-256", ec.generate_private_key(ec.SECP256R1()))
    compare("RSA-2048", rsa.generate_private_key(65537, 2048))


def compare(title: str, key: Key) -> None:
    """Measure the servers, one after the other in each round."""
    ca = CA("prod.example.org", key=key)
    own, known = ca.issue("/ns/payments/sa/api", key=key), ca.issue("/ns/checkout/sa/api", key=key)
    mesh = Mesh(credentials=own.svid, bundles=BundleSet([ca.bundle()]), policy=POLICY, service="payments")
    contexts = {
        UNIT: plain(ca, own, tickets=0),
        "ssl.SSLContext as it comes, 2 session tickets": plain(ca, own, tickets=2),
        "MeshContext, a peer seen before": mesh.server_context(),
    }
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    clients = spawning.Process(target=visit, args=(theirs, known.key_pem + known.chain_pem), daemon=True)
    clients.start()
    rounds = asyncio.run(measure(contexts, ours))
    show_spread(f"A connection of an asyncio server, {title}, server's process", rounds, UNIT)
    clients.kill()
    clients.join()


async def measure(contexts: dict[str, ssl.SSLContext], clients: Connection) -> dict[str, list[float]]:
    """Return the seconds of processor time that a connection took, for each round."""
    servers = {
        name: await asyncio.start_server(answer, _HOST, ssl=context) for name, context in contexts.items()
    }
    done = asyncio.Event()

    def tell() -> None:
        clients.recv()
        done.set()

    asyncio.get_running_loop().add_reader(clients.fileno(), tell)
    seconds: dict[str, list[float]] = {name: [] for name in contexts}
    for number in range(1 + ROUNDS):
        for name, server in servers.items():
            start = time.process_time()
            clients.send(server.sockets[0].getsockname()[1])
            await done.wait()
            done.clear()
            # The first round only warms up.
            if number:
                seconds[name].append((time.process_time() - start) / CONNECTIONS)
    return seconds


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    if await reader.readline() == _LINE:
        writer.write(_ANSWER)
    writer.close()


def visit(orders: Connection, identity: bytes) -> None:
    """Be the clients: connect a number of times to each port that is ordered."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(identity)
        context.load_cert_chain(file.name)

    def connect(port: int) -> None:
        plain_socket = socket.create_connection((_HOST, port))
        plain_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain_socket) as tls, tls.makefile("rb") as answers:
            tls.sendall(_LINE)
            if answers.read() != _ANSWER:
                msg = "the server has not answered"
                raise RuntimeError(msg)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while True:
            list(pool.map(connect, [orders.recv()] * CONNECTIONS))
            orders.send("done")


if __name__ == "__main__":
    main()
