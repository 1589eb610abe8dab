"""The shapes that a value of a policy file can have, as data."""

from __future__ import annotations

import re
from typing import Generic, TypeAlias, TypeVar

import attrs

# JSON can escape lone surrogates, which cannot be written to a file or a terminal.
_SURROGATE = re.compile("[\ud800-\udfff]")

DAY_FORM = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
"""RFC 3339 section 5.6, `full-date`."""


@attrs.frozen
class Number:
    """This number and no other."""

    value: int


@attrs.frozen
class Seconds:
    """A whole number of seconds.

    Attributes:
        least: The fewest.
        most: The most.
        usual: Those without the key.
    """

    least: int
    most: int
    usual: int


@attrs.frozen
class Flag:
    """True or false; false without the key."""


@attrs.frozen
class Day:
    """A day of the calendar: a local date in TOML, a string YYYY-MM-DD in JSON, which has no dates."""


@attrs.frozen(kw_only=True)
class Text:
    """A string.

    Attributes:
        wanted: What would be right, in words.
        longest: The most characters it may have.
        form: What the whole text matches; None for any text. It must mean the same in
            ECMA-262, which JSON Schema refers to.
        examples: What an editor suggests.
    """

    wanted: str
    longest: int
    form: re.Pattern[str] | None = None
    examples: tuple[str, ...]

    def accepts(self, text: str) -> bool:
        """Tell whether *text* has this form."""
        if len(text) > self.longest or _SURROGATE.search(text):
            return False
        return self.form is None or bool(self.form.fullmatch(text))


@attrs.frozen
class Texts:
    """A list of strings, not empty."""

    each: Text


@attrs.frozen
class NamedTexts:
    """Strings by name, at least one."""

    each: Text


@attrs.frozen
class NamedTables:
    """Tables by name, at least one."""

    each: Table


@attrs.frozen
class ListedTables:
    """A list of tables."""

    each: Table


Shape: TypeAlias = Number | Seconds | Flag | Day | Text | Texts | NamedTexts | NamedTables | ListedTables
_Holds_co = TypeVar("_Holds_co", bound=Shape, covariant=True)


@attrs.frozen(kw_only=True)
class TableKey(Generic[_Holds_co]):
    """One key of a table.

    Attributes:
        name: The key.
        holds: The form of its value.
        meaning: What it is for, for the author of a file.
        missing: What to write if it is missing; None if it is optional.
    """

    name: str
    holds: _Holds_co
    meaning: str
    missing: str | None = None


@attrs.frozen(kw_only=True)
class Table:
    """A table; other keys are errors.

    Attributes:
        name: Its name in the schema.
        meaning: What it is.
        home: Where in a file its keys belong.
        keys: Its keys.
        names: The names of its keys.
        needed: The names of the keys that are required.
    """

    name: str
    meaning: str
    home: str
    keys: tuple[TableKey[Shape], ...]
    names: tuple[str, ...] = attrs.field(init=False)

    needed: tuple[str, ...] = attrs.field(init=False)

    @names.default
    def _their_names(self) -> tuple[str, ...]:
        return tuple(key.name for key in self.keys)

    @needed.default
    def _those_needed(self) -> tuple[str, ...]:
        return tuple(key.name for key in self.keys if key.missing)
