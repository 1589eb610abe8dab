"""What a proof and a diff say, word by word."""

from __future__ import annotations

import pytest

from meshid.errors import InvalidPattern
from meshid.policy import Policy, PolicyDiff

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


def lines(diff: PolicyDiff) -> list[str]:
    """Return the lines about rules."""
    return [line for line in str(diff).splitlines() if line.startswith("  ") and "  policy " not in line]


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
        batch = '[[peers]]\nname = "batch"\nmembers = ["/ns/batch/**"]\n'
        of_batch = CHECKOUT.replace("/ns/checkout/sa/api", "@batch")
        one, two = policy(batch, of_batch, READS), policy(batch, READS, of_batch)
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
            '  allow "checkout"',
            "    + /ns/checkout/** -> payments",
            '        except /ns/checkout/sa/api -> payments: allowed before by "checkout"',
            "        such as spiffe://old.example.org/ns/checkout at 'payments'",
            '  allow "reads" (gone)',
            "    - spiffe://partner.example/ns/** -> payments for GET /v1/charges/*",
            "        such as spiffe://partner.example/ns at 'payments' with 'GET /v1/charges/'",
            f"  policy {one.hash} -> {two.hash}",
        ]
        assert diff.as_dict() == {
            "empty": False,
            "gains": [
                {
                    "rule": "checkout",
                    "effect": "allow",
                    "status": "edited",
                    "peers": ["/ns/checkout/**"],
                    "targets": ["payments"],
                    "requests": ["* /**"],
                    "connections": True,
                    "unchanged": [
                        {
                            "rule": "checkout",
                            "effect": "allow",
                            "peers": ["/ns/checkout/sa/api"],
                            "targets": ["payments"],
                            "requests": ["* /**"],
                            "connections": True,
                        }
                    ],
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
        assert lines(one.diff(two)) == [
            '  deny "no-ci" (gone)',
            '    + /ns/checkout/** -> **, which "checkout" allows',
            "        such as spiffe://old.example.org/ns/checkout/sa/api at 'payments'",
        ]
        assert lines(two.diff(one))[:2] == [
            '  deny "no-ci" (new)',
            '    - /ns/checkout/** -> **, which "checkout" allows',
        ]
        assert one.diff(two).as_dict()["gains"][0]["allowed_by"] == ["checkout"]  # type: ignore[index]

    def test_an_allow_that_gives_way_to_a_deny_is_lost_by_both(self) -> None:
        losses = policy(CHECKOUT).diff(policy(NO_CI)).losses
        assert [(each.rule, each.status) for each in losses] == [("checkout", "gone")]

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
        assert (loss.rule, loss.effect, loss.allowed_by) == ("no-ci", "deny", ("checkout",))

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

    def test_a_deny_of_a_method_is_an_exception(self) -> None:
        posts = NO_CI.replace('to = ["**"]', 'to = ["**"]\nhttp = ["POST /**"]')
        assert lines(policy(posts).diff(policy(posts, CHECKOUT)))[:3] == [
            '  allow "checkout" (new)',
            "    + /ns/checkout/sa/api -> payments for all requests",
            '        except /ns/checkout/** -> ** for POST /**: still denied by "no-ci"',
        ]

    def test_a_change_for_one_trust_domain_is_told_for_that_one(self) -> None:
        before = FILE.replace(', "old.example.org"', "")
        diff = policy(CHECKOUT, head=before).diff(policy(CHECKOUT))
        assert lines(diff) == [
            '  allow "checkout" (the rule itself is the same)',
            "    + spiffe://old.example.org/ns/checkout/sa/api -> payments",
            "        such as spiffe://old.example.org/ns/checkout/sa/api at 'payments'",
            "  ~ this environment's own trust domains: also 'old.example.org'",
        ]

    def test_entries_that_mean_others_on_the_two_sides_are_told_by_trust_domain(self) -> None:
        one_domain = FILE.replace(', "old.example.org"', "")
        before, after = policy(CHECKOUT, head=one_domain), policy(CHECKOUT.replace("/sa/api", "/**"))
        (gain,) = before.diff(after).gains
        both = [f"spiffe://{each}.example.org/ns/checkout/**" for each in ("old", "prod")]
        assert gain.area.peers == tuple(both)
        assert [each.area.peers for each in gain.unchanged] == [
            ("spiffe://prod.example.org/ns/checkout/sa/api",)
        ]

    def test_connections_and_requests_are_told_apart(self) -> None:
        every = CHECKOUT + 'http = ["* /**"]\n'
        assert lines(policy(every).diff(policy(CHECKOUT)))[1] == (
            "    + /ns/checkout/sa/api -> payments for connections without requests"
        )

    def test_one_edited_entry_is_one_line(self) -> None:
        rule = READS.replace('"spiffe://partner.example/ns/**"', '"/a", "/b", "/c"')
        rule = rule.replace('"payments"', '"p", "q", "r", "s"').replace('*"]', '*", "PUT /x", "GET /y"]')
        for old, new in (('"/c"', '"/d"'), ('"s"', '"t"'), ("GET /y", "GET /z")):
            diff = policy(rule).diff(policy(rule.replace(old, new)))
            assert (len(diff.gains), len(diff.losses)) == (1, 1)
            assert [each.unchanged for each in (*diff.gains, *diff.losses)] == [(), ()]

    def test_only_the_exceptions_that_have_to_do_with_a_change_are_told(self) -> None:
        head = CHECKOUT.replace("/ns/checkout/sa/api", "/a/**")
        holes = 'not_from = ["/a/x"]\nnot_http = ["GET /v1/x"]\n'
        before = policy(head, 'http = ["GET /v1/**"]\n', holes)
        (gain,) = before.diff(
            policy(head.replace('"/a/**"', '"/a/**", "/b/**"'), 'http = ["GET /v1/**"]\n', holes)
        ).gains
        assert (gain.area.peers, gain.area.not_peers) == (("/b/**",), ())
        assert gain.area.not_requests == ("GET /v1/x",)
        (gain,) = before.diff(policy(head, 'http = ["GET /v1/**", "PUT /**"]\n', holes)).gains
        assert (gain.area.requests, gain.area.not_requests) == (("PUT /**",), ())
        assert gain.area.not_peers == ("/a/x",)

    def test_of_a_deny_only_the_entries_that_change_are_told(self) -> None:
        allow = CHECKOUT.replace('"/ns/checkout/sa/api"', '"/**"')
        gone = NO_CI.replace('"/ns/checkout/**"', '"/a", "/b/x"')
        stays = NO_CI.replace("/ns/checkout/**", "/b/**").replace("no-ci", "no-b")
        (gain,) = policy(allow, gone, stays).diff(policy(allow, stays)).gains
        assert (gain.rule, gain.area.peers, gain.unchanged) == ("no-ci", ("/a",), ())

    def test_an_exception_within_another_is_not_told(self) -> None:
        narrow = NO_CI.replace("/ns/checkout/**", "/ns/checkout/sa/api").replace("no-ci", "no-api")
        wider = CHECKOUT.replace("/ns/checkout/sa/api", "/ns/**")
        for denies in ((narrow, NO_CI), (NO_CI, narrow)):
            (gain,) = policy(*denies).diff(policy(*denies, wider)).gains
            assert [each.rule for each in gain.unchanged] == ["no-ci"]

    def test_an_exception_that_comes_is_told_as_what_it_leaves_out(self) -> None:
        whole = CHECKOUT.replace("/sa/api", "/**")
        less = whole + 'not_from = ["/ns/checkout/sa/old"]\n'
        assert lines(policy(whole).diff(policy(less)))[:2] == [
            '  allow "checkout"',
            "    - /ns/checkout/sa/old of /ns/checkout/** -> payments",
        ]
        of_one_domain = whole + 'not_from = ["spiffe://prod.example.org/ns/checkout/sa/old"]\n'
        (loss,) = policy(whole).diff(policy(of_one_domain)).losses
        assert loss.area.only_peers == ("spiffe://prod.example.org/ns/checkout/sa/old",)
        assert loss.area.peers == ("/ns/checkout/**",)

    def test_what_decides_nothing_today_is_told_apart(self) -> None:
        said = CHECKOUT + 'owner = "team-a"\nuntil = 2030-01-31\n'
        diff = policy(CHECKOUT).diff(policy(said), now=0.0)
        assert not diff.is_empty
        assert lines(diff) == [
            '  ~ allow "checkout": until 2030-01-31, was without one',
            "  ~ allow \"checkout\": owner 'team-a', was nobody",
        ]
        assert diff.as_dict()["ends"] == list(diff.ends)
        watched = policy(CHECKOUT).diff(policy(CHECKOUT, NO_CI + "observe = true\n"))
        assert watched.is_empty
        assert watched.as_dict()["notes"] == ['deny "no-ci" (new): only observes']
        decides = policy(CHECKOUT, NO_CI + "observe = true\n").diff(policy(CHECKOUT, NO_CI))
        assert '  ~ deny "no-ci": decides from now on; it only observed' in lines(decides)
        assert policy(said).diff(policy(CHECKOUT), now=0.0).ends == (
            'allow "checkout": without a last day, was until 2030-01-31',
        )

    def test_a_guard_that_goes_is_told_even_if_nobody_gains(self) -> None:
        guard = NO_CI.replace("checkout", "ci")
        narrowed, renamed = guard + 'http = ["DELETE /**"]\n', guard.replace("no-ci", "ci-out")
        for rules, told in (
            ((), ['deny "no-ci" (gone): nobody\'s access changes by it today']),
            ((narrowed,), ['deny "no-ci" (edited): nobody\'s access changes by it today']),
            (
                (renamed,),
                [
                    'deny "ci-out" (new): nobody\'s access changes by it today',
                    'deny "no-ci" (gone): nobody\'s access changes by it today',
                ],
            ),
        ):
            diff = policy(CHECKOUT, guard).diff(policy(CHECKOUT, *rules))
            assert diff.is_empty
            assert list(diff.notes) == told

    def test_a_rule_that_time_takes_is_not_gone(self) -> None:
        day = 86400.0
        ends = CHECKOUT + "until = 1970-01-01\n"
        for one, two, status in (
            (CHECKOUT, ends, "its last day is over"),
            (ends, CHECKOUT, "in force again"),
        ):
            assert lines(policy(one).diff(policy(two), now=2 * day))[0] == f'  allow "checkout" ({status})'

    def test_a_rule_that_turns_into_a_deny_has_no_last_day(self) -> None:
        turned = CHECKOUT.replace("allow", "deny")
        assert lines(policy(CHECKOUT).diff(policy(turned)))[0] == '  allow "checkout" (gone)'
        assert lines(policy(turned, READS).diff(policy(CHECKOUT, READS)))[0] == '  allow "checkout" (new)'

    def test_members_of_a_set_are_told_by_its_name(self) -> None:
        named = '[[peers]]\nname = "x"\nspiffe = ["/x"]\n'
        peers = named + '[[peers]]\nname = "all"\nmembers = ["/a", "/b"]\n'
        rule = CHECKOUT.replace("/ns/checkout/sa/api", "@all")
        diff = policy(rule, head=FILE + peers).diff(
            policy(rule, head=FILE + peers.replace('"/b"', '"/c", "@x"'))
        )
        assert "  ~ '@all' is no longer '/b', also '/c', '@x'" in lines(diff)
        assert policy(rule, head=FILE + peers).diff(policy(CHECKOUT)).notes == ()

    def test_many_exceptions_are_counted(self) -> None:
        denies = [NO_CI.replace("no-ci", f"no-{each}").replace("/**", f"/{each}/**", 1) for each in range(10)]
        wider = CHECKOUT.replace("/sa/api", "/**")
        diff = policy(*denies).diff(policy(*denies, wider))
        assert '        except what deny "no-8", deny "no-9" say as well' in lines(diff)
