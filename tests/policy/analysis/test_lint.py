"""What lint says, word by word."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from meshid.policy import Finding, FindingKind, Policy
from meshid.policy.analysis import coverage
from meshid.policy.analysis.answers import Access
from meshid.policy.analysis.budget import Budget
from meshid.policy.analysis.finding import by_environment
from meshid.policy.analysis.regions import Region, shortest_access

HEAD = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
"""

PARTNER = """
[[allow]]
id = "partner"
why = "Partners."
from = ["spiffe://partner.example/reader"]
to = ["reports"]
"""


def rule(effect: str, identifier: str, source: str, target: str = '"payments"', more: str = "") -> str:
    return f"""
[[{effect}]]
id = "{identifier}"
why = "Because."
from = [{source}]
to = [{target}]
{more}
"""


def findings(*rules: str, head: str = HEAD + PARTNER) -> list[Finding]:
    return Policy.from_toml(head + "".join(rules), environment="prod").lint()


def said(*rules: str, head: str = HEAD + PARTNER) -> list[str]:
    return [f"{finding.kind}: {finding}" for finding in findings(*rules, head=head)]


LONG = "/" + "/".join(["x" * 31] * 63 + ["x" * 12])


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([rule("allow", "a", '"/ns/a"')], [], id="nothing"),
        pytest.param(
            [rule("allow", "a", f'"{LONG}"')],
            ['never_matches: allow[1] (rule "a"): it can never match: no SPIFFE ID is that long'],
            id="never",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/ci/sa/x"'), rule("deny", "no-ci", '"/ns/ci/**"', '"**"')],
            [('swallowed: allow[1] (rule "a"): it allows nothing: deny rule "no-ci" refuses all of it')],
            id="swallowed",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/ns/*/sa/x"', '"pay", "ship"'),
                rule("deny", "no-pay", '"/**"', '"pay"'),
                rule("deny", "no-ship", '"/**"', '"ship"'),
            ],
            [
                (
                    'swallowed: allow[1] (rule "a"): it allows nothing: deny rule "no-pay" and'
                    ' deny rule "no-ship" together refuse all of it'
                )
            ],
            id="swallowed by two",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/a"'), rule("allow", "b", '"/ns/*"')],
            [('pointless: allow[1] (rule "a"): it is pointless, and can go: allow rule "b" covers it')],
            id="pointless",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/a"'), rule("allow", "b", '"/ns/a"')],
            [('pointless: allow[2] (rule "b"): it is pointless, and can go: allow rule "a" covers it')],
            id="twice: the later could go",
        ),
        pytest.param(
            [rule("deny", "a", '"/ns/a"'), rule("deny", "b", '"/ns/*"', '"pay*"')],
            [('pointless: deny[0] (rule "a"): it is pointless, and can go: deny rule "b" covers it')],
            id="a deny",
        ),
        pytest.param(
            [rule("deny", "guard", '"/ns/ci/**"', '"**"')], [], id="a deny that guards is not pointless"
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/*", "/ns/a"')],
            [
                (
                    'pointless: allow[1].from[1] (rule "a"): '
                    "'/ns/a' is pointless, and can go: allow rule \"a\" covers it"
                )
            ],
            id="an entry",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/a"', '"pay", "pay"')],
            [
                (
                    'pointless: allow[1].to[1] (rule "a"): '
                    "'pay' is pointless, and can go: allow rule \"a\" covers it"
                )
            ],
            id="an entry twice",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/a"', more='http = ["GET /v1/a", "* /v1/*"]')],
            [
                (
                    "pointless: allow[1].http[0] (rule \"a\"): 'GET /v1/a' is pointless, and can go:"
                    ' allow rule "a" covers it'
                )
            ],
            id="a condition",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/*", "/ns/a"', more="observe = true")],
            [],
            id="what observes decides nothing",
        ),
        pytest.param(
            [rule("allow", "a", '"/**"')],
            [
                (
                    'wide: allow[1].from[0] (rule "a"): it allows every workload of this environment;'
                    " name the ones you mean"
                )
            ],
            id="everybody",
        ),
        pytest.param(
            [rule("allow", "a", '"spiffe://partner.example/**"', '"**"')],
            [
                (
                    'wide: allow[1].from[0] (rule "a"): it allows every workload of partner.example,'
                    " whatever its name; name the ones you mean"
                ),
                'wide: allow[1].to[0] (rule "a"): it allows every target; name the ones you mean',
                (
                    'pointless: allow[0] (rule "partner"): it is pointless, and can go:'
                    ' allow rule "a" covers it'
                ),
            ],
            id="a whole trust domain, and every target",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/ns/checkout/sa/api"'),
                rule("allow", "b", '"/ns/chekout/sa/api"', '"ship"'),
            ],
            [
                (
                    "lookalike: allow[2].from[0] (rule \"b\"): 'chekout' in '/ns/chekout/sa/api' looks like"
                    " 'checkout' in '/ns/checkout/sa/api': is one of them a typo?"
                )
            ],
            id="a letter too few",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/chekcout/api"'), rule("allow", "b", '"/ns/checkout/api"', '"ship"')],
            [
                (
                    "lookalike: allow[1].from[0] (rule \"a\"): 'chekcout' in '/ns/chekcout/api' looks like"
                    " 'checkout' in '/ns/checkout/api': is one of them a typo?"
                )
            ],
            id="two letters that changed places",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/x"'),
                rule("allow", "b", '"/y"', '"paymentz"'),
                rule("allow", "c", '"/z"'),
            ],
            [
                (
                    "lookalike: allow[2].to[0] (rule \"b\"): 'paymentz' looks like 'payments':"
                    " is one of them a typo?"
                )
            ],
            id="another letter: the rarer one is told",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/checkout"'), rule("allow", "b", '"/nscheckout"', '"ship"')],
            [
                (
                    "lookalike: allow[2].from[0] (rule \"b\"): '/nscheckout' differs from"
                    " '/ns/checkout' only by a '/': is one of them a typo?"
                )
            ],
            id="a missing slash",
        ),
        pytest.param(
            [rule("allow", "a", '"/sa/agent"'), rule("allow", "b", '"/sa/agent*"', '"ship"')],
            [
                (
                    "lookalike: allow[2].from[0] (rule \"b\"): '/sa/agent*' matches '/sa/agentish'"
                    " as well as '/sa/agent': write '/sa/agent', or '/sa/agent/**'"
                )
            ],
            id="a star glued to a name",
        ),
        pytest.param(
            [rule("allow", "a", '"/sa/agent"'), rule("allow", "b", '"/sa/agentish"', '"ship"')],
            [
                (
                    "lookalike: allow[2].from[0] (rule \"b\"): '/sa/agentish' begins like '/sa/agent',"
                    " but is another name: is it meant?"
                )
            ],
            id="agent and agentish",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/sa/agent-1", "/sa/agent-2", "/sa/agent-12", "/sa/pay", "/sa/pax"'),
                rule("allow", "b", '"/sa/agent-admin", "/sa/agent", "/sa/agent-*", "/sb/agent"', '"ship"'),
                rule("allow", "c", '"/sa/xrunner", "/sa/runnery"'),
            ],
            [
                (
                    "pointless: allow[2].from[0] (rule \"b\"): '/sa/agent-admin' is pointless, and can go:"
                    ' allow rule "b" covers it'
                )
            ],
            id="what is no typo",
        ),
    ],
)
def test_it_says(rules: list[str], expected: list[str]) -> None:
    assert sorted(said(*rules)) == sorted(expected)


def test_a_federated_trust_domain_that_no_rule_names_is_a_finding() -> None:
    assert said(head=HEAD) == [
        (
            "unused_federation: environments.prod.federates_with[0]: no rule names partner.example:"
            " its peers reach nothing; remove it, or add a rule"
        )
    ]


def test_a_rule_without_why_is_a_warning_that_can_be_switched_off() -> None:
    policy = Policy.from_toml(HEAD + PARTNER.replace('why = "Partners."', ""), environment="prod")
    (finding,) = policy.lint()
    assert finding == Finding(
        FindingKind.NO_WHY, "allow[0]", "partner", "the rule has no `why`; say what it is for"
    )
    assert finding.kind.is_warning
    assert policy.lint(ignore=[FindingKind.NO_WHY]) == []


def test_findings_stand_in_the_order_of_the_file() -> None:
    found = findings(
        rule("deny", "a", '"/ns/a", "/ns/a"'),
        rule("allow", "z", '"/**"'),
        rule("allow", "b", '"/ns/*"', '"**"'),
    )
    assert [(finding.where, finding.kind) for finding in found] == [
        ("allow[1].from[0]", FindingKind.WIDE),
        ("allow[2].to[0]", FindingKind.WIDE),
        ("deny[0].from[1]", FindingKind.POINTLESS),
    ]


def test_a_finding_as_plain_data() -> None:
    (finding,) = findings(rule("allow", "a", '"/ns/a"').replace('why = "Because."', ""))
    assert finding.as_dict() == {
        "kind": "no_why",
        "warning": True,
        "where": "allow[1]",
        "rule": "a",
        "what": finding.what,
    }


def test_a_finding_comes_once_with_the_environments_that_it_is_true_of() -> None:
    one, other = (Finding(FindingKind.WIDE, f"allow[{number}]", "a", "it allows") for number in (0, 1))
    found = by_environment([("prod", [one]), ("dev", [other, one]), ("test", [])])
    assert found == {one: ["prod", "dev"], other: ["dev"]}
    assert list(found) == [one, other]


@pytest.mark.parametrize("who", ['"/**", "@p{}"', '"@p{}"'], ids=["anybody beside", "by name"])
def test_each_peer_by_name_takes_a_few_looks_and_not_one_at_every_other(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, looks = 30, 0

    def counted(regions: Iterable[Region], budget: Budget) -> Access | None:
        nonlocal looks
        looks += 1
        return shortest_access(regions, budget)

    issuer = 'profile = "kubernetes"\nissuer = "https://k.example"\naudience = ["a"]\n'
    peers = "".join(
        f'[[peers]]\nname = "p{each}"\nspiffe = ["/a{each}/*"]\nkubernetes = ["n{each}/*"]\n'
        for each in range(count)
    )
    evidence = 'evidence = ["x509", "token"]'
    rules = [rule("allow", f"r{each}", who.format(each), more=evidence) for each in range(count)]
    everything = rule("allow", "all", '"/**"', '"**"', evidence)
    monkeypatch.setattr(coverage, "shortest_access", counted)
    findings(*rules, everything, head=HEAD + f"[environments.prod.issuers.k]\n{issuer}" + peers)
    assert count < looks < 20 * count
