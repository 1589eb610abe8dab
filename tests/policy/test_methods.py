"""A method is judged if it is registered, or if a rule names it; any other is unsafe."""

from __future__ import annotations

import pytest

from meshid import Policy, Reason, Request, SpiffeId
from meshid.policy.analysis.finding import FindingKind
from meshid.policy.methods import REGISTERED

HEAD = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
"""

PEER = SpiffeId.parse("spiffe://prod.example.org/ns/shop/sa/web")


def rule(effect: str, identifier: str, *http: str, more: str = "") -> str:
    conditions = f"http = {list(http)}" if http else ""
    return f"""
[[{effect}]]
id = "{identifier}"
why = "Because."
from = ["/ns/**"]
to = ["pay"]
{conditions}
{more}
"""


def policy(*rules: str, head: str = "") -> Policy:
    return Policy.from_toml(head + HEAD + "".join(rules), "prod")


ANY = rule("allow", "any", "* /**")
EVERYTHING = rule("allow", "everything")


@pytest.mark.parametrize("method", sorted(REGISTERED))
def test_a_registered_method_is_judged(method: str) -> None:
    decision = policy(ANY).decide(PEER, "pay", f"{method} /x")
    assert decision.allowed
    denying = policy(ANY, rule("deny", "no", f"{method} /x"))
    assert denying.decide(PEER, "pay", f"{method} /x").reason is Reason.DENIED


@pytest.mark.parametrize("method", ["PURGE", "POSTT", "M-SEARCH", "*", "P\u004fST_", "GET!", "X" * 32])
@pytest.mark.parametrize("allow", [ANY, EVERYTHING], ids=["any method", "every request"])
def test_one_that_nobody_registered_is_unsafe(method: str, allow: str) -> None:
    decision = policy(allow).decide(PEER, "pay", f"{method} /x")
    assert (decision.reason, decision.rule, decision.request) == (Reason.UNSAFE_REQUEST, None, f"{method} /x")
    assert decision.detail == f"the method '{method}' is not registered (IANA), and no rule names it"
    assert policy(allow).decide(PEER, "pay", Request(method, "/x")) == decision


@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_a_rule_that_names_it_makes_it_one_to_judge(effect: str) -> None:
    named = policy(ANY, rule(effect, "naming", "PURGE /cache/**"))
    assert named.decide(PEER, "pay", "PURGE /cache/x").allowed is (effect == "allow")
    assert named.decide(PEER, "pay", "PURGE /x").allowed
    # In exactly that spelling.
    assert named.decide(PEER, "pay", "purge /cache/x").reason is Reason.UNSAFE_REQUEST
    assert named.decide(PEER, "pay", "PURGE- /cache/x").reason is Reason.UNSAFE_REQUEST


def test_an_observing_policy_says_what_it_would_have_said() -> None:
    decision = policy(ANY, head="observe = true\n").decide(PEER, "pay", "PURGE /x")
    assert (decision.reason, decision.observed) == (Reason.OBSERVED, ("unsafe_request",))


@pytest.mark.parametrize("head", ["", "observe = true\n"], ids=["deciding", "observing"])
@pytest.mark.parametrize("request_", ["PURGE /x", "get /x"])
def test_no_rule_is_said_to_match_an_unsafe_request(head: str, request_: str) -> None:
    explanation = policy(EVERYTHING, head=head).explain(PEER, "pay", request_)
    assert explanation.rules == ()


class TestAnalysis:
    def test_a_method_that_only_one_policy_names_is_a_change(self) -> None:
        before, after = policy(ANY), policy(ANY, rule("deny", "naming", "PURGE /cache"))
        diff = before.diff(after)
        (gain,) = diff.gains
        assert str(gain.example.request) == "PURGE /"
        assert (gain.rule, gain.allowed_by) == ("naming", ("any",))
        assert "+ PURGE /**: this rule names the method, so that it is judged from now on" in str(diff)
        assert diff.losses == ()
        (loss,) = after.diff(before).losses
        assert loss.example == gain.example
        assert after.diff(before).gains == ()

    def test_a_rule_that_is_alike_on_both_sides_can_change(self) -> None:
        elsewhere = rule("allow", "elsewhere", "PURGE /x").replace('"pay"', '"cache"')
        gains = policy(ANY).diff(policy(ANY, elsewhere)).gains
        (gain,) = (each for each in gains if each.allowed_by == ("any",))
        assert str(gain.example) == "spiffe://prod.example.org/ns at 'pay' with 'PURGE /'"

    def test_a_named_method_is_a_change_within_a_deny_rule_as_well(self) -> None:
        deny = rule("deny", "no", "* /secret")
        diff = policy(ANY, deny).diff(policy(rule("allow", "any", "* /**", "PURGE /cache")))
        assert {str(each.example.request) for each in diff.gains} == {
            "PURGE /cache",
            "PURGE /",
            "GET /secret",
        }
        assert diff.losses == ()

    def test_what_the_other_side_alone_names_is_no_gain(self) -> None:
        assert policy(ANY).diff(policy(rule("allow", "any", "* /**", "PURGE /x"))).losses == ()

    def test_an_entry_that_alone_names_a_method_is_not_pointless(self) -> None:
        both = policy(rule("allow", "any", "* /**", "PURGE /x", "GET /x"))
        assert [finding.where for finding in both.lint(ignore=[FindingKind.WIDE])] == ["allow[0].http[2]"]
        apart = policy(ANY, rule("allow", "naming", "PURGE /x"))
        assert apart.lint(ignore=[FindingKind.WIDE]) == []
        twice = policy(ANY, rule("allow", "one", "PURGE /x"), rule("allow", "two", "PURGE /y"))
        assert len(twice.lint(ignore=[FindingKind.WIDE])) == 1

    def test_a_typo_of_a_method_is_found(self) -> None:
        typo = policy(ANY, rule("deny", "no", "POTS /admin", "PURGE /x", "* /y", "GET /z"))
        assert [(each.kind, each.where, each.what) for each in typo.lint(ignore=[FindingKind.WIDE])] == [
            (
                FindingKind.LOOKALIKE,
                "deny[0].http[0]",
                "'POTS' is not a registered method: is 'POST' meant?",
            )
        ]

    def test_a_proof_knows_all_methods(self) -> None:
        every = [f"{method} /**" for method in sorted(REGISTERED)]
        closed = policy(ANY, rule("deny", "handshakes", more="observe = true"), rule("deny", "all", *every))
        assert closed.prove(never="/**").holds
        named = policy(ANY, rule("deny", "all", *every), rule("allow", "naming", "PURGE /x", more=""))
        assert str(named.prove(never="/**").counterexample).startswith("spiffe://")
        example = named.prove(never="/**").counterexample
        assert example is not None
        assert example.access.request == "PURGE /"

    def test_an_example_is_a_request_that_can_be_asked_again(self) -> None:
        checked = policy(rule("allow", "menu", "GET /caf\u00e9/the menu/*"))
        example = checked.prove(never="/**").counterexample
        assert example is not None
        assert example.access.request == "GET /caf%C3%A9/the%20menu/"
        assert example.decision.rule == "menu"
