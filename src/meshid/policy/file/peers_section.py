"""The peers by name: tables of a file to values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from meshid.errors import InvalidPattern
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.file import peer_form
from meshid.policy.file.peer_sets import Entry, WrittenSet
from meshid.policy.file.shapes import ListedTables, TableKey, Texts
from meshid.policy.file.strings import source
from meshid.policy.file.table_reader import Fields, TableReader, below, kind
from meshid.policy.issuer_profiles import PROFILES
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.policy.named_peers import NamedPeer, TokenAlias
from meshid.policy.rules import Environment
from meshid.support.quoting import quote

_MAX_HINTED = 512

SHORTHANDS = {
    peer_form.KUBERNETES.name: (IssuerProfile.KUBERNETES, IssuerProfile.EKS),
    peer_form.AWS.name: (IssuerProfile.AWS_IAM,),
    peer_form.OKTA.name: (IssuerProfile.OKTA,),
}
"""The keys for principals of whichever issuer has one of these profiles."""


ONE = "the issuer "
"""Before the name of an issuer; no key begins like this."""


def kinds_of(issuer: Issuer) -> list[str]:
    """Return what aliases say that are about the principals of *issuer*."""
    return [ONE + issuer.name, *(key for key, profiles in SHORTHANDS.items() if issuer.profile in profiles)]


def by_kind(issuers: Iterable[Issuer]) -> dict[str, list[Issuer]]:
    """Return the issuers by what aliases say that are about them."""
    found: dict[str, list[Issuer]] = defaultdict(list)
    for issuer in issuers:
        for each in kinds_of(issuer):
            found[each].append(issuer)
    return dict(found)


@attrs.frozen
class Alias:
    """One alias as it is written: for whatever issuers an environment has.

    Attributes:
        peer: The name of the peer.
        place: Where it is in the file.
        issuers: The issuers that it is about: the key that it stands under, if that is for all with some
            profiles; or else the name of one, with `ONE` before it.
        pattern: The pattern of the principals.
    """

    peer: str
    place: str
    issuers: str
    pattern: Pattern

    @property
    def of_whom(self) -> str:
        """Whose principals it is about, in words."""
        if self.issuers in SHORTHANDS:
            return f"with profile {' or '.join(SHORTHANDS[self.issuers])}"
        return quote(self.issuers.removeprefix(ONE))


@attrs.frozen
class WrittenPeer:
    """A peer as it is written, for every environment.

    Attributes:
        name: Its name.
        place: Where it is in the file.
        spiffe: The patterns of its SPIFFE IDs, each with its place.
        aliases: Its other aliases.
    """

    name: str
    place: str
    spiffe: tuple[tuple[str, PeerPattern], ...]
    aliases: tuple[Alias, ...]

    def resolved(self, environment: Environment, issuers: Mapping[str, Sequence[Issuer]]) -> NamedPeer:
        """Return the peer of one environment: without what counts for nothing there.

        Args:
            environment: The environment.
            issuers: Its issuers, as `by_kind` has them.
        """
        domains = {None, *environment.trust_domains, *environment.federates_with}
        spiffe = [each for _, each in self.spiffe if each.trust_domain in domains]
        tokens: list[TokenAlias] = []
        idle = [
            (place, f"{quote(environment.name)} does not federate with {each.trust_domain}")
            for place, each in self.spiffe
            if each.trust_domain not in domains
        ]
        for alias in self.aliases:
            theirs = issuers.get(alias.issuers, ())
            tokens += [TokenAlias(issuer.name, alias.pattern) for issuer in theirs]
            if not theirs:
                idle.append((alias.place, f"{quote(environment.name)} has no issuer {alias.of_whom}"))
        return NamedPeer(
            name=self.name,
            spiffe=tuple(dict.fromkeys(spiffe)),
            tokens=tuple(sorted(set(tokens), key=lambda each: (each.issuer, each.principal.text))),
            idle=tuple(idle),
            place=self.place,
        )


class PeersSection:
    """Reads all peers of a file.

    Attributes:
        names: The names of the peers and the sets, also of those that are wrong otherwise.
        has_unnamed: Whether a peer or a set has no name that can be read.
        sets: The sets that have a name, in the order of the file, with their members that are right.
    """

    def __init__(self, reader: TableReader) -> None:
        self._reader = reader
        self.names: dict[str, str] = {}
        self.has_unnamed = False
        self.sets: list[WrittenSet] = []
        self._tables_of_sets: dict[str, tuple[str, Fields]] = {}

    def read(self, top: Fields, key: TableKey[ListedTables]) -> list[WrittenPeer]:
        """Read the peers that have a name, in the order of the file, with their aliases that are right."""
        read = [self._peer(value, where) for where, value in self._reader.listed_tables(top, "", key)]
        self.has_unnamed = self.has_unnamed or not isinstance(top.get(key.name, []), list)
        # A set may name peers that come after it.
        self.sets = [
            WrittenSet(
                name, where, tuple(self._reader.placed_texts(table, where, peer_form.MEMBERS, self._member))
            )
            for where, (name, table) in self._tables_of_sets.items()
        ]
        return [peer for peer in read if peer is not None]

    def entry(self, text: str, pattern: Callable[[str], PeerPattern]) -> Entry:
        """Read one entry of a list of peers: a pattern, or the name of a peer or of a set.

        Args:
            text: The entry.
            pattern: Reads a pattern.

        Raises:
            InvalidPattern: If it is neither.
        """
        if not text.startswith("@"):
            # A path without its '/' is not what was meant.
            if text in self.names:
                what = "set of peers" if self._is_set(text) else "peer by name"
                msg = f"{quote(text)} is a {what}: write {quote('@' + text)}"
                raise InvalidPattern(msg)
            return pattern(text)
        name = text[1:]
        # One mistake is one error: a peer that is wrong is told already.
        if name in self.names or self.has_unnamed:
            return name
        near = self._reader.suggestions.to(name, self.names)
        hint = f"did you mean {quote('@' + near)}?" if near else "name it under [[peers]]"
        msg = f"there is no peer {quote(name)}; {hint}"
        raise InvalidPattern(msg)

    def _member(self, text: str) -> Entry:
        read = self.entry(text, source)
        if isinstance(read, str) and self._is_set(read):
            msg = f"{quote(text)} is a set, and a set holds no set: write the members of {quote(text)} here"
            raise InvalidPattern(msg)
        return read

    def _is_set(self, name: str) -> bool:
        return self.names.get(name) in self._tables_of_sets

    def _peer(self, value: object, where: str) -> WrittenPeer | None:
        reader = self._reader
        table = reader.table(value, where, peer_form.NAMED_PEER)
        if table is None:
            self.has_unnamed = True
            return None
        name = self._name(table, where)
        if peer_form.MEMBERS.name in table:
            self._set(table, where, name)
            return None
        spiffe = tuple(reader.placed_texts(table, where, peer_form.SPIFFE, source))
        aliases = [
            Alias(name, place, key.name, pattern)
            for key, parse in (
                (peer_form.KUBERNETES, _kubernetes),
                (peer_form.AWS, _aws),
                (peer_form.OKTA, _okta),
            )
            for place, pattern in reader.placed_texts(table, where, key, parse)
        ]
        aliases += [
            alias
            for place, value in reader.listed_tables(table, where, peer_form.TOKENS)
            if (alias := self._alias(value, place, name)) is not None
        ]
        if not any(key.name in table for key in peer_form.ALIAS_KEYS):
            known = ", ".join(key.name for key in peer_form.ALIAS_KEYS)
            what = f"has nothing to prove itself by; give it one of {known}; or members, to make it a set"
            reader.fail(where, what)
        return WrittenPeer(name, where, spiffe, tuple(aliases)) if name else None

    def _set(self, table: Fields, where: str, name: str) -> None:
        for key in peer_form.ALIAS_KEYS:
            if key.name in table:
                what = (
                    "is of a peer, and with members this is a set, which has no alias of its own; give the "
                    "peer a table of its own, and name it in members"
                )
                self._reader.fail(below(where, key.name), what)
        self._tables_of_sets[where] = name, table

    def _name(self, table: Fields, where: str) -> str:
        name = self._reader.text(table, where, peer_form.PEER_NAME)
        self.has_unnamed = self.has_unnamed or not name
        if name and (first := self.names.setdefault(name, where)) != where:
            what = f"{quote(name)} is already the name of {first}; put all aliases of one peer into one table"
            self._reader.fail(below(where, peer_form.PEER_NAME.name), what)
        return name

    def _alias(self, value: object, where: str, name: str) -> Alias | None:
        table = self._reader.table(value, where, peer_form.ALIAS)
        if table is None:
            return None
        issuer = self._reader.text(table, where, peer_form.ALIAS_ISSUER)
        text = self._reader.text(table, where, peer_form.ALIAS_PRINCIPAL)
        if not issuer or not text:
            return None
        try:
            return Alias(name, where, ONE + issuer, Pattern.parse(text))
        except InvalidPattern as error:
            self._reader.fail(below(where, peer_form.ALIAS_PRINCIPAL.name), str(error))
            return None


def check_aliases(
    reader: TableReader, peers: Iterable[WrittenPeer], issuers: Mapping[str, Mapping[str, Issuer | None]]
) -> None:
    """Note each alias that no environment has an issuer for, or whose issuer wants another one."""
    named: dict[str, list[Issuer | None]] = defaultdict(list)
    for theirs in issuers.values():
        for name, issuer in theirs.items():
            named[name].append(issuer)
    everyone = [each for those in named.values() for each in those]
    profiles, is_unclear = {each.profile for each in everyone if each is not None}, None in everyone
    for alias in (alias for peer in peers for alias in peer.aliases):
        name = alias.issuers.removeprefix(ONE)
        if alias.issuers in SHORTHANDS:
            # One mistake is one error: an issuer that is wrong may have been the one that is meant.
            if not is_unclear and profiles.isdisjoint(SHORTHANDS[alias.issuers]):
                reader.fail(alias.place, f"no environment has an issuer {alias.of_whom}")
        elif name not in named:
            near = reader.suggestions.to(name, named)
            hint = f"; did you mean {quote(near)}?" if near else ""
            what = f"no environment has an issuer {quote(name)}{hint}"
            reader.fail(below(alias.place, peer_form.ALIAS_ISSUER.name), what)
        else:
            _check_issuers_of(reader, alias, filter(None, named[name]))


def _check_issuers_of(reader: TableReader, alias: Alias, issuers: Iterable[Issuer]) -> None:
    for issuer in issuers:
        facts = PROFILES[issuer.profile]
        if not facts.has_issuer:
            what = f"{issuer.place} issues JWT-SVIDs, which name a SPIFFE ID; write it under `spiffe`"
            reader.fail(below(alias.place, peer_form.ALIAS_ISSUER.name), what)
        elif facts.needs_exact and not alias.pattern.is_literal:
            what = f"strangers have the same issuer ({issuer.place}), and a wildcard could mean one of them"
            reader.fail(below(alias.place, peer_form.ALIAS_PRINCIPAL.name), f"{what}; write each principal")


def _formal(text: str, key: TableKey[Texts], hint: str) -> Pattern:
    if not key.holds.each.accepts(text):
        msg = f"must be {key.holds.each.wanted}, such as {key.holds.each.examples[0]}, not {kind(text)}{hint}"
        raise InvalidPattern(msg)
    return Pattern.parse(text)


def _kubernetes(text: str) -> Pattern:
    namespace, _, account = text.removeprefix("system:serviceaccount:").partition(":")
    is_subject = text.startswith("system:serviceaccount:") and account and len(text) < _MAX_HINTED
    return _formal(
        text, peer_form.KUBERNETES, f"; write {quote(f'{namespace}/{account}')}" if is_subject else ""
    )


def _aws(text: str) -> Pattern:
    is_session = text.startswith("arn:aws:sts:")
    hint = "; that is a session, write the ARN of its role (arn:aws:iam::...:role/...)" if is_session else ""
    return _formal(text, peer_form.AWS, hint)


def _okta(text: str) -> Pattern:
    return _formal(text, peer_form.OKTA, "")
