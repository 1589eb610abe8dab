"""What a review has ended, to be told once everything that must end has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import attrs

from meshid.admission.open_connections import Connection
from meshid.audit.event import LOGGER
from meshid.errors import PeerRejected
from meshid.support.logs import ERROR, log
from meshid.support.quoting import described
from meshid.verification.verifier import Peer

OnRevoked = Callable[[Peer, PeerRejected, Connection], None]
"""Called after an open connection was ended, with its peer and the refusal."""


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

    def tell(self, on_revoked: OnRevoked | None) -> None:
        """Record each connection, and call *on_revoked* with it, as `Admission.tell` does."""
        interruption: BaseException | None = None
        for what, step in self._steps(on_revoked):
            try:
                step()
            # Nothing that the user's code does may keep the next one from being told.
            except Exception as error:  # noqa: BLE001
                log(LOGGER, ERROR, "%s: %s", what, described(error), error=error)
            except BaseException as error:  # noqa: BLE001
                interruption = interruption or error
        if interruption is not None:
            raise interruption

    def _steps(self, on_revoked: OnRevoked | None) -> Iterator[tuple[str, Callable[[], object]]]:
        for failure in self.failures:
            yield "an open connection could not be reviewed", partial(_raise, failure)
        for each in self.connections:
            yield "the end of a connection could not be recorded", each.record
            if on_revoked is not None:
                yield "on_revoked failed", partial(on_revoked, each.peer, each.rejection, each.connection)


def _raise(failure: BaseException) -> None:
    raise failure
