"""Keys from a file, and for how long keys count that are read again and again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import SourceUnavailable
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.sources import Source
from meshid.sources.token_keys.key_set_file import KeySetFile
from meshid.sources.token_keys.serve_until import ServeUntil
from meshid.testing import TokenIssuer
from meshid.tokens.key_set import KeySet
from tests.helpers.world import Clock

ISSUER = Issuer(
    name="ci",
    profile=IssuerProfile.OIDC,
    issuer="https://issuer.example",
    audience=("payments",),
    principal="sub",
)


@pytest.mark.usefixtures("hurried")
class TestFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "keys.json"
        path.write_bytes(TokenIssuer(ISSUER.issuer).jwks())
        return path

    @pytest.fixture
    def source(self, path: Path, clock: Clock) -> Source:
        issuer = attrs.evolve(ISSUER, jwks=str(path), max_stale=600)
        return KeySetFile(issuer, clock)

    def test_it_has_the_keys_of_its_issuer(self, source: Source, path: Path, clock: Clock) -> None:
        assert source.read().keys == (KeySet.from_json("ci", path.read_bytes(), serve_until=clock() + 600),)
        assert source.name == f"keys of issuer 'ci' {str(path)!r}"
        assert not source.is_required

    def test_a_new_file_counts_at_once(self, source: Source, path: Path) -> None:
        (before,) = source.read().keys
        path.write_bytes(TokenIssuer(ISSUER.issuer).jwks())
        (after,) = source.read().keys
        assert set(after.keys).isdisjoint(before.keys)

    def test_the_keys_count_from_when_they_were_last_read_well(
        self, source: Source, path: Path, clock: Clock
    ) -> None:
        begun = clock()
        assert source.read().keys[0].serve_until == begun + 600
        # Moved only now and then: each new time is a new snapshot.
        clock.now += timedelta(seconds=59)
        assert source.read().keys[0].serve_until == begun + 600
        clock.now += timedelta(seconds=1)
        assert source.read().keys[0].serve_until == begun + 660
        path.write_text("{")
        with pytest.raises(SourceUnavailable, match=r"^keys of issuer 'ci'"):
            source.read()
        path.unlink()
        with pytest.raises(SourceUnavailable, match="cannot be read: No such file"):
            source.read()

    def test_a_key_that_is_skipped_is_a_warning(self, source: Source, path: Path) -> None:
        path.write_bytes(TokenIssuer(ISSUER.issuer).jwks({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}))
        (warning,) = source.read().warnings
        assert warning.startswith("skipped keys[1]: ")


@given(
    st.integers(60, 604800),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
)
def test_keys_that_were_read_count_for_no_longer_than_they_may_and_not_much_less(
    max_stale: int, steps: list[float]
) -> None:
    now = 1.8e9
    until = ServeUntil(attrs.evolve(ISSUER, max_stale=max_stale), lambda: now)
    for step in steps:
        now += step
        left = until.prolonged(KeySet(issuer="ci")).serve_until - now
        assert 0.9 * max_stale - 1e-3 <= left <= max_stale + 1e-3
