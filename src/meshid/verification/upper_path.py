"""The part of a path above the leaf, remembered.

The workloads of a mesh have one issuer, or a few: one new leaf after the other comes with the same
intermediates, and each time their signatures would be checked again. The X.509 backend has found
a path through them once. For the next leaf it is given the issuer of the leaf alone, as the anchor.

The rules of this module:

- The answer is that of the whole search, with the same path and the same reason. So the
  intermediates that were sent must be the same bytes, all of them in the path, below one possible
  anchor; and the leaf must say the same of its issuer. Then the search has nothing to choose.
- What the leaf may do is looked at again by the backend, and so is its signature. What a
  certificate above could forbid one leaf and not the other is a name constraint: a path with one
  is not remembered.
- It is of use only while every certificate in it is in date.
- A failure is no answer: the whole search then finds the reason.
- Revocation is not looked at here, and nothing about it is remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import attrs
from cryptography import x509
from cryptography.x509 import verification

from meshid.certificates.chain import Chain
from meshid.certificates.links import looks_self_signed
from meshid.certificates.reading import extension, to_der

REMEMBERED_PATHS = 64
"""Upper paths that are remembered for each trust domain and role; most take 2 to 5 kB, at most 64 kB."""

Path = tuple[x509.Certificate, ...]


@attrs.frozen(eq=False)
class UpperPath:
    """What is above a leaf.

    Attributes:
        sent: The intermediates that came with the leaf.
        path: The certificates from the issuer of the leaf to the anchor, both included.
        not_before: When the last of them became valid.
        not_after: When the first of them expires.
    """

    sent: Path
    path: Path
    not_before: datetime
    not_after: datetime
    _said_of_issuer: x509.AuthorityKeyIdentifier | None
    _rules: verification.PolicyBuilder

    @classmethod
    def of(
        cls,
        path: Path,
        chain: Chain,
        anchors: Collection[x509.Certificate],
        rules: verification.PolicyBuilder,
    ) -> UpperPath | None:
        """Return what can be remembered of a *path*, leaf first; None if nothing can.

        Args:
            path: The path that was found.
            chain: What the peer presented.
            anchors: The authorities that the path could have led to.
            rules: What the backend asks of certificates, without a store.
        """
        leaf, *above = path
        # Where nothing was sent, there is nothing to save.
        if len(above) == 1 or len(anchors) > 1 or not all(each in above for each in chain.intermediates):
            return None
        # It does not count as an intermediate; beside another leaf it would.
        if to_der(leaf) in chain.sent:
            return None
        if any(extension(each, x509.NameConstraints) for each in above):
            return None
        return cls(
            sent=chain.intermediates,
            path=tuple(above),
            not_before=max(each.not_valid_before_utc for each in above),
            not_after=min(each.not_valid_after_utc for each in above),
            said_of_issuer=extension(leaf, x509.AuthorityKeyIdentifier),
            rules=rules.store(verification.Store(above[:1])),
        )

    def below(self, leaf: x509.Certificate, instant: datetime, now: datetime) -> Path | None:
        """Return the path of a *leaf* that came with the same intermediates; None if it must be searched for.

        Args:
            leaf: The leaf.
            instant: The instant at which the leaf is verified.
            now: The present instant, which is not before that one.
        """
        if not self.not_before <= instant <= now <= self.not_after:
            return None
        if extension(leaf, x509.AuthorityKeyIdentifier) != self._said_of_issuer:
            return None
        # It is refused in any case; why, the search finds out.
        if looks_self_signed(leaf):
            return None
        try:
            search(self._rules.time(instant), leaf, ())
        # All mean: no path. The whole search comes next.
        except Exception:  # noqa: BLE001 - the backend's exceptions have no common base class
            return None
        return (leaf, *self.path)


def search(
    rules: verification.PolicyBuilder, leaf: x509.Certificate, intermediates: Sequence[x509.Certificate]
) -> Path:
    """Return the path that the X.509 backend finds, leaf first.

    Raises:
        Exception: Of any class, if it finds none.
    """
    return tuple(rules.build_client_verifier().verify(leaf, list(intermediates)).chain)
