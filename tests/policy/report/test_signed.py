"""What an auditor signs: what it is, when, what changed, who answers for it, and where to look first."""

from __future__ import annotations

import re
from typing import Any, cast

from meshid.policy import Policy
from meshid.policy.report.contents import Occasion, Report
from meshid.policy.report.html import as_html
from meshid.policy.report.text import as_json, as_mermaid, as_table
from tests.policy.report.test_report import HEAD, NOW, OCCASION, WHY, Reader, report_of, rule

PEOPLE = f'{WHY}owner = "team-pay"\nreviewer = "A. Auditor, 2026-11-02"\n'
NEW_SYNTAX = (
    """
[[peers]]
name = "batch"
members = ["/ns/batch/**", "@api"]
[[peers]]
name = "api"
spiffe = ["/ns/api"]
"""
    + rule("allow", "sets", "@batch", more=f'{PEOPLE}not_from = ["/ns/batch/sa/canary"]\n')
    + rule("allow", "soon", "/ns/soon", more=f"{WHY}until = 2026-12-10\n")
    + rule("allow", "today", "/ns/today", more=f"{WHY}until = 2026-11-27\n")
    + rule("allow", "over", "/ns/over", more=f"{WHY}until = 2026-11-26\n")
    + rule("allow", "later", "/ns/later", more=f'{WHY}until = 2027-06-30\nowner = "team | other"\n')
    + rule("allow", "most", "/ns/most", more=f'{WHY}http = ["GET /v1/**"]\nnot_http = ["* /v1/x"]\n')
    + rule("allow", "watched", "/ns/watched", more=f"{WHY}observe = true\n")
    + rule("allow", "partner", "spiffe://partner.example/**", "logs")
    + rule("deny", "ci", "/ns/ci/**", "*/**", more=f'{WHY}http = ["DELETE /**"]\n')
)


def loaded(text: str, environment: str = "prod", head: str = HEAD) -> Policy:
    return Policy.from_toml(head + text, environment)


def made() -> Report:
    return report_of(loaded(NEW_SYNTAX), loaded(NEW_SYNTAX, "dev"))


class TestHead:
    def test_what_is_signed_is_named_with_its_hashes(self) -> None:
        one = made()
        text = Reader(as_html(one)).text
        assert (
            "Policy policy.toml Reported 2026-11-27 09:30 UTC By meshid 1.2.3 Rules 9 rules, 1 of them"
            in text
        )
        signed = text[text.index("Signed is the policy policy.toml") :]
        for matrix in one.matrices:
            assert text.count(matrix.policy.hash) == 2
            assert f"{matrix.policy.environment.name}: {matrix.policy.hash}" in signed
        for word in ("Owner of the policy", "Reviewer", "Auditor", "Name", "Date", "Signature"):
            assert word in signed

    def test_what_is_not_known_is_not_made_up(self) -> None:
        one = Report.of([loaded(NEW_SYNTAX)], Occasion(now=NOW))
        text = Reader(as_html(one)).text
        assert "Policy not named Reported" in text
        assert "By meshid Rules" in text
        assert "Signed is the policy with these hashes, as" in text
        assert as_table(one).startswith("2026-11-27 09:30 UTC, meshid\n")

    def test_the_verdicts_are_counted(self) -> None:
        one = made()
        assert {str(verdict): count for verdict, count in one.matrices[0].counts.items()} == {
            "allowed": 4,
            "some requests": 1,
            "partly": 1,
            "denied": 0,
            "no rule": 2,
        }
        text = Reader(as_html(one)).text
        assert "with any request and without one. 4 4" in text
        assert "  4 allowed, 1 some requests, 1 partly, 2 no rule\n" in as_table(one)


class TestChanges:
    OLD = rule("allow", "a", "/ns/a", more=PEOPLE)

    def since(self, new: list[Policy], old: list[Policy]) -> Report:
        return Report.of(new, Occasion(now=NOW, revision="new.toml", since="signed.toml"), old)

    def test_what_changed_since_the_version_signed_last_is_part_of_it(self) -> None:
        new = self.OLD + rule("allow", "b", "/ns/b/**", more=PEOPLE)
        one = self.since([loaded(new)], [loaded(self.OLD)])
        text = Reader(as_html(one)).text
        changes = text[text.index("Changes since signed.toml") : text.index("Verdicts")]
        assert "changes in 'prod'" in changes
        assert "/ns/b/**" in changes
        assert loaded(self.OLD).hash in changes
        assert "\nsince signed.toml\n  changes in 'prod'\n" in as_table(one)
        told = cast("dict[str, Any]", as_json(one)["changes"])
        assert told["prod"]["policy_hashes"] == [loaded(self.OLD).hash, loaded(new).hash]

    def test_an_environment_that_one_version_lacks_is_named(self) -> None:
        one = self.since([loaded(self.OLD, "dev")], [loaded(self.OLD)])
        text = Reader(as_html(one)).text
        assert "dev: the environment is new: that version had none of this name" in text
        assert "prod: the environment is gone: only that version had it" in text
        assert "prod: the environment is gone" in as_table(one)
        assert as_json(one)["changes"] == {
            "dev": "the environment is new: that version had none of this name",
            "prod": "the environment is gone: only that version had it",
        }

    def test_a_rule_that_has_expired_in_both_changes_nothing(self) -> None:
        over = rule("allow", "over", "/ns/over", more=f"{WHY}until = 2026-11-26\n")
        one = self.since([loaded(self.OLD + over)], [loaded(self.OLD + over)])
        assert "nothing changes in 'prod'" in Reader(as_html(one)).text

    def test_without_it_nothing_is_said(self) -> None:
        assert "Changes since" not in as_html(made())
        assert "since" not in as_json(made())

    def test_a_version_without_a_name_is_the_one_signed_last(self) -> None:
        one = Report.of([loaded(self.OLD)], OCCASION, [loaded(self.OLD)])
        assert "Changes since the version signed last" in as_html(one)
        assert "\nsince the version signed last\n" in as_table(one)


class TestRules:
    def test_each_rule_has_its_owner_its_reviewer_and_its_last_day(self) -> None:
        text = Reader(as_html(made())).text
        rules = text[text.index("Rules (9)") :]
        for row in (
            "sets Because. @batch but not /ns/batch/sa/canary payments all team-pay A. Auditor, 2026-11-02",
            "soon Because. /ns/soon payments all none none 2026-12-10 in 13 days",
            "today Because. /ns/today payments all none none 2026-11-27 today",
            "over Because. /ns/over payments all none none 2026-11-26 expired",
            "later Because. /ns/later payments all team | other none 2027-06-30",
            "most Because. /ns/most payments GET /v1/** but not * /v1/x none none none",
            "observes only watched Because. /ns/watched",
        ):
            assert row in rules

    def test_each_link_leads_somewhere_and_each_rule_in_force_is_linked(self) -> None:
        page = Reader(as_html(made()))
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        links = {str(attributes["href"])[1:] for tag, attributes in page.elements if tag == "a"}
        assert len(ids) == len(set(ids))
        assert links <= set(ids)
        assert {f"rule-{each.id}" for each in made().rules} <= links

    def test_it_is_in_the_other_forms(self) -> None:
        table = as_table(made())
        assert "  sets   team-pay      A. Auditor, 2026-11-02  none\n" in table
        assert "  over   none          none                    2026-11-26 EXPIRED\n" in table
        assert "  soon   none          none                    2026-12-10 expires soon\n" in table
        assert "most (GET /v1/**; but not * /v1/x)\n" in table
        assert "  @batch  /ns/batch/**, @api\n" in table
        rules = {each["id"]: each for each in cast("list[dict[str, Any]]", as_json(made())["rules"])}
        assert rules["sets"] == {
            "id": "sets",
            "effect": "allow",
            "why": "Because.",
            "owner": "team-pay",
            "reviewer": "A. Auditor, 2026-11-02",
            "until": None,
            "expired": False,
            "expires_soon": False,
            "from": ["@batch"],
            "not_from": ["/ns/batch/sa/canary"],
            "to": ["payments"],
            "http": [],
            "not_http": [],
            "needs_token": False,
            "observe": False,
        }
        assert (rules["over"]["expired"], rules["today"]["expires_soon"]) == (True, True)
        environments = cast("list[dict[str, Any]]", as_json(made())["environments"])
        assert environments[0]["sets"] == {"batch": ["/ns/batch/**", "@api"]}
        diagram = as_mermaid(made())
        assert '|"allow sets#44; but not /ns/batch/sa/canary"|' in diagram
        assert '|"allow later#44; until 2027-06-30"|' in diagram
        assert "allow over" not in diagram

    def test_a_rule_expires_soon_for_thirty_days(self) -> None:
        for day, soon in ((26, True), (27, True), (28, False)):
            one = report_of(loaded(rule("allow", "a", "/ns/a", more=f"{WHY}until = 2026-12-{day}\n")))
            assert one.expires_soon(one.rules[0]) is soon

    def test_many_conditions_are_counted_in_a_cell(self) -> None:
        paths = ", ".join(f'"GET /{n}"' for n in range(6))
        allow = rule("allow", "a", "/ns/a", more=f"{WHY}http = [{paths}]\nnot_http = [{paths}]\n")
        text = Reader(as_html(report_of(loaded(allow)))).text
        assert (
            "a GET /0 GET /1 GET /2 GET /3 and 2 more but not GET /0 GET /1 GET /2 GET /3 and 2 more" in text
        )


class TestFirstLooks:
    def test_what_is_wide_federated_or_only_observed_is_listed(self) -> None:
        text = Reader(as_html(made())).text
        first = text[text.index("To look at first") : text.index("Findings")]
        assert "Whatever has a ** (4)" in first
        assert "from spiffe://partner.example/** every peer of partner.example partner" in first
        # "*/**" is every target as well: a target has at least one segment.
        assert "to */** every target ci" in first
        assert "from /ns/batch/** sets" in first
        assert (
            "Peers of federated trust domains (1) partner.example (1) spiffe://partner.example/** partner"
            in first
        )
        assert "Only observed (1) watched" in first
        assert "Expires within 30 days (2) soon 2026-12-10 today 2026-11-27" in first
        assert "Expired, and no rule any more (1) over 2026-11-26" in first
        table = as_table(made())
        assert re.search(r"^  watched +only observes +watched$", table, re.MULTILINE)
        assert "sets (for some of them; not for /ns/batch/sa/canary)\n" in table
        assert "sets for some of them not for /ns/batch/sa/canary" in text
        wide = cast("list[dict[str, Any]]", as_json(made())["wide"])
        assert wide[0] == {
            "entry": "spiffe://partner.example/**",
            "in": "from",
            "everything": True,
            "rules": ["partner"],
        }

    def test_where_there_is_none_it_says_so(self) -> None:
        head = HEAD.replace('federates_with = ["partner.example"]\n', "")
        one = report_of(loaded(rule("allow", "a", "/ns/a"), head=head))
        text = Reader(as_html(one)).text
        assert "Whatever has a ** (0) None." in text
        assert "None: no environment federates with another trust domain." in text
        assert "Only observed (0) None." in text
        everyone = report_of(loaded(rule("allow", "a", "**"), head=head))
        assert "from /** every peer of its own trust domains a" in Reader(as_html(everyone)).text


class TestFilters:
    def test_each_row_says_its_verdicts_and_owners(self) -> None:
        page = Reader(as_html(made()))
        rows = [
            attributes for tag, attributes in page.elements if tag == "tr" and "data-owners" in attributes
        ]
        assert {str(each["data-owners"]) for each in rows} >= {"\nteam-pay\n", "\nteam | other\n", "\n\n"}
        verdicts = {str(each["data-verdicts"]) for each in rows if "data-verdicts" in each}
        assert verdicts >= {"\nallowed\n", "\npartly\n", "\npartly\nallowed\nno rule\n"}

    def test_one_can_choose_each_verdict_and_each_owner(self) -> None:
        page = Reader(as_html(made()))
        options = [attributes["value"] for tag, attributes in page.elements if tag == "option"]
        assert options == [
            *["", "=allowed", "=some requests", "=partly", "=denied", "=no rule"],
            *["", "none", "=team | other", "=team-pay"],
        ]

    def test_without_the_script_everything_is_there(self) -> None:
        page = Reader(as_html(made()))
        assert not any("hidden" in attributes for _, attributes in page.elements)
        assert not any("off" in str(attributes.get("class", "")).split() for _, attributes in page.elements)
        assert ".filters { display: none;" in page.inside["style"]
        # Whatever is filtered away on the screen is on paper nevertheless.
        assert "@media screen { .off { display: none; } }" in page.inside["style"]


def test_nothing_that_counts_is_said() -> None:
    over = rule("allow", "over", "/ns/over", more=f"{WHY}until = 2026-11-26\n")
    one = report_of(loaded(over))
    assert "No rule that counts lets anybody reach anything." in Reader(as_html(one)).text
    assert "  TARGET  PEERS  VERDICT  RULES\n\n" in as_table(one)
