"""What stays percent-encoded in a judged path, by asking: each judged path still stands for one path."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from itertools import combinations, product
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import InvalidRequest, Mesh, Policy, Reason, Request, SpiffeId
from meshid.http.judging import RequestJudge
from meshid.names.pattern import Pattern
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.requests import KEEPABLE, as_sent, checked_keep, read_request
from meshid.testing import CA
from tests.helpers.tls_peers import Heard, mesh_of, policy

KEEPS = [keep for count in range(5) for keep in combinations(KEEPABLE, count)]
TARGETS = st.lists(
    st.sampled_from(
        [
            *"/./.%;#a2F35B25",
            "%2F",
            "%2f",
            "%3B",
            "%3b",
            "%23",
            "%25",
            "%2525",
            "%41",
            "%2E",
            "%3F",
            "%C3%A9",
            "%C3",
        ]
    ),
    max_size=10,
).map(lambda parts: "/" + "".join(parts))


def read(target: str, keep: Collection[str] = ()) -> str | None:
    try:
        return Request("GET", target, keep).path
    except InvalidRequest:
        return None


@pytest.mark.parametrize(
    ("sent", "judged"),
    [
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb%3b%23", "/a%2Fb%3B%23"),
        ("/%2F", "/%2F"),
        ("/a%2F%2Fb", "/a%2F%2Fb"),
        ("/a%2F/", "/a%2F/"),
        ("/a%252Fb", "/a%252Fb"),
        ("/a%25%32F", "/a%252F"),
        ("/%41%2F%C3%A9?x=%2F..", "/A%2F\u00e9"),
        ("/.a%2F...%3B", "/.a%2F...%3B"),
        ("/..%3B", "/..%3B"),
    ],
)
def test_what_was_asked_for_stays_in_upper_case(sent: str, judged: str) -> None:
    request = Request("GET", sent, KEEPABLE)
    assert request.path == judged
    assert Request.parse(str(request), KEEPABLE) == request


@pytest.mark.parametrize(
    ("sent", "keep", "fault"),
    [
        ("/a;b", KEEPABLE, "parameter"),
        ("/a#b", KEEPABLE, "fragment"),
        ("/a%3Fb", KEEPABLE, "encoded '\\?'"),
        ("/a%5Cb", KEEPABLE, "backslash"),
        ("/a%", KEEPABLE, "two hexadecimal digits"),
        ("/a%2%2F", KEEPABLE, "two hexadecimal digits"),
        ("/a%C3%2F%A9", KEEPABLE, "not UTF-8"),
        ("/a%2F..", KEEPABLE, "dot segment"),
        ("/..%2Fa", KEEPABLE, "dot segment"),
        ("/a/%2E%2E%2fb", KEEPABLE, "dot segment"),
        ("/a%2F.%2Fb", KEEPABLE, "dot segment"),
        ("/a%2F//b", KEEPABLE, "empty segment"),
        ("/a%252F", ["%2F"], "encoded twice"),
        ("/a%252541", ["%2F", "%3B", "%23"], "encoded twice"),
        ("/a%2F", ["%3B", "%23", "%25"], "encoded '/'"),
        ("/a%3B", ["%2F", "%23", "%25"], "parameter"),
        ("/a%23", ["%2F", "%3B", "%25"], "fragment"),
    ],
)
def test_everything_else_is_as_strict_as_ever(sent: str, keep: Collection[str], fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        Request("GET", sent, keep)


def test_what_can_stay_is_one_of_four() -> None:
    assert checked_keep(["%25", "%2F", "%25"]) == ("%2F", "%25")
    for wrong in (["%2f"], ["/"], ["%3F"], [b"%2F"]):
        with pytest.raises(ValueError, match="cannot stay encoded; write some of %2F, %3B, %23, %25"):
            Request("GET", "/a%2F", wrong)  # type: ignore[arg-type]
    for none in ("%2F", 1):
        with pytest.raises(TypeError, match="must be a list such as"):
            checked_keep(none)  # type: ignore[arg-type]


def test_two_requests_are_equal_whatever_else_would_have_stayed() -> None:
    assert Request("GET", "/a") == Request("GET", "/a", KEEPABLE)
    assert len({Request("GET", "/a%2F", ["%2F"]), Request("GET", "/a%2f", KEEPABLE)}) == 1
    assert "keep" not in repr(Request("GET", "/a", KEEPABLE))
    assert read_request("GET /a%2F", ()) == "GET /a%2F"
    assert read_request("GET /a%2F", KEEPABLE) == Request("GET", "/a%2F", KEEPABLE)


@given(TARGETS, st.sampled_from(KEEPS))
def test_to_keep_more_refuses_no_more_and_changes_no_path_that_was_read(
    target: str, keep: tuple[str, ...]
) -> None:
    before, after = read(target), read(target, keep)
    assert before is None or after == before
    if after is not None and before is None:
        assert set(re.findall("%..", after)) <= set(keep) != set()


@given(TARGETS, TARGETS, st.sampled_from(KEEPS))
def test_two_targets_that_a_server_reads_differently_are_never_one_judged_path(
    one: str, other: str, keep: tuple[str, ...]
) -> None:
    """A server that reads what stays as part of a segment splits first, and decodes each segment once."""

    def as_served(target: str) -> list[bytes]:
        return [unquote_to_bytes(each) for each in target.split("/")]

    judged = read(one, keep)
    if judged is not None:
        assert as_served(judged) == as_served(one)
        assert judged != read(other, keep) or as_served(one) == as_served(other)


# -- Policies -----------------------------------------------------------------

RULES = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "projects"
from = ["/ns/shop/sa/web"]
to = ["payments"]
http = ["GET /projects/*", "GET /tags/a%3B*"]
[[deny]]
id = "secret"
from = ["/**"]
to = ["**"]
http = ["* /projects/secret%2F*"]
"""


def test_a_condition_says_what_stays_encoded() -> None:
    shop = Policy.from_toml(RULES, "prod")
    peer = SpiffeId.parse("spiffe://prod.example.org/ns/shop/sa/web")
    for target, reason in (
        ("/projects/a%2Fb", Reason.ALLOWED),
        ("/projects/secret%2Fb", Reason.DENIED),
        ("/projects/secret", Reason.ALLOWED),
        ("/tags/a%3Bb", Reason.ALLOWED),
        ("/tags/a%2Fb", Reason.NO_RULE),
    ):
        assert shop.decide(peer, "payments", Request("GET", target, KEEPABLE)).reason is reason
        kept = "%" in target
        assert shop.decide(peer, "payments", f"GET {target}").reason is (
            Reason.UNSAFE_REQUEST if kept else reason
        )


def test_a_proof_finds_what_only_an_encoded_path_reaches() -> None:
    text = RULES.replace('"* /projects/secret%2F*"', '"* /projects/a*", "GET /tags/*"')
    shop = Policy.from_toml(text.replace('"GET /projects/*"', '"GET /projects/*%2Fb"'), "prod")
    example = shop.prove("/ns/**", "payments").counterexample
    assert example is not None
    assert (example.access.request, example.decision.rule) == ("GET /projects/%2Fb", "projects")
    assert example.decision.allowed


PIECES = ["/", "a", ".", "..", "%2F", "%3B", "%23", "%25"]
WORDS = ["/" + "".join(parts) for count in range(4) for parts in product(PIECES, repeat=count)]
JUDGED = sorted({word for word in WORDS if read(word, KEEPABLE) == word}, key=len)
PARTS = st.sampled_from(["a", "*", ".", "%2F", "%3B", "%23", "%25"])
PATTERNS = (
    st.lists(
        st.just("**")
        | st.lists(PARTS, min_size=1, max_size=3).map("".join).filter(lambda each: "**" not in each),
        min_size=1,
        max_size=2,
    )
    .filter(lambda each: not {".", ".."} & set(each))
    .map(lambda each: Pattern.parse("/" + "/".join(each)))
)


@given(st.lists(PATTERNS, min_size=1, max_size=2), st.lists(PATTERNS, max_size=2))
def test_a_witness_is_a_path_that_can_be_judged_and_none_is_missed(
    inside: list[Pattern], outside: list[Pattern]
) -> None:
    def fits(word: str) -> bool:
        return all(each.matches(word) for each in inside) and not any(each.matches(word) for each in outside)

    found = shortest(Words.REQUEST_PATHS, tuple(inside), tuple(outside))
    known = next(filter(fits, JUDGED), None)
    if found is not None:
        assert read(as_sent(found), KEEPABLE) == found
        assert fits(found)
    if known is not None:
        assert found is not None
        assert len(found) <= len(known)


def test_elsewhere_a_percent_sign_is_a_letter() -> None:
    assert shortest(Words.TARGETS, (Pattern("a%b"), Pattern("a%*"))) == "/a%b"
    assert shortest(Words.TARGETS, (Pattern("a%*"), Pattern("*b"))) == "/a%b"
    assert shortest(Words.REQUEST_PATHS, (Pattern("a%*"), Pattern("*b"))) == "/a%23b"


# -- Meshes and edges ---------------------------------------------------------


@pytest.fixture
def keeping(prod_ca: CA, heard: Heard) -> Mesh:
    return mesh_of(
        prod_ca,
        policy=policy(RULES),
        audit=heard,
        keep_encoded=["%2F"],
    )


def test_a_mesh_judges_each_text_by_what_it_keeps(keeping: Mesh, prod_ca: CA) -> None:
    assert keeping.keep_encoded == ("%2F",)
    chain = prod_ca.issue("/ns/shop/sa/web").chain
    peer = keeping.admit(chain, request="GET /projects/a%2fb")
    for target, reason in (
        ("/projects/a%2Fb", Reason.ALLOWED),
        ("/projects/secret%2fb", Reason.DENIED),
        ("/projects/a%3Bb", Reason.UNSAFE_REQUEST),
        ("/projects/a%2F..", Reason.UNSAFE_REQUEST),
    ):
        assert keeping.check(peer, request=f"GET {target}").reason is reason
        assert keeping.decide(chain, request=f"GET {target}").reason is reason
    assert keeping.check(peer, request="GET /projects/a%2fb").request == "GET /projects/a%2Fb"
    # Without asking, all of them are refused.
    plain = mesh_of(prod_ca, policy=policy(RULES))
    assert plain.keep_encoded == ()
    assert plain.decide(chain, request="GET /projects/a%2Fb").reason is Reason.UNSAFE_REQUEST


def test_a_mesh_keeps_nothing_else(prod_ca: CA) -> None:
    with pytest.raises(ValueError, match="'%3F' cannot stay encoded"):
        mesh_of(prod_ca, keep_encoded=["%3F"])


def test_each_request_of_a_service_is_judged_so_if_it_is_as_it_was_sent(keeping: Mesh, prod_ca: CA) -> None:
    judge, peer = (
        RequestJudge(keeping),
        keeping.admit(prod_ca.issue("/ns/shop/sa/web").chain, request="GET /projects/a"),
    )
    asked = (peer, "GET", "/projects/a%2Fb")
    for _ in range(2):
        assert judge.judge(*asked)[0].allowed
        assert judge.judge(*asked, routed="/projects/a%2Fb")[0].allowed
        # What was decoded cannot tell it from two segments.
        assert judge.judge(*asked, is_sent=False)[0].reason is Reason.UNSAFE_REQUEST
        # This application finds its route by two segments.
        assert judge.judge(*asked, routed="/projects/a/b")[0].reason is Reason.UNSAFE_REQUEST
    assert judge.judge_at(*asked, "payments").allowed
    assert judge.judge_at(*asked, "payments", is_sent=False).reason is Reason.UNSAFE_REQUEST


@pytest.mark.parametrize(("kept", "decoded"), [("%3B", ";"), ("%23", "#"), ("%25", "%")])
def test_what_else_stays_may_be_routed_decoded(prod_ca: CA, kept: str, decoded: str) -> None:
    mesh = mesh_of(prod_ca, policy=policy(RULES), keep_encoded=[kept])
    peer = mesh.admit(prod_ca.issue("/ns/shop/sa/web").chain, request="GET /projects/a")
    judge: Callable[..., tuple[object, object]] = RequestJudge(mesh).judge
    assert judge(peer, "GET", f"/projects/a{kept}b", routed=f"/projects/a{decoded}b")[0]
    assert not judge(peer, "GET", f"/projects/a{kept}b", routed=f"/projects/a{kept}b")[0]
