"""The peers by name: tables of a file to values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs

from meshid.errors import InvalidPattern
from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy.file import peer_form
from meshid.policy.file.shapes import ListedTables, TableKey, Texts
from meshid.policy.file.strings import source
from meshid.policy.file.table_reader import Fields, TableReader, below, kind
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.policy.named_peers import NamedPeer, TokenAlias
from meshid.policy.rules import Environment
from meshid.support.quoting import quote

_P = TypeVar("_P")
_MAX_HINTED = 512

SHORTHANDS = {
    peer_form.KUBERNETES.name: (IssuerProfile.KUBERNETES, IssuerProfile.EKS),
    peer_form.AWS.name: (IssuerProfile.AWS_IAM,),
    peer_form.OKTA.name: (IssuerProfile.OKTA,),
}
"""The keys for principals of whichever issuer has one of these profiles."""


@attrs.frozen
class Alias:
    """One alias as it is written: for whatever issuers an environment has.

    Attributes:
        peer: The name of the peer.
        place: Where it is in the file.
        key: The key that it stands under.
        issuer: The name of the issuer, under ``tokens``; empty under other keys.
        pattern: The pattern of the principals.
    """

    peer: str
    place: str
    key: str
    issuer: str
    pattern: Pattern

    def is_of(self, issuer: Issuer) -> bool:
        """Tell whether it is about the principals of an issuer."""
        if self.key in SHORTHANDS:
            return issuer.profile in SHORTHANDS[self.key]
        return issuer.name == self.issuer


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

    def resolved(self, environment: Environment, issuers: Iterable[Issuer]) -> NamedPeer:
        """Return the peer of one environment: without what counts for nothing there."""
        domains = {None, *environment.trust_domains, *environment.federates_with}
        tokens = [
            TokenAlias(issuer.name, alias.pattern)
            for issuer in issuers
            for alias in self.aliases
            if alias.is_of(issuer)
        ]
        return NamedPeer(
            name=self.name,
            spiffe=tuple(dict.fromkeys(each for _, each in self.spiffe if each.trust_domain in domains)),
            tokens=tuple(dict.fromkeys(tokens)),
            place=self.place,
        )


class PeersSection:
    """Reads all peers of a file.

    Attributes:
        names: The names of the peers, also of those that are wrong otherwise.
        has_unnamed: Whether a peer has no name that can be read.
    """

    def __init__(self, reader: TableReader) -> None:
        self._reader = reader
        self.names: dict[str, str] = {}
        self.has_unnamed = False

    def read(self, top: Fields, key: TableKey[ListedTables]) -> list[WrittenPeer]:
        """Read the peers: those that are right, in the order of the file."""
        read = [self._peer(value, where) for where, value in self._reader.listed_tables(top, "", key)]
        self.has_unnamed = self.has_unnamed or not isinstance(top.get(key.name, []), list)
        return [peer for peer in read if peer is not None]

    def _peer(self, value: object, where: str) -> WrittenPeer | None:
        reader = self._reader
        before = len(reader.problems)
        table = reader.table(value, where, peer_form.NAMED_PEER)
        if table is None:
            self.has_unnamed = True
            return None
        name = self._name(table, where)
        spiffe = self._placed(table, where, peer_form.SPIFFE, source)
        aliases = [
            Alias(name, place, key.name, "", pattern)
            for key, parse in (
                (peer_form.KUBERNETES, _kubernetes),
                (peer_form.AWS, _aws),
                (peer_form.OKTA, _okta),
            )
            for place, pattern in self._placed(table, where, key, parse)
        ]
        aliases += [
            alias
            for place, value in reader.listed_tables(table, where, peer_form.TOKENS)
            if (alias := self._alias(value, place, name)) is not None
        ]
        if not any(key.name in table for key in peer_form.ALIAS_KEYS):
            known = ", ".join(key.name for key in peer_form.ALIAS_KEYS)
            reader.fail(where, f"has nothing to prove itself by; give it one of {known}")
        if len(reader.problems) > before:
            return None
        return WrittenPeer(name, where, tuple(spiffe), tuple(aliases))

    def _name(self, table: Fields, where: str) -> str:
        name = self._reader.text(table, where, peer_form.PEER_NAME)
        self.has_unnamed = self.has_unnamed or not name
        if name and (first := self.names.setdefault(name, where)) != where:
            what = f"{quote(name)} is already the name of {first}; put all aliases of one peer into one table"
            self._reader.fail(below(where, peer_form.PEER_NAME.name), what)
        return name

    def _placed(
        self, table: Fields, where: str, key: TableKey[Texts], parse: Callable[[str], _P]
    ) -> list[tuple[str, _P]]:
        read = self._reader.texts(table, where, key, parse)
        return [(f"{below(where, key.name)}[{number}]", each) for number, each in enumerate(read)]

    def _alias(self, value: object, where: str, name: str) -> Alias | None:
        table = self._reader.table(value, where, peer_form.ALIAS)
        if table is None:
            return None
        issuer = self._reader.text(table, where, peer_form.ALIAS_ISSUER)
        text = self._reader.text(table, where, peer_form.ALIAS_PRINCIPAL)
        if not issuer or not text:
            return None
        try:
            return Alias(name, where, peer_form.TOKENS.name, issuer, Pattern.parse(text))
        except InvalidPattern as error:
            self._reader.fail(below(where, peer_form.ALIAS_PRINCIPAL.name), str(error))
            return None


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
