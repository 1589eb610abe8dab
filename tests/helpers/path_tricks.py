"""Requests that try to reach ``/v1`` by a way that the judge reads as another path.

They are judged by what the upstream really received: whatever any server could read as a path
below ``/v1`` counts as reached.
"""

from __future__ import annotations

import posixpath
import re
import ssl
from collections.abc import Iterator
from itertools import product
from urllib.parse import unquote_to_bytes

import attrs

from meshid import Policy
from tests.helpers.proxy_scene import Line, Line2, Received, Upstream, policy_of

WIDE_POLICY = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "everything"
from = ["/**"]
to = ["payments"]
http = ["GET /**"]
[[deny]]
id = "no-charges"
from = ["/ns/web/**"]
to = ["payments"]
http = ["* /v1/**"]
"""
"""Allows ``web`` to read everything but what is below ``/v1``: the policy that tricks like best."""

CONTROL = b"/public/page?of=tricks"
"""What is allowed, and must be served."""


def wide_policy() -> Policy:
    return policy_of(WIDE_POLICY)


@attrs.frozen
class Trick:
    """A request.

    Attributes:
        target: What stands where the target does, raw.
        method: The method.
        headers: Further headers.
        body: The body.
    """

    target: bytes
    method: bytes = b"GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


_SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

_PATHS = (
    # As it is, and the forms of RFC 9112 section 3.2
    b"/v1/charges",
    b"/v1/charges/",
    b"/v1",
    b"https://localhost/v1/charges",
    b"http://localhost/v1/charges",
    b"https://localhost/public/../v1/charges",
    b"https://localhost?/v1/charges",
    b"//localhost/v1/charges",
    b"localhost:443/v1/charges",
    b"v1/charges",
    b"*",
    b"",
    b"?/v1/charges",
    # Dot segments (RFC 3986 section 5.2.4)
    b"/public/../v1/charges",
    b"/public/./../v1/charges",
    b"/./v1/charges",
    b"/v1/./charges",
    b"/v1/../v1/charges",
    b"/../v1/charges",
    b"/../../v1/charges",
    b"/public/..//v1/charges",
    b"/public../v1/charges",
    b"/public/.../v1/charges",
    b"/public/%2e%2e/v1/charges",
    b"/public/%2E%2E/v1/charges",
    b"/public/.%2e/v1/charges",
    b"/public/%2e./v1/charges",
    b"/%2e/v1/charges",
    b"/public/..%2fv1/charges",
    b"/public/..%2Fv1%2Fcharges",
    b"/public/%2e%2e%2fv1/charges",
    b"/public/..%5cv1/charges",
    b"/public/..\\v1\\charges",
    b"/public/..%00/v1/charges",
    b"/public/..;/v1/charges",
    b"/public/..;x=1/v1/charges",
    b"/public;/../v1/charges",
    b"/public/..?/v1/charges",
    b"/public/..#/v1/charges",
    # Slashes
    b"//v1/charges",
    b"///v1/charges",
    b"/v1//charges",
    b"/%2fv1/charges",
    b"/%2Fv1/charges",
    b"/v1%2fcharges",
    b"/v1%2Fcharges",
    b"\\v1\\charges",
    b"/\\v1\\charges",
    b"/%5cv1/charges",
    b"/v1%5ccharges",
    b"/v1\\charges",
    b"/public//../v1/charges",
    # Encodings
    b"/%76%31/charges",
    b"/%761/charges",
    b"/v%31/charges",
    b"/%2576%2531/charges",
    b"/%252e%252e/v1/charges",
    b"/public/%252e%252e/v1/charges",
    b"/public/%25%32%65%25%32%65/v1/charges",
    b"/public/%c0%ae%c0%ae/v1/charges",
    b"/public/%c0%afv1/charges",
    b"/public/%e0%80%ae%e0%80%ae/v1/charges",
    b"/%u0076%u0031/charges",
    b"/%uff0e%uff0e/v1/charges",
    b"/%ef%bc%8e%ef%bc%8e/v1/charges",
    b"/public/%ef%bc%8fv1/charges",
    b"/v1/charg\xe9s",
    b"/v1/charg%e9s",
    b"/\xc3\xa9/../v1/charges",
    b"/public/\xe9/../../v1/charges",
    # Ends and broken escapes
    b"/v1/charges?",
    b"/v1/charges?/public",
    b"/v1/charges#/public",
    b"/v1/charges%23/public",
    b"/v1/charges%3f/public",
    b"/public%3f/../v1/charges",
    b"/public%23/../v1/charges",
    b"/v1/charges;/public",
    b"/v1;/charges",
    b"/v1;x=y/charges",
    b"/v1/charges%00",
    b"/v1/charges%00/public",
    b"/v1%00/charges",
    b"/v1/charges%20",
    b"/v1%20/charges",
    b"/%20/v1/charges",
    b"/v1/charges%",
    b"/%zz/../v1/charges",
    b"/v1/charges%0a",
    b"/v1%09/charges",
    b"/v1/charges%0d%0aX-Meshid-Peer:%20me",
    b"/public%0d%0aX-Original-URI:%20/public",
    b"/public HTTP/1.1\r\nX-Original-URI: /public\r\nX: /v1/charges",
    b"/public /v1/charges",
    b"/public\t/v1/charges",
    b"/v1./charges",
    b"/V1/charges",
)

_OTHERS = {
    "a method in lower case": Trick(b"/v1/charges", b"get"),
    "another method": Trick(b"/v1/charges", b"HEAD"),
    "a method that does not exist": Trick(b"/v1/charges", b"G3T"),
    "POST, overridden": Trick(b"/v1/charges", b"POST", (("X-HTTP-Method-Override", "GET"),)),
    "the judged target as a header": Trick(
        b"/v1/charges",
        headers=(
            ("X-Original-URI", "/public"),
            ("X-Original-Method", "GET"),
            ("X-Forwarded-Uri", "/public"),
            ("X-Forwarded-Method", "GET"),
        ),
    ),
    "the judged target as a header with an underscore": Trick(
        b"/v1/charges", headers=(("X_Original_URI", "/public"), ("X_Forwarded_Uri", "/public"))
    ),
    "an upgrade": Trick(b"/v1/charges", headers=(("Connection", "Upgrade"), ("Upgrade", "websocket"))),
    "a request in the body, two lengths": Trick(
        CONTROL, headers=(("Content-Length", "0"), ("Content-Length", str(len(_SMUGGLED)))), body=_SMUGGLED
    ),
    "a request in the body, length and chunks": Trick(
        CONTROL,
        headers=(("Content-Length", str(5 + len(_SMUGGLED))), ("Transfer-Encoding", "chunked")),
        body=b"0\r\n\r\n" + _SMUGGLED,
    ),
    "a request in the body, an odd coding": Trick(
        CONTROL,
        headers=(("Content-Length", str(5 + len(_SMUGGLED))), ("Transfer-Encoding", "xchunked")),
        body=b"0\r\n\r\n" + _SMUGGLED,
    ),
    "a request after the request": Trick(CONTROL, headers=(("Content-Length", "0"),), body=_SMUGGLED),
    "a header with a bare line feed": Trick(CONTROL, headers=(("X", "a\nGET /v1/smuggled HTTP/1.1\nY: b"),)),
}

TRICKS: dict[str, Trick] = {repr(path)[2:-1]: Trick(path) for path in _PATHS} | _OTHERS


def breaches(speak: type[Line | Line2], port: int, context: ssl.SSLContext, upstream: Upstream) -> list[str]:
    """Try every trick, each on a connection of its own; return those that reached ``/v1``.

    *context* presents ``web``, and the wide policy must be in force.
    """
    upstream.taken()
    for number, trick in enumerate(TRICKS.values()):
        with speak(port, context) as line:
            line.ask(trick.method, trick.target, (("X-Trick", str(number)), *trick.headers), trick.body)
    with speak(port, context) as line:
        line.ask("GET", CONTROL)
    received = upstream.taken()
    assert any(each.target == CONTROL and not each.all("x-trick") for each in received), "nothing is served"
    names = list(TRICKS)
    return [
        f"{names[int(marks[0])] if (marks := each.all('x-trick')) else 'smuggled'}: {each.line!r}"
        for each in received
        if reaches(each)
    ]


def reaches(received: Received) -> bool:
    """Return whether any server could read this request as one for something below ``/v1``."""
    return any(re.match(rb"/*v1(?:/|$)", reading) for reading in _readings(received.target))


def _readings(target: bytes) -> Iterator[bytes]:
    """Yield each path that some server makes of a target."""
    path = re.sub(rb"^[a-z]+://[^/?#]*", b"", target)
    once = unquote_to_bytes(path)
    for text, cut in product(
        (path, once, unquote_to_bytes(once)), (rb"[?#].*", rb"[\0].*", rb";[^/]*", rb"$^")
    ):
        shorter = re.sub(cut, b"", text, flags=re.DOTALL)
        for slashed in (shorter, shorter.replace(b"\\", b"/")):
            yield slashed
            yield posixpath.normpath(b"/" + slashed.lstrip(b"/").rstrip())
