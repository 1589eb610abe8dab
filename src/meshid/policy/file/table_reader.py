"""Reading the tables of a document by their form; every problem in them, each with its place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Final, TypeAlias, TypeVar

from meshid.errors import InvalidPattern, InvalidSpiffeId, Problem
from meshid.policy.file import form
from meshid.policy.file.shapes import (
    DAY_FORM,
    Day,
    Flag,
    ListedTables,
    NamedTables,
    NamedTexts,
    Seconds,
    Shape,
    Table,
    TableKey,
    Text,
    Texts,
)
from meshid.support.did_you_mean import Suggestions
from meshid.support.quoting import quote

MAX_PROBLEMS = 1000
"""Problems that are collected; a longer list helps no one."""

ABSENT: Final = object()
"""The value of a key that is not there."""

_HUGE = 10**30
_SHOWN_TEXT = 64
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")

Fields: TypeAlias = Mapping[str, object]
_T = TypeVar("_T")


class TooManyProblemsError(Exception):
    """There are `MAX_PROBLEMS`."""


class TableReader:
    """Reads values by their form, coerces none, and collects what is wrong.

    Args:
        has_dates: Whether the document is of a language that has dates, as TOML does and JSON does not.
    """

    def __init__(self, *, has_dates: bool = True) -> None:
        self._has_dates = has_dates
        self.problems: list[Problem] = []
        self.suggestions = Suggestions()

    def fail(self, where: str, what: str) -> None:
        """Note that something is wrong.

        Raises:
            TooManyProblemsError: If it is one too many.
        """
        self.problems.append(Problem(where, what))
        if len(self.problems) >= MAX_PROBLEMS:
            raise TooManyProblemsError

    def table(self, value: object, where: str, table: Table) -> Fields | None:
        """Read a table; its keys are known then, and its values are not."""
        if not isinstance(value, dict):
            self.fail(where, f"must be a table with {', '.join(table.needed)}, not {kind(value)}")
            return None
        for name in value:
            if name not in table.names:
                self.fail(below(where, name), f"is unknown; {self._known_key(name, table)}")
        return value

    def _known_key(self, name: str, table: Table) -> str:
        homes = [other.home for other in form.TABLES if name in other.names]
        if len(homes) == 1 or name in form.FILE.names:
            return f"it belongs {homes[0]}"
        if near := self.suggestions.to(name, table.names):
            return f"did you mean {near!r}?"
        return f"known: {', '.join(table.names)}"

    def value(self, table: Fields, where: str, key: TableKey[Shape]) -> object:
        """Return the value of a key, whatever it is; `ABSENT` without one."""
        value = table.get(key.name, ABSENT)
        if value is ABSENT and key.missing:
            self.fail(below(where, key.name), f"is missing; write {key.missing}")
        return value

    def flag(self, table: Fields, where: str, key: TableKey[Flag]) -> bool:
        """Read true or false."""
        value = table.get(key.name, False)
        if isinstance(value, bool):
            return value
        self.fail(below(where, key.name), f"must be true or false, not {kind(value)}")
        return False

    def seconds(self, table: Fields, where: str, key: TableKey[Seconds]) -> int:
        """Read a number of seconds."""
        right = key.holds
        value = table.get(key.name, right.usual)
        # True is an int.
        if type(value) is int and right.least <= value <= right.most:
            return value
        what = f"must be a whole number of seconds from {right.least} to {right.most}, not {kind(value)}"
        self.fail(below(where, key.name), what)
        return right.usual

    def day(self, table: Fields, where: str, key: TableKey[Day]) -> date | None:
        """Read a day; None without one."""
        value = table.get(key.name, ABSENT)
        if value is ABSENT:
            return None
        # A datetime is a date, too.
        if type(value) is date:
            return value
        meant = _day_of(value)
        if isinstance(value, str) and meant is not None and not self._has_dates:
            return meant
        self.fail(below(where, key.name), _no_day(value, meant, key.name, has_dates=self._has_dates))
        return None

    def text(self, table: Fields, where: str, key: TableKey[Text]) -> str:
        """Read a string; an empty one without it."""
        value = self.value(table, where, key)
        return "" if value is ABSENT else self.item(value, below(where, key.name), key.holds) or ""

    def item(self, value: object, where: str, right: Text) -> str | None:
        """Read one value as a string; None if it is not right."""
        if isinstance(value, str) and right.accepts(value):
            return value
        self.fail(where, f"must be {right.wanted}, not {kind(value)}{_hint(value, right)}")
        return None

    def texts(
        self, table: Fields, where: str, key: TableKey[Texts], parse: Callable[[str], _T]
    ) -> tuple[_T, ...]:
        """Read a list of strings, each with *parse*; none without it."""
        return tuple(value for _, value in self.placed_texts(table, where, key, parse))

    def placed_texts(
        self, table: Fields, where: str, key: TableKey[Texts], parse: Callable[[str], _T]
    ) -> Iterator[tuple[str, _T]]:
        """Read a list of strings, each with *parse*: the place and the value of each that is right."""
        items, where = self.value(table, where, key), below(where, key.name)
        if items is ABSENT:
            return
        if not isinstance(items, list) or not items:
            self.fail(where, _no_list(items, key))
            return
        for number, item in enumerate(items):
            try:
                value = parse(_string(item))
            except (InvalidPattern, InvalidSpiffeId) as error:
                self.fail(f"{where}[{number}]", str(error))
            else:
                yield f"{where}[{number}]", value

    def formal_texts(self, table: Fields, where: str, key: TableKey[Texts]) -> tuple[str, ...]:
        """Read a list of strings whose form is all that there is to them."""

        def parse(text: str) -> str:
            if not key.holds.each.accepts(text):
                msg = f"must be {key.holds.each.wanted}, not {kind(text)}"
                raise InvalidPattern(msg)
            return text

        return self.texts(table, where, key, parse)

    def named_texts(
        self, table: Fields, where: str, key: TableKey[NamedTexts]
    ) -> Iterator[tuple[str, str, str]]:
        """Read strings by name: the place, the name and the string of each that is right."""
        items, where = self.value(table, where, key), below(where, key.name)
        if items is ABSENT:
            return
        if not isinstance(items, dict) or not items:
            self.fail(where, f"must be a table of strings, not {kind(items)}")
            return
        for name, item in items.items():
            value = self.item(item, below(where, name), key.holds.each)
            if value is not None:
                yield below(where, name), name, value

    def named_tables(
        self, table: Fields, where: str, key: TableKey[NamedTables]
    ) -> Iterator[tuple[str, str, object]]:
        """Read tables by name: the place, the name and the value of each."""
        items, where = self.value(table, where, key), below(where, key.name)
        if items is ABSENT:
            return
        if not isinstance(items, dict) or not items:
            self.fail(where, f"must be {key.missing or f'tables [{where}.NAME]'}, not {kind(items)}")
            return
        yield from ((below(where, name), name, item) for name, item in items.items())

    def listed_tables(
        self, table: Fields, where: str, key: TableKey[ListedTables]
    ) -> Iterator[tuple[str, object]]:
        """Read a list of tables: the place and the value of each."""
        items, in_toml = (
            table.get(key.name, []),
            f"[[{key.name}]]" if not where else f"{key.name} = [{{ ... }}]",
        )
        where = below(where, key.name)
        if not isinstance(items, list):
            self.fail(where, f"must be a list of tables (in TOML: {in_toml}), not {kind(items)}")
            return
        yield from ((f"{where}[{number}]", item) for number, item in enumerate(items))


def below(where: str, key: str) -> str:
    """Return the place of a key of the table at *where*."""
    shown = key if _BARE_KEY.fullmatch(key) else quote(key, _SHOWN_TEXT)
    return f"{where}.{shown}" if where else shown


def _string(item: object) -> str:
    if not isinstance(item, str):
        msg = f"must be a string, not {kind(item)}"
        raise InvalidPattern(msg)
    return item


def _no_list(value: object, key: TableKey[Texts]) -> str:
    if isinstance(value, str):
        as_it_is = f"write [{json.dumps(value)}]" if len(value) <= _SHOWN_TEXT else "put the string in [ ]"
        return f"must be a list: {as_it_is}"
    if value == []:
        return f"is empty; write {key.missing or 'at least one, or leave the key out'}"
    return f"must be {key.missing or 'a list of strings'}, not {kind(value)}"


def _day_of(value: object) -> date | None:
    """Return the day that a value says, in whatever form."""
    if isinstance(value, datetime):
        return value.date()
    if not isinstance(value, str) or not DAY_FORM.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _no_day(value: object, meant: date | None, key: str, *, has_dates: bool) -> str:
    if isinstance(value, datetime) and meant is not None:
        return f"must be a day without a time, and all of that day counts, in UTC: write {key} = {meant}"
    if meant is not None:
        return f"must be a date, not a string: write it without quotes, {key} = {meant}"
    if isinstance(value, str) and DAY_FORM.fullmatch(value):
        return f"must be a day of the calendar, and there is no {value}"
    example = "2027-01-31" if has_dates else '"2027-01-31"'
    return f"must be a date, such as {example}, not {kind(value)}"


def _hint(value: object, right: Text) -> str:
    """Return what to write if only some characters are wrong."""
    if right.form is None or not isinstance(value, str):
        return ""
    meant = re.sub(r"[^a-z0-9._-]+", "-", value[: right.longest].strip().lower()).strip("-._")
    return f"; write {quote(meant)}" if right.accepts(meant) else ""


def kind(value: object) -> str:
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
