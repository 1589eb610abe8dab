"""The problems of an import, all at once and bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from meshid.errors import InvalidInput, InvalidIstioPolicy, Problem

NO_EQUIVALENT = "has no exact equivalent in a policy file; write the rule in another way, or by hand"

MAX_PROBLEMS = 1000
"""Problems that are kept; whoever imports a mesh needs a long list, and nobody a longer one."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Problems:
    """Collects problems: the first `MAX_PROBLEMS`, and how many there are."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[Problem] = []

    def add(self, where: str, what: str) -> None:
        """Add one problem."""
        self.count += 1
        if len(self._kept) < MAX_PROBLEMS:
            self._kept.append(Problem(where, what))

    def attempt(self, where: str, read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """Return what *read* returns; add a problem and return None if its input is invalid."""
        try:
            return read(*args, **kwargs)
        except InvalidInput as error:
            self.add(where, str(error))
            return None

    def check(self) -> None:
        """End the import if there are any.

        Raises:
            InvalidIstioPolicy: If there are problems.
        """
        if not self.count:
            return
        more = self.count - len(self._kept)
        raise InvalidIstioPolicy((*self._kept, *([Problem("", f"... and {more} more")] if more else [])))
