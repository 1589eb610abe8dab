"""The same verification, remembered.

The rules of this module:

- A verdict is keyed by the leaf's whole DER, compared exactly, in a cache for its trust
  domain and role. The leaf alone is enough: a path for it was found under this trust,
  whatever intermediates come next time. So a resumed session, which carries only the
  leaf, can be verified again.
- A verdict lives no longer than anything that it rests on, and no longer than `MAX_AGE`.
  A clock that steps back is a miss.
- Only successes are remembered. Refusals are cheap, and the attacker chooses their keys.
- Nothing is ever invalidated. A cache belongs to one verifier, and so to one state of
  trust; new trust means a new verifier with an empty cache.
- A trust domain evicts only its own peers: a flood from a foreign authority cannot make
  our own peers expensive.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from meshid.certificates.leaf import Role
from meshid.names.spiffe_id import TrustDomain
from meshid.support.sieve import Sieve
from meshid.verification.verifier import ChainVerifier, Peer

DEFAULT_CAPACITY = 4096
"""Peers remembered for each trust domain and role; each takes about 10 kB, with its path."""

MAX_AGE = 1800.0
"""The longest life of a verdict, in seconds; Chromium chose the same for its cache."""


@attrs.frozen
class CacheStats:
    """Counters of a cache. With several threads, *hits* and *misses* are approximate.

    Attributes:
        hits: Look-ups that found a verdict in force.
        misses: Look-ups that did not.
        size: Verdicts in the cache now, whether in force or not.
        evictions: Verdicts that were evicted to make room.
    """

    hits: int
    misses: int
    size: int
    evictions: int


@attrs.frozen
class _Verdict:
    peer: Peer
    since: float
    until: float


class CachedVerifier:
    """A `ChainVerifier` that remembers the peers that it verified.

    Args:
        verifier: Does the work, and has the state of trust and the clock.
        capacity: Peers remembered for each trust domain and role.

    Attributes:
        verifier: The verifier that does the work.

    Raises:
        ValueError: If *capacity* is not positive.
    """

    def __init__(self, verifier: ChainVerifier, *, capacity: int = DEFAULT_CAPACITY) -> None:
        self.verifier = verifier
        self._clock = verifier.clock
        self._caches: dict[str, dict[TrustDomain, Sieve[bytes, _Verdict]]] = {
            role: {domain: Sieve(capacity) for domain in verifier.bundles} for role in Role
        }
        self._hits = 0
        self._misses = 0

    def verify(self, chain: Sequence[bytes], *, role: str = "client", now: float | None = None) -> Peer:
        """Return the peer, as `ChainVerifier.verify` does, from the cache where that is sound.

        Args:
            chain: DER certificates, leaf first.
            role: What the peer is in this handshake, ``"client"`` or ``"server"``.
            now: The instant of the verification, in POSIX seconds; the clock's if None.

        Raises:
            PeerRejected: As `ChainVerifier.verify` does.
            ValueError: If *role* is neither of the two.
        """
        instant = self._clock() if now is None else now
        peer = self.recall(chain[0], role=role, now=instant) if chain else None
        return peer or self._verify(chain, role, instant)

    def recall(self, leaf_der: bytes, *, role: str = "client", now: float | None = None) -> Peer | None:
        """Return the peer with this leaf, if its verdict is remembered and in force; else None.

        Args:
            leaf_der: The leaf as DER.
            role: What the peer is in this handshake, ``"client"`` or ``"server"``.
            now: The instant of the look-up, in POSIX seconds; the clock's if None.
        """
        instant = self._clock() if now is None else now
        for cache in self._caches.get(role, {}).values():
            verdict = cache.get(leaf_der)
            if verdict is not None and verdict.since <= instant <= verdict.until:
                self._hits += 1
                return verdict.peer
        self._misses += 1
        return None

    def stats(self) -> CacheStats:
        """Return the counters."""
        caches = [cache for by_domain in self._caches.values() for cache in by_domain.values()]
        return CacheStats(
            hits=self._hits,
            misses=self._misses,
            size=sum(map(len, caches)),
            evictions=sum(cache.evictions for cache in caches),
        )

    def _verify(self, chain: Sequence[bytes], role: str, now: float) -> Peer:
        peer = self.verifier.verify(chain, role=role, now=now)
        until = min(peer.not_after.timestamp(), now + MAX_AGE)
        self._caches[role][peer.trust_domain].put(chain[0], _Verdict(peer, now, until))
        return peer
