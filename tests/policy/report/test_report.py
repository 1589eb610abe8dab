"""The report: each cell is true, and each form says the same and lets nothing of a stranger through."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, cast

import pytest
from hypothesis import given, settings
from typing_extensions import override

from meshid.names.pattern import Pattern
from meshid.names.peer_pattern import PeerPattern
from meshid.policy import Policy
from meshid.policy.report import matrix
from meshid.policy.report.contents import Occasion, Report
from meshid.policy.report.html import as_html
from meshid.policy.report.text import as_json, as_mermaid, as_table
from meshid.policy.report.verdicts import Cell, RuleBehind, Verdict
from tests.helpers.named_world import ALIASES, document_of
from tests.helpers.named_world import policy_of as named_policy_of
from tests.helpers.small_world import PEERS, RULES, allowed, policy_of

HEAD = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]
[environments.dev]
trust_domains = ["dev.example.org"]
federates_with = ["partner.example"]
"""


WHY = 'why = "Because."\n'
OBSERVING = f"{WHY}observe = true\n"


def rule(effect: str, identifier: str, source: str, target: str = "payments", more: str = WHY) -> str:
    return f"""
[[{effect}]]
id = "{identifier}"
from = ["{source}"]
to = ["{target}"]
{more}
"""


CHECKOUT = rule("allow", "checkout", "/ns/checkout/sa/api")
PARTNER = rule(
    "allow", "partner", "spiffe://partner.example/ns/**", more=f'{WHY}http = ["GET /v1/**", "PUT /v1/x"]'
)
NO_CI = rule("deny", "no-ci", "/ns/ci/**", "**")
ALL = CHECKOUT + PARTNER + NO_CI


NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC).timestamp()
OCCASION = Occasion(now=NOW, revision="policy.toml", version="1.2.3")


def report_of(*policies: Policy) -> Report:
    return Report.of(policies, OCCASION)


def report(rules: str, *environments: str, head: str = HEAD) -> Report:
    return report_of(*(Policy.from_toml(head + rules, name) for name in environments or ("prod", "dev")))


@pytest.mark.slow
@settings(max_examples=30)
@given(RULES)
def test_whoever_gets_in_is_in_a_named_cell(rules: list[Any]) -> None:
    policy = policy_of(rules)
    (made,) = report_of(policy).matrices
    own = policy.environment.trust_domains
    for peer, place in {access[:2] for access in allowed(policy, PEERS[::7])}:
        assert any(
            PeerPattern.parse(row).matches(peer, own)
            for column in made.targets
            if Pattern.parse(column).matches(place)
            for row, cell in made.column(column)
            if cell.verdict not in {Verdict.DENIED, Verdict.NO_RULE}
        )


class TestCells:
    def test_a_cell_names_its_rules_denies_first(self) -> None:
        (one,) = report(rule("allow", "a", "/ns/**", "**") + NO_CI, "prod").matrices
        cell = one.cells["/ns/**", "**"]
        assert (cell.verdict, cell.rules, cell.is_named) == (Verdict.PARTLY, ("no-ci", "a"), True)
        assert one.cells["/ns/ci/**", "**"].verdict is Verdict.DENIED

    def test_a_cell_whose_rules_are_about_parts_of_it_is_not_named(self) -> None:
        (one,) = report(CHECKOUT + rule("allow", "others", "/ns/**", "others"), "prod").matrices
        cell = one.cells["/ns/**", "payments"]
        assert (cell.verdict, cell.rules, cell.is_named) == (Verdict.PARTLY, ("checkout",), False)
        assert list(one.column("payments")) == [
            ("/ns/checkout/sa/api", one.cells["/ns/checkout/sa/api", "payments"])
        ]

    def test_where_a_deny_rule_is_about_a_part_and_no_allow_rule_about_any_there_is_no_rule(self) -> None:
        (one,) = report(
            rule("deny", "d", "/ns/ci/x") + rule("allow", "a", "/ns/ci/*", "other"), "prod"
        ).matrices
        cell = one.cells["/ns/ci/*", "payments"]
        assert (cell.verdict, cell.is_named) == (Verdict.NO_RULE, False)
        assert cell.behind == (RuleBehind(allows=False, rule="d", is_whole=False),)

    def test_an_exception_stands_in_the_cells_of_its_peers_only(self) -> None:
        both = rule("allow", "r", '/ns/a/**", "/ns/b/**', more=f'{WHY}not_from = ["/ns/a/x"]\n')
        made = report(both, "prod")
        (one,) = made.matrices
        shown = {row: list(map(str, cell.behind[0].not_for)) for (row, _), cell in one.cells.items()}
        assert shown == {"/ns/a/**": ["/ns/a/x"], "/ns/b/**": []}
        text = Reader(as_html(made)).text
        assert "/ns/b/** ✓ allowed r" in text
        assert text.count("not for /ns/a/x") == as_table(made).count("not for /ns/a/x") * 2 == 2

    def test_where_all_is_denied_the_rules_that_would_allow_it_are_told_apart(self) -> None:
        made = report(NO_CI + rule("allow", "ci", "/ns/ci/x"), "prod")
        assert "/ns/ci/x ✕ denied no-ci ci would allow" in Reader(as_html(made)).text
        assert "denied   no-ci, ci (would allow)\n" in as_table(made)

    def test_a_deny_of_some_requests_does_not_deny_the_others(self) -> None:
        deny = rule("deny", "d", "/ns/ci/x", more=f'{WHY}http = ["DELETE /**"]')
        (one,) = report(deny, "prod").matrices
        assert one.cells["/ns/ci/x", "payments"].verdict is Verdict.NO_RULE
        (one,) = report(deny + rule("allow", "a", "/ns/ci/x"), "prod").matrices
        assert one.cells["/ns/ci/x", "payments"].verdict is Verdict.REQUESTS

    def test_what_only_observes_decides_nothing_and_is_shown_with_what_it_would_do(self) -> None:
        (one,) = report(rule("allow", "a", "/ns/a", more=OBSERVING), "prod").matrices
        assert one.cells == {
            ("/ns/a", "payments"): Cell(
                Verdict.NO_RULE,
                (RuleBehind(allows=True, rule="a", is_whole=True, observe=True),),
                is_named=True,
                if_enforced=Verdict.ALLOWED,
            )
        }
        assert (one.peers, one.targets) == (("/ns/a",), ("payments",))

    def test_what_has_expired_is_not_there(self) -> None:
        until = f"{WHY}until = 2026-11-%s"
        (one,) = report(
            rule("allow", "a", "/ns/a", more=until % 26) + rule("allow", "b", "/ns/b", more=until % 27),
            "prod",
        ).matrices
        assert set(one.cells) == {("/ns/b", "payments")}
        assert one.peers == ("/ns/b",)

    def test_a_set_of_peers_is_one_row_about_all_of_its_members(self) -> None:
        peers = '[[peers]]\nname = "batch"\nmembers = ["/ns/batch/**", "@api"]\n'
        peers += '[[peers]]\nname = "api"\nspiffe = ["/ns/api"]\n'
        allow = rule("allow", "a", "@batch")
        (one,) = report(peers + allow, "prod").matrices
        assert one.peers == ("@batch",)
        assert one.cells["@batch", "payments"].verdict is Verdict.ALLOWED
        (one,) = report(peers + allow + rule("deny", "d", "/ns/api"), "prod").matrices
        assert one.cells["@batch", "payments"].verdict is Verdict.PARTLY

    def test_what_a_wider_target_says_of_all_of_it_is_not_said_again(self) -> None:
        """Only where the wider cell is "partly", a narrower target has a cell of its own."""
        head = HEAD.replace('federates_with = ["partner.example"]\n', "")
        rules = rule("allow", "admin", "/ns/admin", "**") + "".join(
            rule("allow", f"r{n}", f"/ns/r{n * 1111}", f"t{n * 1111}") for n in range(24)
        )
        (one,) = report(rules, "prod", head=head).matrices
        assert not one.is_small
        assert [key for key in one.cells if key[0] == "/ns/admin"] == [("/ns/admin", "**")]
        assert one.wider["t0"] == ["**"]
        denied = rule("deny", "d", "/ns/admin", "t1111") + rule("deny", "e", "/ns/*", "t2222", OBSERVING)
        (one,) = report(rules + denied, "prod", head=head).matrices
        assert one.cells["/ns/admin", "**"].verdict is Verdict.PARTLY
        assert one.cells["/ns/admin", "t0"].verdict is Verdict.ALLOWED
        assert one.cells["/ns/admin", "t1111"].verdict is Verdict.DENIED
        assert one.cells["/ns/admin", "t2222"].if_enforced is Verdict.DENIED

    def test_a_rule_of_another_trust_domain_is_about_other_peers(self) -> None:
        (one,) = report(
            rule("allow", "a", "/ns/a") + rule("deny", "d", "spiffe://partner.example/ns/a"), "prod"
        ).matrices
        assert one.cells["/ns/a", "payments"].verdict is Verdict.ALLOWED

    def test_a_rule_for_one_of_our_trust_domains_does_not_name_the_peers_of_all(self) -> None:
        head = HEAD.replace('["prod.example.org"]', '["prod.example.org", "old.example.org"]')
        rules = rule("allow", "a", "spiffe://old.example.org/ns/a") + rule("allow", "b", "/ns/a", "other")
        (one,) = report(rules, "prod", head=head).matrices
        cell = one.cells["/ns/a", "payments"]
        assert (cell.verdict, cell.is_named) == (Verdict.PARTLY, False)


class Reader(HTMLParser):
    """Reads a page, and insists that each element is closed."""

    VOID = frozenset({"meta", "br", "input", "wbr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: dict[str, str] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        # What may end a line within a pattern is no space in it.
        if "code" not in self.open[:-1] and tag != "wbr":
            self.texts.append(" ")

    @override
    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if "code" not in self.open:
            self.texts.append(" ")

    @override
    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        self.inside[self.open[-1] if self.open else ""] = data

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & <b>'


class TestPage:
    def test_it_needs_nothing_else(self) -> None:
        page = Reader(as_html(report(ALL)))
        for tag, attributes in page.elements:
            assert tag not in {"link", "img", "iframe", "base", "object"}
            assert not attributes.keys() & {"src", "style"}
            assert str(attributes.get("href", "#")).startswith("#")
            assert not any(name.startswith("on") for name in attributes)
        assert "url(" not in page.inside["style"]
        assert "@import" not in page.inside["style"]

    def test_its_own_style_and_script_are_all_that_a_browser_may_use(self) -> None:
        page = Reader(as_html(report(ALL)))
        (policy,) = [str(each["content"]) for _, each in page.elements if "http-equiv" in each]
        assert policy.startswith("default-src 'none'; ")
        for kind in ("style", "script"):
            digest = base64.b64encode(hashlib.sha256(page.inside[kind].encode()).digest()).decode()
            assert f"{kind}-src 'sha256-{digest}'" in policy
            assert sum(tag == kind for tag, _ in page.elements) == 1

    def test_it_says_what_the_matrix_says(self) -> None:
        text = Reader(as_html(report(ALL))).text
        assert "Who reaches payments and what stands under ** /ns/checkout/sa/api ✓ allowed checkout" in text
        assert "/ns/ci/** ✕ denied no-ci" in text
        assert "spiffe://partner.example/ns/** ◐ some requests partner GET /v1/** PUT /v1/x" in text
        assert "✕ deny no-ci Because. /ns/ci/** ** all none none none" in text

    def test_environments_that_are_alike_share_a_column_and_others_stand_side_by_side(self) -> None:
        head = HEAD.replace('federates_with = ["partner.example"]\n', "", 1)
        policies = [
            Policy.from_toml(HEAD + CHECKOUT, "prod"),
            Policy.from_toml(HEAD + CHECKOUT, "dev"),
            Policy.from_toml(head + CHECKOUT + rule("deny", "none", "/**"), "prod"),
        ]
        text = Reader(as_html(report_of(*policies))).text
        assert "At a glance: prod, dev" in text
        assert "Who reaches each target Peers prod, dev prod Who reaches payments" in text
        assert "/ns/checkout/sa/api ✓ allowed checkout ✕ denied none" in text
        assert "/** - no rule ✕ denied none" in text

    def test_what_only_observes_is_marked_with_what_it_would_do(self) -> None:
        made = report(CHECKOUT + rule("allow", "o", "/ns/a", "logs", more=OBSERVING))
        text = Reader(as_html(made)).text
        assert "/ns/a - no rule if observing rules decided: ✓ allowed o observes only" in text
        assert "✓ allow observes only o" in text
        assert "Only observed (1) o" in text
        assert "  logs      /ns/a                no rule  o (observes, would allow)\n" in as_table(made)

    def test_hostile_names_are_only_text(self) -> None:
        page = Reader(as_html(report(rule("allow", "a", "/ns/a", more=f"why = '{HOSTILE}'"))))
        assert HOSTILE in page.text
        assert not {"img", "b"} & {tag for tag, _ in page.elements}

    def test_a_policy_that_only_observes_is_marked_loudly(self) -> None:
        made = report(CHECKOUT, head=f"observe = true\n{HEAD}")
        assert "In prod the policy only observes. Every verified peer is let in" in Reader(as_html(made)).text
        assert as_table(made).count("IT ONLY OBSERVES, EVERY VERIFIED PEER IS LET IN") == 2
        assert '"observe": True' in str(as_json(made)).replace("'", '"')

    def test_a_finding_is_listed_once_with_its_environments(self) -> None:
        wide = rule("allow", "wide", "spiffe://partner.example/ns/**", more="")
        text = Reader(as_html(report(wide))).text
        assert "no why (1)" in text
        assert "allow[0] , rule wide" not in text
        assert "allow[0], rule wide : the rule has no `why`; say what it is for" in text
        unused = HEAD.replace('federates_with = ["partner.example"]\n', "", 1)
        mixed = [Policy.from_toml(head + CHECKOUT, name) for head, name in ((unused, "prod"), (HEAD, "dev"))]
        text = Reader(as_html(report_of(*mixed))).text
        assert "unused federation (1) environments.dev.federates_with[0] :" in text
        assert "(dev only)" in text
        assert "(dev only)" in as_table(report_of(*mixed))

    def test_the_page_says_if_nothing_was_found(self) -> None:
        assert "Findings (0) Nothing looks wrong." in Reader(as_html(report(ALL))).text
        assert as_table(report(ALL)).endswith("\n0 findings\n")

    def test_many_findings_of_one_kind_are_folded(self) -> None:
        def folds(count: int) -> list[bool]:
            rules = "".join(
                rule("allow", f"r{number}", f"/ns/{number * 1111}", more="") for number in range(count)
            )
            page = Reader(as_html(report(PARTNER + rules)))
            return ["open" in each for tag, each in page.elements if tag == "details"]

        assert (folds(20), folds(21)) == ([True], [False])

    def test_a_large_matrix_has_no_grid(self) -> None:
        rules = "".join(rule("allow", f"r{number}", f"/ns/{number * 1111}") for number in range(24))
        assert "At a glance" in as_html(
            report(PARTNER + rules.replace("/ns/0", "spiffe://partner.example/ns/**"))
        )
        assert "At a glance" not in as_html(report(PARTNER + rules + CHECKOUT))
        targets = "".join(rule("allow", f"t{number}", "/ns/x", f"t{number * 1111}") for number in range(11))
        assert "At a glance" not in as_html(report(PARTNER + targets))

    def test_what_is_left_out_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(matrix, "MAX_PEERS", 1)
        made = report(ALL)
        assert [each.left_out for each in made.matrices] == [2, 2]
        assert "Left out of what follows: 2 more patterns of peers." in as_html(made)
        assert "  left out: 2 more patterns of peers\n" in as_table(made)

    def test_the_same_policy_gives_the_same_page(self) -> None:
        assert as_html(report(ALL)) == as_html(report(NO_CI + PARTNER + CHECKOUT))


class TestOtherForms:
    def test_a_table(self) -> None:
        made = report(ALL)
        prod, dev = (each.policy.hash[:12] for each in made.matrices)
        assert as_table(made) == (
            "policy.toml, 2026-11-27 09:30 UTC, meshid 1.2.3\n"
            f"prod: prod.example.org, 3 rules, policy {prod}\n"
            f"dev: dev.example.org, 3 rules, policy {dev}\n"
            "  TARGET    PEERS                           VERDICT        RULES\n"
            "  **        /ns/ci/**                       denied         no-ci\n"
            "  payments  /ns/checkout/sa/api             allowed        checkout\n"
            "  payments  spiffe://partner.example/ns/**  some requests  partner (GET /v1/** and PUT /v1/x)\n"
            "  1 allowed, 1 some requests, 1 denied\n"
            "\n"
            "  LOOK AT                         BECAUSE                         RULES\n"
            "  **                              every target                    no-ci\n"
            "  /ns/ci/**                       many of them                    no-ci\n"
            "  spiffe://partner.example/ns/**  many of them                    partner\n"
            "  spiffe://partner.example/ns/**  federated with partner.example  partner\n"
            "\n"
            "0 findings\n"
        )

    def test_a_diagram(self) -> None:
        observing = rule("allow", "a", "/ns/checkout/sa/api", "logs", more=OBSERVING)
        assert as_mermaid(report(ALL + observing)).splitlines() == [
            "flowchart LR",
            '  p0["/ns/checkout/sa/api"]',
            '  t1["logs"]',
            '  p0 -->|"allow a #40;observes#41;"| t1',
            '  t2["payments"]',
            '  p0 -->|"allow checkout"| t2',
            '  p3["/ns/ci/#42;#42;"]',
            '  t4["#42;#42;"]',
            '  p3 -.->|"deny no-ci"| t4',
            '  p5["spiffe://partner.example/ns/#42;#42;"]',
            '  p5 -->|"allow partner for some requests"| t2',
        ]

    def test_data(self) -> None:
        made = report(CHECKOUT + rule("allow", "b", "spiffe://partner.example/x", more=""), "prod")
        document = as_json(made)
        assert (document["revision"], document["reported"]) == ("policy.toml", "2026-11-27 09:30 UTC")
        (environment,) = cast("list[dict[str, Any]]", document["environments"])
        cells = environment.pop("cells")
        assert environment == {
            "environment": "prod",
            "trust_domains": ["prod.example.org"],
            "federates_with": ["partner.example"],
            "policy_hash": made.matrices[0].policy.hash,
            "observe": False,
            "counts": {"allowed": 2, "some requests": 0, "partly": 0, "denied": 0, "no rule": 0},
            "left_out": 0,
            "findings": [
                {
                    "kind": "no_why",
                    "warning": True,
                    "where": "allow[1]",
                    "rule": "b",
                    "what": "the rule has no `why`; say what it is for",
                }
            ],
            "federated": {"partner.example": [{"entry": "spiffe://partner.example/x", "rule": "b"}]},
        }
        assert cells == [
            {
                "peers": peers,
                "targets": "payments",
                "verdict": "allowed",
                "rules": [rule],
                "part": [],
                "observing": [],
                "if_enforced": None,
                "is_named": True,
            }
            for peers, rule in (("/ns/checkout/sa/api", "checkout"), ("spiffe://partner.example/x", "b"))
        ]


class TestPeersByName:
    """Whom a certificate or a token gives a name is in the row of that name."""

    RULES = (
        {"effect": "allow", "from": ["@both", "/z"], "to": ["pay"], "needs_token": True},
        {"effect": "allow", "from": ["@token", "@both"], "to": ["ship"]},
        {"effect": "deny", "from": ["@token"], "to": ["gold"]},
    )

    def made(self, *issuers: str) -> Report:
        document = document_of(list(self.RULES), ALIASES, list(issuers))
        return report_of(named_policy_of(document))

    def test_cells(self) -> None:
        (one,) = self.made("cluster").matrices
        assert one.peers == ("/z", "@both", "@token")
        verdicts = {key: (cell.verdict, cell.rules, cell.is_named) for key, cell in one.cells.items()}
        assert verdicts == {
            # Without a token, nobody; with one of any name, whoever has the path.
            ("/z", "pay"): (Verdict.PARTLY, ("r0",), True),
            ("@both", "pay"): (Verdict.PARTLY, ("r0",), True),
            ("@both", "ship"): (Verdict.ALLOWED, ("r1",), True),
            ("@token", "ship"): (Verdict.ALLOWED, ("r1",), True),
            # As @token, it has a token, and may be at /z.
            ("@token", "pay"): (Verdict.PARTLY, ("r0",), False),
            ("@token", "gold"): (Verdict.DENIED, ("r2",), True),
        }

    def test_a_name_that_nothing_proves_here_has_no_cell(self) -> None:
        (one,) = self.made().matrices
        assert {key: (cell.verdict, cell.rules) for key, cell in one.cells.items()} == {
            ("@both", "ship"): (Verdict.ALLOWED, ("r1",)),
            ("@both", "pay"): (Verdict.NO_RULE, ("r0",)),
            ("/z", "pay"): (Verdict.NO_RULE, ("r0",)),
        }

    def test_the_page_has_a_table_of_names_and_one_of_issuers(self) -> None:
        text = Reader(as_html(self.made("cluster"))).text
        assert "Peers by name in prod" in text
        assert "@both certificate /a @both cluster ns/a" in text
        assert "Issuers in prod" in text
        assert "cluster kubernetes https://kubernetes.default.svc.cluster.local meshid:prod none" in text
        assert "@both /z with a token pay all none none none" in text

    def test_other_forms(self) -> None:
        made = self.made("cluster")
        table = as_table(made)
        assert "prod: who the peers by name are\n  PEER    ISSUER       PRINCIPAL\n" in table
        assert "  @both   cluster      ns/a\n" in table
        assert '|"allow r0 with a token"|' in as_mermaid(made)
        (environment,) = cast("list[dict[str, Any]]", as_json(made)["environments"])
        assert environment["peers"][0] == {
            "name": "both",
            "spiffe": ["/a"],
            "tokens": [{"issuer": "cluster", "principal": "ns/a"}],
        }
        assert environment["issuers"] == [
            {
                "name": "cluster",
                "profile": "kubernetes",
                "issuer": "https://kubernetes.default.svc.cluster.local",
                "audience": ["meshid:prod"],
                "pins": {},
            }
        ]


def test_each_verdict_has_a_meaning() -> None:
    assert all(re.fullmatch(r"[A-Z].*\.", verdict.meaning) for verdict in Verdict)
