"""What is wanted of each part, given what the sources say and what is in force.

The rules of this module:

- The parts are our own certificate, the policy, the bundle of each trust domain, the keys of each
  issuer, and the revocations. Each stands or falls alone: a fault of one says nothing about the others.
- One source is in charge of a part. If a second one has it, too, that is a fault, and the first
  stays in charge: what it takes away is gone. If neither was there first, nothing changes.
- A part that no source has any more is gone, unless its source has a fault about it.
- What is revoked by any source is revoked.
- The keys of an issuer count only while the policy in force declares it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias

import attrs

from meshid.admission.snapshot import Snapshot
from meshid.names.spiffe_id import TrustDomain
from meshid.policy import Policy
from meshid.policy.issuers import Issuer
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.tokens.key_set import KeySet
from meshid.trust.bundles import TrustBundle
from meshid.trust.credentials import X509Svid
from meshid.trust.revocations import Revocations


class Origin(Protocol):
    """A source, of which only the name is used here."""

    @property
    def name(self) -> str:
        """What it is and where, for people."""


States: TypeAlias = Mapping[Origin, State]

CREDENTIALS, POLICY = "credentials", "policy"


@attrs.frozen
class KeysOf:
    """The part that is the keys of one issuer.

    Attributes:
        issuer: The name of the issuer.
    """

    issuer: str

    def __str__(self) -> str:
        return f"keys of issuer {quote(self.issuer)}"

    def declaration(self, snapshot: Snapshot) -> Issuer | None:
        """Return what the policy in force says of the issuer; None if it does not declare it."""
        issuers = () if snapshot.policy is None else snapshot.policy.issuers
        return next((each for each in issuers if each.name == self.issuer), None)


Part: TypeAlias = str | TrustDomain | KeysOf
"""`CREDENTIALS` or `POLICY`, or the trust domain of a bundle, or the keys of an issuer."""

Value: TypeAlias = X509Svid | Policy | TrustBundle | KeySet | None

_NAMES = {CREDENTIALS: "our own certificate", POLICY: "the policy"}


@attrs.frozen
class Offer:
    """What the sources say about one part.

    Attributes:
        part: The part.
        values: What each source that has it delivers; None from one that could not read it.
        owner: The source in charge; None if that is not clear.
    """

    part: Part
    values: Mapping[Origin, Value]
    owner: Origin | None

    def wanted(self, snapshot: Snapshot) -> Value:
        """Return what ought to be in force, where that is a *snapshot* now."""
        if not self.values:
            return None
        value = None if self.owner is None else self.values[self.owner]
        if value is None:
            return in_force(self.part, snapshot)
        # Read for another one that had its name.
        if isinstance(self.part, KeysOf) and isinstance(value, KeySet):
            issuer = self.part.declaration(snapshot)
            return value if issuer is not None and value.counts_for(issuer) else None
        return value

    def is_undeclared(self, snapshot: Snapshot) -> bool:
        """Return whether they are keys of an issuer that the policy in force does not declare."""
        return isinstance(self.part, KeysOf) and self.part.declaration(snapshot) is None

    @property
    def about(self) -> str:
        """The names of the sources that have it, for people."""
        return " and ".join(source.name for source in self.values)

    @property
    def ambiguity(self) -> str:
        """What is wrong, for people, if two sources have it; otherwise empty."""
        one, other, *_ = [*(source.name for source in self.values), "", ""]
        what = _NAMES[self.part] if isinstance(self.part, str) else f"the {_shown(self.part)}"
        return other and f"{what} comes from {one} and from {other}: remove one of them"


def offers_of(states: States, before: Mapping[Part, Offer]) -> dict[Part, Offer]:
    """Return what the sources say about each part.

    Args:
        states: The last good state of each source.
        before: What they said before; about these parts the result says something, too.
    """
    values: dict[Part, dict[Origin, Value]] = {part: {} for part in before}
    for source, state in states.items():
        for part, value in _values(state):
            values.setdefault(part, {})[source] = value
        for part in _unread(source, state, before):
            values.setdefault(part, {}).setdefault(source, None)
    return {part: Offer(part, each, _owner(each, before.get(part))) for part, each in values.items()}


def in_force(part: Part, snapshot: Snapshot) -> Value:
    """Return a part of a snapshot."""
    if isinstance(part, TrustDomain):
        return snapshot.bundles.get(part)
    if isinstance(part, KeysOf):
        return snapshot.keys.get(part.issuer)
    return snapshot.credentials if part == CREDENTIALS else snapshot.policy


def revocations_of(states: States) -> Revocations:
    """Return everything that any source revokes."""
    each = [state.revocations for state in states.values() if state.revocations != Revocations()]
    if len(each) == 1:
        return each[0]
    return Revocations(
        crls=tuple(crl for revocations in each for crl in revocations.crls),
        deny=tuple(entry for revocations in each for entry in revocations.deny),
        undetermined=tuple(one for revocations in each for one in revocations.undetermined),
        # A setting for all lists, which only one source is given.
        grace=max((revocations.grace for revocations in each), default=0.0),
    )


def _shown(part: TrustDomain | KeysOf) -> str:
    return f"bundle of {part}" if isinstance(part, TrustDomain) else str(part)


def _values(state: State) -> Iterator[tuple[Part, Value]]:
    if state.credentials is not None:
        yield CREDENTIALS, state.credentials
    if state.policy is not None:
        yield POLICY, state.policy
    for bundle in state.bundles:
        yield bundle.trust_domain, bundle
    for keys in state.keys:
        yield KeysOf(keys.issuer), keys


def _unread(source: Origin, state: State, before: Mapping[Part, Offer]) -> Iterator[Part]:
    for fault in state.faults:
        if fault.trust_domain is not None:
            yield fault.trust_domain
        else:
            yield from (part for part in _NAMES if part in before and before[part].owner is source)


def _owner(values: Mapping[Origin, Value], before: Offer | None) -> Origin | None:
    if before is not None and before.owner in values:
        return before.owner
    return next(iter(values)) if len(values) == 1 else None
