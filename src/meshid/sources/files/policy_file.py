"""A policy, from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from meshid.policy import Policy
from meshid.sources.files.polled import PolledFiles
from meshid.sources.source import State
from meshid.support.documents import is_json
from meshid.support.quoting import quote


class PolicyFile(PolledFiles):
    """A policy.

    Args:
        path: The file, TOML or JSON.
        environment: The environment to load the policy for.
    """

    def __init__(self, path: str | Path, environment: str) -> None:
        super().__init__(f"policy {quote(str(path))}")
        self._path = Path(path)
        self._environment = environment

    @override
    def _paths(self) -> Sequence[Path]:
        return (self._path,)

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        (data,) = contents
        load = Policy.from_json if is_json(data) else Policy.from_toml
        return State(policy=load(data, self._environment))
