"""What is asked about a chain."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from meshid.certificates.leaf import Role
from meshid.names.peer_pattern import PeerPattern
from meshid.policy import RequestLike


@attrs.frozen(kw_only=True)
class Question:
    """What is asked about a chain.

    Attributes:
        target: What the peer wants to reach; the mesh's own service if None.
        request: The request, if there is one; or the promise that each will be asked about.
        expect: Given for a peer that is a server: the patterns, one of which its name must match.
        broken: Given if the TLS library has refused already, with its words: the answer
            can then only be a refusal, and the question is why.
    """

    target: str | None = None
    request: RequestLike = None
    expect: Collection[PeerPattern] | None = None
    broken: str | None = None

    @property
    def role(self) -> Role:
        """What the peer is in the handshake."""
        return Role.CLIENT if self.expect is None else Role.SERVER
