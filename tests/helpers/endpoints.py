"""Bundle endpoints on the loopback: each connection gets the answer of its time."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator

from meshid.names.spiffe_id import TrustDomain
from meshid.sources import Source
from meshid.sources.endpoint.bundle_endpoint import BundleEndpoint
from meshid.testing import CA, Issued
from meshid.trust.bundles import TrustBundle
from tests.helpers.tls_peers import HOST, Service, threaded_server

PARTNER = TrustDomain("partner.example")
URL = "https://partner.example/bundle.json"
ENDPOINT = "/spire/server"
NAME = f"spiffe://partner.example{ENDPOINT}"
SHORT = 0.4
"""Seconds that a read may take here."""

Answer = Callable[[ssl.SSLSocket], None]
"""Answers one request, which was read."""


def document(*authorities: CA, **members: object) -> bytes:
    """Return a bundle of *authorities* as JSON, with further members."""
    keys = [key for each in authorities for key in json.loads(each.bundle().to_spiffe_json())["keys"]]
    return json.dumps({"keys": keys, **members}).encode()


def bundle_of(*authorities: CA) -> TrustBundle:
    return TrustBundle.from_pem("partner.example", b"".join(each.pem for each in authorities))


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return an HTTP response."""
    head = [f"HTTP/1.1 {status}", *(headers or (f"Content-Length: {len(body)}",))]
    return "".join(f"{line}\r\n" for line in (*head, "")).encode() + body


def moved(location: str, status: str = "302 Found") -> bytes:
    return http(b"", f"Location: {location}", status=status)


def responding(*responses: bytes) -> Answer:
    """Send the next of the *responses*, the last one again and again, and close in order."""
    waiting = list(responses)

    def answer(tls: ssl.SSLSocket) -> None:
        tls.sendall(waiting.pop(0) if len(waiting) > 1 else waiting[0])
        # A client that has what it wants does not wait for our end.
        with contextlib.suppress(OSError):
            tls.unwrap()

    return answer


def cutting(response: bytes) -> Answer:
    """Send *response*, and close without a word."""
    return lambda tls: tls.sendall(response)


def serving_context(presented: Issued) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    presented.load_into(context)
    return context


class Endpoint:
    """What is served; a test changes it between two reads.

    Attributes:
        presented: The server's certificate.
        answer: What is done with a request.
        requests: The requests, as they came.
        reached: Connections, with or without a request.
    """

    def __init__(self, presented: Issued, answer: Answer) -> None:
        self.presented = presented
        self.answer = answer
        self.requests: list[bytes] = []
        self.reached = 0
        self.port = 0

    def url(self, path: str = "/bundle.json", host: str = HOST) -> str:
        return f"https://{host}:{self.port}{path}"

    def handle(self, _: Service, plain: socket.socket) -> None:
        self.reached += 1
        with serving_context(self.presented).wrap_socket(plain, server_side=True) as tls:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                if not (more := tls.recv(65536)):
                    return
                request += more
            self.requests.append(request)
            self.answer(tls)


@contextlib.contextmanager
def serving(presented: Issued, answer: Answer | bytes) -> Iterator[Endpoint]:
    """Serve until the end of the block: *answer*, or a good response with these bytes."""
    act = responding(http(answer)) if isinstance(answer, bytes) else answer
    endpoint = Endpoint(presented, act)
    with threaded_server(endpoint.handle) as service:
        endpoint.port = service.port
        yield endpoint


# -- Clients ------------------------------------------------------------------


def spiffe(endpoint: Endpoint, authority: CA, path: str = "/bundle.json") -> BundleEndpoint:
    return BundleEndpoint.https_spiffe(PARTNER, endpoint.url(path), spiffe_id=NAME, bundle=authority.bundle())


def bundle_read(source: Source) -> TrustBundle:
    (bundle,) = source.read().bundles
    return bundle


@contextlib.contextmanager
def bounded(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds
