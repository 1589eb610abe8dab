"""Merges the states of all sources into the parts of a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from meshid.admission.snapshot import Changes
from meshid.errors import AmbiguousSources
from meshid.names.spiffe_id import TrustDomain
from meshid.sources.source import Source, State
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.revocations import Revocations

_T = TypeVar("_T")

States = Mapping[Source, State]


def credentials_of(states: States) -> Changes:
    """Return our own credentials.

    Raises:
        AmbiguousSources: If two sources have credentials.
    """
    return {"credentials": _only("our own certificate", states, lambda state: state.credentials)}


def policy_of(states: States) -> Changes:
    """Return the policy.

    Raises:
        AmbiguousSources: If two sources have a policy.
    """
    return {"policy": _only("the policy", states, lambda state: state.policy)}


def bundles_of(states: States) -> Changes:
    """Return the bundles.

    Raises:
        AmbiguousSources: If two sources have a bundle of the same trust domain.
        InvalidBundle: If a `BundleSet` cannot hold them all.
    """
    found: dict[TrustDomain, tuple[Source, TrustBundle]] = {}
    for source, state in states.items():
        for bundle in state.bundles:
            domain = bundle.trust_domain
            if domain in found:
                what = f"the bundle of {domain}"
                raise _ambiguous(what, found[domain][0], source)
            found[domain] = source, bundle
    return {"bundles": BundleSet(bundle for _, bundle in found.values())}


def revocations_of(states: States) -> Changes:
    """Return everything that any source revokes."""
    each = [state.revocations for state in states.values() if state.revocations != Revocations()]
    if len(each) == 1:
        return {"revocations": each[0]}
    return {
        "revocations": Revocations(
            crls=tuple(crl for revocations in each for crl in revocations.crls),
            deny=tuple(entry for revocations in each for entry in revocations.deny),
            # A setting for all lists, which only one source is given.
            grace=max((revocations.grace for revocations in each), default=0.0),
        )
    }


PARTS: Mapping[str, Callable[[States], Changes]] = {
    # Revocations first: each part may have to be published by itself.
    "revocations": revocations_of,
    "bundles": bundles_of,
    "policy": policy_of,
    "credentials": credentials_of,
}


def holders(part: str, states: States) -> list[Source]:
    """Return the sources that deliver a part."""
    empty = getattr(State(), part)
    return [source for source, state in states.items() if getattr(state, part) != empty]


def _only(what: str, states: States, part: Callable[[State], _T | None]) -> _T | None:
    found = [(source, value) for source, state in states.items() if (value := part(state)) is not None]
    if len(found) > 1:
        raise _ambiguous(what, found[0][0], found[1][0])
    return found[0][1] if found else None


def _ambiguous(what: str, one: Source, other: Source) -> AmbiguousSources:
    return AmbiguousSources(f"{what} comes from {one.name} and from {other.name}: remove one of them")
