"""A configuration of nginx as a tree of directives, read as `ngx_conf_file.c` reads it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TypeAlias

import attrs

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

MAX_DEPTH = 64
"""Blocks in each other; nginx itself knows no more than http, server, a few locations, and if."""

MAX_LENGTH = 8 * 1024 * 1024
"""Characters; a large site has some hundred thousand."""

MAX_DIRECTIVES = 100_000
"""With those of all included files; a large site has some thousand."""

# Each alternative begins with other characters, and inside one no two can match the same: linear time.
_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
    |(?P<mark>[;{}])
    |"(?P<double>(?:[^"\\]|\\.)*)"
    |'(?P<single>(?:[^'\\]|\\.)*)'
    |(?P<word>(?!["'])(?:\\.|\$\{?|[^\s;{\\$])+)""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([\"'\\])")
_Place: TypeAlias = Callable[[int], str]
"""Says where a line is, by its number."""

_FILE = re.compile(r"^# configuration file (?P<path>.+):$", re.MULTILINE)


@attrs.frozen
class Directive:
    """One directive.

    Attributes:
        name: Its name.
        arguments: Its arguments, without their quotes.
        where: Its place: ``line 3``, or ``/etc/nginx/nginx.conf:3`` in the output of ``nginx -T``.
        block: The directives in its braces; None if it has none.
    """

    name: str
    arguments: tuple[str, ...]
    where: str
    block: tuple[Directive, ...] | None = None

    def __str__(self) -> str:
        return " ".join((self.name, *self.arguments))


@attrs.frozen
class Configuration:
    """What was read.

    Attributes:
        directives: Those outside of all blocks.
        unread: The ``include`` directives whose files were not given.
    """

    directives: tuple[Directive, ...]
    unread: tuple[Directive, ...] = ()


def read_configuration(text: str) -> Configuration:
    """Read one file, or the output of ``nginx -T``, in which each ``include`` is replaced by its files.

    Args:
        text: The text.

    Raises:
        InvalidInput: If nginx could not read it either, or if it is too deep or too large.
    """
    if len(text) > MAX_LENGTH:
        msg = f"it has {len(text)} characters, and at most {MAX_LENGTH} are read: is it the right file?"
        raise InvalidInput(msg)
    found = list(_FILE.finditer(text))
    if not found:
        own = _tree(text, lambda number: f"line {number}")
        return Configuration(own, tuple(_includes(own)))
    ends = [*(match.start() for match in found[1:]), len(text)]
    files = {
        match["path"]: _tree_of_file(text[match.end() : end], match["path"])
        for match, end in zip(found, ends, strict=True)
    }
    return Configuration(_Joining(files).whole())


def _includes(directives: tuple[Directive, ...]) -> Iterator[Directive]:
    for each in directives:
        if each.name == "include":
            yield each
        yield from _includes(each.block or ())


class _Joining:
    """Puts the files of a dump where they are included."""

    def __init__(self, files: Mapping[str, tuple[Directive, ...]]) -> None:
        self._files = files
        self._main = next(iter(files))
        self._count = 0

    def whole(self) -> tuple[Directive, ...]:
        return tuple(self._joined(self._files[self._main], (self._main,)))

    def _joined(self, directives: tuple[Directive, ...], inside: tuple[str, ...]) -> Iterator[Directive]:
        for each in directives:
            self._count += 1
            # Files that include others several times can grow without end.
            if self._count > MAX_DIRECTIVES:
                msg = f"with its includes it has more than {MAX_DIRECTIVES} directives"
                raise InvalidInput(msg)
            if each.name == "include":
                for path in self._matching(each):
                    if path in inside:
                        msg = f"{each.where}: {quote(path)} includes itself"
                        raise InvalidInput(msg)
                    yield from self._joined(self._files[path], (*inside, path))
            elif each.block is not None:
                yield attrs.evolve(each, block=tuple(self._joined(each.block, inside)))
            else:
                yield each

    def _matching(self, include: Directive) -> list[str]:
        # Relative to the folder of the main file (ngx_conf_full_name).
        folder = posixpath.dirname(self._main)
        patterns = [posixpath.normpath(posixpath.join(folder, each)) for each in include.arguments]
        return [path for path in self._files if any(fnmatchcase(path, pattern) for pattern in patterns)]


def _tree_of_file(text: str, path: str) -> tuple[Directive, ...]:
    # The line with the name of the file is not one of its own.
    return _tree(text, lambda number: f"{path}:{number - 1}")


def _tree(text: str, place: _Place) -> tuple[Directive, ...]:
    tree = _Tree()
    where, words = "", list[str]()
    for written, is_mark, number in _tokens(text, place):
        here = place(number)
        if not is_mark:
            where = where if words else here
            words.append(written)
        elif written == "}":
            if words:
                raise _unfinished(where, words)
            tree.close(here)
        elif words:
            tree.add(Directive(words[0], tuple(words[1:]), where), opens=written == "{")
            words = []
        else:
            msg = f"{here}: '{written}' stands alone"
            raise InvalidInput(msg)
    if words:
        raise _unfinished(where, words)
    return tree.whole()


def _unfinished(where: str, words: list[str]) -> InvalidInput:
    return InvalidInput(f"{where}: {quote(words[0])} has no ';' at its end")


class _Tree:
    """The directives so far, and the blocks that have not ended."""

    def __init__(self) -> None:
        self._levels: list[list[Directive]] = [[]]
        self._heads: list[Directive] = []
        self._count = 0

    def add(self, directive: Directive, *, opens: bool) -> None:
        self._count += 1
        if self._count > MAX_DIRECTIVES:
            msg = f"{directive.where}: more than {MAX_DIRECTIVES} directives"
            raise InvalidInput(msg)
        if not opens:
            self._levels[-1].append(directive)
            return
        if len(self._heads) == MAX_DEPTH:
            msg = f"{directive.where}: more than {MAX_DEPTH} blocks in each other"
            raise InvalidInput(msg)
        self._heads.append(directive)
        self._levels.append([])

    def close(self, here: str) -> None:
        if not self._heads:
            msg = f"{here}: '}}' ends no block"
            raise InvalidInput(msg)
        block = tuple(self._levels.pop())
        self._levels[-1].append(attrs.evolve(self._heads.pop(), block=block))

    def whole(self) -> tuple[Directive, ...]:
        if self._heads:
            msg = f"{self._heads[-1].where}: {quote(self._heads[-1].name)} has no '}}' at its end"
            raise InvalidInput(msg)
        return tuple(self._levels[0])


def _tokens(text: str, place: _Place) -> Iterator[tuple[str, bool, int]]:
    """Yield each token, whether it is one of ``; { }``, and the number of its line."""
    position, number = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            msg = f"{place(number)}: {quote(text[position : position + 20])} does not end"
            raise InvalidInput(msg)
        position = match.end()
        kind = match.lastgroup
        if kind != "space":
            written = match["mark"] or match["double"] or match["single"] or match["word"] or ""
            yield _ESCAPE.sub(r"\1", written), kind == "mark", number
        number += match[0].count("\n")
