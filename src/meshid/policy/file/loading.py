"""A document to rules: every error in it at once, each with its place and what would be right.

Nothing is coerced and nothing is ignored: an unknown key, a string where a list belongs
or a pattern that could never match is an error, because it would make the policy mean
something else than it says. One mistake is one error: what depends on a part that is
wrong is not checked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from meshid.errors import InvalidPattern, InvalidPolicy, InvalidSpiffeId, Problem
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.file import form
from meshid.policy.file.form import Flag, ListedTables, Shape, Table, TableKey, Text, Texts
from meshid.policy.file.strings import Known, condition, source, target, trust_domain
from meshid.policy.rules import Effect, Environment, Rule, RuleSet
from meshid.support.did_you_mean import Suggestions
from meshid.support.documents import file_document, json_document, toml_document
from meshid.support.quoting import quote, quote_all

MAX_PROBLEMS = 1000
"""Problems that are collected; a longer list helps no one."""

_HUGE = 10**30
_SHOWN_TEXT = 64
_SHOWN_ENVIRONMENTS = 50
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ABSENT: Final = object()

_Fields = Mapping[str, object]
_T = TypeVar("_T")


def read_file(path: Path, environment: str) -> RuleSet:
    """Read a file, TOML or JSON.

    Raises:
        InvalidPolicy: If it cannot be read, or with everything that is wrong in it.
    """
    return _Reader(environment).rule_set(file_document(path))


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
    return _Reader(environment).rule_set(json_document(text))


class _TooManyProblemsError(Exception):
    """There are `MAX_PROBLEMS`."""


class _Reader:
    """Reads one document and collects its problems."""

    def __init__(self, environment: str) -> None:
        self.chosen = environment
        self.problems: list[Problem] = []
        self.places: dict[str, str] = {}
        self.owners: dict[TrustDomain, str] = {}
        self.suggestions = Suggestions()
        # Many rules repeat the same strings; they share the parsed values.
        self.source = cache(source)
        self.target = cache(target)
        self.condition = cache(condition)

    def rule_set(self, document: object) -> RuleSet:
        try:
            result = self._document(document)
        except _TooManyProblemsError:
            result = None
        if self.problems or result is None:
            raise InvalidPolicy(tuple(self.problems))
        return result

    def _fail(self, where: str, what: str) -> None:
        self.problems.append(Problem(where, what))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _TooManyProblemsError

    def _document(self, document: object) -> RuleSet | None:
        top = self._table(document, "", form.FILE)
        if top is None:
            return None
        self._version(top)
        environment = self._environments(top)
        if environment:
            self.source = cache(Known(environment, self.owners, self.suggestions).source)
        rules = [rule for effect, key in form.RULES.items() for rule in self._rules(top, key, effect)]
        observe = self._flag(top, "", form.OBSERVE_ALL)
        if environment is None:
            return None
        return RuleSet(environment, tuple(sorted(rules, key=lambda rule: rule.id)), observe)

    def _version(self, top: _Fields) -> None:
        value, right = self._value(top, "", form.VERSION), form.VERSION.holds.value
        # True and 1.0 equal 1.
        if value is not _ABSENT and (type(value) is not int or value != right):
            self._fail(form.VERSION.name, f"must be {right}, not {_kind(value)}; write: version = {right}")

    # -- Environments ---------------------------------------------------------

    def _environments(self, top: _Fields) -> Environment | None:
        tables, where = self._value(top, "", form.ENVIRONMENTS), form.ENVIRONMENTS.name
        if tables is _ABSENT:
            return None
        if not isinstance(tables, dict) or not tables:
            self._fail(where, f"must be {form.ENVIRONMENTS.missing}, not {_kind(tables)}")
            return None
        read = {name: self._environment(name, table) for name, table in tables.items()}
        if self.chosen not in read:
            near = self.suggestions.to(self.chosen, read)
            hint = f"did you mean {quote(near)}? " if near else ""
            known = quote_all(list(read), limit=_SHOWN_ENVIRONMENTS)
            self._fail(where, f"there is no environment {quote(self.chosen)}; {hint}there are: {known}")
        return read.get(self.chosen)

    def _environment(self, name: str, value: object) -> Environment | None:
        """Read one environment; None if anything in it is wrong: no rule can be checked against it then."""
        where, before = _below(form.ENVIRONMENTS.name, name), len(self.problems)
        table = self._table(value, where, form.ENVIRONMENT)
        if table is None:
            return None
        own = dict.fromkeys(
            self._texts(table, where, form.TRUST_DOMAINS, lambda text: self._own_domain(text, name))
        )
        others = self._texts(table, where, form.FEDERATES_WITH, lambda text: _other_domain(text, own))
        if len(self.problems) > before:
            return None
        return Environment(name, tuple(own), tuple(dict.fromkeys(others)))

    def _own_domain(self, text: str, environment: str) -> TrustDomain:
        domain = trust_domain(text)
        if (owner := self.owners.setdefault(domain, environment)) != environment:
            msg = f"{domain} already belongs to environment {quote(owner)}; each environment needs its own"
            raise InvalidSpiffeId(msg)
        return domain

    # -- Rules ----------------------------------------------------------------

    def _rules(self, top: _Fields, key: TableKey[ListedTables], effect: Effect) -> list[Rule]:
        tables = top.get(key.name, [])
        if not isinstance(tables, list):
            self._fail(key.name, f"must be a list of tables (in TOML: [[{key.name}]]), not {_kind(tables)}")
            return []
        read = (self._rule(table, effect, f"{effect}[{number}]") for number, table in enumerate(tables))
        return [rule for rule in read if rule is not None]

    def _rule(self, value: object, effect: Effect, where: str) -> Rule | None:
        table = self._table(value, where, form.RULE)
        if table is None:
            return None
        return Rule(
            id=self._id(table, where),
            effect=effect,
            why=self._text(table, where, form.WHY),
            sources=self._texts(table, where, form.FROM, self.source),
            targets=self._texts(table, where, form.TO, self.target),
            http=self._texts(table, where, form.HTTP, self.condition),
            observe=self._flag(table, where, form.OBSERVE),
            place=where,
        )

    def _id(self, table: _Fields, where: str) -> str:
        value = self._text(table, where, form.ID)
        if value and (first := self.places.setdefault(value, where)) != where:
            what = f"{quote(value)} is already the id of {first}; give this rule another one"
            self._fail(_below(where, form.ID.name), what)
        return value

    # -- Values ---------------------------------------------------------------

    def _table(self, value: object, where: str, table: Table) -> _Fields | None:
        if not isinstance(value, dict):
            self._fail(where, f"must be a table with {', '.join(table.needed)}, not {_kind(value)}")
            return None
        for name in value:
            if name not in table.names:
                self._fail(_below(where, name), f"is unknown; {self._known_key(name, table)}")
        return value

    def _known_key(self, name: str, table: Table) -> str:
        if home := next((other.home for other in form.TABLES if name in other.names), None):
            return f"it belongs {home}"
        if near := self.suggestions.to(name, table.names):
            return f"did you mean {near!r}?"
        return f"known: {', '.join(table.names)}"

    def _value(self, table: _Fields, where: str, key: TableKey[Shape]) -> object:
        value = table.get(key.name, _ABSENT)
        if value is _ABSENT and key.missing:
            self._fail(_below(where, key.name), f"is missing; write {key.missing}")
        return value

    def _flag(self, table: _Fields, where: str, key: TableKey[Flag]) -> bool:
        value = table.get(key.name, False)
        if isinstance(value, bool):
            return value
        self._fail(_below(where, key.name), f"must be true or false, not {_kind(value)}")
        return False

    def _text(self, table: _Fields, where: str, key: TableKey[Text]) -> str:
        value, right = self._value(table, where, key), key.holds
        if value is _ABSENT:
            return ""
        if isinstance(value, str) and right.accepts(value):
            return value
        what = f"must be {right.wanted}, not {_kind(value)}{_hint(value, right)}"
        self._fail(_below(where, key.name), what)
        return ""

    def _texts(
        self, table: _Fields, where: str, key: TableKey[Texts], parse: Callable[[str], _T]
    ) -> tuple[_T, ...]:
        items = self._value(table, where, key)
        if items is _ABSENT:
            return ()
        if not isinstance(items, list) or not items:
            self._fail(_below(where, key.name), _no_list(items, key))
            return ()
        read: list[_T] = []
        for number, item in enumerate(items):
            try:
                read.append(parse(_string(item)))
            except (InvalidPattern, InvalidSpiffeId) as error:
                self._fail(f"{_below(where, key.name)}[{number}]", str(error))
        return tuple(read)


def _below(where: str, key: str) -> str:
    shown = key if _BARE_KEY.fullmatch(key) else quote(key, _SHOWN_TEXT)
    return f"{where}.{shown}" if where else shown


def _string(item: object) -> str:
    if not isinstance(item, str):
        msg = f"must be a string, not {_kind(item)}"
        raise InvalidPattern(msg)
    return item


def _no_list(value: object, key: TableKey[Texts]) -> str:
    if isinstance(value, str):
        as_it_is = f"write [{json.dumps(value)}]" if len(value) <= _SHOWN_TEXT else "put the string in [ ]"
        return f"must be a list: {as_it_is}"
    if value == []:
        return f"is empty; write {key.missing or 'at least one, or leave the key out'}"
    return f"must be {key.missing or 'a list of strings'}, not {_kind(value)}"


def _hint(value: object, right: Text) -> str:
    """Return what to write if only some characters are wrong."""
    if right.form is None or not isinstance(value, str):
        return ""
    meant = re.sub(r"[^a-z0-9._-]+", "-", value[: right.longest].strip().lower()).strip("-._")
    return f"; write {quote(meant)}" if right.accepts(meant) else ""


def _kind(value: object) -> str:
    """Name a value as the author of the file would."""
    match value:
        case None:
            name = "null"
        case bool():
            name = str(value).lower()
        case int() | float():
            name = f"the number {value}" if abs(value) < _HUGE else _strange_number(value)
        case str():
            name = f"the string {quote(value, _SHOWN_TEXT)}"
        case dict():
            name = "a table" if value else "an empty table"
        case list():
            name = "a list" if value else "an empty list"
        case _:
            name = "a date or time"
    return name


def _strange_number(value: float) -> str:
    if abs(value) == math.inf:
        return "infinity"
    return "a huge number" if abs(value) >= _HUGE else "NaN"


def _other_domain(text: str, own: Mapping[TrustDomain, None]) -> TrustDomain:
    domain = trust_domain(text)
    if domain in own:
        msg = f"{domain} is already this environment's own; leave it out here"
        raise InvalidSpiffeId(msg)
    return domain
