"""What a `MeshContext` adds to the server's part of a mutual TLS 1.3 handshake.

In memory, a few handshakes of each kind after the other. Counted is the processor time of the
server's calls, from `wrap_bio` to the end of its object; the client's is not.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from ratios import Timed, show_spread, take_turns
from scene import POLICY

from meshid import BundleSet, Mesh
from meshid.audit.event import AuditEvent
from meshid.testing import CA, Issued

ROUNDS = 25
HANDSHAKES = 20
Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
UNIT = "ssl.SSLContext without session tickets"
_STEPS = 3  # of each side: a handshake takes two, and a refusal may need one more to get its alert out


def main() -> None:
    """Measure with the two kinds of keys that meshes use, the authority's included."""
    # Refusals are logged at a limited rate, as they are by default; here into nothing.
    audit = logging.getLogger("meshid.audit")
    audit.setLevel(logging.WARNING)
    audit.propagate = False
    audit.addHandler(logging.NullHandler())
    compare("P-256", lambda: ec.generate_private_key(ec.SECP256R1()))
    compare("RSA-2048", lambda: rsa.generate_private_key(65537, 2048))


def compare(title: str, new_key: Callable[[], Key]) -> None:
    """Compare the servers, for one kind of keys."""
    key = new_key()
    ca, stranger = CA("prod.example.org", key=key), CA("prod.example.org", key=new_key())
    issuing = ca.intermediate(key=new_key())
    own = ca.issue("/ns/payments/sa/api", key=key)
    bundles = BundleSet([ca.bundle()])
    events: list[AuditEvent] = []
    mesh = Mesh(credentials=own.svid, bundles=bundles, policy=POLICY, service="payments")
    audited = Mesh(
        credentials=own.svid, bundles=bundles, policy=POLICY, service="payments", audit=events.append
    )
    server = mesh.server_context()
    known = ca.issue("/ns/checkout/sa/api", key=key)
    calls = {
        UNIT: handshakes(plain(ca, own, tickets=0), known),
        "ssl.SSLContext as it comes, 2 session tickets": handshakes(plain(ca, own, tickets=2), known),
        "MeshContext, a peer seen before": handshakes(server, known),
        "the same, with an audit event made and kept": handshakes(audited.server_context(), known),
        "MeshContext, a new peer each time": new_peers(server, ca, key),
        "MeshContext, a new peer below an intermediate each time": new_peers(server, issuing, key),
        "ssl.SSLContext without session tickets, below an intermediate": handshakes(
            plain(ca, own, tickets=0), issuing.issue("/ns/checkout/sa/api", key=key)
        ),
        "MeshContext, a peer refused by the policy": handshakes(
            server, ca.issue("/ns/ci/sa/agent", key=key), admitted=False
        ),
        "MeshContext, a stranger with a name of ours": handshakes(
            server, stranger.issue("/ns/checkout/sa/api", key=key), admitted=False
        ),
        "ssl.SSLContext without session tickets, a stranger": handshakes(
            plain(ca, own, tickets=0), stranger.issue("/ns/checkout/sa/api", key=key), admitted=False
        ),
    }
    show_spread(
        f"TLS 1.3, client certificates, {title}, server side", take_turns(calls, ROUNDS, HANDSHAKES), UNIT
    )


def plain(ca: CA, own: Issued, *, tickets: int) -> ssl.SSLContext:
    """Return what a server has without us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = tickets
    context.load_verify_locations(cadata=ca.pem.decode())
    own.load_into(context)
    return context


def handshakes(server: ssl.SSLContext, client: Issued, *, admitted: bool = True) -> Timed:
    """Return a call for handshakes with one client."""
    context = client.client_context()
    return lambda: handshake(server, context, admitted=admitted)


def new_peers(server: ssl.SSLContext, ca: CA, key: Key) -> Timed:
    """Return a call for handshakes with clients that were never seen before."""
    # Made beforehand: making one fills the processor's caches with things that a server never does.
    clients = iter(
        [ca.issue("/ns/checkout/sa/api", key=key).client_context() for _ in range(ROUNDS * HANDSHAKES)]
    )
    return lambda: handshake(server, next(clients), admitted=True)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, *, admitted: bool) -> float:
    """Run one handshake; return the processor time that the server's calls took, in seconds."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client.wrap_bio(to_client, to_server)
    start = time.thread_time()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    spent = time.thread_time() - start
    outcome = None
    for _ in range(_STEPS):
        with suppress(ssl.SSLError):
            theirs.do_handshake()
        start = time.thread_time()
        outcome = step(ours)
        spent += time.thread_time() - start
        if outcome is not None:
            break
    if outcome is not admitted:
        msg = f"the peer should be {'admitted' if admitted else 'refused'}"
        raise RuntimeError(msg)
    start = time.thread_time()
    del ours
    return spent + time.thread_time() - start


def step(end: ssl.SSLObject) -> bool | None:
    """Go on with a handshake; return whether it has ended well, None if it has not ended."""
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return None
    except ssl.SSLError:
        return False
    return True


if __name__ == "__main__":
    main()
