"""Endpoints that lie, stall and send without end: one error each, in time, and nothing is believed."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.errors import MeshidError, PeerRejected, SourceUnavailable
from meshid.names.spiffe_id import SpiffeId
from meshid.reasons import Reason
from meshid.sources.endpoint import bundle_endpoint as source
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.sources.endpoint.servers import Server, SpiffeServer, WebHost
from meshid.sources.https.deadlines import Deadline
from meshid.sources.https.tls_stream import Place, reach
from meshid.testing import CA
from meshid.tls.connections import MeshSSLObject
from meshid.trust.bundles import MAX_BUNDLE_BYTES
from tests.helpers.endpoints import (
    ENDPOINT,
    NAME,
    SHORT,
    Answer,
    bounded,
    cutting,
    document,
    http,
    moved,
    responding,
    serving,
    serving_context,
)
from tests.helpers.tls_peers import HOST, TIMEOUT, Handler, Memory, Service, threaded_server, tls12

PARTNER = CA("partner.example")
BODY = document(PARTNER)


def reading(port: int) -> BundleEndpoint:
    return BundleEndpoint.https_spiffe(
        "partner.example", f"https://{HOST}:{port}/b", spiffe_id=NAME, bundle=PARTNER.bundle()
    )


def waiting_for_the_end(plain: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while plain.recv(65536):
            pass


def endlessly(head: bytes, part: bytes, pause: float = 0.0) -> Answer:
    """Send *head*, and then *part* until nobody listens."""

    def answer(tls: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            tls.sendall(head)
            while True:
                tls.sendall(part)
                time.sleep(pause)

    return answer


BROKEN = {
    "not HTTP": (responding(b"SSH-2.0-OpenSSH_9.6\r\n"), "its answer is broken: BadStatusLine"),
    "nothing": (responding(b""), "its answer is broken: RemoteDisconnected"),
    "another version": (responding(b"HTTP/3 200 OK\r\n\r\n"), "its answer is broken: UnknownProtocol"),
    "a long line": (endlessly(b"HTTP/1.1 200 ", b"a" * 65536), "its answer is broken: LineTooLong"),
    "a long header": (
        endlessly(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 65536),
        "its answer is broken: LineTooLong",
    ),
    "endless headers": (
        endlessly(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        "its answer is broken: HTTPException",
    ),
    "endless patience": (
        endlessly(b"", b"HTTP/1.1 100 C\r\n\r\n" * 1000),
        "it sends more than 20000 lines of headers and chunks",
    ),
    "an endless body": (
        endlessly(http(b"", "Connection: close"), b" " * 65536),
        f"it sends more than {MAX_BUNDLE_BYTES} bytes",
    ),
    "a huge length": (
        endlessly(http(b"", f"Content-Length: {10**18}"), b" " * 65536),
        f"it sends more than {MAX_BUNDLE_BYTES} bytes",
    ),
    "endless chunks": (
        endlessly(http(b"", "Transfer-Encoding: chunked"), b"1\r\n \r\n" * 10_000),
        "it sends more than 20000 lines of headers and chunks",
    ),
    "endless trailers": (
        endlessly(http(b"0\r\n", "Transfer-Encoding: chunked"), b"X: y\r\n" * 10_000),
        "it sends more than 20000 lines of headers and chunks",
    ),
    "no chunk": (responding(http(b"xyz\r\n", "Transfer-Encoding: chunked")), "its answer is broken: Incompl"),
    "a negative chunk": (
        responding(http(b"-5\r\n" + BODY, "Transfer-Encoding: chunked")),
        "its answer is broken: ValueError",
    ),
    "a chunk cut off": (
        responding(http(b"ff\r\n{", "Transfer-Encoding: chunked")),
        "its answer is broken: Inco",
    ),
    "a body cut off": (
        responding(http(BODY[:-9], f"Content-Length: {len(BODY)}")),
        "the answer was cut off; 9 bytes of it are missing",
    ),
    "no body": (
        responding(http(b"", f"Content-Length: {len(BODY)}")),
        f"{len(BODY)} bytes of it are missing",
    ),
    "a line cut": (cutting(http(BODY[:-9], f"Content-Length: {len(BODY)}")), "EOF"),
    "an end that is no end": (cutting(http(BODY, "Connection: close")), "EOF"),
    "204": (
        responding(http(b"", status="204 No Content")),
        "it answers with status 204; only 200 counts",
    ),
    "404": (
        responding(http(BODY, status="404 Not Found")),
        "it answers with status 404; only 200 counts",
    ),
    "500": (
        responding(http(BODY, status="500 Oops")),
        "it answers with status 500; only 200 counts",
    ),
    "304": (
        responding(http(b"", status="304 Not Modified")),
        "it answers with status 304; only 200 counts",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_answer_is_one_error(case: str) -> None:
    answer, why = BROKEN[case]
    with serving(PARTNER.issue(ENDPOINT), answer) as endpoint, bounded(TIMEOUT):
        read = reading(endpoint.port)
        with pytest.raises(SourceUnavailable, match=why) as failure:
            read.read()
        assert str(failure.value).startswith(read.name)


def test_chunks_of_one_byte_cost_little() -> None:
    """Before 4 MiB had come, they cost more than a second of CPU."""
    with serving(PARTNER.issue(ENDPOINT), BROKEN["endless chunks"][0]) as endpoint:
        read = reading(endpoint.port)
        begun = time.thread_time()
        with pytest.raises(SourceUnavailable):
            read.read()
        assert time.thread_time() - begun < 0.5


@settings(max_examples=40)
@given(
    st.binary()
    | st.binary().map(http)
    | st.binary().map(lambda body: http(body, "Transfer-Encoding: chunked"))
    | st.binary().map(b"HTTP/1.1 302 Found\r\nLocation: /%b\r\n\r\n".__mod__)
)
def test_any_bytes_are_one_error(response: bytes) -> None:
    with serving(PARTNER.issue(ENDPOINT), responding(response)) as endpoint, pytest.raises(MeshidError):
        reading(endpoint.port).read()


# -- Servers that take their time ---------------------------------------------


def silent(_: Service, plain: socket.socket) -> None:
    waiting_for_the_end(plain)


def dribbling(_: Service, plain: socket.socket) -> None:
    """Send a handshake record that never ends, a byte at a time."""
    with contextlib.suppress(OSError):
        for byte in b"\x16\x03\x03\x40\x00\x02" + bytes(1000):
            plain.sendall(bytes([byte]))
            time.sleep(SHORT / 8)


def dawdling(tls: ssl.SSLSocket) -> None:
    time.sleep(SHORT / 4)
    responding(moved("/"))(tls)


def answering(answer: Answer) -> Handler:
    context = serving_context(PARTNER.issue(ENDPOINT))

    def handle(_: Service, plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.recv(65536)
            answer(tls)

    return handle


SLOW: dict[str, Handler] = {
    "before the handshake": silent,
    "in the handshake": dribbling,
    "after it": answering(waiting_for_the_end),
    "in the headers": answering(endlessly(b"HTTP/1.1 200 OK\r\n", b"X", SHORT / 8)),
    "in the body": answering(endlessly(http(b"", "Content-Length: 1000"), b"{", SHORT / 8)),
    "in a chunk": answering(endlessly(http(b"ffff\r\n", "Transfer-Encoding: chunked"), b"{", SHORT / 8)),
    "in redirects": answering(dawdling),
}


@pytest.mark.parametrize("case", SLOW)
def test_all_of_a_read_has_one_deadline(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "READ_SECONDS", SHORT)
    with (
        threaded_server(SLOW[case]) as service,
        bounded(SHORT * 4),
        pytest.raises(SourceUnavailable, match=re.escape("it did not answer in time; the limit is 0.4 s")),
    ):
        reading(service.port).read()


@contextlib.contextmanager
def deaf() -> Iterator[int]:
    """Give a port that never answers: a listener that accepts no connection, and whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((HOST, 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "READ_SECONDS", SHORT)
    with deaf() as port, bounded(SHORT * 4), pytest.raises(SourceUnavailable, match="did not answer in time"):
        reading(port).read()


def test_an_address_that_never_answers_leaves_time_for_the_next() -> None:
    seconds = SHORT * 2
    with deaf() as port, socket.create_server((HOST, 0)) as listener, Deadline(seconds) as deadline:
        places: list[Place] = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (HOST, each))
            for each in (port, listener.getsockname()[1])
        ]
        with bounded(seconds * 0.9), reach(places, deadline) as reached:
            assert reached.getpeername() == listener.getsockname()


def test_an_address_that_cannot_be_reached_is_an_error() -> None:
    read = BundleEndpoint.https_web("partner.example", "https://255.255.255.255/b")
    with bounded(SHORT), pytest.raises(SourceUnavailable, match=r"denied|unreachable"):
        read.read()


def test_a_closed_port_is_an_error() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceUnavailable, match="Connection refused"):
        reading(port).read()


def test_an_unknown_host_is_an_error() -> None:
    read = BundleEndpoint.https_web("partner.example", "https://nowhere.invalid/b")
    with pytest.raises(SourceUnavailable, match="the host cannot be found: "):
        read.read()


def test_a_server_without_tls_is_an_error() -> None:
    def plainly(_: Service, plain: socket.socket) -> None:
        plain.sendall(http(BODY))
        waiting_for_the_end(plain)

    with (
        threaded_server(plainly) as service,
        pytest.raises(SourceUnavailable, match=r"(?i)wrong.version|record"),
    ):
        reading(service.port).read()


# -- Servers that are not the right one ---------------------------------------------


def test_a_server_must_hold_the_key_of_the_chain_that_it_shows() -> None:
    context = SpiffeServer(SpiffeId.parse(NAME), PARTNER.bundle()).context()
    right = PARTNER.issue(ENDPOINT)
    thieves = (CA("partner.example").issue(ENDPOINT) for _ in range(200))
    thief = next(each for each in thieves if len(each.chain[0]) == len(right.chain[0]))
    swap = (thief.chain[0], right.chain[0])
    # In TLS 1.2 the chain goes in the clear, so that it can be swapped on the way.
    assert shaken_hands(tls12(serving_context(right)), context, swap).peer is not None
    with pytest.raises(PeerRejected):
        shaken_hands(tls12(serving_context(thief)), context, (b"", b""))
    with pytest.raises(PeerRejected) as caught:
        shaken_hands(tls12(serving_context(thief)), context, swap)
    assert caught.value.reason is Reason.KEY_NOT_PROVEN


def shaken_hands(server: ssl.SSLContext, client: ssl.SSLContext, swap: tuple[bytes, bytes]) -> MeshSSLObject:
    """Run a handshake; in what the server sends, one part is swapped for another."""
    both = Memory(server, client)
    for _ in range(3):
        for end in (both.client, both.server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
            both.to_server.write(both.sent.read())
            both.to_client.write(both.to_client.read().replace(*swap))
    return cast("MeshSSLObject", both.client)


@pytest.mark.parametrize("server", [SpiffeServer(SpiffeId.parse(NAME), PARTNER.bundle()), WebHost(None)])
def test_tls_is_not_old_and_not_negotiated_twice(server: Server) -> None:
    context = server.context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION


# -- Somebody closes the source ------------------------------------------------


@pytest.mark.parametrize("case", ["before the handshake", "after it", "in the body"])
def test_closing_ends_a_read_that_waits(case: str) -> None:
    arrived = threading.Event()

    def handle(service: Service, plain: socket.socket) -> None:
        arrived.set()
        SLOW[case](service, plain)

    with threaded_server(handle) as service, ThreadPoolExecutor(1) as pool:
        read = reading(service.port)
        result = pool.submit(read.read)
        assert arrived.wait(TIMEOUT)
        time.sleep(SHORT / 4)
        with bounded(SHORT * 2):
            read.close()
            with pytest.raises(SourceUnavailable, match=f"{re.escape(read.name)}: it was closed"):
                result.result(TIMEOUT)


def test_closing_ends_a_wait_for_a_host_that_never_answers() -> None:
    with deaf() as port, ThreadPoolExecutor(1) as pool:
        read = reading(port)
        result = pool.submit(read.read)
        time.sleep(SHORT / 4)
        with bounded(SHORT * 2):
            read.close()
            with pytest.raises(SourceUnavailable, match="it was closed"):
                result.result(TIMEOUT)


def test_a_closed_source_cannot_be_read() -> None:
    with serving(PARTNER.issue(ENDPOINT), BODY) as endpoint:
        read = reading(endpoint.port)
        read.read()
        read.close()
        read.close()
        with pytest.raises(SourceUnavailable, match="it was closed"):
            read.read()
        assert endpoint.reached == 1


def test_a_source_can_be_closed_before_it_is_read() -> None:
    with serving(PARTNER.issue(ENDPOINT), BODY) as endpoint:
        read = reading(endpoint.port)
        read.close()
        with pytest.raises(SourceUnavailable, match="it was closed"):
            read.read()
        assert endpoint.reached == 0
