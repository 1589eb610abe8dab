"""What a proof and a diff say, word by word."""

from __future__ import annotations

import pytest

from meshid.errors import InvalidPattern
from meshid.policy import Policy

FILE = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org", "old.example.org"]
federates_with = ["partner.example"]
[environments.dev]
trust_domains = ["dev.example.org"]
federates_with = ["partner.example"]
"""

CHECKOUT = """
[[allow]]
id = "checkout"
from = ["/ns/checkout/sa/api"]
to = ["payments"]
"""

READS = """
[[allow]]
id = "reads"
from = ["spiffe://partner.example/ns/**"]
to = ["payments"]
http = ["GET /v1/charges/*"]
"""

NO_CI = """
[[deny]]
id = "no-ci"
from = ["/ns/checkout/**"]
to = ["**"]
"""


def policy(*rules: str, environment: str = "prod", head: str = FILE) -> Policy:
    return Policy.from_toml(head + "".join(rules), environment=environment)


class TestProof:
    def test_it_holds(self) -> None:
        checked = policy(CHECKOUT, NO_CI.replace("checkout", "ci"))
        proof = checked.prove(never="/ns/ci/**", reach="payments")
        assert proof.holds
        assert bool(proof)
        assert str(proof).splitlines() == [
            "holds in 'prod': /ns/ci/** never reaches payments",
            f"  policy {checked.hash}",
        ]
        assert proof.as_dict() == {
            "holds": True,
            "never": "/ns/ci/**",
            "reach": "payments",
            "environment": "prod",
            "policy_hash": checked.hash,
            "counterexample": None,
            "doubts": [],
        }

    def test_it_does_not_hold(self) -> None:
        checked = policy(CHECKOUT, READS)
        proof = checked.prove(never="spiffe://partner.example/**")
        assert not proof
        assert str(proof).splitlines() == [
            "does not hold in 'prod': spiffe://partner.example/** never reaches **",
            (
                "  spiffe://partner.example/ns at 'payments' with 'GET /v1/charges/'"
                ' is allowed by rule "reads"'
            ),
            f"  policy {checked.hash}",
        ]
        assert proof.as_dict()["counterexample"] == {
            "peer": "spiffe://partner.example/ns",
            "target": "payments",
            "request": "GET /v1/charges/",
            "rule": "reads",
        }

    def test_a_trust_domain_that_the_file_does_not_know_is_an_error(self) -> None:
        with pytest.raises(
            InvalidPattern, match=r"dev\.exmaple\.org, nor .*; did you mean dev\.example\.org\?"
        ):
            policy(CHECKOUT).prove(never="spiffe://dev.exmaple.org/**")
        with pytest.raises(InvalidPattern, match="nobody of it is let in, whatever the rules say"):
            policy(CHECKOUT).prove(never="spiffe://q/**")

    def test_a_trust_domain_of_another_environment(self) -> None:
        proof = policy(CHECKOUT).prove(never="spiffe://dev.example.org/**")
        assert (proof.holds, proof.doubts) == (True, ())
        assert (
            "  dev.example.org belongs to another environment, or is federated only there"
            in str(proof).splitlines()
        )

    @pytest.mark.parametrize(
        ("rules", "never", "doubts"),
        [
            ([CHECKOUT], "/ns/chekout/**", "'/ns/chekout/**'; did you mean '/ns/checkout/**'?"),
            ([CHECKOUT], "/ns/ci/**", "'/ns/ci/**'"),
            ([CHECKOUT], "/ns/chekout/sa/web", "'/ns/chekout/sa/web'"),
            (
                [CHECKOUT],
                "spiffe://partner.example/ns/checkout/**",
                "'spiffe://partner.example/ns/checkout/**'",
            ),
            ([READS], "/ns/checkout/**", "'/ns/checkout/**'"),
            ([CHECKOUT, NO_CI.replace("/ns/checkout", "")], "/ns/ci/**", "'/ns/ci/**'"),
            ([CHECKOUT.replace('"payments"', '"refunds"')], "/**", None),
            ([CHECKOUT, 'not_from = ["/ns/ci/*/x"]'], "/ns/ci/sa/**", None),
            ([CHECKOUT, '[[peers]]\nname = "ci"\nspiffe = ["/ns/ci/sa/x"]'], "/ns/ci/sa/**", None),
            ([CHECKOUT, '[[peers]]\nname = "ci"\nmembers = ["/ns/ci/sa/x"]'], "/ns/ci/sa/**", None),
        ],
        ids=[
            "a typo",
            "no rule",
            "more than a typo",
            "elsewhere",
            "a federated one",
            "everybody",
            "asked of all",
            "an exception",
            "an alias",
            "a member",
        ],
    )
    def test_a_proof_about_the_name_of_nothing_says_so(
        self, rules: list[str], never: str, doubts: str | None
    ) -> None:
        proof = policy(*rules, NO_CI.replace("checkout/**", "z").replace("no-ci", "z")).prove(never)
        assert not [each for each in proof.doubts if "called" in each] or doubts is not None
        if doubts is not None:
            assert str(proof).splitlines()[:2] == [
                f"holds in 'prod': {never} never reaches **, but",
                f"  nothing that is loaded can be called {doubts}",
            ]
            assert proof.as_dict()["doubts"] == [f"nothing that is loaded can be called {doubts}"]

    def test_a_proof_about_a_target_that_no_allow_rule_is_about_says_so(self) -> None:
        checked = policy(CHECKOUT)
        assert checked.prove("/ns/checkout/**", "paymetns").doubts == (
            "no allow rule is about 'paymetns', so this holds for every peer; did you mean 'payments'?",
        )
        assert checked.prove("/**", "x").doubts == (
            "no allow rule is about 'x', so this holds for every peer",
        )

    def test_a_policy_that_only_observes_proves_nothing(self) -> None:
        proof = policy(CHECKOUT, head=f"observe = true\n{FILE}").prove(never="spiffe://dev.example.org/**")
        assert str(proof.counterexample) == "spiffe://dev.example.org/a at 'a' is observed"

    def test_no_name_is_longer_than_a_spiffe_id_can_be(self) -> None:
        long = "/" + "/".join(["x" * 31] * 63 + ["x" * 12])
        rule = CHECKOUT.replace("/ns/checkout/sa/api", long)
        assert policy(rule).prove(never="/**").holds


class TestDiff:
    def test_nothing_changes(self) -> None:
        one, two = policy(CHECKOUT, READS), policy(READS, CHECKOUT)
        diff = one.diff(two)
        assert diff.is_empty
        assert str(diff).splitlines() == [
            "nothing changes in 'prod'",
            f"  policy {one.hash} -> {two.hash}",
        ]

    def test_who_gains_and_who_loses(self) -> None:
        wider = CHECKOUT.replace("/sa/api", "/**")
        one, two = policy(CHECKOUT, READS), policy(wider)
        diff = one.diff(two)
        assert str(diff).splitlines() == [
            "changes in 'prod'",
            (
                '  + may reach:        /ns/checkout/** -> payments (rule "checkout",'
                " except what stays as it was because of allow: checkout)"
            ),
            "      such as spiffe://old.example.org/ns/checkout at 'payments'",
            (
                "  - no longer reach:  spiffe://partner.example/ns/** -> payments for GET /v1/charges/*"
                ' (rule "reads")'
            ),
            "      such as spiffe://partner.example/ns at 'payments' with 'GET /v1/charges/'",
            f"  policy {one.hash} -> {two.hash}",
        ]
        assert diff.as_dict() == {
            "empty": False,
            "gains": [
                {
                    "rule": "checkout",
                    "peers": "/ns/checkout/**",
                    "targets": "payments",
                    "requests": None,
                    "within": None,
                    "unless": ["allow: checkout"],
                    "example": {
                        "peer": "spiffe://old.example.org/ns/checkout",
                        "target": "payments",
                        "request": None,
                    },
                }
            ],
            "losses": [diff.losses[0].as_dict()],
            "observes": [False, False],
            "environments": ["prod", "prod"],
            "policy_hashes": [one.hash, two.hash],
        }

    def test_a_deny_that_comes_and_one_that_goes(self) -> None:
        one, two = policy(CHECKOUT, NO_CI), policy(CHECKOUT)
        (gain,) = one.diff(two).gains
        (loss,) = two.diff(one).losses
        assert str(gain) == (
            '/ns/checkout/sa/api -> payments (rule "checkout",'
            " where deny: no-ci refuses it on the other side)\n"
            "      such as spiffe://old.example.org/ns/checkout/sa/api at 'payments'"
        )
        assert gain == loss

    def test_an_allow_that_gives_way_to_a_deny_is_lost_once(self) -> None:
        (loss,) = policy(CHECKOUT).diff(policy(NO_CI)).losses
        assert (loss.rule, loss.within) == ("checkout", None)

    def test_an_alias_that_comes_gains_what_the_others_have(self) -> None:
        before = FILE.replace(', "old.example.org"', "")
        (gain,) = policy(CHECKOUT, head=before).diff(policy(CHECKOUT)).gains
        assert str(gain.example.spiffe_id) == "spiffe://old.example.org/ns/checkout/sa/api"

    def test_an_alias_that_goes_takes_its_denies_along(self) -> None:
        partner = CHECKOUT.replace('"/ns', '"spiffe://old.example.org/ns')
        before = FILE.replace('["partner.example"]', '["partner.example", "old.example.org"]', 1)
        before = before.replace(', "old.example.org"]', "]", 1)
        after = FILE
        (loss,) = policy(partner, NO_CI, head=before).diff(policy(partner, NO_CI, head=after)).losses
        assert loss.within == "deny: no-ci"

    def test_two_environments_are_compared_own_with_own(self) -> None:
        prod, dev = policy(CHECKOUT, NO_CI, READS), policy(CHECKOUT, NO_CI, READS, environment="dev")
        diff = prod.diff(dev)
        assert diff.is_empty
        assert str(diff).splitlines()[0] == "nothing changes from 'prod' to 'dev', each with its own peers"
        only_prod = policy(CHECKOUT, READS)
        (loss,) = only_prod.diff(policy(READS, environment="dev")).losses
        assert loss.rule == "checkout"

    def test_what_is_own_here_and_federated_there_is_compared_by_name(self) -> None:
        rule = CHECKOUT.replace('"/ns', '"spiffe://prod.example.org/ns')
        head = FILE.replace('["partner.example"]', '["prod.example.org"]')
        head = head.replace('federates_with = ["prod.example.org"]', "", 1)
        prod, dev = policy(rule, head=head), policy(rule, environment="dev", head=head)
        assert [str(change.example.spiffe_id) for change in prod.diff(dev).losses] == [
            "spiffe://prod.example.org/ns/checkout/sa/api"
        ]

    def test_a_policy_that_begins_to_observe_lets_everybody_in(self) -> None:
        one, two = policy(CHECKOUT), policy(CHECKOUT, head=f"observe = true\n{FILE}")
        assert "  the new policy only observes: it lets EVERY verified peer in" in str(one.diff(two))
        assert "  the old policy only observed" in str(two.diff(one))
        assert not one.diff(two).is_empty
