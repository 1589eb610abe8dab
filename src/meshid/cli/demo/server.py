"""The server of the demo: a service called payments, its policy, and the authorities around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable

from meshid.audit.event import AuditEvent
from meshid.cli.demo.clients import HOST, Client, has_openssl, visit
from meshid.cli.demo.table import Outcome
from meshid.mesh import Mesh
from meshid.policy import Policy
from meshid.testing import CA, Issued
from meshid.tls.peer_of import peer_of
from meshid.trust.bundles import BundleSet

SERVICE = "payments"
ENVIRONMENT = "prod"
OWN = "/ns/payments/sa/api"
CHECKOUT = "/ns/checkout/sa/api"
SHOP = "spiffe://cluster.local/ns/shop/sa/web"

POLICY = f"""\
version = 1

[environments.prod]
trust_domains  = ["prod.example.org"]
federates_with = ["dev.example.org", "cluster.local"]

[environments.dev]
trust_domains  = ["dev.example.org"]
federates_with = ["cluster.local"]

[[allow]]
id   = "checkout-charges"
from = ["{CHECKOUT}"]     # no trust domain: this environment's own
to   = ["{SERVICE}"]

[[allow]]
id   = "linkerd-shop"
from = ["{SHOP}"]
to   = ["{SERVICE}"]

[[deny]]
id   = "no-build-agents"
from = ["/ns/ci/**"]
to   = ["**"]
"""


class DemoServer:
    """An asyncio server that greets each peer by its name, and checks the peer again for each line.

    Attributes:
        prod: The authority of its own trust domain.
        successor: The authority that replaces *prod* while the server runs.
        dev: The authority of another environment, which prod federates with.
        linkerd: The authority of a Linkerd mesh in the same cluster.
        mesh: What the server trusts and decides by.
        port: The port that it listens on.
    """

    def __init__(self) -> None:
        self.prod = CA("prod.example.org")
        self.successor = CA("prod.example.org", subject="CN=root 2,O=prod.example.org")
        self.dev = CA("dev.example.org")
        self.linkerd = CA("cluster.local")
        self.port = 0
        self._events: list[AuditEvent] = []
        self._received = b""
        self._conversations: list[asyncio.Task[None]] = []
        self.mesh = Mesh(
            credentials=self.prod.issue(OWN).svid,
            bundles=self.bundles(self.prod),
            policy=Policy.from_toml(POLICY, ENVIRONMENT),
            service=SERVICE,
            audit=self._events.append,
        )

    def bundles(self, prod: CA) -> BundleSet:
        """Return the bundles that the server trusts, with *prod* for its own trust domain."""
        return BundleSet([prod.bundle(), self.dev.bundle(), self.linkerd.bundle(profile="linkerd")])

    def issue_shop(self) -> Issued:
        """Issue a certificate that names the shop as Linkerd does."""
        return self.linkerd.issue(uris=[], dns=["web.shop.serviceaccount.identity.linkerd.cluster.local"])

    async def visited_by(self, client: Client, credentials: Issued | None) -> Outcome:
        """Let a client visit; a blocking one, if this machine has no ``openssl`` command."""
        kind = Client.BLOCKING if client is Client.OPENSSL and not has_openssl() else client
        return await self.outcome_of(kind, visit(kind, self.port, credentials))

    async def outcome_of(self, client: Client, seen: Awaitable[str]) -> Outcome:
        """Await what a client has *seen*, and add what the server got in the meantime."""
        events, received = len(self._events), len(self._received)
        saw = await seen
        return Outcome(
            client=client, saw=saw, events=tuple(self._events[events:]), received=self._received[received:]
        )

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen on a free port; the listener is started once."""
        context = self.mesh.server_context(resumption=True)
        listener = await asyncio.start_server(self._accept, HOST, 0, ssl=context)
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            for conversation in self._conversations:
                conversation.cancel()
            # An error in one of them shows in what its client saw.
            await asyncio.gather(*self._conversations, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._conversations.append(asyncio.create_task(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            async for line in reader:
                self._received += line
                peer = peer_of(writer)
                decision = self.mesh.check(peer)
                answer = f"hello {peer.spiffe_id}" if decision else f"refused: {decision.reason}"
                writer.write(f"{answer}\n".encode())
                await writer.drain()
