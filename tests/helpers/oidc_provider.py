"""An OIDC provider on the loopback: discovery, keys, rotation, outage; and one that is slow, or lies.

with oidc_provider() as provider:
    token = provider.mint({"aud": "payments", "sub": "web"})
    provider.rotate()              # a new key signs; the ones before stay published
    provider.is_down = True        # each connection is reset
    provider.answers[KEYS] = status("500 Internal Server Error")
    assert provider.fetches == 1   # of the keys
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator

from meshid.testing import CA, SigningKey, TokenIssuer
from tests.helpers.endpoints import Answer, http, responding, serving_context
from tests.helpers.tls_peers import Service, threaded_server

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"

_RESET = struct.pack("ii", 1, 0)


class OidcProvider:
    """A provider; a test changes it between two requests, or during one.

    Attributes:
        port: Where it listens.
        path: The path of its issuer; empty for none.
        is_down: Whether it resets each connection.
        cache_control: The Cache-Control header of the keys; None for none.
        answers: How it answers at `DISCOVERY` and `KEYS`, in place of what it ought to answer.
        requests: The requests, as they came.
        arrived: Is set when a request has come; a test clears it.
    """

    def __init__(self, path: str) -> None:
        self._authority = CA("provider.example")
        self.port = 0
        self.path = path
        self.is_down = False
        self.cache_control: str | None = None
        self.answers: dict[str, Answer] = {}
        self.requests: list[bytes] = []
        self.arrived = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._context = serving_context(self._authority.issue(uris=[], dns=["localhost"]))
        self.tokens: TokenIssuer

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens, where discovery begins."""
        return f"https://localhost:{self.port}{self.path}"

    @property
    def keys_url(self) -> str:
        """Where its keys are."""
        return f"{self.issuer}{KEYS}"

    @property
    def roots(self) -> bytes:
        """The authority of its web certificate, in PEM."""
        return self._authority.pem

    @property
    def mint(self) -> Callable[..., str]:
        """Makes a token; see `TokenIssuer.mint`."""
        return self.tokens.mint

    def rotate(self) -> SigningKey:
        """Publish a new key, and sign with it; return it."""
        return self.tokens.new_key()

    def withdraw(self, key: SigningKey) -> None:
        """No longer publish a key."""
        self.tokens.withdraw(key)

    @property
    def fetches(self) -> int:
        """How many requests for its keys have come."""
        return self.count(KEYS)

    def count(self, path: str) -> int:
        """Return how many requests for a path below the issuer have come."""
        head = f"GET {self.path}{path} ".encode()
        return sum(request.startswith(head) for request in self.requests)

    def discovery(self, **members: object) -> bytes:
        """Return its discovery document (OpenID Connect Discovery section 4.2), with other members."""
        right = {
            "issuer": self.issuer,
            "jwks_uri": self.keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }
        document = {**right, **members}
        return json.dumps({name: value for name, value in document.items() if value is not None}).encode()

    def hang_up(self) -> None:
        """End all open connections."""
        with self._lock:
            for plain in self._open:
                with contextlib.suppress(OSError):
                    # Below TLS, whose state is another thread's.
                    socket.socket.shutdown(plain, socket.SHUT_RDWR)

    def handle(self, _: Service, plain: socket.socket) -> None:
        """Answer one connection."""
        if self.is_down:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        with self._lock:
            self._open.add(plain)
        try:
            with self._context.wrap_socket(plain, server_side=True) as tls:
                # In the set is the socket that is open now.
                with self._lock:
                    self._open.add(tls)
                try:
                    self._answer(tls)
                finally:
                    with self._lock:
                        self._open.discard(tls)
        finally:
            with self._lock:
                self._open.discard(plain)

    def _answer(self, tls: ssl.SSLSocket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            if not (more := tls.recv(65536)):
                return
            request += more
        self.requests.append(request)
        self.arrived.set()
        path = request.split(b" ")[1].decode().removeprefix(self.path)
        self.answers.get(path, self._right_answer(path))(tls)

    def _right_answer(self, path: str) -> Answer:
        if path == DISCOVERY:
            return responding(http(self.discovery()))
        if path == KEYS:
            return keys(self.tokens.jwks(), cache_control=self.cache_control)
        return status("404 Not Found")


def keys(body: bytes, *, cache_control: str | None = None) -> Answer:
    """Answer with a JWK Set."""
    headers = [f"Content-Length: {len(body)}"]
    if cache_control is not None:
        headers.append(f"Cache-Control: {cache_control}")
    return responding(http(body, *headers))


def status(line: str) -> Answer:
    """Answer with a status, such as ``500 Internal Server Error``."""
    return responding(http(b"{}", status=line))


def hanging(tls: ssl.SSLSocket) -> None:
    """Answer nothing until the client has gone."""
    with contextlib.suppress(OSError):
        while tls.recv(65536):
            pass


def dripping(tls: ssl.SSLSocket) -> None:
    """Answer a byte at a time, until the client has gone."""
    with contextlib.suppress(OSError):
        tls.sendall(http(b"", "Content-Length: 1000000"))
        while True:
            tls.sendall(b" ")
            time.sleep(0.01)


@contextlib.contextmanager
def oidc_provider(
    path: str = "", algorithm: str = "ES256", clock: Callable[[], float] = time.time
) -> Iterator[OidcProvider]:
    """Run a provider until the end of the block.

    Args:
        path: The path of its issuer, such as ``/oauth2/default``.
        algorithm: That of its first key.
        clock: What its tokens are dated by: returns the POSIX time in seconds.
    """
    provider = OidcProvider(path)
    with threaded_server(provider.handle) as service:
        provider.port = service.port
        provider.tokens = TokenIssuer(provider.issuer, algorithm, clock=clock)
        yield provider
        provider.hang_up()
