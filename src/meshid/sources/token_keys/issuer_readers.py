"""The readers of the issuers that the policy in force declares."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from time import monotonic

import attrs

from meshid.policy import Policy
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.sources.reader import Reader
from meshid.sources.token_keys.issuer_keys import IssuerKeys
from meshid.sources.token_keys.key_set_file import KeySetFile
from meshid.support.locks import Order, new_lock

WANTED_SECONDS = 30.0
"""Between two reads that tokens ask for: anybody can make a key id, and each unknown one asks.

The `cooldownDuration` of panva/jose is as long; here a read that fails counts, too.
"""


class IssuerReader(Reader):
    """Reads the keys of one issuer.

    Args:
        issuer: The issuer.
        clock: Returns the POSIX time in seconds.

    Attributes:
        issuer: The issuer.
    """

    def __init__(self, issuer: Issuer, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self._wanting = new_lock(Order.WAITING)
        self._wanted_at = -math.inf
        is_file = issuer.jwks is not None and issuer.jwks.startswith("/")
        super().__init__((KeySetFile if is_file else IssuerKeys)(issuer, clock))

    def want(self) -> None:
        """Have the keys read now, unless that was wanted a moment ago; it returns at once, to any thread."""
        # Whoever finds it locked comes second.
        if self._wanting.acquire(blocking=False):
            try:
                is_due = monotonic() - self._wanted_at >= WANTED_SECONDS
                if is_due:
                    self._wanted_at = monotonic()
            finally:
                self._wanting.release()
            if is_due:
                self.inbox.put(SimpleQueue())


@attrs.frozen
class Following:
    """What changes when the readers follow another policy.

    Attributes:
        ended: The readers of issuers that are gone, or are declared in another way; closed.
        begun: The new readers, each with the one before it whose keys are its own, if there is one.
    """

    ended: tuple[Reader, ...]
    begun: Mapping[Reader, Reader | None]


class IssuerReaders:
    """The readers, one for each issuer; one thread at a time changes them, and any may look.

    Args:
        clock: Returns the POSIX time in seconds.

    Attributes:
        waiting: Those that have no thread yet.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.waiting: list[IssuerReader] = []
        self._clock = clock
        self._policy: Policy | None = None
        # Replaced whole, so that reading it takes no lock.
        self._readers: Mapping[str, IssuerReader] = {}

    def __iter__(self) -> Iterator[IssuerReader]:
        return iter(self._readers.values())

    def restart(self) -> None:
        """Have all of them wait for a thread, in a forked child."""
        for reader in self:
            reader.restart()
        self.waiting = list(self)

    def take_waiting(self) -> IssuerReader | None:
        """Take one that has no thread yet, to start one; None if there is none."""
        try:
            # Two threads may ask at once: after a fork, and while one reads.
            return self.waiting.pop(0)
        except IndexError:
            return None

    def want(self, issuer: str) -> None:
        """Have the keys of an issuer read now; it returns at once.

        Args:
            issuer: The name of the issuer.
        """
        if (reader := self._readers.get(issuer)) is not None:
            reader.want()

    def follow(self, policy: Policy | None) -> Following | None:
        """Read the keys of the issuers of a *policy*, and of no other any more; None if they are the same."""
        if policy is self._policy:
            return None
        self._policy, before = policy, self._readers
        now: dict[str, IssuerReader] = {}
        begun: dict[Reader, Reader | None] = {}
        for issuer in () if policy is None else policy.issuers:
            # The keys of a trust domain are in its bundle.
            if issuer.profile is IssuerProfile.JWT_SVID:
                continue
            known = before.get(issuer.name)
            if known is not None and _way(known.issuer) == _way(issuer):
                now[issuer.name] = known
                continue
            reader = now[issuer.name] = IssuerReader(issuer, self._clock)
            begun[reader] = known if known is not None and known.issuer.shares_keys_with(issuer) else None
        ended = tuple(reader for name, reader in before.items() if now.get(name) is not reader)
        self._readers = now
        self.waiting = [reader for reader in now.values() if reader in begun or reader in self.waiting]
        for reader in ended:
            reader.close()
        return Following(ended, begun) if ended or begun else None


def _way(issuer: Issuer) -> tuple[object, ...]:
    """Return what decides how the keys of an issuer are read."""
    return (
        issuer.issuer,
        issuer.jwks,
        issuer.roots,
        issuer.bearer_file,
        issuer.pinned_keys,
        issuer.max_stale,
    )
