"""What of a chain reaches the X.509 backend: only what can be part of a path, and not too much of it.

The backend tries each certificate whose subject is the issuer of the one below, checks a
signature for each try, and goes on from each that fits. A few certificates of one name and
one key multiply the tries: 2.5 kB of them can cost as much as 300 honest chains. So the
tries are counted first, going by names and keys alone, and what would make them too many is
left out. That can only refuse: whatever is selected is verified in full.

A certificate that its own key has signed is not recognised here, because that would take a
signature check. It is a step that leads nowhere, and counts like every other. A
certificate that carries the name of its issuer and that another key has signed is what an
authority makes when it renews its key (RFC 5280 section 6.1, *self-issued*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import attrs
from cryptography import x509
from cryptography.x509 import verification

from meshid.certificates.chain import Chain
from meshid.certificates.links import Links, issuer_key_id, links_of, may_have_issued, own_key_id
from meshid.certificates.namesakes import MAX_NAMESAKES, weight_of

MAX_DEPTH = 4
"""Intermediates between the leaf and its anchor; no mesh is known to use more."""

MAX_TRIES = 16
"""Signatures by keys of the peer's choice that the backend may check; a straight chain needs four."""

MAX_ANCHOR_TRIES = 48
"""Signatures by keys of authorities that the backend may check; one is enough where names tell them apart."""

MAX_TWINS = 2
"""Intermediates of one subject and one key: with more, the search only repeats itself."""


@attrs.frozen(eq=False)
class Anchor:
    """An authority.

    Attributes:
        certificate: Its certificate.
        weight: What a signature check with its key costs; see `weight_of`.
    """

    certificate: x509.Certificate
    weight: int


class Authorities:
    """Authorities, found by what a certificate says of its issuer; a look-up costs the same for any number.

    Args:
        authorities: The trust anchors.

    Attributes:
        every: All of them.
    """

    def __init__(self, authorities: Iterable[x509.Certificate]) -> None:
        self._named: dict[bytes, list[Anchor]] = {}
        self._keyed: dict[tuple[bytes, bytes | None], list[Anchor]] = {}
        self.every = frozenset(authorities)
        self._stores = {each: verification.Store([each]) for each in self.every}
        for each in authorities:
            anchor, subject = Anchor(each, weight_of(each)), links_of(each).subject
            _add(self._named.setdefault(subject, []), anchor)
            _add(self._keyed.setdefault((subject, own_key_id(each)), []), anchor)

    def store(self, anchors: Sequence[x509.Certificate]) -> verification.Store:
        """Return some of them as the X.509 backend takes them."""
        # A store that is kept has read the key already, which takes a fifth of a verification.
        return self._stores[anchors[0]] if len(anchors) == 1 else verification.Store(list(anchors))

    def called(self, subject: bytes) -> list[Anchor]:
        """Return those with this name, at most `MAX_NAMESAKES`."""
        return self._named.get(subject, [])

    def fitting(self, subject: bytes, key_id: bytes | None) -> list[Anchor]:
        """Return those with this name whose key identifier may be *key_id*; any may, if it is None."""
        if key_id is None:
            return self.called(subject)
        exact, unsaid = (self._keyed.get((subject, each), []) for each in (key_id, None))
        return [*exact, *unsaid]


@attrs.define(eq=False)
class Step:
    """A certificate of a chain, and those that may have issued it, going by names and key identifiers.

    Attributes:
        certificate: The certificate.
        links: Its names and its key.
        above: The intermediates that may have issued it.
        anchors: The authorities that may have issued it.
    """

    certificate: x509.Certificate
    links: Links
    above: list[Step] = attrs.field(factory=list)
    anchors: list[Anchor] = attrs.field(factory=list)


@attrs.frozen
class Selection:
    """What the X.509 backend is given beside the leaf.

    Attributes:
        anchors: The authorities that the chain can lead to, one at least.
        intermediates: The intermediates that can lead there.
    """

    anchors: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]


def select(authorities: Authorities, chain: Chain) -> Selection | None:
    """Return what can be part of a path, or None if the names lead to no authority.

    Args:
        authorities: The authorities of the trust domain that the leaf claims.
        chain: What the peer presented.
    """
    steps = climb(authorities, chain)
    leaf, useful = steps[0], leading(steps)
    if leaf not in useful:
        return None
    kept = useful if _is_soon_searched(useful) else _searchable(useful, leaf)
    return Selection(
        anchors=tuple({anchor.certificate: None for step in kept for anchor in step.anchors}),
        intermediates=tuple(step.certificate for step in kept if step is not leaf),
    )


def climb(authorities: Authorities, chain: Chain) -> list[Step]:
    """Return the leaf, and the intermediates that may be above it, each with its possible issuers."""
    # An intermediate that is an authority as well is found as one.
    pool = [_step(each) for each in chain.intermediates if each not in authorities.every]
    steps = [_step(chain.leaf)]
    for lower in steps:
        _find_issuers(lower, pool, authorities)
        steps += [each for each in lower.above if each not in steps]
    return steps


def leading(steps: Iterable[Step], usable: Callable[[x509.Certificate], bool] = lambda _: True) -> list[Step]:
    """Return those *steps* from which others lead to an authority, using only what is *usable*."""
    found: list[Step] = []
    waiting = [step for step in steps if usable(step.certificate)]
    while more := [
        step
        for step in waiting
        if any(usable(anchor.certificate) for anchor in step.anchors)
        or any(each in found for each in step.above)
    ]:
        found += more
        waiting = [step for step in waiting if step not in more]
    return found


def _add(namesakes: list[Anchor], anchor: Anchor) -> None:
    if sum(each.weight for each in namesakes) + anchor.weight <= MAX_NAMESAKES:
        namesakes.append(anchor)


def _step(certificate: x509.Certificate) -> Step:
    return Step(certificate, links_of(certificate))


def _find_issuers(lower: Step, pool: list[Step], authorities: Authorities) -> None:
    name, key_id = lower.links.issuer, issuer_key_id(lower.certificate)
    called = [each for each in pool if each.links.subject == name]
    lower.above = [
        each for each in called if key_id is None or own_key_id(each.certificate) in {key_id, None}
    ]
    lower.anchors = authorities.fitting(name, key_id)
    # RFC 5280 section 4.2.1.1 lets key identifiers help to find a path; the signature decides.
    if not lower.above and not lower.anchors:
        lower.above, lower.anchors = called, authorities.called(name)
    # So does a serial number. OpenSSL takes it at its word: see `check_link`.
    above = [each for each in lower.above if may_have_issued(each.certificate, lower.certificate)]
    anchors = [each for each in lower.anchors if may_have_issued(each.certificate, lower.certificate)]
    if above or anchors:
        lower.above, lower.anchors = above, anchors


def _searchable(steps: list[Step], leaf: Step) -> list[Step]:
    """Return the *leaf* and as many *steps* as the backend can search soon."""
    kept = [leaf]
    # The newest first: of two that are as good, the path through it is valid for longer.
    for step in sorted(steps, key=lambda step: step.certificate.not_valid_after_utc, reverse=True):
        if step is not leaf and _is_soon_searched([*kept, step]):
            kept.append(step)
    return kept


def _is_soon_searched(steps: list[Step]) -> bool:
    """Return whether the backend finds out soon what it can make of *steps*."""
    if len(steps) == 1:
        return True
    twins = Counter((step.links.subject, step.links.key) for step in steps)
    if max(twins.values()) > MAX_TWINS:
        return False
    weights = Counter[bytes]()
    for issuer, anchor in {(step.links.issuer, each) for step in steps for each in step.anchors}:
        weights[issuer] += anchor.weight
    above = {step: [each for each in steps if each.links.subject == step.links.issuer] for step in steps}
    return (
        _tries(above, {step: len(each) for step, each in above.items()}) <= MAX_TRIES
        and _tries(above, {step: weights[step.links.issuer] for step in steps}) <= MAX_ANCHOR_TRIES
    )


def _tries(above: dict[Step, list[Step]], at: dict[Step, int]) -> int:
    """Return what the search costs at most, if each visit to a step costs what *at* says.

    The backend tries all of the right name, and goes on from those whose key has signed: they
    all have one key.
    """
    tries = at
    for _ in range(MAX_DEPTH):
        more = {step: at[step] + _most_of_one_key(above[step], tries) for step in above}
        if more == tries:
            break
        tries = more
    return max(tries.values())


def _most_of_one_key(steps: list[Step], tries: dict[Step, int]) -> int:
    if len(steps) <= 1:
        return sum(tries[step] for step in steps)
    of_key = Counter[bytes]()
    for step in steps:
        of_key[step.links.key] += tries[step]
    return max(of_key.values())
