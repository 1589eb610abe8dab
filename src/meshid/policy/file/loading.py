"""A document to rules: every error in it at once, each with its place and what would be right.

Nothing is coerced and nothing is ignored: an unknown key, a string where a list belongs
or a pattern that could never match is an error, because it would make the policy mean
something else than it says. One mistake is one error: what depends on a part that is
wrong is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path

import attrs

from meshid.errors import InvalidPolicy, InvalidSpiffeId
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.file import form
from meshid.policy.file.ambiguity import find_ambiguous
from meshid.policy.file.isolating import isolate_issuers, isolate_trust_domains
from meshid.policy.file.issuers_section import read_issuers
from meshid.policy.file.peer_sets import Entry, Expansion
from meshid.policy.file.peers_section import PeersSection, WrittenPeer, by_kind, check_aliases
from meshid.policy.file.shapes import ListedTables, TableKey
from meshid.policy.file.strings import Known, condition, source, target, trust_domain
from meshid.policy.file.table_reader import ABSENT, Fields, TableReader, TooManyProblemsError, below, kind
from meshid.policy.isolation import Isolation
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.policy.named_peers import NamedPeer, PeerSet
from meshid.policy.rules import Effect, Environment, Rule, RuleSet
from meshid.support.documents import file_data, json_document, reads_as_json, toml_document
from meshid.support.quoting import quote, quote_all

MAX_ALIASES = 500_000
"""Patterns of principals, each counted for each issuer that it is about: some 100 MB."""

_SHOWN_ENVIRONMENTS = 50


def read_file(path: Path, environment: str) -> RuleSet:
    """Read a file, TOML or JSON.

    Raises:
        InvalidPolicy: If it cannot be read, or with everything that is wrong in it.
    """
    data = file_data(path)
    return (read_json if reads_as_json(data) else read_toml)(data, environment)


def read_toml(text: str | bytes, environment: str) -> RuleSet:
    """Read TOML.

    Raises:
        InvalidPolicy: With everything that is wrong in it.
    """
    return _Reader(environment).rule_set(toml_document(text))


def read_json(text: str | bytes, environment: str) -> RuleSet:
    """Read JSON (RFC 8259).

    Raises:
        InvalidPolicy: With everything that is wrong in it.
    """
    return _Reader(environment, has_dates=False).rule_set(json_document(text))


class _Reader(TableReader):
    """Reads one document and collects its problems."""

    def __init__(self, environment: str, *, has_dates: bool = True) -> None:
        super().__init__(has_dates=has_dates)
        self.chosen = environment
        self.places: dict[str, str] = {}
        self.owners: dict[TrustDomain, str] = {}
        self.federated: dict[TrustDomain, str] = {}
        self.issuers: dict[str, dict[str, Issuer | None]] = {}
        self.section = PeersSection(self)
        self.named: dict[str, NamedPeer] = {}
        self.expansion = Expansion(self)
        # Many rules repeat the same strings; they share the parsed values.
        self.source = cache(source)
        self.target = cache(target)
        self.condition = cache(condition)

    def rule_set(self, document: object) -> RuleSet:
        try:
            result = self._document(document)
        except TooManyProblemsError:
            result = None
        if self.problems or result is None:
            raise InvalidPolicy(tuple(self.problems))
        return result

    def _document(self, document: object) -> RuleSet | None:
        top = self.table(document, "", form.FILE)
        if top is None:
            return None
        self._version(top)
        environment = self._environments(top)
        peers = self.section.read(top, form.PEERS)
        sets: list[PeerSet] = []
        issuers = self._isolated(peers)
        if environment:
            known_here = {*environment.trust_domains, *environment.federates_with}
            elsewhere = [each for each in {**self.owners, **self.federated} if each not in known_here]
            environment = attrs.evolve(environment, elsewhere=tuple(elsewhere))
            known = Known(environment, self.owners, self.suggestions)
            self.source = cache(known.source)
            self.named = self._resolved(peers, environment, by_kind(issuers[environment.name]))
            sets = [each.resolved(self, known, self.federated, self.named) for each in self.section.sets]
            profiles = {each.profile for each in issuers[environment.name]}
            by_svid = environment.trust_domains if IssuerProfile.JWT_SVID in profiles else ()
            self.expansion = Expansion(self, environment.name, self.named.values(), sets, by_svid=by_svid)
        rules = [rule for effect, key in form.RULES.items() for rule in self._rules(top, key, effect)]
        observe = self.flag(top, "", form.OBSERVE_ALL)
        if environment is None:
            return None
        return RuleSet(
            environment,
            tuple(sorted(rules, key=lambda rule: rule.id)),
            observe,
            peers=tuple(self.named[name] for name in sorted(self.named)),
            issuers=issuers[environment.name],
            isolation=self._isolation(),
            sets=tuple(sorted(sets, key=lambda each: each.name)),
        )

    def _version(self, top: Fields) -> None:
        value, right = self.value(top, "", form.VERSION), form.VERSION.holds.value
        # True and 1.0 equal 1.
        if value is not ABSENT and (type(value) is not int or value != right):
            self.fail(form.VERSION.name, f"must be {right}, not {kind(value)}; write: version = {right}")

    # -- Environments ---------------------------------------------------------

    def _environments(self, top: Fields) -> Environment | None:
        tables = self.named_tables(top, "", form.ENVIRONMENTS)
        read = {name: self._environment(name, table, where) for where, name, table in tables}
        if read and self.chosen not in read:
            near = self.suggestions.to(self.chosen, read)
            hint = f"did you mean {quote(near)}? " if near else ""
            known = quote_all(list(read), limit=_SHOWN_ENVIRONMENTS)
            what = f"there is no environment {quote(self.chosen)}; {hint}there are: {known}"
            self.fail(form.ENVIRONMENTS.name, what)
        return read.get(self.chosen)

    def _environment(self, name: str, value: object, where: str) -> Environment | None:
        """Read one environment; None if its trust domains are wrong: no rule can be checked against it."""
        before = len(self.problems)
        table = self.table(value, where, form.ENVIRONMENT)
        if table is None:
            return None
        own = dict.fromkeys(
            self.texts(table, where, form.TRUST_DOMAINS, lambda text: self._own_domain(text, name))
        )
        others = self.texts(table, where, form.FEDERATES_WITH, lambda text: _other_domain(text, own))
        is_right = len(self.problems) == before
        self.federated |= dict.fromkeys(others, name)
        self.issuers[name] = read_issuers(self, table, where, form.ISSUERS)
        return Environment(name, tuple(own), tuple(dict.fromkeys(others))) if is_right else None

    def _own_domain(self, text: str, environment: str) -> TrustDomain:
        domain = trust_domain(text)
        if (owner := self.owners.setdefault(domain, environment)) != environment:
            msg = f"{domain} already belongs to environment {quote(owner)}; each environment needs its own"
            raise InvalidSpiffeId(msg)
        return domain

    # -- Peers ----------------------------------------------------------------

    def _resolved(
        self, peers: list[WrittenPeer], environment: Environment, issuers: Mapping[str, list[Issuer]]
    ) -> dict[str, NamedPeer]:
        if sum(len(issuers.get(alias.issuers, ())) for peer in peers for alias in peer.aliases) > MAX_ALIASES:
            what = f"their aliases mean more than {MAX_ALIASES} pairs of an issuer and a pattern; write fewer"
            self.fail(form.PEERS.name, what)
            return {}
        return {peer.name: peer.resolved(environment, issuers) for peer in peers}

    def _isolated(self, peers: list[WrittenPeer]) -> dict[str, tuple[Issuer, ...]]:
        """Check all environments against each other; return the issuers of each that are right, by name."""
        check_aliases(self, peers, self.issuers)
        issuers = {
            name: tuple(sorted(filter(None, theirs.values()), key=lambda issuer: issuer.name))
            for name, theirs in self.issuers.items()
        }
        isolate_issuers(self, issuers, peers)
        isolate_trust_domains(self, self.owners, self.federated, len(self.issuers), peers)
        find_ambiguous(self, peers, issuers, self.owners)
        return issuers

    def _isolation(self) -> Isolation | None:
        issuers = sum(map(len, self.issuers.values()))
        if not issuers and not self.named:
            return None
        return Isolation(tuple(self.issuers), issuers, len(self.named))

    def _entry(self, text: str) -> Entry:
        return self.section.entry(text, self.source)

    # -- Rules ----------------------------------------------------------------

    def _rules(self, top: Fields, key: TableKey[ListedTables], effect: Effect) -> list[Rule]:
        read = (self._rule(value, effect, where) for where, value in self.listed_tables(top, "", key))
        return [rule for rule in read if rule is not None]

    def _rule(self, value: object, effect: Effect, where: str) -> Rule | None:
        table = self.table(value, where, form.RULE)
        if table is None:
            return None
        name = self._id(table, where)
        why = self.text(table, where, form.WHY)
        owner, reviewer = (self.text(table, where, key) for key in (form.OWNER, form.REVIEWER))
        included, excluded = (
            list(self.placed_texts(table, where, key, self._entry)) for key in (form.FROM, form.NOT_FROM)
        )
        listed = self.expansion.of(included, excluded)
        return Rule(
            id=name,
            effect=effect,
            why=why,
            owner=owner,
            reviewer=reviewer,
            until=self._until(table, where, effect),
            sources=listed.sources,
            peers=listed.peers,
            sets=listed.sets,
            listed_from=listed.listed_from,
            not_sources=listed.not_sources,
            listed_not_from=listed.listed_not_from,
            targets=self.texts(table, where, form.TO, self.target),
            http=self.texts(table, where, form.HTTP, self.condition),
            not_http=self.texts(table, where, form.NOT_HTTP, self.condition),
            needs_token=self._needs_token(table, where, effect),
            observe=self.flag(table, where, form.OBSERVE),
            place=where,
        )

    def _id(self, table: Fields, where: str) -> str:
        value = self.text(table, where, form.ID)
        if value and (first := self.places.setdefault(value, where)) != where:
            what = f"{quote(value)} is already the id of {first}; give this rule another one"
            self.fail(below(where, form.ID.name), what)
        return value

    def _until(self, table: Fields, where: str, effect: Effect) -> date | None:
        if effect is Effect.ALLOW or form.UNTIL.name not in table:
            return self.day(table, where, form.UNTIL)
        what = "is for allow rules only: a deny rule that ends would let peers in; remove it on that day"
        self.fail(below(where, form.UNTIL.name), what)
        return None

    def _needs_token(self, table: Fields, where: str, effect: Effect) -> bool:
        # To be told to make it a list, and then that this list is wrong, would be two rounds for one mistake.
        is_alone = table.get(form.EVIDENCE.name) == "token"
        wanted = ("token",) if is_alone else self.formal_texts(table, where, form.EVIDENCE)
        if not wanted:
            return False
        if effect is Effect.DENY:
            what = "is for allow rules only: a deny rule keeps a peer out, whatever it proves itself by"
            self.fail(below(where, form.EVIDENCE.name), what)
        elif "x509" not in wanted:
            self.fail(below(where, form.EVIDENCE.name), 'a token never stands alone; write ["x509", "token"]')
        return "token" in wanted


def _other_domain(text: str, own: Mapping[TrustDomain, None]) -> TrustDomain:
    domain = trust_domain(text)
    if domain in own:
        msg = f"{domain} is already this environment's own; leave it out here"
        raise InvalidSpiffeId(msg)
    return domain
