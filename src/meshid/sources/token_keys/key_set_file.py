"""`KeySetFile`: the keys of an issuer, from a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from typing_extensions import override

from meshid.policy.issuers import Issuer
from meshid.sources.files.polled import PolledFiles
from meshid.sources.source import State
from meshid.sources.token_keys.serve_until import ServeUntil, state_of
from meshid.support.quoting import quote
from meshid.tokens.key_set import KeySet


class KeySetFile(PolledFiles):
    """The keys of an issuer; while the file is missing or wrong, the last good ones count until `max_stale`.

    Args:
        issuer: The issuer, whose `jwks` is the path of a JWK Set (RFC 7517 section 5).
        clock: Returns the POSIX time in seconds.
    """

    is_required = False
    """No mesh waits for the keys of an issuer."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._path = Path(str(issuer.jwks))
        self._serve_until = ServeUntil(issuer, clock)
        super().__init__(f"keys of issuer {quote(issuer.name)} {quote(str(self._path))}")

    @override
    def read(self) -> State:
        """Return the keys, with the time until which they count.

        Raises:
            SourceUnavailable: If the file cannot be read or has no keys.
        """
        state = super().read()
        return attrs.evolve(state, keys=tuple(map(self._serve_until.prolonged, state.keys)))

    @override
    def _paths(self) -> Sequence[Path]:
        return (self._path,)

    @override
    def _state(self, paths: Sequence[Path], contents: Sequence[bytes]) -> State:
        return state_of(KeySet.from_json(self._issuer.name, *contents, pinned=self._issuer.pinned_keys))
