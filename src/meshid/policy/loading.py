"""A file to rules: every mistake in it at once, each with its place and what would be right.

Nothing is coerced and nothing is ignored: an unknown key, a string where a list belongs
or a pattern that could never match is an error, for each would make the policy mean
something else than its author reads.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from meshid.errors import InvalidPattern, InvalidPolicy, InvalidSpiffeId, Problem
from meshid.names import TrustDomain
from meshid.patterns import Pattern
from meshid.peer_patterns import PeerPattern
from meshid.policy.model import ANY_METHOD, Effect, Environment, HttpCondition, Rule, RuleSet
from meshid.policy.requests import METHOD
from meshid.text import quote, quote_all

MAX_POLICY_BYTES = 64 * 1024 * 1024
"""100 000 rules have about 20 MB; beyond that, somebody gave us the wrong file."""

MAX_PROBLEMS = 1000
"""Problems that are collected; nobody reads on after that."""

MAX_WHY = 1024
"""Characters of a rule's ``why``."""

_HUGE = 10**30

_MAX_KEY_PARTS = 32
_KEY_PART = r"""(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(
    rf"(?:^|[\[{{,])[ \t]*+(?:{_KEY_PART}[ \t]*+\.[ \t]*+){{{_MAX_KEY_PARTS}}}", re.ASCII | re.MULTILINE
)

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_TOP_KEYS = ("version", "environments", "allow", "deny", "observe")
_ENVIRONMENT_KEYS = ("trust_domains", "federates_with")
_RULE_KEYS = ("id", "why", "from", "to", "http", "observe")

_T = TypeVar("_T")


def read_file(path: Path, environment: str) -> RuleSet:
    """Read a ``.toml`` or ``.json`` file.

    Raises:
        InvalidPolicy: If it cannot be read, or with everything that is wrong in it.
    """
    if path.suffix not in _READERS:
        msg = f"{quote(str(path))} must end in .toml or .json"
        raise _invalid(msg)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    # A NUL in the path is a ValueError.
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else quote(str(error))
        msg = f"{quote(str(path))} cannot be read: {why}"
        raise _invalid(msg) from error
    return _read(_READERS[path.suffix], data, environment)


def read_toml(text: str, environment: str) -> RuleSet:
    """Read TOML.

    Raises:
        InvalidPolicy: With everything that is wrong in it.
    """
    return _read(_toml, text, environment)


def read_json(text: str | bytes, environment: str) -> RuleSet:
    """Read JSON (RFC 8259).

    Raises:
        InvalidPolicy: With everything that is wrong in it.
    """
    return _read(_json, text, environment)


def _read(parse: Callable[[str], object], data: str | bytes, environment: str) -> RuleSet:
    if len(data) > MAX_POLICY_BYTES:
        msg = f"it is larger than {MAX_POLICY_BYTES} bytes"
        raise _invalid(msg)
    try:
        document = parse(_text(data))
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise _invalid(msg) from error
    # Syntax, and integers of absurd length.
    except ValueError as error:
        msg = f"it cannot be parsed: {quote(str(error))}"
        raise _invalid(msg) from error
    return _Reader(environment).rule_set(document)


def _text(data: str | bytes) -> str:
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        msg = f"it is not UTF-8, at byte {error.start}"
        raise _invalid(msg) from error
    if text.startswith("\ufeff"):
        msg = "it begins with a byte order mark, which no editor shows; save it as UTF-8 without one"
        raise _invalid(msg)
    return text


def _toml(text: str) -> object:
    # tomllib takes time in the square of the parts of a dotted key.
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.end()) + 1
        msg = f"a key has more than {_MAX_KEY_PARTS} parts (at line {line})"
        raise ValueError(msg)
    return tomllib.loads(text)


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_unique)


_READERS = {".toml": _toml, ".json": _json}


def _invalid(what: str) -> InvalidPolicy:
    return InvalidPolicy((Problem("", what),))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            msg = f"the key {quote(name)} occurs twice in one object"
            raise ValueError(msg)
        members[name] = value
    return members


class _TooManyProblemsError(Exception):
    """Collected enough."""


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, environment: str) -> None:
        self.chosen = environment
        self.problems: list[Problem] = []
        self.places: dict[str, str] = {}
        self.owners: dict[TrustDomain, str] = {}

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
        top = self._table(document, "", _TOP_KEYS)
        if top is None:
            return None
        version = top.get("version")
        if type(version) is not int or version != 1:
            self._fail("version", f"must be 1, not {_kind(version)}; write: version = 1")
        environments = self._environments(top.get("environments"))
        environment = environments.get(self.chosen)
        if environments and self.chosen not in top["environments"]:
            known = quote_all(list(top["environments"]), limit=50)
            self._fail("environments", f"there is no environment {quote(self.chosen)}; there are: {known}")
        rules = [
            rule
            for effect in Effect
            for number, table in enumerate(self._tables(top, effect))
            if (rule := self._rule(table, effect, f"{effect}[{number}]", environment)) is not None
        ]
        observe = self._flag(top, "", "observe")
        if environment is None:
            return None
        return RuleSet(environment, tuple(sorted(rules, key=lambda rule: rule.id)), observe)

    # -- Environments ---------------------------------------------------------

    def _environments(self, value: object) -> dict[str, Environment]:
        if not isinstance(value, dict) or not value:
            self._fail("environments", f"must be tables [environments.NAME], not {_kind(value)}")
            return {}
        read = {name: self._environment(name, table) for name, table in value.items()}
        return {name: environment for name, environment in read.items() if environment is not None}

    def _environment(self, name: str, value: object) -> Environment | None:
        where = _below("environments", name)
        table = self._table(value, where, _ENVIRONMENT_KEYS)
        if table is None:
            return None
        own = self._parsed(table, where, "trust_domains", lambda text: self._own_domain(text, name))
        others = self._parsed(
            table, where, "federates_with", lambda text: _other_domain(text, own), required=False
        )
        return Environment(name, tuple(dict.fromkeys(own)), tuple(dict.fromkeys(others))) if own else None

    def _own_domain(self, text: str, environment: str) -> TrustDomain:
        domain = TrustDomain.parse(text)
        if (owner := self.owners.setdefault(domain, environment)) != environment:
            msg = f"{domain} belongs to environment {quote(owner)} already; each environment needs its own"
            raise InvalidSpiffeId(msg)
        return domain

    # -- Rules ----------------------------------------------------------------

    def _tables(self, top: Mapping[str, Any], effect: Effect) -> list[Any]:
        value = top.get(effect, [])
        if isinstance(value, list):
            return value
        self._fail(str(effect), f"must be tables [[{effect}]], not {_kind(value)}")
        return []

    def _rule(
        self, value: object, effect: Effect, where: str, environment: Environment | None
    ) -> Rule | None:
        table = self._table(value, where, _RULE_KEYS)
        if table is None:
            return None
        return Rule(
            id=self._id(table, where),
            effect=effect,
            why=self._why(table, where),
            sources=self._parsed(table, where, "from", lambda text: _source(text, environment)),
            targets=self._parsed(table, where, "to", _target),
            http=self._parsed(table, where, "http", _http, required=False),
            observe=self._flag(table, where, "observe"),
            place=where,
        )

    def _id(self, table: Mapping[str, Any], where: str) -> str:
        value = table.get("id")
        where = f"{where}.id"
        if not isinstance(value, str) or not _ID.fullmatch(value):
            shown = quote(value) if isinstance(value, str) else _kind(value)
            self._fail(where, f"must be 1 to 64 of a-z, 0-9, '.', '_' and '-', not {shown}")
            return ""
        if value in self.places:
            self._fail(where, f"{quote(value)} is the id of {self.places[value]} already")
        self.places.setdefault(value, where.removesuffix(".id"))
        return value

    def _why(self, table: Mapping[str, Any], where: str) -> str:
        value = table.get("why", "")
        if isinstance(value, str) and len(value) <= MAX_WHY:
            return value
        shown = f"one of {len(value)}" if isinstance(value, str) else _kind(value)
        self._fail(f"{where}.why", f"must be a string of at most {MAX_WHY} characters, not {shown}")
        return ""

    # -- Values ---------------------------------------------------------------

    def _table(self, value: object, where: str, known: tuple[str, ...]) -> Mapping[str, Any] | None:
        if not isinstance(value, dict):
            self._fail(where, f"must be a table, not {_kind(value)}")
            return None
        for key in (key for key in value if key not in known):
            near = get_close_matches(key[:64], known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            self._fail(_below(where, key), f"is unknown; {hint}")
        return value

    def _flag(self, table: Mapping[str, Any], where: str, key: str) -> bool:
        value = table.get(key, False)
        if isinstance(value, bool):
            return value
        self._fail(_below(where, key), f"must be true or false, not {_kind(value)}")
        return False

    def _parsed(
        self,
        table: Mapping[str, Any],
        where: str,
        key: str,
        parse: Callable[[str], _T],
        *,
        required: bool = True,
    ) -> tuple[_T, ...]:
        where = _below(where, key)
        value = table.get(key)
        if value is None and key not in table:
            if required:
                self._fail(where, 'is missing; write a list of strings, such as ["..."]')
            return ()
        if isinstance(value, str):
            self._fail(where, f"must be a list: write [{json.dumps(value[:64])}]")
            return ()
        if not isinstance(value, list) or not value:
            self._fail(where, f"must be a list of strings, not {_kind(value)}")
            return ()
        read = [self._item(item, f"{where}[{number}]", parse) for number, item in enumerate(value)]
        return tuple(item for item in read if item is not None)

    def _item(self, item: object, where: str, parse: Callable[[str], _T]) -> _T | None:
        if not isinstance(item, str):
            self._fail(where, f"must be a string, not {_kind(item)}")
            return None
        try:
            return parse(item)
        except (InvalidPattern, InvalidSpiffeId) as error:
            self._fail(where, str(error))
            return None


def _below(where: str, key: str) -> str:
    shown = key if _BARE_KEY.fullmatch(key) else quote(key)
    return f"{where}.{shown}" if where else shown


def _kind(value: object) -> str:
    """Name a value as the author of the file would."""
    match value:
        case None:
            name = "nothing"
        case bool():
            name = str(value).lower()
        case int() | float():
            name = f"the number {value}" if abs(value) < _HUGE else "a huge number"
        case str():
            name = f"the string {quote(value, 64)}"
        case dict():
            name = "a table" if value else "an empty table"
        case list():
            name = "a list" if value else "an empty list"
        case _:
            name = "a date or time"
    return name


def _other_domain(text: str, own: Collection[TrustDomain]) -> TrustDomain:
    domain = TrustDomain.parse(text)
    if domain in own:
        msg = f"{domain} is this environment's own already"
        raise InvalidSpiffeId(msg)
    return domain


def _source(text: str, environment: Environment | None) -> PeerPattern:
    # Alone, it can only mean every path.
    pattern = PeerPattern.parse("/**" if text == "**" else text)
    domain = pattern.trust_domain
    if domain is None or environment is None:
        return pattern
    known = (*environment.trust_domains, *environment.federates_with)
    if domain not in known:
        msg = (
            f"environment {quote(environment.name)} neither has nor federates with {domain};"
            f" it knows: {', '.join(map(str, known))}"
        )
        raise InvalidPattern(msg)
    return pattern


def _target(text: str) -> Pattern:
    if text.startswith("/") or text.endswith("/"):
        msg = f"a target neither begins nor ends with '/': write {quote(text.strip('/'))}"
        raise InvalidPattern(msg)
    if any(character.isspace() or not character.isprintable() for character in text):
        msg = f"{quote(text)} has a character that no target can have"
        raise InvalidPattern(msg)
    return Pattern.parse(text)


def _http(text: str) -> HttpCondition:
    method, space, path = text.partition(" ")
    if not space or not path.startswith("/"):
        msg = f"{quote(text)} must be 'METHOD /path', such as 'GET /v1/**' or '* /health'"
        raise InvalidPattern(msg)
    if method != ANY_METHOD and (not METHOD.fullmatch(method) or method != method.upper()):
        msg = f"{quote(method)} is not a method in upper case, nor '*' for any"
        raise InvalidPattern(msg)
    for character in "%?#;\\":
        if character in path:
            msg = (
                f"{quote(text)}: no path that is judged has {character!r}; write it decoded, without a query"
            )
            raise InvalidPattern(msg)
    return HttpCondition(method, Pattern.parse(path))
