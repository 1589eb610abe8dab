"""What a review has ended, to be told once everything that must end has ended."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from meshid.admission.open_connections import Connection
from meshid.errors import PeerRejected
from meshid.verification.verifier import Peer


@attrs.frozen(kw_only=True, eq=False)
class EndedConnection:
    """A connection that was ended, because its peer may no longer be there.

    Attributes:
        connection: The connection.
        peer: Who was at its other end.
        rejection: Why the peer may no longer be there.
        record: Records the decision.
    """

    connection: Connection
    peer: Peer
    rejection: PeerRejected
    record: Callable[[], object]


@attrs.frozen(kw_only=True)
class Ended:
    """The result of a review.

    Attributes:
        connections: Those that were ended.
        failures: What was raised while a connection was judged or ended.
    """

    connections: tuple[EndedConnection, ...] = ()
    failures: tuple[BaseException, ...] = ()
