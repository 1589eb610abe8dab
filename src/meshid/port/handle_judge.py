"""Who answers the service behind a port about its requests: by the handle of the connection.

No header has a certificate or a name, so there is nothing to forge. What a handle leads to is the
connection itself, with the peer that was admitted when it was made, by its whole chain.
"""

from __future__ import annotations

from meshid.admission.question import Question
from meshid.decisions import Decision
from meshid.errors import InvalidForwarded
from meshid.http.asgi import Pairs
from meshid.http.judging import judged
from meshid.http.requested import header_once
from meshid.mesh import Mesh
from meshid.policy.requests import Request
from meshid.port.handles import HANDLE, Handles
from meshid.support.quoting import quote
from meshid.tokens.authorization import authorization_in

HEADER = "X-Meshid-Connection"
"""The header in which the service hands over the handle that it has got in the PROXY header."""

_KEY = HEADER.lower().encode()


class HandleJudge:
    """Decides about requests of the peers that are connected to a port.

    Args:
        mesh: Decides.
        handles: Has the peers.
        target: As for `Mesh.check`.
    """

    def __init__(self, mesh: Mesh, handles: Handles, target: str | None) -> None:
        self._mesh = mesh
        self._handles = handles
        self._target = mesh.service if target is None else target

    def __call__(self, headers: Pairs, request: Request | str) -> Decision:
        """Decide about one request.

        Raises:
            InvalidForwarded: If the header is there more than once, or does not hold a handle.
        """
        peer = None
        # Who connects to the service directly has no handle, and nginx then sends no header.
        if any(key == _KEY for key, _ in headers):
            handle = header_once(headers, HEADER).decode("latin-1")
            if not HANDLE.fullmatch(handle):
                msg = f"header {HEADER} has {quote(handle)}, which is no connection's handle"
                raise InvalidForwarded(msg)
            peer = self._handles.peer(handle)
        # Without a peer, nobody is there who has shown a certificate: on record, like anybody's refusal.
        question = Question(target=self._target, request=request)
        admission = self._mesh._admission  # noqa: SLF001 - it takes the question with the token
        return judged(admission, peer, question, authorization_in(headers))[0]
