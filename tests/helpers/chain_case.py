"""One kind of chain that an unknown peer can present, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import TypedDict, Unpack

import attrs

from meshid.reasons import Reason
from meshid.testing import Issued
from meshid.trust.bundles import BundleSet
from tests.helpers.world import World

Maker = Callable[[World], Issued | tuple[bytes, ...]]


@attrs.frozen
class Case:
    """One kind of chain.

    Attributes:
        name: What is special about it.
        make: Makes the chain: DER, leaf first, or an `Issued`, which has the key, too.
        reason: What becomes of it; `Reason.ALLOWED` if it verifies.
        claims: The name that the leaf claims, and that the peer has; None if it claims none.
        role: What the peer is in the handshake.
        wire: Whether a TLS peer can present it; then `make` gives an `Issued`.
        needs_tls13: Whether a server cannot present it in TLS 1.2, for want of a key usage.
        bundles: The bundles under which it is judged; the revocations are those of the world.
    """

    name: str
    make: Maker
    reason: Reason
    claims: str | None
    role: str = "client"
    wire: bool = True
    needs_tls13: bool = False
    bundles: Callable[[World], BundleSet] = attrgetter("bundles")

    def chain(self, world: World) -> tuple[bytes, ...]:
        """Make the chain as DER, leaf first."""
        made = self.make(world)
        return made.chain if isinstance(made, Issued) else made


class _How(TypedDict, total=False):
    role: str
    wire: bool
    needs_tls13: bool
    bundles: Callable[[World], BundleSet]


def rows(reason: Reason, claims: str | None, makers: Mapping[str, Maker], **how: Unpack[_How]) -> list[Case]:
    """Return a case for each of *makers*, by its name."""
    return [Case(name, make, reason, claims, **how) for name, make in makers.items()]
