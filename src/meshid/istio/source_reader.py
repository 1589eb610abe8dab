"""Who a rule of Istio's is about: sources, and the conditions on them.

The rules of this module:

- All fields of a source hold together, so what is read is their intersection, less the negated ones.
- An ALLOW means the peers whom all of Istio's proxies let in: what it names is read narrowly,
  and whom it leaves out widely.
- A DENY means the peers whom any of them refuses: two rules, if proxies differ in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, TypeAlias

import attrs

from meshid.errors import InvalidInput
from meshid.istio.fields import FieldReader
from meshid.istio.matches import MESH, Sources, is_mistaken_for_ours, is_nobody
from meshid.istio.problems import NO_EQUIVALENT
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.file.strings import source
from meshid.support.quoting import quote

SOURCE_FIELDS = (
    *("principals", "notPrincipals", "namespaces", "notNamespaces"),
    *("serviceAccounts", "notServiceAccounts"),
)
_KINDS = {
    "source.principal": "principals",
    "source.namespace": "namespaces",
    "source.serviceAccount": "serviceAccounts",
}

_Texts: TypeAlias = Sequence[tuple[str, str]]


@attrs.frozen
class IstioPeers:
    """Peers: those of *named*, less those of *left_out*; patterns, as in a policy file."""

    named: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return how many patterns it has."""
        return len(self.named) + len(self.left_out)


@attrs.frozen
class Restriction:
    """One field of a source: the place, the kind, and the texts of its values.

    Attributes:
        place: Where it is.
        kind: ``principals``, ``namespaces`` or ``serviceAccounts``.
        texts: The place and the text of each value.
        is_negated: Whether it is about everybody else.
    """

    place: str
    kind: str
    texts: _Texts
    is_negated: bool


class SourceReader:
    """Reads the sources of one policy."""

    def __init__(
        self, fields: FieldReader, own: Sequence[str], federated: Sequence[str], namespace: str
    ) -> None:
        self._fields = fields
        self._own = own
        self._narrow = Sources(own, federated, namespace, is_wide=False)
        self._wide = Sources(own, federated, namespace, is_wide=True)

    def restrictions(self, where: str, fields: dict[str, Any]) -> list[Restriction]:
        """Return what the fields of a source say, of those that are read."""
        return [
            Restriction(
                f"{where}.{name}",
                _kind(name),
                self._fields.texts(f"{where}.{name}", fields[name]),
                name.startswith("not"),
            )
            for name in SOURCE_FIELDS
            if name in fields
        ]

    def conditions(self, where: str, key: str, fields: dict[str, Any]) -> list[Restriction]:
        """Return what a condition with one of the keys of sources says."""
        return [
            Restriction(
                f"{where}.{name}",
                _KINDS[key],
                self._fields.texts(f"{where}.{name}", fields[name]),
                is_negated,
            )
            for name, is_negated in (("values", False), ("notValues", True))
            if name in fields
        ]

    def peers(self, where: str, restrictions: Sequence[Restriction], *, is_deny: bool) -> list[IstioPeers]:
        """Return whom all *restrictions* together mean."""
        for each in restrictions:
            self._note(each)
        if not is_deny:
            named = self._named(where, restrictions, self._narrow)
            return _unless_nobody(named, self._left_out(restrictions, self._wide))
        before = self._fields.problems.count
        named = self._named(where, restrictions, self._wide)
        left_out = self._left_out(restrictions, self._narrow)
        if not left_out or self._fields.problems.count > before:
            return _unless_nobody(named, left_out)
        narrowly = self._named(where, restrictions, self._narrow)
        if narrowly == named:
            return _unless_nobody(named, left_out)
        widely = self._left_out(restrictions, self._wide)
        if widely == left_out:
            return _unless_nobody(named, left_out)
        return _unless_nobody(named, widely) + _unless_nobody(narrowly, left_out)

    def _named(self, where: str, restrictions: Iterable[Restriction], sources: Sources) -> list[str]:
        lists = [self._patterns(each, sources) for each in restrictions if not each.is_negated]
        if not lists:
            # Without a list, every peer is meant.
            self._fields.spend(sources.domains)
            return sources.of_principal("*")
        found = lists[0]
        for each in lists[1:]:
            self._fields.spend(len(found) * len(each))
            found = self._fields.problems.attempt(where, _in_both, found, each, self._own) or []
        return found

    def _left_out(self, restrictions: Iterable[Restriction], sources: Sources) -> list[str]:
        lists = (self._patterns(each, sources) for each in restrictions if each.is_negated)
        return list(dict.fromkeys(pattern for each in lists for pattern in each))

    def _patterns(self, restriction: Restriction, sources: Sources) -> list[str]:
        readers: dict[str, Callable[[str], list[str]]] = {
            "principals": sources.of_principal,
            "namespaces": sources.of_namespace,
            "serviceAccounts": sources.of_account,
        }
        found: dict[str, None] = {}
        for place, text in restriction.texts:
            self._fields.spend(sources.domains)
            patterns = self._fields.problems.attempt(place, readers[restriction.kind], text) or []
            found |= dict.fromkeys(
                each for each in patterns if self._fields.problems.attempt(place, source, each) is not None
            )
        return list(found)

    def _note(self, restriction: Restriction) -> None:
        for place, text in restriction.texts:
            if restriction.kind == "principals" and is_mistaken_for_ours(text, self._own):
                self._fields.notes.append(
                    f"{place}: {quote(text)} has not five parts, so Istio takes {MESH} literally: "
                    "it means no peer of this mesh"
                )
            if restriction.kind == "principals" and is_nobody(text):
                self._fields.notes.append(f"{place}: {quote(text)} matches no SPIFFE ID, and is left out")


def _kind(field: str) -> str:
    bare = field.removeprefix("not")
    return bare[0].lower() + bare[1:]


def _unless_nobody(named: list[str], left_out: list[str]) -> list[IstioPeers]:
    return [] if not named or "/**" in left_out else [IstioPeers(tuple(named), tuple(left_out))]


def _in_both(one: Sequence[str], two: Sequence[str], own: Sequence[str]) -> list[str]:
    """Return the patterns of the peers that both lists mean.

    Raises:
        InvalidInput: If two patterns overlap in part.
    """
    met = (_meet(*pair, own) for pair in product(map(source, one), map(source, two)))
    return list(dict.fromkeys(each for each in met if each is not None))


def _meet(one: PeerPattern, two: PeerPattern, own: Sequence[str]) -> str | None:
    """Return the pattern of the peers that both mean; None for nobody."""
    if one.trust_domain is None and two.trust_domain is not None:
        one, two = two, one
    if one.trust_domain != two.trust_domain and (
        two.trust_domain is not None or str(one.trust_domain) not in own
    ):
        return None
    if not one.path.intersects(two.path):
        return None
    if one.path.contains(two.path):
        return str(attrs.evolve(one, path=two.path))
    if two.path.contains(one.path):
        return str(one)
    msg = f"{quote(str(one))} and {quote(str(two))} overlap in part, which together {NO_EQUIVALENT}"
    raise InvalidInput(msg)
