"""What a port has done so far."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class PortFigures:
    """What a port has done so far, and what it is doing now.

    Attributes:
        connections: Connections that are open now, of admitted peers.
        handshakes: TLS handshakes with clients that are under way now.
        admitted: Connections whose peer was admitted.
        refused: Handshakes whose peer was refused.
        broken_off: Handshakes that ended before there was a peer: too slow, too old, not TLS, or gone.
        over_limit: Connections of admitted peers that were cut off at once, as there were too many.
        upstream_failures: Connections that were cut off because the upstream could not be reached, or
            was refused.
        bytes_in: Bytes passed on to the upstream, without TLS.
        bytes_out: Bytes passed on from the upstream, without TLS.
    """

    connections: int
    handshakes: int
    admitted: int
    refused: int
    broken_off: int
    over_limit: int
    upstream_failures: int
    bytes_in: int
    bytes_out: int


@attrs.define
class Totals:
    """The counters behind `PortFigures`."""

    admitted: int = 0
    refused: int = 0
    broken_off: int = 0
    over_limit: int = 0
    upstream_failures: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
