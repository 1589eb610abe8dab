"""What a source is, and what it yields.

The rules of this room:

- A source yields whole, immutable states. What is absent from a state is gone: a trust
  domain that is no longer there is no longer trusted.
- What cannot be read is an error that names the source, the place and what would be
  right, and no state. Whoever asks keeps the last good one.
- A source knows nothing of a mesh, of threads or of other sources.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from meshid.policy import Policy
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations


@attrs.frozen(kw_only=True)
class State:
    """What one source knows at one instant.

    Attributes:
        credentials: Our own certificate and key; None if this source has none.
        bundles: Trust bundles, at most one for each trust domain.
        revocations: What was taken back.
        policy: Who may reach what; None if this source has none.
        warnings: What works today, and a person should know of.
    """

    credentials: X509Svid | None = None
    bundles: tuple[TrustBundle, ...] = ()
    revocations: Revocations = attrs.field(factory=Revocations)
    policy: Policy | None = None
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """Where states come from.

    A source is read by one thread at a time.
    """

    @property
    def name(self) -> str:
        """What it is and where, for people: ``policy file /etc/mesh/policy.toml``."""

    @property
    def is_required(self) -> bool:
        """Whether a mesh must not start without it; it may start without a partner's bundle."""

    @property
    def is_stream(self) -> bool:
        """Whether `read` waits for the next state, once it has told one."""

    def read(self) -> State:
        """Return the state of now; if the source is a stream, wait for the next one.

        Raises:
            MeshidError: If there is no state that could be used; the text says what is
                wrong, where, and what would be right.
        """

    def pause(self) -> float:
        """Return how many seconds to wait after a `read`, whether it failed or not."""

    def close(self) -> None:
        """Let go of everything, and end a `read` that waits."""
