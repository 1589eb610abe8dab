"""Real servers and clients on the loopback, and what each of them saw."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, Protocol, Unpack

import attrs

from meshid import (
    AuditEvent,
    BundleSet,
    Decision,
    Mesh,
    PeerRejected,
    Policy,
    Reason,
    SpiffeId,
    X509Svid,
    peer_of,
)
from meshid.admission.admission import Admission
from meshid.admission.ended import OnRevoked
from meshid.admission.snapshot import Changes
from meshid.audit.event import Sink
from meshid.policy import RequestLike
from meshid.policy.evidence import NamedByToken
from meshid.policy.policy import Named
from meshid.testing import CA, Issued

HOST = "127.0.0.1"
TIMEOUT = 10.0
"""Seconds. A handshake takes milliseconds; one that hangs is a failure."""

HELLO = b"hello\n"
PATH = "/ns/shop/sa/web"

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["dev.example.org", "cluster.local", "corp.example"]
[[allow]]
id = "shop"
from = ["/ns/shop/**"]
to = ["payments"]
[[allow]]
id = "support"
from = ["/ns/support/**"]
to = ["payments"]
http = ["GET /charges/*"]
[[deny]]
id = "no-agents"
from = ["/ns/shop/sa/agent"]
to = ["**"]
"""


def policy(toml: str = POLICY) -> Policy:
    return Policy.from_toml(toml, environment="prod")


def policy_that(act: Callable[[], None]) -> Policy:
    """Return the policy above, which calls *act* before each decision."""

    class Acting(Policy):
        def decide(
            self,
            peer: Named | SpiffeId,
            target: str,
            request: RequestLike = None,
            *,
            token: NamedByToken | None = None,
            now: float | None = None,
        ) -> Decision:
            act()
            return super().decide(peer, target, request, token=token, now=now)

    return Acting.from_toml(POLICY, environment="prod")


CLOSED_POLICY = policy('version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]')
"""Allows nobody."""


def credentials(authority: CA) -> X509Svid:
    return authority.issue("/ns/pay/sa/payments").svid


class Parts(Changes, total=False):
    """The parts of a mesh."""

    service: str | None
    audit: Sink | None
    on_revoked: OnRevoked | None
    clock: Callable[[], float]
    leaf_grace: float
    tokens: Literal["optional", "required"]
    keep_encoded: Collection[str]


def admission_of(mesh: Mesh) -> Admission:
    return mesh._admission  # noqa: SLF001 - its review and registry are not for users


def mesh_of(authority: CA, **parts: Unpack[Parts]) -> Mesh:
    """Return a mesh of the service ``payments`` that trusts *authority*; *parts* replace its parts."""
    own: Parts = {
        "credentials": credentials(authority),
        "bundles": BundleSet([authority.bundle()]),
        "policy": policy(),
        "service": "payments",
    }
    own.update(parts)
    return Mesh(**own)


class Heard:
    """An audit sink; its events are taken one by one, waiting for the next if need be."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[AuditEvent] = queue.SimpleQueue()

    def __call__(self, event: AuditEvent) -> None:
        self._events.put(event)

    def of_handshakes(self) -> list[Reason]:
        """Return the reasons of the handshakes so far, without the reviews of open connections."""
        events = [self._events.get_nowait() for _ in range(self._events.qsize())]
        return [event.decision.reason for event in events if event.call == "admit"]

    def next(self) -> AuditEvent:
        return self._events.get(timeout=TIMEOUT)

    def reason(self) -> Reason:
        return self.next().decision.reason

    def is_quiet(self) -> bool:
        """Return whether there are no more events; ask when everything that could cause one has ended."""
        return self._events.empty()


# -- Servers ------------------------------------------------------------------


class Service:
    """What a server's application saw: every byte that it got, and what was raised instead."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[bytes] = []
        self.raised: queue.SimpleQueue[Exception] = queue.SimpleQueue()

    def refusal(self) -> Exception:
        return self.raised.get(timeout=TIMEOUT)

    def answer(self, line: bytes, connection: object) -> bytes:
        self.seen.append(line)
        return f"{peer_of(connection).spiffe_id}\n".encode()


class Serving(Protocol):
    """A kind of server."""

    def __call__(self, context: ssl.SSLContext) -> contextlib.AbstractContextManager[Service]: ...


Handler = Callable[[Service, socket.socket], None]
"""Serves one connection, on which no TLS has begun, in a thread of its own."""


def wrapping(context: ssl.SSLContext, *, lazily: bool = False) -> Handler:
    """Return a handler that answers each line with the name of its peer."""

    def handle(service: Service, plain: socket.socket) -> None:
        tls = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=not lazily)
        with tls, tls.makefile("rb") as lines:
            for line in lines:
                tls.sendall(service.answer(line, tls))

    return handle


@contextlib.contextmanager
def threaded_server(handle: Handler) -> Iterator[Service]:
    """Accept connections until the end of the block, then wait until each handler has ended."""
    service = Service()
    threads: list[threading.Thread] = []
    with socket.create_server((HOST, 0)) as listener:
        service.port = listener.getsockname()[1]
        accepting = threading.Thread(target=_accept_all, args=(listener, handle, service, threads))
        accepting.start()
        try:
            yield service
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            _join([accepting])
            _join(threads)


def _accept_all(
    listener: socket.socket, handle: Handler, service: Service, threads: list[threading.Thread]
) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        plain.settimeout(TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=handle_one, args=(handle, service, plain))
        threads.append(thread)
        thread.start()


def handle_one(handle: Handler, service: Service, plain: socket.socket) -> None:
    with plain:
        try:
            handle(service, plain)
        except OSError as error:
            service.raised.put(error)


def _join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


def blocking_server(context: ssl.SSLContext) -> contextlib.AbstractContextManager[Service]:
    return threaded_server(wrapping(context))


def lazy_server(context: ssl.SSLContext) -> contextlib.AbstractContextManager[Service]:
    """Serve as gunicorn's sync worker does: the handshake runs inside the first `recv()`."""
    return threaded_server(wrapping(context, lazily=True))


Started = queue.SimpleQueue[Callable[[], object]]
"""Gets a function that stops the server, from any thread, once the server accepts connections."""


@contextlib.contextmanager
def running(serve: Callable[[Service, Started], object]) -> Iterator[Service]:
    """Run a server in a thread of its own, until the end of the block."""
    service, started, failures = Service(), Started(), list[BaseException]()

    def run() -> None:
        try:
            serve(service, started)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the thread
            failures.append(error)
            started.put(lambda: None)

    thread = threading.Thread(target=run)
    thread.start()
    stop = started.get(timeout=TIMEOUT)
    try:
        yield service
    finally:
        # What has ended by itself cannot be stopped, and why is told below.
        if not failures:
            stop()
        thread.join(TIMEOUT)
        assert not thread.is_alive()
        for failure in failures:
            raise failure


def asyncio_server(
    context: ssl.SSLContext, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
) -> contextlib.AbstractContextManager[Service]:
    """Serve in an event loop in a thread of its own, until the end of the block."""

    def serve(service: Service, started: Started) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_serve(context, service, started))

    return running(serve)


async def _serve(context: ssl.SSLContext, service: Service, started: Started) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(service.answer(line, writer))
        except OSError as error:
            service.raised.put(error)
        finally:
            writer.close()

    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    failures: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, failure: failures.append(failure))
    async with await asyncio.start_server(handle, HOST, 0, ssl=context) as server:
        service.port = server.sockets[0].getsockname()[1]
        started.put(lambda: loop.call_soon_threadsafe(stopped.set))
        await stopped.wait()
    assert failures == []


SERVERS: dict[str, Serving] = {
    "asyncio": asyncio_server,
    "blocking": blocking_server,
    "lazy": lazy_server,
}


# -- Clients ------------------------------------------------------------------


@attrs.frozen
class Visit:
    """What a client saw.

    Attributes:
        answer: What the service said.
        error: What was raised instead.
        session: The TLS session, to offer it again.
        resumed: Whether the server accepted the session that was offered.
        presented: The server's leaf.
    """

    answer: bytes
    error: OSError | None
    session: ssl.SSLSession | None = None
    resumed: bool = False
    presented: bytes | None = None


def knock(
    port: int, context: ssl.SSLContext, *, session: ssl.SSLSession | None = None, hello: bytes = HELLO
) -> Visit:
    """Connect, send *hello*, and read the answer; if *hello* is empty, only wait for the end."""
    try:
        plain = socket.create_connection((HOST, port), TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = context.wrap_socket(plain, session=session)
    except OSError as error:
        return Visit(b"", error)
    answer, failure = b"", None
    with tls:
        presented, resumed = tls.getpeercert(binary_form=True), bool(tls.session_reused)
        try:
            tls.sendall(hello)
            answer = tls.recv(1024)
        except OSError as error:
            failure = error
        # Tickets arrive after the handshake, with the first bytes.
        return Visit(answer, failure, tls.session, resumed, presented)


@contextlib.contextmanager
def arriving(
    context: ssl.SSLContext, *, session: ssl.SSLSession | None = None, hello: bytes = HELLO
) -> Iterator[tuple[socket.socket, Future[Visit]]]:
    """Yield the server's end of one connection before TLS, and what its client will have seen."""
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(TIMEOUT)
        port = listener.getsockname()[1]
        visit = pool.submit(knock, port, context, session=session, hello=hello)
        plain, _ = listener.accept()
        plain.settimeout(TIMEOUT)
        with plain:
            yield plain, visit


def stranger(credentials: Issued | None = None) -> ssl.SSLContext:
    """Return the context of a client that accepts any server."""
    if credentials is not None:
        return credentials.client_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def client_hello() -> bytes:
    """Return the first message of a client (RFC 8446 section 4.1.2)."""
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        stranger().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


# -- The other way round: our client, and a server with any certificate ----------


@contextlib.contextmanager
def presenting_server(
    presented: Issued, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> Iterator[int]:
    """Yield the port; greet each client that accepts us, and wait until it closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = newest
    presented.load_into(context)

    def greet(_: Service, plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.sendall(HELLO)
            with contextlib.suppress(OSError):
                tls.recv(1)

    with threaded_server(greet) as service:
        yield service.port


def greet_blocking(port: int, context: ssl.SSLContext) -> bytes:
    """Connect and return the greeting; it is empty if the server was refused."""
    plain = socket.create_connection((HOST, port), TIMEOUT)
    try:
        with context.wrap_socket(plain) as tls:
            return tls.recv(1024)
    except PeerRejected:
        return b""


def greet_asyncio(port: int, context: ssl.SSLContext) -> bytes:
    """Do the same as `greet_blocking`, with asyncio."""

    async def greet() -> bytes:
        try:
            reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        except PeerRejected:
            return b""
        try:
            return await asyncio.wait_for(reader.readline(), TIMEOUT)
        finally:
            writer.close()
            # The other end may have closed already.
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return asyncio.run(greet())


# -- Both ends in one thread --------------------------------------------------


class Memory:
    """Both ends of a connection over memory BIOs, as asyncio drives its own end."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = None) -> None:
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.sent = ssl.MemoryBIO()
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.client = client.wrap_bio(self.to_client, self.sent, server_hostname=host)

    def shake_hands(self, on_the_way: Callable[[bytes], bytes] = bytes) -> None:
        """Run the handshake; what the client sends passes through *on_the_way*."""
        for _ in range(4):
            _step(self.client)
            if flight := on_the_way(self.sent.read()):
                self.to_server.write(flight)
            _step(self.server)


def _step(end: ssl.SSLObject) -> None:
    # Twice: an end of ours that fails asks to send its alert first, and raises the error then.
    for _ in range(2):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()


def records(flight: bytes) -> list[bytes]:
    """Split into TLS records, each with its header (RFC 8446 section 5.1)."""
    found = []
    while flight:
        end = 5 + int.from_bytes(flight[3:5], "big")
        found.append(flight[:end])
        flight = flight[end:]
    return found


def tls12(context: ssl.SSLContext) -> ssl.SSLContext:
    """Limit a client to TLS 1.2."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context
