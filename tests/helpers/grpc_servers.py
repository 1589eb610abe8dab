"""One application on both servers of grpcio, with all that it has seen; and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeAlias

import attrs
import grpc
from grpc import aio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived

from meshid import AuditEvent, BundleSet, Mesh, Policy, Revocations, peer_of
from meshid.grpc import PeerInterceptor
from meshid.testing import CA, Issued
from tests.helpers.tls_peers import HOST, TIMEOUT

CHECKOUT, OTHER = "/ns/checkout/sa/api", "/ns/checkout/sa/other"
GET, LIST, PUT, TALK = (f"/shop.Charges/{name}" for name in ("Get", "List", "Put", "Talk"))
KINDS = {GET: "unary_unary", LIST: "unary_stream", PUT: "stream_unary", TALK: "stream_stream"}
RAW = "/shop.Charges/Raw"
"""Of bytes, which nothing decodes and encodes; and in the server of loops, not async."""

NOWHERE = "/shop.Charges/Nowhere"

POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
[[allow]]
id = "charges"
from = ["/ns/checkout/sa/*"]
to = ["payments"]
http = ["POST /shop.Charges/*"]
[[allow]]
id = "web"
from = ["/ns/shop/sa/web"]
to = ["payments"]
http = ["POST /shop.Charges/Get"]
"""

NO_LISTS = (
    POLICY
    + """
[[deny]]
id = "no-lists"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
http = ["POST /shop.Charges/List"]
"""
)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Step: TypeAlias = Callable[[bytes, Any], object]


class Charges:
    """What the application has seen; and what its handlers do, by their first message."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        """Called with a message and the context; what it returns is the answer, if it is bytes."""
        self.steps: dict[bytes, Step] = {}
        self.ended: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def look_up(self, details: grpc.HandlerCallDetails) -> None:
        self.seen.append(f"look up {details.method}")

    def decode(self, message: bytes) -> bytes:
        self.seen.append(f"decode {message!r}")
        if message == b"broken":
            raise ValueError
        return message

    @staticmethod
    def encode(message: object) -> bytes:
        assert isinstance(message, bytes)
        return message

    def answer(self, message: bytes, context: Any) -> bytes:  # noqa: ANN401 - of both kinds
        name = peer_of(context).spiffe_id
        self.seen.append(f"{name.path} {message!r}")
        step = self.steps.get(message)
        made = None if step is None else step(message, context)
        return made if isinstance(made, bytes) else str(name).encode()


class Threaded(grpc.GenericRpcHandler):
    """The handlers of `grpc.server`."""

    def __init__(self, charges: Charges) -> None:
        self._charges = charges

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        self._charges.look_up(handler_call_details)
        if handler_call_details.method == RAW:
            return grpc.unary_unary_rpc_method_handler(lambda message, _: b"raw " + message)
        kind = KINDS.get(handler_call_details.method)
        return None if kind is None else handler_of(kind, getattr(self, kind), self._charges)

    def unary_unary(self, message: bytes, context: Any) -> bytes | None:  # noqa: ANN401
        return None if message == b"nothing" else self._charges.answer(message, context)

    def unary_stream(self, message: bytes, context: Any) -> Iterator[bytes]:  # noqa: ANN401
        name = self._charges.answer(message, context)
        try:
            yield name
            while message == b"on" and context.is_active():
                time.sleep(0.01)
                yield b"more"
        finally:
            self._charges.ended.put(name)

    def stream_unary(self, messages: Iterator[bytes], context: Any) -> bytes:  # noqa: ANN401
        return b",".join([self._charges.answer(each, context) for each in messages])

    def stream_stream(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:  # noqa: ANN401
        name = b""
        try:
            for each in messages:
                name = self._charges.answer(each, context)
                yield name
        finally:
            self._charges.ended.put(name)


class Looped(grpc.GenericRpcHandler):
    """The handlers of `grpc.aio.server`."""

    def __init__(self, charges: Charges) -> None:
        self._charges = charges

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        self._charges.look_up(handler_call_details)
        if handler_call_details.method == RAW:
            return grpc.unary_unary_rpc_method_handler(lambda message, _: b"raw " + message)
        kind = KINDS.get(handler_call_details.method)
        return None if kind is None else handler_of(kind, getattr(self, kind), self._charges)

    async def unary_unary(self, message: bytes, context: Any) -> bytes | None:  # noqa: ANN401
        return None if message == b"nothing" else self._charges.answer(message, context)

    async def unary_stream(self, message: bytes, context: Any) -> None:  # noqa: ANN401
        """With the API of readers and writers."""
        name = self._charges.answer(message, context)
        try:
            await context.write(name)
            while message == b"on":
                await asyncio.sleep(0.01)
                await context.write(b"more")
        finally:
            self._charges.ended.put(name)

    async def stream_unary(self, messages: AsyncIterator[bytes], context: Any) -> bytes:  # noqa: ANN401
        return b",".join([self._charges.answer(each, context) async for each in messages])

    async def stream_stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:  # noqa: ANN401
        name = b""
        try:
            async for each in messages:
                name = self._charges.answer(each, context)
                yield name
        finally:
            self._charges.ended.put(name)


def handler_of(kind: str, behavior: object, charges: Charges) -> Handler:
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    made: Handler = make(behavior, charges.decode, charges.encode)
    return made


Open: TypeAlias = Callable[[Any], int]
"""Gives a server, which has not started, its port."""


@contextlib.contextmanager
def threaded(charges: Charges, interceptors: Sequence[object], open_port: Open) -> Iterator[int]:
    """Serve with `grpc.server`; gives the port."""
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, [Threaded(charges)], interceptors=interceptors)  # type: ignore[arg-type]
        port = open_port(server)
        server.start()
        try:
            yield port
        finally:
            assert server.stop(0).wait(TIMEOUT)


@contextlib.contextmanager
def looped(charges: Charges, interceptors: Sequence[object], open_port: Open) -> Iterator[int]:
    """Serve with `grpc.aio.server`, in a thread of its own; gives the port."""
    started: queue.SimpleQueue[tuple[int, Callable[[], object]]] = queue.SimpleQueue()

    async def serve() -> None:
        server = aio.server(handlers=[Looped(charges)], interceptors=interceptors)  # type: ignore[arg-type]
        port = open_port(server)
        await server.start()
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        started.put((port, lambda: loop.call_soon_threadsafe(over.set)))
        await over.wait()
        await server.stop(0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    port, stop = started.get(timeout=TIMEOUT)
    try:
        yield port
    finally:
        stop()
        thread.join(TIMEOUT)
        assert not thread.is_alive()


SERVERS = {"threads": threaded, "aio": looped}


class Scene:
    """A mesh with its authorities, and its peers."""

    def __init__(self) -> None:
        self.prod, self.partner = CA("prod.example.org"), CA("partner.example")
        self.issuing = self.prod.intermediate().intermediate()
        self.own = self.issuing.issue("/ns/pay/sa/payments", dns=["localhost"])
        self.events: list[AuditEvent] = []
        self.on_event: Callable[[AuditEvent], object] | None = None
        self.mesh = Mesh(service="payments", audit=self._audit)
        self.reset()
        self.checkout = self.issuing.issue(CHECKOUT)
        self.other = self.prod.issue(OTHER)
        self.web = self.prod.issue("/ns/shop/sa/web")
        self.nobody = self.prod.issue("/ns/shop/sa/nobody")
        # In the pool of authorities, by the name of somebody else's.
        self.forged = self.partner.issue(CHECKOUT, uris=[f"spiffe://prod.example.org{CHECKOUT}"])
        self.stranger = CA("prod.example.org").issue(CHECKOUT)

    def reset(self) -> None:
        self.on_event = None
        self.mesh.publish(
            credentials=self.own.svid,
            bundles=BundleSet([self.prod.bundle(), self.partner.bundle()]),
            policy=policy(),
            revocations=Revocations(),
        )
        self.events.clear()

    def revoke(self, *names: str) -> None:
        deny = [f"spiffe://prod.example.org{each}" for each in names]
        self.mesh.publish(revocations=Revocations(deny=deny))

    def reasons(self) -> list[str]:
        return [str(each.decision.reason) for each in self.events if each.call == "admit"]

    def _audit(self, event: AuditEvent) -> None:
        self.events.append(event)
        if self.on_event is not None:
            self.on_event(event)


def policy(toml: str = POLICY) -> Policy:
    return Policy.from_toml(toml, environment="prod")


@attrs.frozen
class Served:
    """A server that runs."""

    scene: Scene
    charges: Charges
    port: int

    @contextlib.contextmanager
    def channel(self, pair: Issued | None) -> Iterator[grpc.Channel]:
        """Connect, as a connection of its own."""
        named = [("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1)]
        trusted = self.scene.prod.pem
        own = (None, None) if pair is None else (pair.key_pem, pair.chain_pem)
        credentials = grpc.ssl_channel_credentials(trusted, *own)
        with grpc.secure_channel(f"{HOST}:{self.port}", credentials, named) as channel:
            yield channel


def started(channel: grpc.Channel, method: str, *messages: bytes, timeout: float = TIMEOUT) -> Any:  # noqa: ANN401
    """Begin a call, and return what gRPC has for it."""
    kind = KINDS.get(method, "unary_unary")
    call: Any = getattr(channel, kind)(method)
    argument = iter(messages) if kind.startswith("stream") else messages[0]
    if kind.endswith("_unary"):
        return call.future(argument, timeout=timeout)
    return call(argument, timeout=timeout)


def answer(channel: grpc.Channel, method: str, *messages: bytes) -> list[bytes]:
    """Make a call, and return all its messages."""
    call = started(channel, method, *messages)
    return [call.result()] if KINDS.get(method, "unary_unary").endswith("_unary") else list(call)


def status(call: Callable[[], object]) -> tuple[str, str]:
    """Return the code and the text of a call that fails."""
    try:
        call()
    except grpc.RpcError as error:
        failed: Any = error
        return failed.code().name, failed.details()
    return "OK", ""


# -- A client that gRPC would not be ------------------------------------------


class RawCall:
    """One call in a connection of its own, in frames of HTTP/2."""

    def __init__(self, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        plain = socket.create_connection((HOST, port), TIMEOUT)
        self.tls = context.wrap_socket(plain, session=session)
        self._h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()

    def begin(self, method: str, message: bytes | None = None) -> None:
        names = [(":method", "POST"), (":scheme", "https"), (":path", method), (":authority", "localhost")]
        self._h2.send_headers(1, [*names, ("te", "trailers"), ("content-type", "application/grpc")])
        if message is not None:
            self._h2.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        self.tls.sendall(self._h2.data_to_send())

    def end(self) -> None:
        """Say that there is no more to come."""
        self._h2.end_stream(1)
        self.tls.sendall(self._h2.data_to_send())

    def until_it_waits(self) -> None:
        """Read what the server may send before it is allowed more (RFC 9113 section 6.9.2)."""
        size = 0
        while size < 65535:
            events = self._h2.receive_data(self.tls.recv(65536))
            size += sum(len(each.data) for each in events if isinstance(each, DataReceived))
            self.tls.sendall(self._h2.data_to_send())

    def allow(self, more: int) -> None:
        """Allow the server to send so many bytes more."""
        self._h2.increment_flow_control_window(more)
        self._h2.increment_flow_control_window(more, 1)
        self.tls.sendall(self._h2.data_to_send())

    def rest(self) -> list[object]:
        """Return what comes until the call is over: headers, messages, trailers, or why it was reset."""
        got: list[object] = []
        while True:
            data = self.tls.recv(65536)
            if not data:
                return [*got, "closed"]
            for event in self._h2.receive_data(data):
                if isinstance(event, ResponseReceived | TrailersReceived):
                    got.append(sorted(event.headers))
                elif isinstance(event, DataReceived):
                    got.append(event.data)
                elif isinstance(event, StreamReset):
                    return [*got, f"reset {event.error_code}"]
                elif isinstance(event, StreamEnded):
                    return got
            self.tls.sendall(self._h2.data_to_send())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()


def raw_context(pair: Issued | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        pair.load_into(context)
    return context


def secure(interceptor: PeerInterceptor) -> Open:
    """Open a port with the interceptor's own credentials."""

    def open_port(server: Any) -> int:  # noqa: ANN401
        port: int = server.add_secure_port(f"{HOST}:0", interceptor.server_credentials())
        return port

    return open_port
