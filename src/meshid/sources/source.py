"""What a source is, and the state that it delivers.

The rules of this module:

- A source delivers whole, immutable states. What is absent from a state is removed: a trust
  domain that is no longer in it is no longer trusted.
- If it cannot be read, it raises an error that names the source, the place and what would be
  right. The caller keeps the last good state.
- If only a part of it cannot be read, the state has that as a fault, and the rest of it counts.
- A source knows nothing of a mesh, of threads or of other sources.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy
from meshid.support.quoting import quote_all
from meshid.support.types import check_type
from meshid.tokens.key_set import KeySet
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations


@attrs.frozen
class Fault:
    """A part that a source could not deliver: the last good one of it stays in force.

    Attributes:
        text: What is wrong, for people.
        trust_domain: The trust domain whose bundle it is about; None for anything else, such
            as our own certificate.

    Raises:
        TypeError: If one of them has another type.
    """

    text: str
    trust_domain: TrustDomain | None = None

    def __attrs_post_init__(self) -> None:
        check_type(type(self.text), str, "text", "a str")
        if self.trust_domain is not None:
            check_type(type(self.trust_domain), TrustDomain, "trust_domain", "a TrustDomain or None")


@attrs.frozen(kw_only=True)
class State:
    """What one source delivers at one instant.

    Attributes:
        credentials: Our own certificate and key; None if this source has none.
        bundles: Trust bundles, at most one for each trust domain.
        revocations: What is revoked.
        policy: Who may reach what; None if this source has none.
        keys: The keys of issuers of tokens, at most one set for each.
        warnings: Texts about what works now and needs attention; each is an alarm.
        faults: What is missing here because it could not be read; each is an alarm.

    Raises:
        TypeError: If one of them has another type: it would hold up what the other sources deliver.
        ValueError: If two bundles are of the same trust domain, or two key sets of the same issuer.
    """

    credentials: X509Svid | None = None
    bundles: tuple[TrustBundle, ...] = ()
    revocations: Revocations = attrs.field(factory=Revocations)
    policy: Policy | None = None
    keys: tuple[KeySet, ...] = ()
    warnings: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.credentials is not None:
            check_type(type(self.credentials), X509Svid, "credentials", "an X509Svid or None")
        if self.policy is not None:
            check_type(type(self.policy), Policy, "policy", "a Policy or None")
        check_type(type(self.revocations), Revocations, "revocations", "a Revocations")
        kinds = {"bundles": TrustBundle, "keys": KeySet, "warnings": str, "faults": Fault}
        for name, kind in kinds.items():
            values = getattr(self, name)
            check_type(type(values), tuple, name, f"a tuple of {kind.__name__}")
            for each in values:
                check_type(type(each), kind, f"each of the {name}", f"a {kind.__name__}")
        domains = [bundle.trust_domain for bundle in self.bundles]
        if len(set(domains)) != len(domains):
            msg = f"two bundles are of the same trust domain: {', '.join(sorted(map(str, domains)))}"
            raise ValueError(msg)
        issuers = [keys.issuer for keys in self.keys]
        if len(set(issuers)) != len(issuers):
            msg = f"two key sets are of the same issuer: {quote_all(sorted(issuers))}"
            raise ValueError(msg)


class Source(Protocol):
    """Where states come from; implement it for a source of your own.

    A source is read by one thread at a time, which need not be the one that made it.
    """

    @property
    def name(self) -> str:
        """What it is and where, for people: ``policy '/etc/mesh/policy.toml'``."""

    @property
    def is_required(self) -> bool:
        """Whether a mesh cannot start before it has delivered a state.

        False for bundles: a mesh waits for the one of its own trust domain, whichever source
        has it, and for no other.
        """

    @property
    def is_stream(self) -> bool:
        """Whether `read` returns the first state at once, and then waits for the next one."""

    def read(self) -> State:
        """Return the present state; if the source is a stream, wait for the next one.

        Returns:
            The state; the same object as before means that nothing has changed.

        Raises:
            MeshidError: If there is no usable state; the text says what is wrong, where, and
                what would be right. At the start, a mesh does not wait for long after an
                `InvalidInput`, or a `SourceUnavailable` that is lasting.
        """

    def pause(self) -> float:
        """Return how many seconds to wait after a `read`, successful or not."""

    def close(self) -> None:
        """Release everything, and end a `read` that waits; called from any thread."""
