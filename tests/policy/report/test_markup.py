"""Patterns on the page: they say what they are, and end a line only where no other pattern comes of it."""

from __future__ import annotations

import re
from html import unescape
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.policy.report.markup import code, prose, target_id

SEGMENTS = st.text("ab*-.", min_size=1, max_size=60)
PATTERNS = st.builds(
    "{}/{}".format,
    st.sampled_from(["", "spiffe://partner.example", "GET ", "payments"]),
    st.lists(SEGMENTS, min_size=1, max_size=8).map("/".join),
)


def lines_of(html: str) -> list[str]:
    """Return a pattern as it stands where every line ends that may."""
    return [unescape(re.sub("<[^>]*>", "", line)) for line in html.split("<wbr>")]


class TestPatterns:
    @given(PATTERNS)
    def test_no_line_reads_as_another_pattern(self, pattern: str) -> None:
        lines = lines_of(code(pattern))
        assert "".join(lines) == pattern
        for before, line in pairwise(lines):
            # Either it goes on after a "/", with a segment that is no wildcard; or that segment is too long.
            assert line.split("/")[0].strip("*") or not before.endswith("/")
            assert before.endswith("/") or len(before) >= 48
            assert not line.startswith("/")

    def test_what_is_short_is_in_one_piece(self) -> None:
        assert code("/ns/checkout/sa/api-*") == "<code>/ns/checkout/sa/api-*</code>"

    def test_a_wildcard_stays_with_what_is_before_it(self) -> None:
        long = "spiffe://partner.example/ns/accounting/**"
        assert lines_of(code(long)) == ["spiffe://partner.example/", "ns/", "accounting/**"]

    def test_it_is_only_text(self) -> None:
        assert "<b>" not in code("/<b>" + "x" * 30) + code("<b>")


class TestSentences:
    @pytest.mark.parametrize(
        ("text", "marked"),
        [
            ("'/ns/a/**' is pointless", ["/ns/a/**"]),
            ("+ /ns/a -> payments for GET /v1/**, * /x", ["/ns/a", "GET /v1/**", "* /x"]),
            ("it allows ** and so on", ["**"]),
            ("such as spiffe://a.example/x at 'a/b'", ["spiffe://a.example/x", "a/b"]),
            ("except /ns/a -> x/8080: allowed before", ["/ns/a", "x/8080"]),
            ("for * /v1/**: 'a' and 'b/c", ["* /v1/**", "b/c"]),
            ("at /v1/a:b", ["/v1/a:b"]),
            ("for GET /a,b/(x)/**, * /y('1'): kept", ["GET /a,b/(x)/**", "* /y('1')"]),
            ("it (that is /a/b) ends", ["/a/b"]),
            ("nothing changes in 'prod'", []),
            ("<b> & /<i>", ["/<i>"]),
        ],
    )
    def test_patterns_in_it_are_marked(self, text: str, marked: list[str]) -> None:
        shown = prose(text)
        quoted = text.replace("'/ns/a/**'", "/ns/a/**").replace(
            "'a/b'", "a/b"
        )  # the frame is quotation enough
        assert unescape(re.sub("<[^>]*>", "", shown)) == quoted
        found = re.findall("<code>(.*?)</code>", shown)
        assert [unescape(re.sub("<[^>]*>", "", each)) for each in found] == marked


def test_each_target_has_an_id_of_its_own() -> None:
    targets = ["a", "a/b", "a-b", "a*b", "a~2f~b", "**", "a b", "ü"]
    assert len({target_id(each) for each in targets}) == len(targets)
    assert all(not set(" \"'<>&/") & set(target_id(each)) for each in targets)
