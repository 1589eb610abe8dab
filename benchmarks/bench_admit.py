"""From bytes to verdict: what `Mesh.admit()` costs, in units of one SHA-256 of the same leaf.

Each call gets bytes of its own, as a TLS library hands them out, so that nothing is saved by
a hash that a `bytes` object remembers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from ratios import Call, measure, show
from scene import POLICY

from meshid import BundleSet, ChainVerifier, Mesh
from meshid.audit.event import AuditEvent
from meshid.testing import CA

COPIES = 2000


def main() -> None:
    """Measure with the two kinds of leaves that meshes issue."""
    compare("P-256 leaf", ec.generate_private_key(ec.SECP256R1()))
    compare("RSA-2048 leaf", rsa.generate_private_key(65537, 2048))


def compare(title: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    """Compare the ways to a verdict for one leaf."""
    ca = CA("prod.example.org")
    intermediate = ca.intermediate()
    chain = intermediate.issue("/ns/checkout/sa/api", key=key).chain
    bundles = BundleSet([ca.bundle()])
    mesh = Mesh(bundles=bundles, policy=POLICY, service="payments")
    events: list[AuditEvent] = []
    audited = Mesh(bundles=bundles, policy=POLICY, service="payments", audit=events.append)
    peer = mesh.admit(chain)

    def fresh(call: Callable[[list[bytes]], object]) -> Callable[[], Call]:
        def make() -> Call:
            copies = iter([[bytes(bytearray(der)) for der in chain] for _ in range(COPIES)])
            return lambda: call(next(copies))

        return make

    seconds = measure(
        {
            "SHA-256 of the leaf": fresh(lambda ders: hashlib.sha256(ders[0]).digest()),
            "CachedVerifier.verify, warm": fresh(mesh.snapshot.verifier.verify),
            "Mesh.admit, warm (bytes to verdict)": fresh(mesh.admit),
            "Mesh.admit, warm, with an audit event made and kept": fresh(audited.admit),
            "Mesh.check of an open connection": lambda: lambda: mesh.check(peer),
            "Policy.decide, seen before": lambda: lambda: POLICY.decide(peer, "payments"),
            "ChainVerifier.verify, nothing remembered": fresh(ChainVerifier(bundles).verify),
        },
        COPIES,
    )
    show(f"{title}, {len(chain[0])} bytes", seconds, "SHA-256 of the leaf")


if __name__ == "__main__":
    main()
