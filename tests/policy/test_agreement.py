"""A token never stands alone: what a certificate and a token say together, and what rules make of it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings

from meshid.errors import Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import REQUEST_FOLLOWS, Policy, RequestLike
from meshid.policy.evidence import Binding, TokenEvidence, TokenName
from meshid.reasons import Reason
from tests.helpers.named_world import (
    ALIASES,
    IDS,
    PARTNER,
    PLACES,
    PROD,
    REQUESTS,
    TOKENS,
    Reading,
    document_of,
    documents,
    policy_of,
)

ASKED: list[RequestLike] = [*REQUESTS, REQUEST_FOLLOWS]


def name(text: str) -> SpiffeId:
    return SpiffeId.parse(f"spiffe://{text}")


@pytest.mark.slow
@settings(max_examples=60)
@given(documents())
def test_each_decision_is_that_of_a_second_reading(document: dict[str, Any]) -> None:
    policy, reading = policy_of(document), Reading(document)
    for spiffe_id, token, target, request in product(IDS, TOKENS, PLACES, ASKED):
        decision = policy.decide(spiffe_id, target, request, token=token)
        assert str(decision.reason) == reading.reason(spiffe_id, token, target, request), (
            spiffe_id,
            token,
            target,
            request,
        )
        refused = reading.refuses(spiffe_id, token)
        assert decision.peer_name == (None if refused else reading.name(spiffe_id, token))


@pytest.mark.slow
@settings(max_examples=30)
@given(documents())
def test_a_handshake_lets_through_whoever_may_be_let_in_with_a_token(document: dict[str, Any]) -> None:
    policy = policy_of(document)
    for spiffe_id, target in product(IDS, PLACES):
        later = any(
            policy.decide(spiffe_id, target, request, token=token)
            for request, token in product(REQUESTS[1:], TOKENS)
        )
        if later and policy.decide(spiffe_id, target, REQUEST_FOLLOWS).reason is not Reason.DENIED:
            assert policy.decide(spiffe_id, target, REQUEST_FOLLOWS), (spiffe_id, target)


@pytest.mark.slow
@settings(max_examples=30)
@given(documents())
def test_an_explanation_says_what_is_decided(document: dict[str, Any]) -> None:
    policy = policy_of(document)
    for spiffe_id, token, request in product(IDS[::3], TOKENS, ASKED[2:]):
        explanation = policy.explain(spiffe_id, "pay", request, token=token)
        reason = explanation.decision.reason
        if reason in {Reason.TOKEN_DISAGREES, Reason.TOKEN_ISSUER_UNKNOWN}:
            assert explanation.rules == ()
            continue
        looks = [look for look in explanation.rules if not look.rule.observe]
        denied = [look for look in looks if look.matches and look.rule.effect == "deny"]
        allowed = [look for look in looks if look.matches and look.rule.effect == "allow"]
        awaited = [look for look in looks if look.awaits and look.rule.effect == "allow"]
        told = (
            Reason.DENIED
            if denied
            else Reason.ALLOWED
            if allowed
            else Reason.REQUEST_AWAITED
            if awaited
            else Reason.NO_RULE
        )
        assert told is reason, (spiffe_id, token, request)
        if reason is Reason.NO_RULE and explanation.nearest:
            assert str(explanation.nearest[0]) == explanation.decision.detail


def world(*rules: dict[str, Any], issuers: tuple[str, ...] = ("cluster", "spire"), **more: object) -> Policy:
    return policy_of(document_of(list(rules), ALIASES, list(issuers), **more))


def rule(who: str, **more: object) -> dict[str, Any]:
    return {"effect": "allow", "from": [who], "to": ["pay"], **more}


BOTH, MANY, TOKEN = (TokenName("cluster", f"ns/{each}") for each in "abc")


@pytest.mark.parametrize(
    ("peer", "token", "reason", "detail"),
    [
        pytest.param(
            f"{PROD}/a",
            MANY,
            Reason.TOKEN_DISAGREES,
            "the token of issuer 'cluster' names '@many', and the certificate's"
            f" spiffe://{PROD}/a is '@both'",
            id="another peer",
        ),
        pytest.param(
            f"{PROD}/a",
            TokenName("cluster", "ns/b", is_bound=True),
            Reason.TOKEN_DISAGREES,
            "the token of issuer 'cluster' names '@many', and the certificate's"
            f" spiffe://{PROD}/a is '@both'",
            id="another peer, and bound",
        ),
        pytest.param(
            f"{PROD}/z",
            MANY,
            Reason.TOKEN_DISAGREES,
            "the token of issuer 'cluster' names '@many', is bound to nothing, and no peer by name has the"
            f" certificate's spiffe://{PROD}/z",
            id="a certificate without a name",
        ),
        pytest.param(
            f"{PROD}/a",
            TokenName("cluster", "ns/nobody\n"),
            Reason.TOKEN_DISAGREES,
            "no peer has the name 'ns/nobody\\n' of issuer 'cluster'",
            id="a token without a name",
        ),
        pytest.param(
            "dev.example.org/a",
            TokenName("cluster", "ns/a", is_bound=True),
            Reason.TOKEN_DISAGREES,
            "environment 'prod' neither has nor federates with dev.example.org",
            id="a certificate of another environment",
        ),
        pytest.param(
            f"{PROD}/a",
            TokenName("okta", "ns/a"),
            Reason.TOKEN_ISSUER_UNKNOWN,
            "environment 'prod' has no issuer 'okta'",
            id="an unknown issuer",
        ),
        pytest.param(
            f"{PARTNER}/b",
            TokenName("spire", f"spiffe://{PARTNER}/b"),
            Reason.TOKEN_DISAGREES,
            f"the token names spiffe://{PARTNER}/b, and JWT-SVIDs count here only for old.example.org"
            " or prod.example.org",
            id="a JWT-SVID of a federated trust domain",
        ),
        pytest.param(
            f"{PROD}/z",
            TokenName("spire", "/z"),
            Reason.TOKEN_DISAGREES,
            "the token names no SPIFFE ID: '/z' does not begin with 'spiffe://'",
            id="a JWT-SVID without a SPIFFE ID",
        ),
    ],
)
def test_what_disagrees_is_refused_and_says_how(
    peer: str, token: TokenName, reason: Reason, detail: str
) -> None:
    policy = world(rule("/**"), rule("@both"))
    for request in (None, REQUEST_FOLLOWS, "GET /r?q=secret", "GET /..?q=secret"):
        decision = policy.decide(name(peer), "pay", request, token=token)
        assert (decision.allowed, decision.reason, decision.detail) == (False, reason, detail)
        assert decision.request in (None, "GET /r", "'GET /..'")
        assert (decision.policy_hash, decision.peer_name) == (policy.hash, None)
    with pytest.raises(Refused) as raised:
        policy.agree(name(peer), token)
    assert (raised.value.reason, raised.value.detail) == (reason, detail)


def test_a_disagreement_is_refused_even_if_the_policy_only_observes() -> None:
    policy = world(observe=True)
    assert policy.decide(name(f"{PROD}/a"), "pay")
    assert not policy.decide(name(f"{PROD}/a"), "pay", token=MANY)


@pytest.mark.parametrize(
    ("peer", "token", "agreed"),
    [
        pytest.param(f"{PROD}/a", BOTH, "both", id="both names"),
        pytest.param(f"{PARTNER}/b", MANY, "many", id="a federated certificate"),
        pytest.param(f"{PROD}/z", TokenName("cluster", "ns/c", is_bound=True), "token", id="bound"),
        pytest.param(f"{PROD}/a", TokenName("spire", f"spiffe://{PROD}/a"), "both", id="a JWT-SVID"),
        pytest.param(
            f"{PROD}/b/x", TokenName("spire", f"spiffe://{PROD}/b/y"), "many", id="of the same peer"
        ),
        pytest.param(f"{PROD}/z", TokenName("spire", f"spiffe://{PROD}/z"), None, id="of no peer by name"),
    ],
)
def test_what_agrees_has_the_name(peer: str, token: TokenName, agreed: str | None) -> None:
    policy = world(rule("/**"))
    found = policy.agree(name(peer), token)
    assert (found and found.name) == agreed
    assert policy.decide(name(peer), "pay", token=token).peer_name == agreed


class _Peer:
    def __init__(self, spiffe_id: SpiffeId, token: TokenEvidence | None) -> None:
        self.spiffe_id = spiffe_id
        self.token = token


def test_a_peer_brings_the_token_that_it_was_bound_to() -> None:
    policy = world(rule("@both", needs_token=True))
    evidence = TokenEvidence(
        issuer="cluster", principal="ns/a", binding=Binding.NONE, key="k", expires_at=1e9
    )
    peer = name(f"{PROD}/a")
    assert not policy.decide(_Peer(peer, None), "pay")
    assert policy.decide(_Peer(peer, evidence), "pay").peer_name == "both"
    assert policy.explain(_Peer(peer, evidence), "pay").has_token
    # To try another one, it can be given.
    assert policy.decide(_Peer(peer, evidence), "pay", token=MANY).reason is Reason.TOKEN_DISAGREES


def test_what_is_no_peer_is_an_error_with_a_token_and_without() -> None:
    for token in (None, BOTH):
        with pytest.raises(TypeError, match="a peer must be a Peer or a SpiffeId, not str"):
            world().decide("spiffe://prod.example.org/a", "pay", token=token)  # type: ignore[arg-type]


class TestWhatIsRemembered:
    def test_it_is_the_name_and_never_the_token(self) -> None:
        policy = world(rule("@many", needs_token=True))
        peer = name(f"{PARTNER}/b")
        one = policy.decide(peer, "pay", "GET /r", token=MANY)
        other = policy.decide(peer, "pay", "GET /r", token=TokenName("cluster", "ns/b-2"))
        assert one is other

    def test_a_token_changes_nothing_for_the_same_peer_without_it(self) -> None:
        policy = world(rule("/z", needs_token=True), rule("@token"))
        peer, bound = name(f"{PROD}/z"), TokenName("cluster", "ns/c", is_bound=True)
        svid = TokenName("spire", f"spiffe://{PROD}/z")
        for _ in range(2):
            assert not policy.decide(peer, "pay", "GET /r")
            assert policy.decide(peer, "pay", "GET /r", token=svid).rule == "r0"
            assert policy.decide(peer, "pay", "GET /r", token=bound).peer_name == "token"
            assert not policy.decide(peer, "pay", "GET /r")


class TestWords:
    """A rule that nearly matches says which token is needed, or whom it wants."""

    def said(self, peer: str, request: RequestLike = None, token: TokenName | None = None) -> str:
        policy = world(
            rule("@both", to=["gold"], needs_token=True),
            rule("@token", to=["silver"]),
            rule("@cert", to=["bronze"], http=["GET /r"]),
        )
        place = {"a": "gold", "t": "silver", "c": "bronze"}[peer[0]]
        return str(policy.explain(name(peer[2:]), place, request, token=token))

    def test_a_token_that_is_missing(self) -> None:
        words = self.said(f"a {PROD}/a")
        assert "  it is @both\n" in words
        assert (
            '  near: allow rule "r0" would match, except for the evidence: a token is needed, and there is'
            " none\n" in words
        )

    def test_a_token_that_is_there(self) -> None:
        words = self.said(f"a {PROD}/a", token=BOTH)
        assert "  it is @both by a token\n" in words
        assert '  allow rule "r0" matches\n' in words

    def test_a_token_that_may_come(self) -> None:
        assert '  allow rule "r0" matches with a token\n' in self.said(f"a {PROD}/a", REQUEST_FOLLOWS)
        words = self.said(f"t {PROD}/z", REQUEST_FOLLOWS)
        assert "  allow rule \"r1\" matches with a token that names '@token'\n" in words
        assert "refused" in self.said(f"t {PROD}/z")

    def test_a_token_that_names_another_peer(self) -> None:
        words = self.said(f"t {PROD}/z", token=TokenName("cluster", "ns/a", is_bound=True))
        assert (
            "allow rule \"r1\" would match, except for the peer: it is '/z' (@both), the rule wants '@token'"
            in words
        )

    def test_a_name_that_only_certificates_prove(self) -> None:
        words = self.said(f"c {PROD}/c", REQUEST_FOLLOWS)
        assert "  allow rule \"r2\" matches if the request is 'GET /r'\n" in words
        words = self.said("c dev.example.org/c", "GET /r")
        assert "except for the trust domain: the peer is in dev.example.org, the rule wants prod" in words

    def test_a_name_that_only_tokens_prove_and_a_stranger(self) -> None:
        words = self.said("t dev.example.org/z")
        assert "no allow rule comes near" not in words
        assert "the trust domain: the peer is in dev.example.org, the rule wants prod.example.org" in words

    def test_both_a_request_and_a_token_may_come(self) -> None:
        policy = world(rule("@both", needs_token=True, http=["GET /r"]))
        explanation = policy.explain(name(f"{PROD}/a"), "pay", REQUEST_FOLLOWS)
        assert "allow rule \"r0\" matches with a token, if the request is 'GET /r'" in str(explanation)

    @pytest.mark.parametrize(
        ("request_", "nearest"),
        [
            pytest.param("GET /r", "r1", id="the request of the rule"),
            pytest.param("GET /s", "r0", id="another request"),
            pytest.param(None, "r3", id="no request"),
        ],
    )
    def test_a_rule_that_lacks_only_a_token_is_the_nearest(self, request_: RequestLike, nearest: str) -> None:
        """Else whoever lost the token on the way is told to look at the request."""
        rules = [
            rule("@both", http=["GET /t"]),
            rule("@both", needs_token=True, http=["GET /r"]),
            rule("@both", needs_token=True, to=["gold"]),
        ]
        if request_ is None:
            rules.append(rule("@both", needs_token=True))
        explanation = world(*rules).explain(name(f"{PROD}/a"), "pay", request_)
        assert explanation.nearest[0].rule.id == nearest
        assert explanation.decision.detail == str(explanation.nearest[0])

    def test_a_token_that_nobody_can_bring_is_told_at_the_handshake(self) -> None:
        policy = world(rule("@cert", needs_token=True, http=["GET /r"]), issuers=("cluster",))
        decision = policy.decide(name(f"{PROD}/c"), "pay", REQUEST_FOLLOWS)
        assert "a token is needed, and there is none" in decision.detail
