"""Revocation lists and a deny list, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from meshid.errors import InvalidRevocations
from meshid.sources.files.polled import PolledFiles
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.trust.crl import RevocationList
from meshid.trust.deny_list_file import read_deny_list
from meshid.trust.revocations import Revocations


class RevocationFiles(PolledFiles):
    """Revocation lists and a deny list.

    Args:
        crls: Files of revocation lists, PEM or DER; a directory stands for all files in it.
        deny: The file of a deny list, TOML.
        grace: How many seconds a list still counts when its next update is overdue; see `Revocations`.
    """

    def __init__(
        self, crls: Sequence[str | Path] = (), deny: str | Path | None = None, *, grace: float = 0.0
    ) -> None:
        shown = ", ".join(quote(str(each)) for each in (*crls, *([] if deny is None else [deny])))
        super().__init__(f"revocations {shown}")
        self._crls = [Path(each) for each in crls]
        self._deny = None if deny is None else Path(deny)
        self._grace = grace

    @override
    def _paths(self) -> Sequence[Path]:
        lists = [file for path in self._crls for file in _files_at(path)]
        return lists if self._deny is None else [*lists, self._deny]

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        lists = list(contents)
        deny = () if self._deny is None else read_deny_list(lists.pop())
        crls = [each for path, data in zip(paths, lists, strict=False) for each in _lists_in(path, data)]
        return State(revocations=Revocations(crls=crls, deny=deny, grace=self._grace))


def _files_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(each for each in path.iterdir() if not each.name.startswith(".") and each.is_file())


def _lists_in(path: Path, data: bytes) -> tuple[RevocationList, ...]:
    try:
        return Revocations(crls=[data]).crls
    except InvalidRevocations as error:
        msg = f"{quote(str(path))}: {error}"
        raise InvalidRevocations(msg) from error
