"""Whether a port is ready: its mesh is, its upstream answers, and nobody has told it to stop."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

from typing_extensions import override

from meshid.mesh import Mesh
from meshid.port.status_listener import Answer
from meshid.port.upstream import Upstream

DIAL_SECONDS = 0.8
"""For the upstream to take a connection: a probe of Kubernetes waits for one second by default."""


class Readiness:
    """Whether a port is ready.

    Args:
        mesh: Its mesh.
        upstream: Its upstream, if that is to be dialled. Not that of a port for local clients: a server that
            is down elsewhere must not take this service out of its own load balancer.

    Attributes:
        is_stopping: Whether somebody has told it to stop.
    """

    def __init__(self, mesh: Mesh, upstream: Upstream | None) -> None:
        self.is_stopping = False
        self._mesh = mesh
        self._upstream = upstream

    async def answer(self) -> Answer:
        """Return the answer to a probe, without what strangers need not know."""
        why = await self._why()
        if why:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {why}\n"
        return HTTPStatus.OK, "ready\n"

    async def _why(self) -> str:
        if self.is_stopping:
            return "it is stopping"
        if outages := [alarm.about for alarm in self._mesh.health().alarms if alarm.is_outage]:
            return ", ".join(outages)
        return (
            "" if self._upstream is None or await _answers(self._upstream) else "the upstream does not answer"
        )


async def _answers(upstream: Upstream) -> bool:
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            await upstream.connect(asyncio.get_running_loop(), _Knock)
    except OSError:
        return False
    return True


class _Knock(asyncio.Protocol):
    """Goes away as soon as it is let in."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()
