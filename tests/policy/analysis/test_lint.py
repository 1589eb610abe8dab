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


SETS = """
[[peers]]
name = "batch"
members = ["/ns/batch/**", "/ns/ops"]
"""


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(
            [rule("allow", "a", '"/*/**"', '"*/**"'), rule("allow", "b", '"/**/*"', '"**/*"')],
            {
                "wide: allow[0].from[0]",
                "wide: allow[0].to[0]",
                "pointless: allow[1]",
                "wide: allow[1].from[0]",
                "wide: allow[1].to[0]",
            },
            id="a name has a segment",
        ),
        pytest.param(
            [rule("allow", "a", '"/*", "/**/*/*", "/*/*/**"', '"*"')],
            {"pointless: allow[0].from[2]"},
            id="no one entry is wide",
        ),
        pytest.param(
            [rule("allow", "a", '"@all"'), '[[peers]]\nname = "all"\nmembers = ["/**"]\n'],
            {"wide: allow[0].from[0]"},
            id="wide by a set",
        ),
        pytest.param(
            [rule("allow", "a", '"/a"', more='not_from = ["/b", "spiffe://partner.example/a"]')],
            {"pointless: allow[0].not_from[0]", "pointless: allow[0].not_from[1]"},
            id="exceptions outside",
        ),
        pytest.param(
            [rule("allow", "a", '"/*"', more='not_from = ["/b", "/b*", "/c", "/c"]')],
            {
                "pointless: allow[0].not_from[0]",
                "lookalike: allow[0].not_from[1]",
                "pointless: allow[0].not_from[3]",
            },
            id="exceptions of exceptions",
        ),
        pytest.param(
            [
                rule(
                    "allow",
                    "a",
                    '"/ns/*"',
                    more='http = ["GET /**"]\nnot_http = ["PUT /x", "* /x", "GET /x"]',
                ),
                rule("allow", "b", '"/nt/*"', more='not_http = ["* /x"]'),
            ],
            {"pointless: allow[0].not_http[0]", "pointless: allow[0].not_http[2]"},
            id="requests",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/*"', more='http = ["GET /**"]\nnot_http = ["PURGE /x"]')],
            set(),
            id="without it, a method would not be judged",
        ),
        pytest.param(
            [
                SETS,
                rule(
                    "allow",
                    "a",
                    '"@batch", "/ns/batch/x", "/ns/ops"',
                    more='not_from = ["/ns/ops", "@batch"]',
                ),
            ],
            {"never_matches: allow[0]"},
            id="a set less itself",
        ),
        pytest.param(
            [SETS, rule("allow", "a", '"@batch", "/ns/batch/x", "/ns/ops"'), rule("deny", "b", '"/x"')],
            {"pointless: allow[0].from[1]", "pointless: allow[0].from[2]"},
            id="entries that a set has",
        ),
        pytest.param(
            [
                SETS,
                rule("allow", "a", '"/ns/**", "@batch"'),
                '[[peers]]\nname = "t"\nmembers = ["/x", "/*"]\n',
            ],
            {"pointless: allow[0].from[1]", "pointless: peers[1].members", "unused_set: peers[1]"},
            id="a set that is covered, and one that no rule names",
        ),
        pytest.param(
            [rule("allow", "a", '"/ns/*"', more="until = 2026-10-31"), PARTNER],
            {"expired: allow[0].until"},
            id="expired",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/ns/checkout/sa/api"'),
                rule("deny", "b", '"/ns/chekout/sa/web"', '"ship"'),
            ],
            {"lookalike: deny[0].from[0]"},
            id="a slip in one segment",
        ),
        pytest.param(
            [
                rule(
                    "allow",
                    "a",
                    '"/ns/checkout/sa/api"',
                    more='http = ["* /v1/orders"]\nnot_from = ["/ns/chekcout/**"]',
                ),
                rule("allow", "b", '"/ns/checkout/sa/web"', '"ship"', 'http = ["GET /v1/orders"]'),
                rule(
                    "allow",
                    "c",
                    '"/ns/web/sa/checkout-1"',
                    '"ship/8080"',
                    'http = ["GET /v1/oders/*", "GET /health", "GET /healthz"]',
                ),
                rule(
                    "allow", "d", '"/ns/web/sa/checkout-2"', '"ship/8081"', 'not_http = ["GET /v1/order/*"]'
                ),
            ],
            {
                "pointless: allow[0].not_from[0]",
                "lookalike: allow[0].not_from[0]",
                "lookalike: allow[2].http[0]",
            },
            id="slips in exceptions and requests, and what is none",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/x"', more='http = ["GETT /v1/a", "PURGE /v1/a"]'),
                rule("allow", "b", '"/y"', more='not_http = ["PTU /v1/b"]'),
            ],
            {"lookalike: allow[0].http[0]", "lookalike: allow[1].not_http[0]"},
            id="methods",
        ),
        pytest.param(
            [
                rule("allow", "a", '"@checkout"'),
                '[[peers]]\nname = "checkout"\nspiffe = ["/ns/checkout/sa/api"]\n',
                '[[peers]]\nname = "batch"\nmembers = ["/ns/chekout/sa/x", "@checkout"]\n',
                rule("deny", "b", '"@batch"'),
            ],
            {"swallowed: allow[0]", "lookalike: peers[1].members"},
            id="slips in sets and aliases",
        ),
        pytest.param(
            [
                rule("allow", "a", '"/ns/orders/sa/api", "/ns/order/sa/x"'),
                rule("allow", "b", '"/ns/orders/sa/web"', '"ship"'),
                rule("allow", "c", '"/ns/order/sa/web"', '"back"'),
            ],
            set(),
            id="two names, each in two rules",
        ),
    ],
)
def test_it_finds(rules: list[str], expected: set[str]) -> None:
    policy = Policy.from_toml(HEAD + "".join(rules), environment="prod")
    found = policy.lint(now=1_800_014_400.0, ignore=[FindingKind.UNUSED_FEDERATION])
    assert {f"{each.kind}: {each.where}" for each in found} == expected


def test_words_about_exceptions_and_sets() -> None:
    rules = [
        SETS.replace("/ns/ops", "/ns/batch/x"),
        PARTNER,
        rule("allow", "a", '"/ns/*"', more='not_from = ["/b", "/ns/b*", "/ns/b"]\nuntil = 2026-10-31'),
        rule("allow", "b", '"/ns/*"', more='not_from = ["/b", "/ns/b*", "/ns/b"]'),
        rule("allow", "c", '"/ns/*"', '"ship"', 'not_from = ["/ns/**"]'),
        rule("allow", "d", '"/ns/*"', '"ship"', 'http = ["GET /a"]\nnot_http = ["* /**"]'),
        rule("allow", "e", '"/ns/*"', '"ship"', 'http = ["GET /a", "PUT /a"]\nnot_http = ["PUT /**"]'),
        rule("allow", "f", '"/**"', '"f"', 'not_from = ["/f"]'),
        rule("allow", "g", '"/x"', '"g"', 'not_from = ["/x"]\nnot_http = ["* /**"]'),
    ]
    policy = Policy.from_toml(HEAD + "".join(rules), environment="prod")
    assert [str(each) for each in policy.lint(now=1_800_014_400.0, ignore=[FindingKind.LOOKALIKE])] == [
        "peers[0]: set '@batch' is in no rule: remove it, or add a rule",
        ("peers[0].members: '/ns/batch/x' is pointless, and can go: other members of '@batch' cover it"),
        'allow[1].until (rule "a"): the rule ended on 2026-10-31: remove it, or set a new last day',
        "allow[2].not_from[0] (rule \"b\"): '/b' excepts nothing, and can go: the rule is about none of it",
        (
            "allow[2].not_from[2] (rule \"b\"): '/ns/b' excepts nothing, and can go:"
            " other exceptions of the rule leave nothing of it"
        ),
        'allow[3] (rule "c"): it can never match: `not_from` leaves nothing of it',
        'allow[4] (rule "d"): it can never match: `not_http` leaves nothing of it',
        "allow[5].http[1] (rule \"e\"): 'PUT /a' can never match: `not_http` leaves nothing of it",
        (
            'allow[6].from[0] (rule "f"): it allows every workload of this environment, but for its'
            " exceptions; name the ones you mean"
        ),
        'allow[7] (rule "g"): it can never match: `not_from` leaves nothing of it, nor does `not_http`',
    ]


def test_a_member_that_counts_only_elsewhere() -> None:
    head = HEAD + '[environments.dev]\ntrust_domains = ["dev.example.org"]\n'
    peers = '[[peers]]\nname = "s"\nmembers = ["/x", "spiffe://partner.example/x"]\n'
    policy = Policy.from_toml(head + peers + rule("allow", "a", '"@s"'), environment="dev")
    assert [f"{each.kind}: {each}" for each in policy.lint()] == [
        (
            "not_here: peers[0].members[1]: it counts for nothing here:"
            " 'dev' does not federate with partner.example"
        )
    ]


def test_what_an_ended_rule_names_cannot_go_before_it() -> None:
    partner = PARTNER + "until = 2026-10-31\n"
    named = rule("allow", "a", '"@s"', more="until = 2026-10-31")
    found = Policy.from_toml(HEAD + partner + SETS.replace("batch", "s") + named, environment="prod").lint()
    assert [f"{each.kind}: {each.where}" for each in found] == [
        "expired: allow[0].until",
        "expired: allow[1].until",
    ]
    assert all(each.kind.is_warning for each in found)


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
