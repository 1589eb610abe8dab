"""What a `MeshContext` adds to a mutual TLS 1.3 handshake, in memory: client and server on one thread."""

from __future__ import annotations

import ssl

from ratios import Call, measure, show
from scene import POLICY

from meshid import BundleSet, Mesh
from meshid.testing import CA

HANDSHAKES = 60


def main() -> None:
    """Measure whole handshakes, both sides together."""
    ca = CA("prod.example.org")
    own = ca.issue("/ns/payments/sa/api")
    mesh = Mesh(credentials=own.svid, bundles=BundleSet([ca.bundle()]), policy=POLICY, service="payments")
    client = ca.issue("/ns/checkout/sa/api").client_context()

    def plain(tickets: int) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = tickets
        context.load_verify_locations(cadata=ca.pem.decode())
        own.load_into(context)
        return context

    def new_peers() -> Call:
        contexts = iter([ca.issue("/ns/checkout/sa/api").client_context() for _ in range(HANDSHAKES)])
        return lambda: handshake(server, next(contexts))

    server = mesh.server_context()
    two, none = plain(2), plain(0)
    seconds = measure(
        {
            "ssl.SSLContext as it comes, 2 session tickets": lambda: lambda: handshake(two, client),
            "ssl.SSLContext without session tickets": lambda: lambda: handshake(none, client),
            "MeshContext, a peer seen before": lambda: lambda: handshake(server, client),
            "MeshContext, a new peer each time": new_peers,
        },
        HANDSHAKES,
    )
    show("TLS 1.3, client certificates, P-256", seconds, "ssl.SSLContext without session tickets")


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Run one handshake to its end on both sides."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    while sides:
        side = sides.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            sides.append(side)


if __name__ == "__main__":
    main()
