"""A target is a name, or several with "/" between them; another text is a mistake of the calling code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshid import Mesh, Policy, Request, SpiffeId
from meshid.names.pattern import Pattern
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.target_form import check_target

EVERYTHING = Policy.from_toml(
    """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[[allow]]
id = "everything"
from = ["/**"]
to = ["**"]
""",
    "prod",
)
PEER = SpiffeId.parse("spiffe://prod.example.org/a")
WRONG = ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\n", "a\0b", "a\x7f", "a\x9f", "\ud800"]


@pytest.mark.parametrize("target", WRONG, ids=ascii)
def test_what_is_no_target_is_a_mistake_and_no_decision(target: str) -> None:
    for request in (None, "GET /a", Request("GET", "/a")):
        with pytest.raises(
            ValueError, match=r"^target must be a name such as 'payments', or several with '/'"
        ):
            EVERYTHING.decide(PEER, target, request)
        with pytest.raises(ValueError, match=r"^target must be a name"):
            EVERYTHING.explain(PEER, target, request)


@pytest.mark.parametrize("target", WRONG, ids=ascii)
def test_a_mesh_says_the_same(target: str, mesh: Mesh) -> None:
    with pytest.raises(ValueError, match=r"^target must be a name"):
        mesh.admit((), target=target)
    with pytest.raises(ValueError, match=r"^target must be a name"):
        mesh.server_context(target=target)


@pytest.mark.parametrize("target", ["payments", "shop/payments/8080", "a b", "caf\u00e9", "...", "a:b", "*"])
def test_any_name_is_a_target(target: str) -> None:
    for _ in range(2):
        assert EVERYTHING.decide(PEER, target)


PARTS = st.sampled_from(["a", "*", ".", "/", "**", "/**/"])


@given(st.lists(PARTS, min_size=1, max_size=5).map("".join))
def test_what_a_proof_can_name_is_a_target(text: str) -> None:
    try:
        pattern = Pattern.parse(text)
    except ValueError:
        return
    found = shortest(Words.TARGETS, (pattern,))
    if found is not None:
        check_target(found[1:])


@given(st.text(st.sampled_from("a./\n*"), max_size=4))
def test_what_is_a_target_is_what_a_proof_looks_at(text: str) -> None:
    try:
        check_target(text)
    except ValueError:
        return
    if "*" not in text:
        assert shortest(Words.TARGETS, (Pattern(text),)) == f"/{text}"
