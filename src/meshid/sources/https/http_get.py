"""One GET request and its answer (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
import socket
import ssl
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Protocol, cast

import attrs

from meshid.errors import InvalidBundle, PeerRejected
from meshid.sources.https.deadlines import Deadline
from meshid.sources.https.tls_stream import TlsStream, connected
from meshid.sources.https.urls import HttpsUrl
from meshid.support.quoting import quote

_REDIRECTS = frozenset(
    {
        HTTPStatus.MOVED_PERMANENTLY,
        HTTPStatus.FOUND,
        HTTPStatus.SEE_OTHER,
        HTTPStatus.TEMPORARY_REDIRECT,
        HTTPStatus.PERMANENT_REDIRECT,
    }
)


# RFC 9110 section 5.6.1: a list; RFC 9111 section 5.2: the argument is a token or a quoted string.
_MAX_AGE = re.compile(r'(?:^|,)[ \t]*max-age=("?)([0-9]{1,32})\1[ \t]*(?=,|$)', re.ASCII | re.IGNORECASE)


class RightServer(Protocol):
    """Who the right server is."""

    def context(self) -> ssl.SSLContext:
        """Return a context whose handshake succeeds with the right server only.

        Raises:
            InvalidBundle: If what it is to be verified with cannot be used: a bundle out of date, a bad root.
        """


@attrs.frozen
class Answer:
    """What a server answered.

    Attributes:
        body: The content.
        location: Where else to ask; None if this is the answer.
        max_age: For how many seconds it is fresh (RFC 9111 section 5.2.2.1); None if it does not say.
    """

    body: bytes
    location: str | None = None
    max_age: int | None = None


class NoResponse(Exception):
    """The server has not answered; the text says why."""


def ask(
    url: HttpsUrl, server: RightServer, deadline: Deadline, *, limit: int, bearer: str | None = None
) -> Answer:
    """Send a GET request and return the answer.

    Args:
        url: Where.
        server: Who the right server is.
        deadline: Until when.
        limit: How many bytes are read at most, headers included.
        bearer: A token to send, a secret (RFC 6750 section 2.1); None to send none.

    Raises:
        NoResponse: If the server cannot be reached, is not the right one, or its answer is broken.
        Stopped: If the deadline was stopped.
    """
    try:
        context = server.context()
        with connected(url.host, url.port, context, deadline, limit=limit) as stream:
            stream.send(_request(url, bearer))
            return _answer(stream, limit)
    except (OSError, ValueError, HTTPException) as error:
        raise NoResponse(_explained(error)) from error


def _request(url: HttpsUrl, bearer: str | None) -> bytes:
    lines = [
        f"GET {url.target} HTTP/1.1",
        f"Host: {url.authority}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Connection: close",
        "User-Agent: meshid",
    ]
    if bearer is not None:
        lines.append(f"Authorization: Bearer {bearer}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def _answer(stream: TlsStream, limit: int) -> Answer:
    # All that it uses of its socket is `makefile`.
    with HTTPResponse(cast("socket.socket", stream), method="GET") as response:
        response.begin()
        if response.status in _REDIRECTS:
            return Answer(b"", response.headers.get("Location", ""))
        if response.status != HTTPStatus.OK:
            msg = f"it answers with status {response.status}; only 200 counts"
            raise NoResponse(msg)
        # With a number, `read` allocates no more than that, whatever Content-Length says, but
        # does not raise if the answer is shorter.
        body = response.read(limit)
        if response.length:
            msg = f"the answer was cut off; {response.length} bytes of it are missing"
            raise NoResponse(msg)
        found = _MAX_AGE.search(", ".join(response.headers.get_all("Cache-Control", ())))
        return Answer(body, max_age=found and int(found[2]))


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
