"""SPIFFE IDs and trust domains: a text is a value, or it is refused."""

from __future__ import annotations

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid.errors import InvalidSpiffeId
from meshid.names.spiffe_id import MAX_ID_BYTES, MAX_TRUST_DOMAIN_BYTES, SpiffeId, TrustDomain

ID = "spiffe://prod.example.org/ns/pay/sa/api"
DOMAIN_CHARACTERS = set(string.ascii_lowercase + string.digits + ".-_")
PATH_CHARACTERS = DOMAIN_CHARACTERS | set(string.ascii_uppercase)

trust_domains = st.text(sorted(DOMAIN_CHARACTERS), min_size=1, max_size=MAX_TRUST_DOMAIN_BYTES)
segments = st.text(sorted(PATH_CHARACTERS), min_size=1, max_size=40).filter(lambda it: it not in {".", ".."})
paths = st.lists(segments, max_size=8).map(lambda it: "".join(f"/{segment}" for segment in it))


def accepts(make: Callable[[str], object], text: str) -> bool:
    try:
        make(text)
    except InvalidSpiffeId:
        return False
    return True


def accepted_at(template: str) -> set[str]:
    """Return which of the first 256 code points may stand in the place of ``@`` in *template*."""
    characters = map(chr, range(256))
    return {each for each in characters if accepts(SpiffeId.parse, template.replace("@", each))}


class TestId1:
    """SPIFFE-ID 2: the URI "MUST have the scheme set to `spiffe`"."""

    @pytest.mark.parametrize("scheme", ["https", "SPIFFE", "Spiffe", "spiffe ", " spiffe", "", "spif\ufb00e"])
    def test_another_scheme_is_refused(self, scheme: str) -> None:
        assert not accepts(SpiffeId.parse, f"{scheme}://prod.example.org/a")

    @pytest.mark.parametrize(
        "start", ["spiffe:/", "spiffe:", "spiffe:///", "//", "", "\nspiffe://", "spiffe:\\\\"]
    )
    def test_what_does_not_begin_with_the_scheme_and_two_slashes_is_refused(self, start: str) -> None:
        assert not accepts(SpiffeId.parse, f"{start}prod.example.org/a")


class TestId2:
    """SPIFFE-ID 2: a SPIFFE ID must "include a non-zero trust domain name"."""

    @pytest.mark.parametrize("text", ["spiffe://", "spiffe:///a", "spiffe:////a"])
    def test_an_empty_trust_domain_is_refused(self, text: str) -> None:
        assert not accepts(SpiffeId.parse, text)

    @pytest.mark.parametrize("text", ["", "spiffe://"])
    def test_no_trust_domain_is_empty(self, text: str) -> None:
        assert not accepts(TrustDomain.parse, text)


class TestId3:
    """SPIFFE-ID 2: "MUST NOT include a query or fragment"."""

    @pytest.mark.parametrize("tail", ["?", "?a=b", "#", "#a", "?#"])
    def test_a_query_or_fragment_is_refused_even_if_it_is_empty(self, tail: str) -> None:
        assert not accepts(SpiffeId.parse, ID + tail)
        assert not accepts(SpiffeId.parse, f"spiffe://prod.example.org{tail}")


class TestId4:
    """SPIFFE-ID 2.1: the userinfo and port components "MUST be empty"."""

    @pytest.mark.parametrize(
        "authority", ["me@prod.example.org", "@prod", "me:pw@prod", "prod:443", "prod:", "[::1]"]
    )
    def test_user_info_and_port_are_refused(self, authority: str) -> None:
        assert not accepts(SpiffeId.parse, f"spiffe://{authority}/a")


class TestId5:
    """SPIFFE-ID 2.1: the host "MUST be lowercase", of [a-z0-9.-_], and "MUST NOT contain percent-encoded"."""

    @pytest.mark.parametrize(
        "template", ["spiffe://@/a", "spiffe://@b/a", "spiffe://a@b/a", "spiffe://a@/a", "spiffe://a@"]
    )
    def test_each_character_is_allowed_or_refused_as_the_grammar_says(self, template: str) -> None:
        # A slash ends the trust domain: what then follows is another, valid ID, or none.
        others = {"/"} & accepted_at(template)
        assert accepted_at(template) == DOMAIN_CHARACTERS | others
        assert others == ({"/"} if template == "spiffe://a@b/a" else set())

    @pytest.mark.parametrize(
        "domain", ["ban\u212a.example", "\uff41.example", "a\u0130b", "\u0661", "stra\u00dfe"]
    )
    def test_nothing_is_folded_to_ascii(self, domain: str) -> None:
        assert not accepts(TrustDomain, domain)
        assert not accepts(SpiffeId.parse, f"spiffe://{domain}/a")

    @pytest.mark.parametrize("domain", ["pr%6fd", "%70rod", "prod%"])
    def test_percent_encoding_is_refused(self, domain: str) -> None:
        assert not accepts(TrustDomain, domain)


class TestId6:
    """SPIFFE-ID 2.1: "MUST NOT process trust domain names differently" if they are valid IPs or DNS names."""

    @pytest.mark.parametrize(
        "domain", ["10.0.0.1", "a..b", ".", "..", "-", "_", "1", "xn--a", "a.", ".a", "localhost"]
    )
    def test_a_trust_domain_need_not_look_like_a_host(self, domain: str) -> None:
        assert str(SpiffeId.parse(f"spiffe://{domain}/a").trust_domain) == domain


class TestId7:
    """SPIFFE-ID 2.2: path segments consist of [a-zA-Z0-9.-_]; percent-encoding is not allowed."""

    @pytest.mark.parametrize(
        "template", ["spiffe://a/@", "spiffe://a/@b", "spiffe://a/b@c", "spiffe://a/b@", "spiffe://a/b/c@/d"]
    )
    def test_each_character_is_allowed_or_refused_as_the_grammar_says(self, template: str) -> None:
        others = {"/"} & accepted_at(template)
        dot_segment = {"."} if template == "spiffe://a/@" else set()
        assert accepted_at(template) == (PATH_CHARACTERS - dot_segment) | others
        assert others == ({"/"} if template == "spiffe://a/b@c" else set())

    @pytest.mark.parametrize(
        "segment", ["a\n", "\na", "ap\u0131", "\uff0e", "a%2fb", "a%", "a\\b", "a b", "\ud800"]
    )
    def test_what_a_lenient_parser_would_let_through_is_refused(self, segment: str) -> None:
        assert not accepts(SpiffeId.parse, f"spiffe://a/{segment}")
        assert not accepts(SpiffeId.parse, f"spiffe://a/{segment}/b")


class TestId8:
    """SPIFFE-ID 2.2: no empty segments, no relative path modifiers, no trailing slash."""

    @pytest.mark.parametrize(
        "path", ["/", "//", "/a/", "/a//b", "//a", "/.", "/..", "/a/./b", "/a/..", "/../a"]
    )
    def test_a_path_that_could_be_another_is_refused(self, path: str) -> None:
        assert not accepts(SpiffeId.parse, f"spiffe://prod{path}")

    @pytest.mark.parametrize("path", ["/...", "/.a", "/a.", "/..a", "/a..", "/-", "/_", "/a/b/c"])
    def test_dots_inside_a_segment_are_letters(self, path: str) -> None:
        assert SpiffeId.parse(f"spiffe://prod{path}").path == path

    def test_a_path_begins_with_a_slash(self) -> None:
        with pytest.raises(InvalidSpiffeId, match="must begin with '/'"):
            SpiffeId(TrustDomain("prod"), "ns/pay")


class TestId9:
    """SPIFFE-ID 2.3: "MUST support" IDs of up to 2048 bytes and trust domains of up to 255."""

    @pytest.mark.parametrize(
        ("length", "ok"), [(MAX_TRUST_DOMAIN_BYTES, True), (MAX_TRUST_DOMAIN_BYTES + 1, False)]
    )
    def test_the_limit_of_a_trust_domain(self, length: int, *, ok: bool) -> None:
        assert accepts(TrustDomain, "a" * length) is ok

    @pytest.mark.parametrize(("length", "ok"), [(MAX_ID_BYTES, True), (MAX_ID_BYTES + 1, False)])
    def test_the_limit_of_an_id(self, length: int, *, ok: bool) -> None:
        assert accepts(SpiffeId.parse, "spiffe://prod/".ljust(length, "a")) is ok

    def test_the_limits_are_those_of_the_standard(self) -> None:
        assert (MAX_ID_BYTES, MAX_TRUST_DOMAIN_BYTES) == (2048, 255)

    def test_a_long_text_does_not_fill_the_message(self) -> None:
        with pytest.raises(InvalidSpiffeId) as caught:
            SpiffeId.parse("spiffe://" + "A" * 100_000)
        assert len(str(caught.value)) < 500


class TestId10:
    """SPIFFE-ID 2.4: scheme and trust domain are case-insensitive, the path is case-sensitive.

    2.1 asks for lower case on the wire, so other forms are refused there, not normalised.
    """

    def test_upper_case_is_refused_in_the_trust_domain(self) -> None:
        assert not accepts(SpiffeId.parse, "spiffe://PROD/a")

    def test_paths_that_differ_in_case_are_different(self) -> None:
        assert SpiffeId.parse("spiffe://prod/a") != SpiffeId.parse("spiffe://prod/A")


class TestId11:
    """SPIFFE-ID 3.1: the ID of a signing authority "SHOULD NOT have a path component"."""

    def test_an_id_without_path_is_a_name_of_the_trust_domain_itself(self) -> None:
        identity = SpiffeId.parse("spiffe://prod.example.org")
        assert (identity.path, identity.segments) == ("", ())
        assert str(identity) == "spiffe://prod.example.org"


# -- Values -------------------------------------------------------------------


@given(trust_domains, paths)
def test_an_id_survives_the_way_to_text_and_back(domain: str, path: str) -> None:
    text = f"spiffe://{domain}{path}"
    identity = SpiffeId.parse(text)
    assert str(identity) == text
    assert identity == SpiffeId(TrustDomain.parse(domain), path)
    assert hash(identity) == hash(SpiffeId.parse(text))
    assert identity.path == "".join(f"/{segment}" for segment in identity.segments)


@given(st.one_of(st.text(), st.text().map("spiffe://".__add__), st.text("spiffe:/.%aA@?#\n\u212a")))
def test_a_text_is_a_value_or_an_invalid_spiffe_id(text: str) -> None:
    for make in (SpiffeId.parse, TrustDomain.parse, TrustDomain):
        try:
            value = make(text)
        except InvalidSpiffeId as error:
            assert str(error).isascii()
            assert str(error).isprintable()
        else:
            assert str(value) in {text, text.removeprefix("spiffe://")}


@given(st.text())
def test_a_path_is_taken_whole_or_refused(path: str) -> None:
    try:
        identity = SpiffeId(TrustDomain("prod"), path)
    except InvalidSpiffeId:
        return
    assert SpiffeId.parse(f"spiffe://prod{path}") == identity


@pytest.mark.parametrize("text", ["prod.example.org", "spiffe://prod.example.org"])
def test_a_trust_domain_is_read_from_its_name_and_from_its_id(text: str) -> None:
    assert TrustDomain.parse(text) == TrustDomain("prod.example.org")
    assert str(TrustDomain.parse(text)) == "prod.example.org"


@pytest.mark.parametrize("text", [ID, "spiffe://prod.example.org/", "spiffe://spiffe://prod", "https://prod"])
def test_a_trust_domain_is_not_read_from_anything_else(text: str) -> None:
    assert not accepts(TrustDomain.parse, text)


@pytest.mark.parametrize("name", [None, 5, b"prod.example.org"])
def test_what_is_not_a_string_is_the_callers_mistake(name: object) -> None:
    with pytest.raises(TypeError):
        TrustDomain(name)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError):
        SpiffeId(TrustDomain("prod"), name)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError):
        SpiffeId("prod", "/a")  # type: ignore[arg-type]  # the mistake


def test_names_are_ordered_and_frozen() -> None:
    a, b = SpiffeId.parse("spiffe://a/z"), SpiffeId.parse("spiffe://b/a")
    assert sorted([b, a]) == [a, b]
    assert TrustDomain("a") < TrustDomain("b")
    with pytest.raises(AttributeError):
        a.path = "/other"  # type: ignore[misc]  # the mistake


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("https://a/b", "does not begin with 'spiffe://'", id="scheme"),
        pytest.param("spiffe:///b", "a trust domain name is missing", id="no trust domain"),
        pytest.param("spiffe://A/b", "trust domain 'A' may hold only a-z", id="trust domain"),
        pytest.param("spiffe://a/b c", "path segment 'b c' may hold only a-z, A-Z", id="segment"),
        pytest.param("spiffe://a/b/", "has an empty segment or ends in '/'", id="slash"),
        pytest.param("spiffe://a/../b", "has a segment '..'", id="dots"),
        pytest.param("spiffe://" + "a" * 256, "is longer than 255 bytes", id="long trust domain"),
        pytest.param("spiffe://a/" + "b" * 2048, "is longer than 2048 bytes", id="long"),
    ],
)
def test_the_message_says_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(InvalidSpiffeId) as caught:
        SpiffeId.parse(text)
    assert message in str(caught.value)


def test_what_is_not_text_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match=r"^a SPIFFE ID must be a str, not NoneType$"):
        SpiffeId.parse(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^a trust domain must be a str, not bytes$"):
        TrustDomain.parse(b"prod.example.org")  # type: ignore[arg-type]
