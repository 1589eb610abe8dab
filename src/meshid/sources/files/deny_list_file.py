"""A deny list, from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from meshid.sources.files.polled import PolledFiles
from meshid.sources.source import State
from meshid.support.quoting import quote
from meshid.trust.deny_list_document import read_deny_list
from meshid.trust.revocations import Revocations


class DenyListFile(PolledFiles):
    """A deny list; while the file is missing or has a mistake in it, the last good one stays.

    Args:
        path: The file, TOML.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"deny list {quote(str(path))}")
        self._path = Path(path)

    @override
    def _paths(self) -> Sequence[Path]:
        return (self._path,)

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        return State(revocations=Revocations(deny=read_deny_list(*contents)))
