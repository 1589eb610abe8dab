"""Where the demo is played: knocks at the server, watched from all sides."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from meshid.audit.event import AuditEvent
from meshid.cli.demo.clients import Client, Knock
from meshid.cli.demo.server import Server
from meshid.cli.demo.table import Row, Table
from meshid.cli.demo.verdicts import Evidence, Expected, faults
from meshid.cli.demo.world import World
from meshid.testing import Issued


class Stage:
    """A world, the server in it, and who is watching.

    Attributes:
        world: The authorities.
        server: The server.
        clients: The kinds of clients that this machine has.
        table: What is shown.
    """

    def __init__(
        self,
        world: World,
        server: Server,
        events: list[AuditEvent],
        clients: dict[Client, Knock],
        table: Table,
    ) -> None:
        """Take the places."""
        self.world = world
        self.server = server
        self.clients = clients
        self.table = table
        self._events = events

    async def knock(self, client: Client, credentials: Issued | None) -> Evidence:
        """Let a client of some kind knock; a blocking one stands in for one that this machine has not."""
        kind = client if client in self.clients else Client.BLOCKING
        return await self.watch(kind, self.clients[kind](self.server.port, credentials))

    async def watch(self, client: Client, seen: Awaitable[str]) -> Evidence:
        """Await what a client has *seen*, and collect what the audit and the application got meanwhile."""
        told, read = len(self._events), len(self.server.received)
        saw = await seen
        return Evidence(
            client=client, saw=saw, events=tuple(self._events[told:]), received=self.server.received[read:]
        )

    def show(
        self,
        what: str,
        expected: Expected,
        evidence: Evidence,
        more_faults: Iterable[str] = (),
        note: str = "",
    ) -> None:
        """Hold the evidence against what is expected, and show both."""
        row = Row(
            what=what,
            client=evidence.client,
            saw=evidence.saw,
            decision=evidence.decision,
            faults=(*faults(expected, evidence), *more_faults),
            note=note,
        )
        self.table.add(row)
