"""The figures of a port as metrics, beside those of its mesh."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from meshid.mesh import Mesh
from meshid.metrics.figures import Figure, Sample
from meshid.port.port import MeshPort

_GAUGES = {
    "connections": "Connections that are open now, of admitted peers.",
    "handshakes": "TLS handshakes with clients that are under way now.",
}
_COUNTERS = {
    "admitted": "Connections whose peer was admitted.",
    "refused": "Handshakes whose peer was refused.",
    "broken_off": "Handshakes that ended before there was a peer.",
    "over_limit": "Connections that were cut off because there were too many.",
    "upstream_failures": "Connections that were cut off because of the upstream.",
    "bytes_in": "Bytes passed on to the upstream.",
    "bytes_out": "Bytes passed on from the upstream.",
}


def figures_of(port: MeshPort) -> tuple[Figure, ...]:
    """Return the metrics of a port."""
    return tuple(
        Figure(
            f"meshid.port.{field}",
            about,
            functools.partial(_sample, port, field),
            is_counter=field in _COUNTERS,
        )
        for field, about in {**_GAUGES, **_COUNTERS}.items()
    )


def _sample(port: MeshPort, field: str, _: Mesh) -> Iterator[Sample]:
    yield {}, getattr(port.figures(), field)
