"""What lint, a proof and a diff say of peers by name and of tokens, word by word."""

from __future__ import annotations

from typing import Any

import pytest

from meshid.policy import Policy
from meshid.support.quoting import quote
from tests.helpers.named_world import ALIASES, OLD, PARTNER, PROD, document_of, policy_of

BOTH, MANY, TOKEN, CERT = ALIASES


def rule(*who: str, effect: str = "allow", **more: object) -> dict[str, Any]:
    return {"effect": effect, "from": list(who), "to": ["pay"], "why": "Because.", **more}


def world(
    *rules: dict[str, Any], peers: list[dict[str, Any]] | None = None, issuers: tuple[str, ...] = ("cluster",)
) -> Policy:
    return policy_of(document_of(list(rules), ALIASES if peers is None else peers, list(issuers)))


def said(policy: Policy) -> list[str]:
    found = [f"{finding.kind}: {finding}" for finding in policy.lint()]
    return [each for each in found if not each.startswith(("unused_peer", "unused_federation"))]


class TestLint:
    def test_what_is_in_use_is_no_finding(self) -> None:
        rules = [rule("@both"), rule("@token"), rule("@many"), rule("@cert", needs_token=False)]
        assert world(*rules).lint() == []

    def test_a_name_and_its_certificate_in_one_list(self) -> None:
        assert said(world(rule("/a", "@both"))) == [
            (
                "pointless: allow[0].from[0] (rule \"r0\"): '/a' is pointless, and can go:"
                ' allow rule "r0" covers it'
            )
        ]
        # A token can give the name to another certificate, so the name cannot go.
        assert said(world(rule("@both"), rule("/a"))) == [
            'pointless: allow[1] (rule "r1"): it is pointless, and can go: allow rule "r0" covers it'
        ]

    def test_a_name_that_only_certificates_prove_can_go(self) -> None:
        assert said(world(rule("/c", "/a/b/**", to=["pay"]), rule("@cert"))) == [
            'pointless: allow[1] (rule "r1"): it is pointless, and can go: allow rule "r0" covers it'
        ]

    def test_a_rule_for_everybody_makes_one_that_needs_a_token_pointless(self) -> None:
        assert said(world(rule("/a"), rule("/a", needs_token=True))) == [
            'pointless: allow[1] (rule "r1"): it is pointless, and can go: allow rule "r0" covers it'
        ]
        assert said(world(rule("/a", needs_token=True), rule("/a", to=["ship"]))) == []

    def test_a_deny_rule_by_name_swallows(self) -> None:
        assert said(world(rule("@token", needs_token=True), rule("@token", effect="deny"))) == [
            'swallowed: allow[0] (rule "r0"): it allows nothing: deny rule "r1" refuses all of it',
            (
                "avoidable: deny[0].from (rule \"r1\"): '@token' is proved only by tokens here, so it avoids"
                " this rule by sending none: deny SPIFFE IDs, or give it an alias with spiffe"
            ),
        ]

    @pytest.mark.parametrize("needs_token", [False, True], ids=["name", "name and token"])
    def test_a_rule_for_a_name_that_nothing_proves_here(self, *, needs_token: bool) -> None:
        assert said(world(rule("@token", needs_token=needs_token), peers=[TOKEN], issuers=())) == [
            (
                "not_here: peers[0].kubernetes[0]: it counts for nothing here:"
                " 'prod' has no issuer with profile kubernetes or eks"
            ),
            (
                "not_here: allow[0] (rule \"r0\"): it matches nobody here: '@token' counts for nothing in"
                " this environment"
            ),
        ]
        assert [each.kind.is_warning for each in world(rule("@token"), peers=[TOKEN], issuers=()).lint()[1:]]

    def test_one_name_of_a_rule_that_nothing_proves_here(self) -> None:
        assert said(world(rule("@token", "/z", to=["pay", "ship"]), peers=[TOKEN], issuers=())) == [
            (
                "not_here: peers[0].kubernetes[0]: it counts for nothing here:"
                " 'prod' has no issuer with profile kubernetes or eks"
            )
        ]

    def test_a_rule_that_needs_a_token_that_nobody_gives(self) -> None:
        assert said(world(rule("/z", needs_token=True), peers=[], issuers=())) == [
            (
                'not_here: allow[0] (rule "r0"): it matches nobody here: it needs a token, and no issuer here'
                " gives one to such peers"
            )
        ]
        # A JWT-SVID counts for each certificate of this environment's own, and for no others.
        assert said(world(rule("/z", needs_token=True), peers=[], issuers=("spire",))) == []
        partner = rule("/z", f"spiffe://{PARTNER}/z", needs_token=True)
        assert said(world(partner, peers=[], issuers=("spire",))) == [
            (
                "not_here: allow[0].from[1] (rule \"r0\"): 'spiffe://partner.example/z' matches nobody here:"
                " it needs a token, and no issuer here gives one to such peers"
            )
        ]

    def test_a_pattern_that_no_spiffe_id_can_match_beside_others(self) -> None:
        long = "/" + "/".join(["x" * 31] * 63 + ["x" * 12])
        assert said(world(rule("/z", long))) == [
            (
                f'never_matches: allow[0].from[1] (rule "r0"): {quote(long)} can never match:'
                " no SPIFFE ID is that long"
            ),
            *_unused("cluster", names=ALIASES),
        ]

    def test_everybody_by_name_and_with_a_token(self) -> None:
        all_of_us = {"name": "all", "spiffe": ["/**"], "kubernetes": ["ns/all"]}
        found = said(world(rule("@all", needs_token=True), peers=[all_of_us]))
        everybody = "it allows every workload of this environment that has a token; name the ones you mean"
        assert found == [f'wide: peers[0].spiffe[0] (rule "r0"): {everybody}']
        found = said(world(rule("/**", "@all", needs_token=True), peers=[all_of_us]))
        assert f'wide: allow[0].from[0] (rule "r0"): {everybody}' in found

    def test_peers_and_issuers_that_nothing_uses(self) -> None:
        policy = world(rule("@both"), peers=[BOTH, CERT], issuers=("cluster", "spire"))
        assert [str(each) for each in policy.lint() if each.kind == "unused_peer"] == [
            "peers[1]: peer '@cert' is in no rule: it reaches nothing by this name; remove it, or add a rule"
        ]
        assert said(world(rule("/z"), peers=[], issuers=("cluster", "spire"))) == _unused("cluster", "spire")


def _unused(*issuers: str, names: list[dict[str, Any]] | None = None) -> list[str]:
    return [
        f"unused_issuer: environments.prod.issuers.{issuer}: no peer has an alias of this issuer: its tokens"
        " name nobody; remove it, or add an alias"
        for issuer in issuers
        if not names
    ]


class TestProve:
    def test_a_counterexample_has_its_token(self) -> None:
        proof = world(rule("@token")).prove("/z")
        assert proof.counterexample is not None
        assert (
            f"spiffe://{OLD}/z at 'pay' with a bound token of 'cluster' that names 'ns/c' is allowed"
            in str(proof)
        )
        assert proof.as_dict()["counterexample"] == {
            "peer": f"spiffe://{OLD}/z",
            "target": "pay",
            "request": None,
            "token": {"issuer": "cluster", "principal": "ns/c", "is_bound": True},
            "rule": "r0",
        }

    @pytest.mark.parametrize(
        ("never", "issuers", "shown"),
        [
            pytest.param("/a", ("cluster",), "a token of 'cluster' that names 'ns/a'", id="its own"),
            pytest.param("/a", ("spire",), f"a token of 'spire' that names 'spiffe://{OLD}/a'", id="svid"),
            pytest.param("/z", ("spire",), f"a token of 'spire' that names 'spiffe://{OLD}/z'", id="no name"),
            pytest.param(
                f"spiffe://{PARTNER}/b",
                ("spire",),
                f"a token of 'spire' that names 'spiffe://{PROD}/b/",
                id="kin",
            ),
            pytest.param("/c", ("cluster",), None, id="a peer without tokens"),
            pytest.param("spiffe://dev.example.org/a", ("cluster", "spire"), None, id="a stranger"),
        ],
    )
    def test_a_rule_that_needs_a_token(self, never: str, issuers: tuple[str, ...], shown: str | None) -> None:
        proof = world(rule("/**", f"spiffe://{PARTNER}/**", needs_token=True), issuers=issuers).prove(never)
        example = proof.counterexample
        assert example is None if shown is None else example and shown in str(example.access)

    def test_a_request_and_a_token(self) -> None:
        example = world(rule("@both", needs_token=True, http=["GET /r"])).prove("/a").counterexample
        assert str(example and example.access).endswith(
            " with 'GET /r' and a token of 'cluster' that names 'ns/a'"
        )

    def test_a_deny_rule_by_name_does_not_keep_out_who_sends_no_token(self) -> None:
        assert not world(rule("/z"), rule("@token", effect="deny")).prove("/z").holds
        assert world(rule("@token"), rule("@token", effect="deny")).prove("/z").holds


class TestDiff:
    def test_who_gains_with_a_token(self) -> None:
        diff = world(rule("@both")).diff(world(rule("@both"), rule("@token")))
        assert "    + @token -> pay\n        such as" in str(diff)
        (gain,) = diff.gains
        assert str(gain.example) == (
            "spiffe://old.example.org/b at 'pay' with a bound token of 'cluster' that names 'ns/c'"
        )
        assert diff.losses == ()

    def test_who_gains_nothing_by_a_token_is_excepted(self) -> None:
        one, two = world(rule("/z")), world(rule("/z"), rule("@token"))
        excepted = "    + @token -> pay\n        except for peers that already reached it without a token\n"
        assert excepted in str(one.diff(two))
        assert one.diff(two).gains[0].as_dict()["reached_without_token"]
        assert "        except for peers that still reach it without a token\n" in str(two.diff(one))

    def test_a_token_that_is_needed_from_now_on(self) -> None:
        diff = world(rule("@both")).diff(world(rule("@both", needs_token=True)))
        assert [str(each.example) for each in diff.losses] == ["spiffe://old.example.org/a at 'pay'"]
        assert diff.gains == ()

    def test_a_peer_that_loses_its_issuer(self) -> None:
        before, after = world(rule("/a", needs_token=True)), world(rule("/a", needs_token=True), issuers=())
        (loss,) = before.diff(after).losses
        assert str(loss.example.token) == "a token of 'cluster' that names 'ns/a'"

    def test_svids_that_count_no_longer_are_told_apart_from_tokens_that_still_do(self) -> None:
        needs = rule("/z", needs_token=True)
        before = world(needs, peers=[BOTH], issuers=("cluster", "spire"))
        after = world(needs, peers=[BOTH])
        (loss,) = before.diff(after).losses
        assert loss.area.peers == tuple(
            f"spiffe://{each}/z with a token that names none of @both" for each in (OLD, PROD)
        )
        assert str(loss.example.token) == f"a token of 'spire' that names 'spiffe://{OLD}/z'"
        assert before.diff(after).gains == ()
        (gain,) = after.diff(before).gains
        assert (gain.area, gain.example) == (loss.area, loss.example)

    def test_a_name_is_told_in_parts_if_some_need_no_token(self) -> None:
        partner = rule(f"spiffe://{PARTNER}/**")
        (loss,) = world(partner, rule("@token")).diff(world(partner)).losses
        assert loss.area.peers == tuple(f"@token by token beside spiffe://{each}/**" for each in (OLD, PROD))
        assert (loss.unchanged, loss.reached_without_token) == ((), False)

    def test_an_alias_that_goes_to_another_peer(self) -> None:
        other = [
            {"name": "both", "kubernetes": ["ns/a"]},
            {"name": "many", "spiffe": ["/a"], "kubernetes": ["ns/b"]},
        ]
        diff = world(rule("@both", needs_token=True), peers=[BOTH, MANY]).diff(
            world(rule("@both", needs_token=True), peers=other)
        )
        # A certificate and the token of another name do not agree: that is told of the names.
        assert (diff.gains, diff.losses) == ((), ())
        assert "certificates that are '@both': no longer '/a'" in diff.names
        assert (
            "certificates that are '@many': no longer '/b/*', 'spiffe://partner.example/b', now '/a'"
            in diff.names
        )

    def test_whom_tokens_name_is_told_apart(self) -> None:
        moved = [{**BOTH, "kubernetes": ["ns/a2"]}, {**MANY, "kubernetes": ["ns/b"]}, TOKEN, CERT]
        diff = world(rule("@both")).diff(world(rule("@both"), peers=moved))
        assert (diff.gains, diff.losses, diff.is_empty) == ((), (), False)
        assert diff.names == (
            "tokens of 'cluster' that name '@both': no longer 'ns/a', now 'ns/a2'",
            "tokens of 'cluster' that name '@many': no longer 'ns/b-*'",
        )
        assert "  ~ tokens of 'cluster' that name '@both'" in str(diff)
        assert diff.as_dict()["names"] == list(diff.names)

    def test_an_issuer_that_is_declared_otherwise(self) -> None:
        document = document_of([rule("@both")], ALIASES, ["cluster"])
        before = policy_of(document)
        document["environments"]["prod"]["issuers"]["cluster"] = document["environments"]["prod"]["issuers"][
            "cluster"
        ] | {"audience": ["other"]}
        assert before.diff(policy_of(document)).names == ("issuer 'cluster' is declared otherwise: audience",)

    def test_two_environments_have_issuers_of_their_own(self) -> None:
        document = document_of([rule("/a")], [BOTH], ["cluster"])
        assert policy_of(document).diff(policy_of(document, "dev")).names == ()

    def test_a_deny_rule_that_only_a_token_makes_match(self) -> None:
        (loss,) = world(rule("/z")).diff(world(rule("/z"), rule("@token", effect="deny"))).losses
        assert (loss.rule, loss.effect, loss.allowed_by) == ("r1", "deny", ("r0",))
        assert str(loss.example.token) == "a bound token of 'cluster' that names 'ns/c'"

    def test_a_peer_that_is_gone_leaves_certificates_without_a_name(self) -> None:
        diff = world(rule("@both"), rule("@token")).diff(world(rule("@both"), peers=[BOTH]))
        assert diff.names == (
            "certificates that are '@cert': no longer '/c', '/a/b/**'",
            "certificates that are '@many': no longer '/b/*', 'spiffe://partner.example/b'",
        )
        assert {each.rule for each in diff.losses} == {"r1"}
