"""A SPIFFE bundle endpoint as an ASGI application: it serves our trust bundle to other trust domains.

::

    app = bundle_app(mesh)        # for uvicorn, hypercorn or a mount in any framework

Serve it over TLS that asks for no client certificate (SPIFFE Federation sections 5.2.1.3 and
5.2.2.3), with a web certificate or an X.509-SVID of ours: who fetches it does not trust us yet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus

from meshid.http.asgi import App, Pairs, Receive, Scope, Send, is_http
from meshid.mesh import Mesh
from meshid.names.spiffe_id import TrustDomain
from meshid.trust.bundles import TrustBundle

_JSON = (b"content-type", b"application/json")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")


def bundle_app(
    mesh: Mesh,
    trust_domain: TrustDomain | str | None = None,
    *,
    refresh_hint: int = 300,
    clock: Callable[[], float] = time.time,
) -> App:
    """Return an ASGI application that serves a trust bundle as a SPIFFE bundle document.

    It answers GET and HEAD, on any path, with the bundle in force at that instant; with status
    404 while there is none. The document has the authorities for X.509-SVIDs and the keys for JWT-SVIDs,
    as far as they came with the bundle.

    Its ``spiffe_sequence`` is the POSIX time in seconds at which this process first served
    these authorities and keys, and at least one more than the sequence before them; so it grows with each
    change, and across restarts as long as the clock does. Processes that serve the same bundle
    may give it different sequences.

    Args:
        mesh: The mesh that has the bundle.
        trust_domain: The trust domain of the bundle; the mesh's own if None.
        refresh_hint: After how many seconds a client should fetch the bundle again; at least 1.
        clock: Returns the POSIX time in seconds.

    Raises:
        ValueError: If *trust_domain* is None and the mesh has no name of its own, or if
            *refresh_hint* is not positive.
        InvalidSpiffeId: If *trust_domain* is not a valid trust domain.
    """
    if refresh_hint < 1:
        msg = f"refresh_hint is {refresh_hint}; it must be at least one second"
        raise ValueError(msg)
    return _BundleApp(mesh, _domain(mesh, trust_domain), _Documents(refresh_hint, clock))


def _domain(mesh: Mesh, trust_domain: TrustDomain | str | None) -> TrustDomain:
    if trust_domain is not None:
        return TrustDomain.parse(str(trust_domain))
    if mesh.snapshot.name is None:
        msg = "no trust domain: pass trust_domain, or give the Mesh credentials"
        raise ValueError(msg)
    return mesh.snapshot.name.trust_domain


class _Documents:
    """The document of the bundle; each new bundle gets a new sequence number."""

    def __init__(self, refresh_hint: int, clock: Callable[[], float]) -> None:
        self._refresh_hint = refresh_hint
        self._clock = clock
        self._sequence = 0
        self._last: TrustBundle | None = None
        self._text = b""

    def of(self, bundle: TrustBundle) -> bytes:
        if bundle != self._last:
            self._sequence = max(int(self._clock()), self._sequence + 1)
            self._text = self._document(bundle)
            self._last = bundle
        return self._text

    def _document(self, bundle: TrustBundle) -> bytes:
        members = {"spiffe_sequence": self._sequence, "spiffe_refresh_hint": self._refresh_hint}
        return json.dumps({**members, **bundle.to_spiffe_document()}, indent=2).encode()


class _BundleApp:
    def __init__(self, mesh: Mesh, trust_domain: TrustDomain, documents: _Documents) -> None:
        self._mesh = mesh
        self._trust_domain = trust_domain
        self._documents = documents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await is_http(scope, receive, send):
            await self._answer(scope["method"], send)

    async def _answer(self, method: str, send: Send) -> None:
        status, headers, body = self._response(method)
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})

    def _response(self, method: str) -> tuple[HTTPStatus, Pairs, bytes]:
        if method not in {"GET", "HEAD"}:
            return HTTPStatus.METHOD_NOT_ALLOWED, (_TEXT, (b"allow", b"GET, HEAD")), b"only GET and HEAD\n"
        bundle = self._mesh.snapshot.bundles.get(self._trust_domain)
        if bundle is None:
            return HTTPStatus.NOT_FOUND, (_TEXT,), f"no bundle of {self._trust_domain}\n".encode()
        return HTTPStatus.OK, (_JSON,), self._documents.of(bundle)
