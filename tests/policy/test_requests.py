"""The path that is judged is the path that is served, or none."""

from __future__ import annotations

from unicodedata import normalize
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import InvalidRequest, Request


@pytest.mark.parametrize(
    ("sent", "judged"),
    [
        ("/", "/"),
        ("/v1/charges", "/v1/charges"),
        ("/v1/charges/", "/v1/charges/"),
        ("/v1/charges?id=1", "/v1/charges"),
        ("/v1/charges?next=/../admin%2f", "/v1/charges"),
        ("/a%20b", "/a b"),
        ("/caf%C3%A9", "/café"),
        ("/a+b", "/a+b"),
        ("/a:b@c,d=e", "/a:b@c,d=e"),
        ("/..a/.b/c.", "/..a/.b/c."),
        ("/%41", "/A"),
        ("/a?" + "q" * 20_000, "/a"),
    ],
)
def test_a_path_is_decoded_once_and_the_query_is_cut_off(sent: str, judged: str) -> None:
    assert Request("GET", sent).path == judged


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        pytest.param("", "does not begin with '/'", id="empty"),
        pytest.param("*", "does not begin with '/'", id="asterisk form"),
        pytest.param("http://host/x", "does not begin with '/'", id="absolute form"),
        pytest.param("host:443", "does not begin with '/'", id="authority form"),
        pytest.param("?q", "does not begin with '/'", id="only a query"),
        pytest.param("/a/../b", "dot segment", id="parent"),
        pytest.param("/a/./b", "dot segment", id="self"),
        pytest.param("/..", "dot segment", id="parent at the end"),
        pytest.param("/a/%2e%2e/b", "dot segment", id="encoded parent"),
        pytest.param("/a/.%2E/b", "dot segment", id="half-encoded parent"),
        pytest.param("//a", "empty segment", id="two slashes first"),
        pytest.param("/a//b", "empty segment", id="two slashes"),
        pytest.param("/a//", "empty segment", id="two slashes last"),
        pytest.param("/a%2fb", "encoded '/'", id="encoded slash"),
        pytest.param("/a%2Fb", "encoded '/'", id="encoded slash, upper case"),
        pytest.param("/a%252fb", "encoded twice", id="double encoding"),
        pytest.param("/a%25b", "encoded twice", id="an encoded percent sign"),
        pytest.param("/a\\b", "backslash", id="backslash"),
        pytest.param("/a%5Cb", "backslash", id="encoded backslash"),
        pytest.param("/a;v=1/b", "parameter", id="path parameter"),
        pytest.param("/a%3Bv", "parameter", id="encoded semicolon"),
        pytest.param("/a#b", "fragment", id="fragment"),
        pytest.param("/a%23b", "fragment", id="encoded fragment"),
        pytest.param("/a%3Fb", "encoded '\\?'", id="encoded question mark"),
        pytest.param("/a%00b", "control character", id="NUL"),
        pytest.param("/a\nb", "control character", id="newline"),
        pytest.param("/a%7Fb", "control character", id="DEL"),
        pytest.param("/a%", "two hexadecimal digits", id="a percent sign alone"),
        pytest.param("/a%g1", "two hexadecimal digits", id="no hexadecimal digits"),
        pytest.param("/a%ff", "not UTF-8", id="not UTF-8"),
        pytest.param("/a%c0%af", "not UTF-8", id="overlong slash"),
        pytest.param("/\ud800", "not UTF-8", id="lone surrogate"),
        pytest.param("/%c3%28", "not UTF-8", id="a broken sequence"),
        pytest.param("/a%c0%ae%c0%ae/b", "not UTF-8", id="overlong dots"),
        pytest.param("/a%09b", "control character", id="encoded tab"),
        pytest.param("/a\tb", "control character", id="tab"),
        pytest.param("/a%C2%85b", "control character", id="a C1 control"),
        pytest.param("/a/b/..", "dot segment", id="parent at the very end"),
        pytest.param("/a/%2e", "dot segment", id="encoded self at the end"),
        pytest.param("/a%252e%252e/b", "encoded twice", id="parent, encoded twice"),
        pytest.param("/a/..;/b", "parameter", id="a parameter hides a parent"),
        pytest.param("\\a", "does not begin with '/'", id="a backslash first"),
        pytest.param("/caf\u00e9", "must be sent percent-encoded", id="not ASCII"),
        pytest.param("/caf\u00c3\u00a9", "must be sent percent-encoded", id="octets read as Latin-1"),
        pytest.param("/a b", "must be sent percent-encoded", id="space"),
        pytest.param("/\uff0e\uff0e/b", "must be sent percent-encoded", id="wide dots"),
        pytest.param("/cafe%CC%81", "not in Unicode's normal form C", id="decomposed"),
        pytest.param("/a" * 257, "257 segments", id="many segments"),
        pytest.param("/" + "a" * 8192, "8193 characters", id="overlong"),
    ],
)
def test_what_two_servers_could_read_differently_is_refused(sent: str, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        Request("GET", sent)


def test_the_query_is_not_shown() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Request("GET", "/a/..?token=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("method", ["GET", "M-SEARCH", "*", "X_1.2"])
def test_a_method_is_a_token(method: str) -> None:
    assert str(Request.parse(f"{method} /x")) == f"{method} /x"


@pytest.mark.parametrize("method", ["get", "Post", "pOST", "x-y"])
def test_a_method_with_a_lower_case_letter_is_refused(method: str) -> None:
    with pytest.raises(InvalidRequest, match="lower-case letter, and some servers write it in upper case"):
        Request(method, "/x")


def test_what_is_not_text_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="a method must be a str, not NoneType"):
        Request(None, "/x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a target must be a str, not bytes"):
        Request("GET", b"/x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a request must be a str, not int"):
        Request.parse(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET",
        "/x",
        "GE T /x",
        "GET\t/x",
        "G\u00c9T /x",
        "CONNECT host:443",
        "OPTIONS *",
        "PRI *",
        "GET\n /x",
        "A" * 33 + " /x",
    ],
)
def test_a_text_that_is_not_a_request_line_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Request.parse(text)


def test_the_longest_path_is_read() -> None:
    assert len(Request("GET", "/" + "a" * 8191).path) == 8192
    assert Request("GET", "/a" * 256).path == "/a" * 256


def test_a_request_is_told_as_it_could_be_sent() -> None:
    assert str(Request("GET", "/caf%c3%a9/a%20b\"<>^`{|}'()!~")) == "GET /caf%C3%A9/a%20b\"<>^`{|}'()!~"


@given(st.text() | st.text("/.%2eEfF?#;\\\0a").map("GET /{}".format))
def test_any_text_is_a_request_or_a_clear_error(text: str) -> None:
    try:
        request = Request.parse(text)
    except InvalidRequest as error:
        assert str(error).isprintable()
    else:
        assert request.path.startswith("/")
        assert Request.parse(str(request)) == request, "what is told of a request can be asked again"


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/%;#?\\"), min_size=1)
    )
)
def test_a_safe_path_survives_its_encoding(segments: list[str]) -> None:
    path = "/" + "/".join(normalize("NFC", each) for each in segments if each not in {".", ".."})
    if len(quote(path)) <= 8192:
        assert Request("GET", quote(path)).path == path


@given(st.from_regex(r"(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*){1,5}/?", fullmatch=True))
def test_a_plain_path_is_read_as_one_with_an_escape(path: str) -> None:
    assert Request("GET", path) == Request("GET", f"/%{ord(path[1]):02x}{path[2:]}")


def test_a_plain_path_has_its_limits_as_well() -> None:
    assert Request("GET", "/a" * 255 + "/").path == "/a" * 255 + "/"
    with pytest.raises(InvalidRequest, match="257 segments"):
        Request("GET", "/a" * 256 + "/")
