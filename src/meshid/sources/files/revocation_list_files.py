"""Revocation lists, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from meshid.sources.files.consistent_read import look, read_each, reason_of
from meshid.sources.files.polled import POLL_SECONDS
from meshid.sources.files.subpath import warnings_about
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.trust.crl import RevocationList, Undetermined, read_list_file
from meshid.trust.revocations import Revocations

MAX_FILES = 1000
"""In one directory: what has more is not a directory of revocation lists."""

_SUFFIXES = frozenset({".crl", ".pem", ".der"})
_SEQUENCE = b"\x30"
_PEM = b"-----BEGIN X509 CRL"

_Found: TypeAlias = dict[Path, list[Path] | str]
"""The files at each place, or why they are not known."""


class RevocationListFiles:
    """Revocation lists; a file that cannot be used says nothing about the others.

    It always delivers: a list that cannot be read is one of which nobody knows what it revokes
    (`Undetermined`), and what was in force of it stays, if there was anything.

    Args:
        paths: Files of revocation lists, PEM or DER; a directory stands for all files in it that
            have the content of one, or its name (``.crl``, ``.pem``, ``.der``).
        grace: How many seconds a list still counts when its next update is overdue; see `Revocations`.

    Attributes:
        name: What it is and where.
        is_required: True: a mesh starts with the lists that are there.
        is_stream: False: it is polled.
    """

    is_required = True
    is_stream = False

    def __init__(self, paths: Sequence[str | Path], *, grace: float = 0.0) -> None:
        self.name = f"revocation lists {', '.join(quote(str(each)) for each in paths)}"
        self._places = [Path(each) for each in paths]
        self._grace = grace
        self._last: tuple[object, State] | None = None

    def read(self) -> State:
        """Return the present state; the same one as long as no file has changed."""
        found = {place: _files_at(place) for place in self._places}
        seen = found, [_look(path) for files in found.values() for path in files if isinstance(path, Path)]
        if self._last is None or self._last[0] != seen:
            self._last = seen, self._state(found)
        return self._last[1]

    def pause(self) -> float:
        """Return the seconds until the next poll."""
        return POLL_SECONDS

    def close(self) -> None:
        """Do nothing; there is nothing to release."""

    def _state(self, found: _Found) -> State:
        files = [path for at in found.values() if not isinstance(at, str) for path in at]
        warnings = [*warnings_about(files)]
        lists: list[RevocationList] = []
        undetermined = [Undetermined(at, None) for at in found.values() if isinstance(at, str)]
        for path, content in zip(files, read_each(files), strict=True):
            if isinstance(content, str):
                undetermined.append(Undetermined(content, None))
            elif path in found or _is_list(path, content):
                good, bad = read_list_file(quote(str(path)), content)
                lists += good
                undetermined += bad
            else:
                warnings.append(f"{quote(str(path))} is no revocation list, and counts for nothing")
        revocations = Revocations(crls=lists, undetermined=undetermined, grace=self._grace)
        return State(revocations=revocations, warnings=tuple(warnings))


def _files_at(place: Path) -> list[Path] | str:
    try:
        if not place.is_dir():
            return [place]
        files = sorted(each for each in place.iterdir() if not each.name.startswith(".") and each.is_file())
    except OSError as error:
        return reason_of(error)
    if len(files) > MAX_FILES:
        return f"{quote(str(place))} has {len(files)} files, and at most {MAX_FILES} are read"
    return files


def _look(path: Path) -> object:
    try:
        return look([path])
    except OSError as error:
        return error.errno


def _is_list(path: Path, content: bytes) -> bool:
    return path.suffix in _SUFFIXES or content.startswith(_SEQUENCE) or _PEM in content
