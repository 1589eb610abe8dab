"""The analysis of peers by name against brute force: every token of a small world is tried by everybody."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid.decisions import Decision
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import Access, Policy
from meshid.policy.evidence import TokenName
from tests.helpers.named_world import (
    ALIASES,
    IDS,
    OWN,
    PLACES,
    REQUESTS,
    TOKENS,
    WHO,
    Reading,
    documents,
    pattern_of,
    peers_of,
    policy_of,
)

_Access = tuple[SpiffeId, str, str | None, str | None]


def tokens_of(reading: Reading, spiffe_id: SpiffeId) -> dict[str | None, TokenName | None]:
    """Return a token for each name that one can give to a peer: None without, "" for its own JWT-SVID."""
    svid = TokenName("spire", str(spiffe_id))
    tokens: dict[str | None, TokenName | None] = {None: None}
    if reading.refuses(spiffe_id, svid) is None:
        tokens[""] = svid
    for token in (*TOKENS[1:], svid):
        if reading.refuses(spiffe_id, token) is None:
            tokens.setdefault(reading.name(spiffe_id, token) or "", token)
    return tokens


def allowed(document: dict[str, Any], names: list[str | None], *, uncounted: bool = True) -> set[_Access]:
    """Return each access that is allowed; a name that no token gives is as if there were no token."""
    reading, found = Reading(document), set[_Access]()
    for spiffe_id in IDS:
        tokens = tokens_of(reading, spiffe_id)
        for name, target, request in product(names, PLACES, REQUESTS):
            if name is not None and not uncounted and tokens.get(name) is None:
                continue
            if reading.reason(spiffe_id, tokens.get(name), target, request) == "allowed":
                found.add((spiffe_id, target, request, name))
    return found


NAMES: list[str | None] = [None, "", *(each["name"] for each in ALIASES)]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    documents(), st.sampled_from([*WHO, "spiffe://dev.example.org/**"]), st.sampled_from(["pay", "*", "**"])
)
def test_a_proof_holds_exactly_if_nobody_gets_in(document: dict[str, Any], never: str, reach: str) -> None:
    policy = policy_of(document)
    proof = policy.prove(never, reach)
    found = [
        access
        for access in allowed(document, NAMES)
        if peers_of(never).matches(access[0], OWN) and pattern_of(reach).matches(access[1])
    ]
    if proof.counterexample is None:
        assert not found
        return
    access, decision = proof.counterexample.access, proof.counterexample.decision
    assert decision.allowed
    assert decision == policy.decide(access.spiffe_id, access.target, access.request, token=access.token)
    assert peers_of(never).matches(access.spiffe_id, OWN)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(one=documents(), two=documents(), same_names=st.booleans())
def test_a_diff_is_empty_exactly_if_nobody_gets_another_answer(
    one: dict[str, Any], two: dict[str, Any], *, same_names: bool
) -> None:
    if same_names:
        two = one | {"allow": one["allow"][1:], "deny": one["deny"][1:] or two["deny"][:0]}
    before, after = policy_of(one), policy_of(two)
    diff = before.diff(after)
    # A token that counts only where it is refused is one that the peer can leave out.
    if not diff.gains:
        assert not allowed(two, NAMES, uncounted=False) - allowed(one, NAMES)
    if not diff.losses:
        assert not allowed(one, NAMES, uncounted=False) - allowed(two, NAMES)
    for change, refusing, allowing in (
        *((change, before, after) for change in diff.gains),
        *((change, after, before) for change in diff.losses),
    ):
        access = change.example
        asked = access.spiffe_id, access.target, access.request
        known = allowing.decide(*asked, token=access.token)
        assert known
        decision = refusing.decide(*asked, token=access.token)
        # A diff compares names: a token that names another peer on the other side is another token there.
        if str(decision.reason).startswith("token_") or decision.peer_name != known.peer_name:
            decision = _with_the_same_name(refusing, two if refusing is after else one, allowing, access)
        assert not decision


def _with_the_same_name(
    refusing: Policy, document: dict[str, Any], allowing: Policy, access: Access
) -> Decision:
    name = allowing.decide(access.spiffe_id, access.target, access.request, token=access.token).peer_name
    token = tokens_of(Reading(document), access.spiffe_id).get(name or "")
    return refusing.decide(access.spiffe_id, access.target, access.request, token=token)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(documents())
def test_a_policy_does_not_differ_from_itself(document: dict[str, Any]) -> None:
    assert policy_of(document).diff(policy_of(document)).is_empty


def gone(policy: Policy) -> set[str | None]:
    return {
        finding.rule
        for finding in policy.lint()
        if finding.kind in {"pointless", "swallowed", "not_here", "never_matches"}
        and "." not in finding.where
    }


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(documents())
def test_a_rule_goes_if_and_only_if_nothing_changes_without_it(document: dict[str, Any]) -> None:
    names = gone(policy_of(document))
    before = allowed(document, NAMES)
    kept = {
        effect: [rule for rule in document[effect] if rule["id"] not in names] for effect in ("allow", "deny")
    }
    assert allowed(document | kept, NAMES) == before
    for rule in kept["allow"]:
        if not rule.get("observe"):
            without = document | kept | {"allow": [each for each in kept["allow"] if each is not rule]}
            assert not policy_of(document | kept).diff(policy_of(without)).is_empty
