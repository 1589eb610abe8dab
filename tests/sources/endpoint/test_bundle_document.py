"""What a document has beside the authorities: when to ask again, and which bundle is newer."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidBundle, MeshidError
from meshid.sources.endpoint.bundle_document import BundleDocument
from meshid.testing import CA
from tests.helpers.endpoints import (
    PARTNER,
    Endpoint,
    bundle_of,
    bundle_read,
    document,
    http,
    responding,
    spiffe,
)


class TestRefreshHint:
    @pytest.mark.parametrize(
        ("members", "seconds"),
        [
            pytest.param({}, 300, id="missing"),
            pytest.param({"spiffe_refresh_hint": 600}, 600, id="fine"),
            pytest.param({"spiffe_refresh_hint": 0}, 60, id="too short"),
            pytest.param({"spiffe_refresh_hint": 10**400}, 3600, id="too long"),
            pytest.param({"spiffe_refresh_hint": -1}, 300, id="negative"),
            pytest.param({"spiffe_refresh_hint": "600"}, 300, id="a string"),
            pytest.param({"spiffe_refresh_hint": 600.0}, 300, id="a fraction"),
            pytest.param({"spiffe_refresh_hint": True}, 300, id="a bool"),
            pytest.param({"spiffe_refresh_hint": None}, 300, id="null"),
        ],
    )
    def test_it_is_obeyed_within_limits_and_not_by_all_at_once(
        self, endpoint: Endpoint, partner: CA, members: dict[str, object], seconds: int
    ) -> None:
        endpoint.answer = responding(http(document(partner, **members)))
        read = spiffe(endpoint, partner)
        read.read()
        pauses = {read.pause() for _ in range(200)}
        assert seconds * 0.9 <= min(pauses) < seconds < max(pauses) <= seconds * 1.1

    def test_after_a_failure_the_next_try_comes_soon(self, endpoint: Endpoint, partner: CA) -> None:
        read = spiffe(endpoint, partner)
        endpoint.answer = responding(http(document(partner, spiffe_refresh_hint=3600)))
        read.read()
        assert read.pause() > 3000
        endpoint.answer = responding(http(b"no bundle"))
        with pytest.raises(InvalidBundle):
            read.read()
        assert 54 <= read.pause() <= 66


class TestSequence:
    """The sequence number SHOULD be used when comparing the freshness of two trust bundles."""

    @pytest.mark.parametrize(
        ("last", "next_one"),
        [(1, 2), (2, 2), (None, None), (None, 0), (2**64, 2**64 + 1)],
    )
    def test_a_newer_bundle_follows(self, partner: CA, last: int | None, next_one: int | None) -> None:
        first = BundleDocument(partner.bundle(), last, 300)
        second = BundleDocument(bundle_of(CA("partner.example")), next_one, 300)
        assert first.following(None) is first
        assert second.following(first) is second

    @pytest.mark.parametrize(("last", "next_one"), [(1, 0), (2**64 + 1, 2**64), (0, None)])
    def test_an_older_one_is_refused(self, partner: CA, last: int, next_one: int | None) -> None:
        first = BundleDocument(partner.bundle(), last, 300)
        second = BundleDocument(bundle_of(CA("partner.example")), next_one, 300)
        with pytest.raises(InvalidBundle, match=f"an older bundle came back: .* '{last}' was seen before"):
            second.following(first)

    @pytest.mark.parametrize("sequence", [3, None])
    def test_the_same_bundle_is_never_older_and_makes_nothing_forgotten(
        self, partner: CA, sequence: int | None
    ) -> None:
        first = BundleDocument(partner.bundle(), 7, 300)
        same = BundleDocument(partner.bundle(), sequence, 600)
        assert same.following(first) == attrs.evolve(same, sequence=7)

    @pytest.mark.parametrize("sequence", ["1", 1.0, -1, True, None, [[1]]])
    def test_an_invalid_sequence_is_refused(self, partner: CA, sequence: object) -> None:
        with pytest.raises(InvalidBundle, match="spiffe_sequence must be a whole number"):
            BundleDocument.read(PARTNER, document(partner, spiffe_sequence=sequence))

    def test_a_step_back_is_refused_until_the_endpoint_has_caught_up(
        self, endpoint: Endpoint, partner: CA
    ) -> None:
        newer = CA("partner.example")
        read = spiffe(endpoint, partner)
        for authorities, sequence, fine in (
            ([partner, newer], 5, True),
            ([partner], 4, False),
            ([partner, newer], 3, True),
            ([partner], 4, False),
            ([partner], 6, True),
        ):
            endpoint.answer = responding(http(document(*authorities, spiffe_sequence=sequence)))
            if fine:
                assert bundle_read(read) == bundle_of(*authorities)
            else:
                with pytest.raises(InvalidBundle, match=f"{re.escape(read.name)}: an older bundle came back"):
                    read.read()


class TestDocuments:
    @pytest.mark.parametrize(
        "body",
        [b"", b"<html>", b"[]", b"{}", b'{"keys": [], "keys": []}', b"[" * 100_000, b'{"keys": [1]}'],
    )
    def test_an_invalid_bundle_names_the_trust_domain_and_the_url(
        self, endpoint: Endpoint, partner: CA, body: bytes
    ) -> None:
        endpoint.answer = responding(http(body))
        with pytest.raises(InvalidBundle, match=f"partner.example '{endpoint.url()}': bundle of partner.ex"):
            spiffe(endpoint, partner).read()

    @given(
        st.binary()
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).flatmap(
            lambda value: st.sampled_from(["spiffe_sequence", "spiffe_refresh_hint", "x"]).map(
                lambda member: json.dumps({"keys": [], member: value}).encode()
            )
        )
    )
    def test_any_bytes_are_a_bundle_or_one_error(self, body: bytes) -> None:
        try:
            read = BundleDocument.read(PARTNER, body)
        except MeshidError:
            return
        assert read.bundle.authorities == ()
        assert 60 <= read.refresh_hint <= 3600

    def test_each_depth_is_read_or_refused(self) -> None:
        outcomes: set[object] = set()
        for depth in (*range(10, 1100), 10_000, 90_000):
            deep = b'{"keys": [], "x": ' + b"[" * depth + b"]" * depth + b"}"
            try:
                outcomes.add(BundleDocument.read(PARTNER, deep).sequence)
            except InvalidBundle as error:
                assert "it is not JSON" in str(error)
                outcomes.add("refused")
        assert outcomes == {None, "refused"}
