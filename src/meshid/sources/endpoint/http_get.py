"""One GET request and its answer (RFC 9110, RFC 9112)."""

from __future__ import annotations

import socket
import ssl
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import cast

import attrs

from meshid.errors import InvalidBundle, PeerRejected
from meshid.sources.endpoint.deadlines import Deadline
from meshid.sources.endpoint.servers import Server
from meshid.sources.endpoint.tls_stream import TlsStream, connected
from meshid.sources.endpoint.urls import EndpointUrl
from meshid.support.quoting import quote
from meshid.trust.bundles import MAX_BUNDLE_BYTES

_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


@attrs.frozen
class Answer:
    """What a server answered.

    Attributes:
        body: The content.
        location: Where else to ask; None if this is the answer.
    """

    body: bytes
    location: str | None = None


class NoResponse(Exception):
    """The server has not answered; the text says why."""


def ask(url: EndpointUrl, server: Server, deadline: Deadline) -> Answer:
    """Send a GET request and return the answer.

    Raises:
        NoResponse: If the server cannot be reached, is not the right one, or its answer is broken.
        Stopped: If the deadline was stopped.
    """
    try:
        context = server.context()
        with connected(url.host, url.port, context, deadline, limit=MAX_BUNDLE_BYTES) as stream:
            stream.send(_request(url))
            return _answer(stream)
    except (OSError, ValueError, HTTPException) as error:
        raise NoResponse(_explained(error)) from error


def _request(url: EndpointUrl) -> bytes:
    lines = (
        f"GET {url.target} HTTP/1.1",
        f"Host: {url.authority}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Connection: close",
        "User-Agent: meshid",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _answer(stream: TlsStream) -> Answer:
    # All that it uses of its socket is `makefile`.
    with HTTPResponse(cast("socket.socket", stream), method="GET") as response:
        response.begin()
        if response.status in _REDIRECTS:
            return Answer(b"", response.headers.get("Location", ""))
        if response.status != HTTPStatus.OK:
            msg = f"it answers with status {response.status}; a bundle comes with 200 only"
            raise NoResponse(msg)
        # With a number, `read` allocates no more than that, whatever Content-Length says, but
        # does not raise if the answer is shorter.
        body = response.read(MAX_BUNDLE_BYTES)
        if response.length:
            msg = f"the answer was cut off; {response.length} bytes of it are missing"
            raise NoResponse(msg)
        return Answer(body)


def _explained(error: Exception) -> str:
    if isinstance(error, InvalidBundle):
        return f"the server cannot be verified: {error}"
    if isinstance(error, PeerRejected):
        name = error.decision.name or "it"
        return f"{name} is not the right server: {error.decision.sentence}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"it is not the right server: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return f"the host cannot be found: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"its answer is broken: {type(error).__name__} {quote(str(error))}"
