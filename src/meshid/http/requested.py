"""The request that a proxy asks about, as the proxy has received it and will pass it on.

Each dialect tells it in its own way. A header of another dialect is the client's own, so which one is
read is never guessed; and one that is there twice is no header of the proxy's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from meshid.errors import InvalidForwarded
from meshid.http.asgi import Pairs, Scope
from meshid.policy.requests import METHOD
from meshid.support.quoting import quote

PATH = "/authorize"
"""Where the proxy asks."""

Asked: TypeAlias = tuple[bytes, bytes]
"""A method, and a target without its query, as they were told."""

Requested: TypeAlias = Callable[[Scope], Asked | None]
"""Finds the request that is asked about: None if it is not asked at `PATH`.

Raises `InvalidForwarded`, which names the header, if the request is not told as it should be.
"""

_PREFIX = PATH.encode()


def header_once(headers: Pairs, name: str) -> bytes:
    """Return the value of a header that must be there exactly once.

    Args:
        headers: The headers of the proxy's question.
        name: The name of the header.

    Raises:
        InvalidForwarded: If it is not there, or more than once.
    """
    wanted, found = name.lower().encode(), None
    for key, value in headers:
        if key == wanted:
            if found is not None:
                raise InvalidForwarded(_not_once(name, "is there more than once"))
            found = value
    if found is None:
        raise InvalidForwarded(_not_once(name, "is missing"))
    return found


def _not_once(name: str, fault: str) -> str:
    return f"header {name} {fault}; the proxy must set it, in place of what a client sends"


def text_of(asked: Asked) -> tuple[str, str]:
    """Return the method and the target of a request as text: one word of ASCII, and ASCII.

    What is not ASCII, one server takes for Latin-1, and another one for UTF-8: decoded as either, what is
    judged would not be what is served. And a method of two words would push its second one into the target.

    Raises:
        InvalidForwarded: If they are anything else.
    """
    for what, value in zip(("method", "target"), asked, strict=True):
        if not value.isascii():
            msg = f"the {what} of the request is not ASCII: {quote(value.decode('latin-1'))}"
            raise InvalidForwarded(msg)
    method, target = asked[0].decode("ascii"), asked[1].decode("ascii")
    if not METHOD.fullmatch(method):
        msg = f"the method of the request is {quote(method)}, which is no method (RFC 9110 section 9.1)"
        raise InvalidForwarded(msg)
    return method, target


def _in_headers(method: str, target: str, scope: Scope) -> Asked | None:
    if scope["path"] != PATH:
        return None
    headers: Pairs = scope["headers"]
    # The query is not judged, and may hold secrets.
    return header_once(headers, method), header_once(headers, target).partition(b"?")[0]


def _in_place(scope: Scope) -> Asked | None:
    """Read the question of a proxy that asks with the client's own method, and its target after `PATH`."""
    raw: bytes = scope.get("raw_path") or b""
    if not raw.startswith(_PREFIX):
        return None
    return scope["method"].encode(), raw.removeprefix(_PREFIX).partition(b"?")[0]


in_original = partial(_in_headers, "X-Original-Method", "X-Original-URI")
"""As we tell nginx and HAProxy to ask: with ``$request_method`` and ``$request_uri``, or ``pathq``."""

_in_forwarded = partial(_in_headers, "X-Forwarded-Method", "X-Forwarded-Uri")

_DIALECTS: dict[str, Requested] = {
    "nginx": in_original,
    "haproxy": in_original,
    "rfc9440": in_original,
    "caddy": _in_forwarded,
    "traefik": _in_forwarded,
    "envoy": _in_place,
}


def requested_by(proxy: str) -> Requested:
    """Return how a proxy tells which request it asks about.

    Args:
        proxy: One of those that `meshid.http.Forwarded` knows.

    Raises:
        ValueError: If it asks nobody.
    """
    if proxy not in _DIALECTS:
        msg = f"{proxy} asks no authorizer; in your service, Mesh.admit() takes Forwarded({proxy!r}).chain()"
        raise ValueError(msg)
    return _DIALECTS[proxy]
