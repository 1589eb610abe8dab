"""The authorizer beside a port: the service behind asks about each request by its connection's handle.

No header has a certificate or a name, so there is nothing to forge. What is found by the handle is the
connection itself, with the peer that was admitted, whole chain, when it was made.
"""

from __future__ import annotations

import re

from meshid.decisions import Decision
from meshid.errors import InvalidForwarded
from meshid.http.asgi import App, Pairs
from meshid.http.authorizer import AuthorizerApp
from meshid.http.requested import header_once, in_original
from meshid.mesh import Mesh
from meshid.policy.requests import Request
from meshid.port.handles import Handles
from meshid.support.quoting import quote

HEADER = "X-Meshid-Connection"
"""The header that the service behind the port copies the connection's unique ID to, when it asks."""

_NAME = HEADER.lower().encode()
_HANDLE = re.compile(rb"[0-9a-f]{32}")


class HandleJudge:
    """Decides about the peer of the connection whose handle a header has.

    Args:
        mesh: Decides.
        handles: The connections of the port.
        target: What peers reach through the port; the mesh's service if None.
    """

    def __init__(self, mesh: Mesh, handles: Handles, target: str | None) -> None:
        self._mesh = mesh
        self._handles = handles
        self._target = target

    def __call__(self, headers: Pairs, request: Request | str) -> Decision:
        """Decide about a request.

        Raises:
            InvalidForwarded: If the header is there more than once, or has no handle.
        """
        peer = None
        # nginx sends no header for an empty variable: whoever has connected did not come through the port.
        if any(name == _NAME for name, _ in headers):
            value = header_once(headers, HEADER)
            if not _HANDLE.fullmatch(value):
                msg = f"header {HEADER} has {quote(value.decode('latin-1'))}, which is no connection's handle"
                raise InvalidForwarded(msg)
            peer = self._handles.peer(value.decode("ascii"))
        if peer is None:
            # Nobody is there who has shown a certificate; that goes on record like anybody's.
            return self._mesh.decide((), target=self._target, request=request)
        return self._mesh.check(peer, target=self._target, request=request)


def authorizer_by_handle(mesh: Mesh, handles: Handles, target: str | None) -> App:
    """Return the ASGI application that the service behind a port asks, as `MeshPort.authorizer` does.

    Args:
        mesh: As for `HandleJudge`.
        handles: As for `HandleJudge`.
        target: As for `HandleJudge`.
    """
    return AuthorizerApp(in_original, HandleJudge(mesh, handles, target))
