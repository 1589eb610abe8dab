"""Puts what is wanted of each part in force; a part that fails holds up no other.

All parts are tried together; if that fails, each kind of part, then halves, and at last each part alone.
What takes away goes first: the deny list, revocation lists, bundles.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TypeAlias, cast

import attrs

from meshid.admission.admission import Admission
from meshid.admission.ended import Ended
from meshid.admission.snapshot import Changes
from meshid.errors import InvalidPolicy
from meshid.names.spiffe_id import TrustDomain
from meshid.sources.alarms import Failure, bounded
from meshid.sources.merging import (
    CREDENTIALS,
    POLICY,
    KeysOf,
    Offer,
    Origin,
    Part,
    States,
    Value,
    in_force,
    offers_of,
    revocations_of,
)
from meshid.sources.reader import text_of
from meshid.tokens.key_set import KeySet, KeySets
from meshid.trust.bundles import BundleSet, TrustBundle
from meshid.trust.crl import RevocationList
from meshid.trust.revocations import Revocations
from meshid.trust.succession import ended_after

DENY, LISTS = "deny list", "revocation lists"
"""The two parts of the revocations, which all sources deliver together."""

# Our own certificate and the policy are one kind: each has to fit the other.
_RANKS: Mapping[str, int] = {DENY: 0, LISTS: 1, CREDENTIALS: 3, POLICY: 3}

_FOLLOWING_SECONDS = 60.0

_MAX_OVER = 100
"""Lists that are kept for the case that the clock is wrong: a mesh has one for each issuer."""

Failures: TypeAlias = dict[Hashable, Failure]
"""What is not in force as it ought to be, by part, and for a part perhaps by text."""


class Publisher:
    """Puts what the sources say in force, in one mesh; one thread at a time uses it.

    Args:
        admission: The admission of the mesh.
    """

    def __init__(self, admission: Admission) -> None:
        self._ended: list[Ended] = []
        self._admission = admission
        self._offers: Mapping[Part, Offer] = {}
        self._revocations: Revocations | None = None
        self._said: list[Revocations] = []
        self._texts: tuple[str, ...] = ()
        # The latest of the lists that nobody has any more, and whose time is over: if the clock is right.
        self._over: tuple[RevocationList, ...] = ()
        self._followed_at = -math.inf

    def publish(self, states: States, first: Collection[Origin], now: float) -> Failures:
        """Put in force what can be.

        Args:
            states: The last good state of each source.
            first: The sources whose first state was not published yet.
            now: The POSIX time in seconds.

        Returns:
            What could not.
        """
        self._offers = offers_of(states, self._offers)
        failures: Failures = {
            offer.part: Failure(
                about=offer.about,
                text=offer.ambiguity,
                stays=in_force(offer.part, self._admission.snapshot) is not None,
                is_lasting=True,
                part=str(offer.part),
            )
            for offer in self._offers.values()
            if offer.ambiguity
        }
        for text in bounded(self._want_revocations(states, first, now)):
            failures[LISTS, text] = Failure(about=_holders(states, LISTS), text=text, stays=False, part=LISTS)
        if parts := self._differing():
            self._put(parts, now, states, failures)
        # After the policy: it says whose keys count.
        if keys := self._differing_keys():
            self._put(keys, now, states, failures)
        failures |= self._undeclared()
        # What is gone is forgotten; until then, its removal is tried again.
        self._offers = {
            part: offer
            for part, offer in self._offers.items()
            if offer.values or in_force(part, self._admission.snapshot) is not None
        }
        return failures

    def is_back(self, now: float) -> bool:
        """Return whether the clock is back where a list counts whose time seemed to be over.

        Args:
            now: The POSIX time in seconds.
        """
        ends = (each.crl.next_update_utc for each in self._over)
        return any(end is not None and now <= end.timestamp() for end in ends)

    def take_ended(self) -> list[Ended]:
        """Return what was ended since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def _want_revocations(self, states: States, first: Collection[Origin], now: float) -> tuple[str, ...]:
        parts = [state.revocations for state in states.values()]
        is_old = len(parts) == len(self._said) and all(map(operator.is_, parts, self._said))
        # A long deny list takes a while to be filed. What is kept ends with time, and not to the second.
        if is_old and not first and abs(now - self._followed_at) < _FOLLOWING_SECONDS:
            return self._texts
        said = revocations_of(states)
        if self._revocations is None and said == Revocations():
            return ()
        before = self._admission.snapshot.revocations
        # What cannot be used at the start counts, and not all sources start at the same time.
        new = tuple(each for source in first for each in states[source].revocations.undetermined)
        if new or self._over:
            over = tuple(each for each in self._over if each not in before.crls)
            before = attrs.evolve(before, crls=before.crls + over, undetermined=before.undetermined + new)
        instant = datetime.fromtimestamp(now, UTC)
        self._revocations, self._texts = said.following(before, instant)
        self._over = ended_after(self._revocations.crls, before.crls, instant)[-_MAX_OVER:]
        self._said, self._followed_at = parts, now
        return self._texts

    def _differing_keys(self) -> list[Part]:
        snapshot = self._admission.snapshot
        return [
            part
            for part, offer in self._offers.items()
            if isinstance(part, KeysOf) and offer.wanted(snapshot) != in_force(part, snapshot)
        ]

    def _undeclared(self) -> Failures:
        text = "the policy in force does not declare this issuer, so they count for nothing"
        return {
            part: Failure(about=offer.about, text=f"{part}: {text}", stays=False, part=str(part))
            for part, offer in self._offers.items()
            if offer.values and offer.is_undeclared(self._admission.snapshot)
        }

    def _differing(self) -> list[Part]:
        snapshot = self._admission.snapshot
        wanted: dict[Part, Value] = {
            part: offer.wanted(snapshot)
            for part, offer in self._offers.items()
            if not isinstance(part, KeysOf)
        }
        parts: list[Part] = [part for part, value in wanted.items() if value != in_force(part, snapshot)]
        # Of the bundles, those that are gone first.
        parts.sort(key=lambda part: (_rank(part), wanted[part] is not None))
        if self._revocations is None or self._revocations == snapshot.revocations:
            return parts
        return [DENY, LISTS, *parts]

    def _put(self, parts: Sequence[Part], now: float, states: States, failures: Failures) -> None:
        try:
            self._ended.append(self._admission.put_in_force(self._changes(parts), now)[1])
        # Whatever it is that cannot be put in force, the others can.
        except Exception as error:  # noqa: BLE001
            if len(parts) > 1:
                for group in _smaller(parts):
                    self._put(group, now, states, failures)
            else:
                failures[parts[0]] = self._failure(parts[0], states, error)

    def _changes(self, parts: Collection[Part]) -> Changes:
        snapshot = self._admission.snapshot
        changes: dict[str, object] = {}
        bundles, keys = dict(snapshot.bundles), dict(snapshot.keys)
        for part in parts:
            if part in {DENY, LISTS}:
                changes["revocations"] = self._revocations_with(parts, snapshot.revocations)
                continue
            wanted = self._offers[part].wanted(snapshot)
            if isinstance(part, TrustDomain):
                bundles.pop(part, None)
                if isinstance(wanted, TrustBundle):
                    bundles[part] = wanted
                changes["bundles"] = BundleSet(bundles.values())
            elif isinstance(part, KeysOf):
                keys.pop(part.issuer, None)
                if isinstance(wanted, KeySet):
                    keys[part.issuer] = wanted
                changes["keys"] = KeySets(keys.values())
            else:
                changes[part] = wanted
        return cast("Changes", changes)

    def _revocations_with(self, parts: Collection[Part], present: Revocations) -> Revocations:
        wanted = present if self._revocations is None else self._revocations
        if LISTS not in parts:
            return attrs.evolve(present, deny=wanted.deny)
        return wanted if DENY in parts else attrs.evolve(wanted, deny=present.deny)

    def _failure(self, part: Part, states: States, error: Exception) -> Failure:
        snapshot, offer = self._admission.snapshot, self._offers.get(part)
        return Failure(
            about=_holders(states, part) if offer is None else offer.about,
            text=text_of(error),
            # The text may have the time in it.
            fault=None if offer is None else offer.wanted(snapshot),
            stays=offer is None or in_force(part, snapshot) is not None,
            is_lasting=isinstance(error, InvalidPolicy),
            part=str(part),
        )


def _rank(part: Part) -> int:
    return _RANKS[part] if isinstance(part, str) else 2


def _smaller(parts: Sequence[Part]) -> Iterable[Sequence[Part]]:
    """Return the kinds of *parts*; or, if there is only one, its halves: one bad of many costs few tries."""
    groups = [list(group) for _, group in groupby(parts, _rank)]
    half = len(parts) // 2
    return groups if len(groups) > 1 else [parts[:half], parts[half:]]


def _holders(states: States, part: Part) -> str:
    fields = ("deny",) if part == DENY else ("crls", "undetermined")
    names = [
        source.name
        for source, state in states.items()
        if any(getattr(state.revocations, field) for field in fields)
    ]
    # No source has one any more.
    return " and ".join(names) or str(part)
