"""`meshid policy …`: the answer, the exit status, and each way in which there can be none."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from meshid.__main__ import main
from meshid.cli import inputs
from meshid.cli.commands import POLICY_COMMANDS
from meshid.cli.policy import replay as replay_command
from meshid.cli.policy.progress import progress_of
from meshid.envoy import export_rbac
from meshid.names.spiffe_id import SpiffeId
from meshid.policy import FindingKind, Policy
from meshid.policy.file.schema import schema
from tests.audit.replay.test_replay import asked, edited, line_of
from tests.helpers.processes import UNMEASURED
from tests.istio.test_policies import KUBECTL

FILE = """\
version = 1

[environments.prod]
trust_domains  = ["prod.example.org", "old.example.org"]
federates_with = ["partner.example"]

[environments.dev]
trust_domains  = ["dev.example.org"]
federates_with = ["partner.example"]

[[allow]]
id   = "checkout-charges-cards"
why  = "Checkout charges cards."
from = ["/ns/checkout/sa/api"]
to   = ["payments"]

[[allow]]
id   = "partner-reads-charges"
why  = "Contract 114."
from = ["spiffe://partner.example/ns/accounting/**"]
to   = ["payments"]
http = ["GET /v1/charges/*", "HEAD /v1/charges/*"]

[[deny]]
id   = "no-build-agents"
why  = "They touch nothing that runs."
from = ["/ns/ci/**"]
to   = ["**"]
"""
WRONG = FILE.replace("from = ", "form = ", 1).replace('to   = ["payments"]', 'to = "payments"', 1)
WIDER = FILE.replace("/ns/checkout/sa/api", "/ns/checkout/**")
OBSERVING = f"observe = true\n{FILE}"
HASH = Policy.from_toml(FILE, "prod").hash
DEV_HASH = Policy.from_toml(FILE, "dev").hash

CHECKOUT = "spiffe://prod.example.org/ns/checkout/sa/api"
BOT = "spiffe://prod.example.org/ns/ci/sa/bot"
PROD = ["--environment", "prod"]
ISTIO = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {rules: [{from: [{source: {principals: ["cluster.local/ns/a/sa/b"]}}]}]}
"""
HOSTILE = "x\n\x1b[2Jok"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a directory of its own, with good files in it."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "policy.toml": FILE,
        "wrong.toml": WRONG,
        "wider.toml": WIDER,
        "observing.toml": OBSERVING,
        "istio.yaml": ISTIO,
    }.items():
        Path(name).write_text(text)


@attrs.frozen
class Told:
    """What the command said, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> dict[str, object]:
        facts: dict[str, object] = json.loads(self.out)
        return facts


Ask = Callable[..., Told]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*arguments: str) -> Told:
        status = main(["policy", *arguments])
        return Told(status, *capsys.readouterr())

    return ask


def give(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Put *data* on standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


class TestCheck:
    def test_a_right_file(self, ask: Ask) -> None:
        told = ask("check", "policy.toml")
        assert told == Told(
            0,
            "ok\n"
            "  prod: 3 rules; trust domains prod.example.org, old.example.org;"
            f" federates with partner.example; hash {HASH}\n"
            "  dev: 3 rules; trust domains dev.example.org; federates with partner.example;"
            f" hash {DEV_HASH}\n",
            "",
        )

    def test_a_wrong_file_is_told_every_mistake_once(self, ask: Ask) -> None:
        told = ask("check", "wrong.toml")
        assert (told.status, told.err) == (1, "")
        assert told.lines == [
            "3 errors",
            "  allow[0].form: is unknown; did you mean 'from'?",
            '  allow[0].from: is missing; write a list of strings, such as ["/ns/checkout/**"]',
            '  allow[0].to: must be a list: write ["payments"]',
        ]

    def test_mistakes_of_different_environments_are_all_told(self, ask: Ask) -> None:
        told = ask("check", "policy.toml", "--environment", "prd", "--environment", "deev")
        assert told.lines[0] == "2 errors"
        assert "did you mean 'prod'?" in told.lines[1]
        assert "did you mean 'dev'?" in told.lines[2]

    def test_one_environment(self, ask: Ask) -> None:
        told = ask("check", "policy.toml", "--environment", "dev")
        assert [line.partition(":")[0] for line in told.lines] == ["ok", "  dev"]

    def test_a_file_without_environments_is_wrong(self, ask: Ask) -> None:
        Path("none.toml").write_text("version = 1\n")
        told = ask("check", "none.toml")
        assert (told.status, told.lines[0]) == (1, "1 error")
        assert "environments" in told.lines[1]

    def test_a_file_of_another_shape_is_wrong(self, ask: Ask) -> None:
        for text in ("[]", "environments = 3", "{}"):
            Path("other.toml").write_text(text)
            assert ask("check", "other.toml").status == 1

    def test_a_policy_that_only_observes_is_told(self, ask: Ask) -> None:
        assert "only observes: it lets EVERY verified peer in" in ask("check", "observing.toml").out

    def test_an_environment_that_federates_with_nobody(self, ask: Ask) -> None:
        Path("alone.toml").write_text('version = 1\n[environments.a]\ntrust_domains = ["a.example"]\n')
        assert ask("check", "alone.toml").lines[1].startswith("  a: 0 rules; trust domains a.example; hash ")

    def test_json(self, ask: Ask) -> None:
        told = ask("check", "policy.toml", "--environment", "prod", "--json")
        assert told.json == {
            "right": True,
            "mistakes": [],
            "environments": [
                {
                    "environment": "prod",
                    "rules": 3,
                    "trust_domains": ["prod.example.org", "old.example.org"],
                    "federates_with": ["partner.example"],
                    "observe": False,
                    "policy_hash": HASH,
                }
            ],
        }
        wrong = ask("check", "wrong.toml", "--json")
        assert wrong.status == 1
        assert wrong.json["right"] is False
        assert {"where": "allow[0].to", "what": 'must be a list: write ["payments"]'} in wrong.json[
            "mistakes"
        ]  # type: ignore[operator]

    def test_json_is_read_as_well(self, ask: Ask) -> None:
        Path("policy.json").write_text(
            '{"version": 1, "environments": {"a": {"trust_domains": ["a.example"]}}}'
        )
        assert ask("check", "policy.json").status == 0

    def test_standard_input(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        give(monkeypatch, FILE.encode())
        assert ask("check", "-").status == 0
        give(monkeypatch, b"")
        assert ask("check", "-").status == 1
        give(monkeypatch, b"\xff")
        said = "meshid: standard input: it is not UTF-8, at byte 1 (line 1); save it as UTF-8\n"
        assert ask("check", "-") == Told(2, "", said)

    def test_a_file_in_utf_16(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        give(monkeypatch, FILE.encode("utf-16"))
        said = "meshid: standard input: it is UTF-16; save it as UTF-8\n"
        assert ask("check", "-") == Told(2, "", said)

    def test_what_a_stranger_wrote_is_escaped(self, ask: Ask) -> None:
        Path("hostile.toml").write_text(
            FILE.replace("[environments.dev]", f"[environments.{json.dumps(HOSTILE)}]")
        )
        assert "\x1b" not in ask("check", "hostile.toml").out
        assert "\x1b" not in ask("check", "policy.toml", "--environment", HOSTILE).out


class TestExplain:
    def test_what_stays_encoded_is_said_as_the_setting_says_it(self, ask: Ask) -> None:
        asked = ("explain", "policy.toml", *PROD, "--target", "payments", "--request", "GET /a%2fb")
        assert "encoded '/'" in ask(*asked, "--peer", CHECKOUT).out
        assert "encoded '/'" not in ask(*asked, "--peer", CHECKOUT, "--keep-encoded", "%2F").out
        assert "'GET /a%2Fb'" in ask(*asked, "--keep-encoded", "%2F", "--keep-encoded", "%25").out
        assert "invalid choice: '%3F'" in ask(*asked, "--keep-encoded", "%3F").err

    def test_what_is_no_target_is_said(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--peer", CHECKOUT, "--target", "/payments")
        assert (told.status, told.out) == (2, "")
        assert "target must be a name such as 'payments', or several with '/' between them" in told.err

    def test_a_peer_that_is_let_in(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--peer", CHECKOUT, "--target", "payments")
        assert (told.status, told.err) == (0, "")
        assert told.lines[0] == f"allowed: {CHECKOUT} at 'payments'"
        assert "  policy " + HASH in told.lines

    def test_a_peer_that_is_refused(self, ask: Ask) -> None:
        told = ask(
            "explain", "policy.toml", "--environment", "dev", "--peer", CHECKOUT, "--target", "payments"
        )
        assert told.status == 1
        assert (
            "would match, except for the trust domain:"
            " the peer is in prod.example.org, the rule wants dev.example.org"
        ) in told.out

    def test_a_request(self, ask: Ask) -> None:
        question = ["explain", "policy.toml", *PROD, "--target", "payments"]
        question += ["--peer", "spiffe://partner.example/ns/accounting/x"]
        assert ask(*question, "--request", "GET /v1/charges/1").status == 0
        assert ask(*question, "--request", "PUT /v1/charges/1").status == 1
        assert ask(*question, "--request", "GET /v1/../1").status == 1
        assert ask(*question).status == 1

    def test_json(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--peer", BOT, "--target", "payments", "--json")
        assert told.status == 1
        assert told.json | {"verdict": "refused", "reason": "denied", "rule": "no-build-agents"} == told.json
        assert told.json["spiffe_id"] == BOT

    def test_who_may_reach_a_target(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--target", "payments")
        assert told == Told(
            0,
            "who may reach 'payments', where no deny rule matches:\n"
            '  allow rule "checkout-charges-cards"\n'
            f"    from  {CHECKOUT}\n"
            "          spiffe://old.example.org/ns/checkout/sa/api\n"
            "    why   Checkout charges cards.\n"
            '  allow rule "partner-reads-charges"\n'
            "    from  spiffe://partner.example/ns/accounting/**\n"
            "    for   GET /v1/charges/*\n"
            "          HEAD /v1/charges/*\n"
            "    why   Contract 114.\n"
            '  deny rule "no-build-agents"\n'
            "    from  spiffe://prod.example.org/ns/ci/**\n"
            "          spiffe://old.example.org/ns/ci/**\n"
            "    why   They touch nothing that runs.\n"
            f"  policy {HASH}\n",
            "",
        )

    def test_who_may_reach_it_with_a_request(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--target", "payments", "--request", "PUT /x")
        assert told.lines[0] == "who may reach 'payments' for 'PUT /x', where no deny rule matches:"
        assert "partner-reads-charges" not in told.out

    def test_nobody(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--target", "paymetns")
        assert told.status == 1
        assert told.lines[0] == (
            "no peer may reach 'paymetns': no allow rule is about it; did you mean 'payments'?"
        )
        assert ask("explain", "policy.toml", *PROD, "--target", "zzz").lines[0].endswith("is about it")

    def test_everybody_while_a_policy_observes(self, ask: Ask) -> None:
        told = ask("explain", "observing.toml", *PROD, "--target", "zzz")
        assert told.status == 0
        assert told.lines[1] == "  every peer: the policy only observes, and lets EVERY verified peer in"

    def test_a_rule_that_only_observes(self, ask: Ask) -> None:
        rule = '\n[[allow]]\nid = "later"\nfrom = ["/ns/b/**"]\nto = ["logs"]\nobserve = true\n'
        Path("later.toml").write_text(FILE + rule)
        told = ask("explain", "later.toml", *PROD, "--target", "logs")
        assert told.status == 1
        assert '  allow rule "later", which only observes' in told.lines

    def test_who_may_reach_it_as_json(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", "--environment", "dev", "--target", "payments", "--json")
        assert told.json | {"possible": True, "target": "payments", "observe": False} == told.json
        assert json.loads(told.out)["rules"][0] == {
            "rule": "checkout-charges-cards",
            "effect": "allow",
            "observe": False,
            "why": "Checkout charges cards.",
            "where": "allow[0]",
            "from": ["spiffe://dev.example.org/ns/checkout/sa/api"],
            "http": [],
        }

    def test_a_request_that_every_policy_refuses_is_no_question(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--target", "payments", "--request", "GET /..")
        assert (told.status, told.out) == (2, "")
        assert "dot segment" in told.err

    def test_a_peer_is_named_in_whole(self, ask: Ask) -> None:
        told = ask("explain", "policy.toml", *PROD, "--target", "payments", "--peer", "/ns/checkout/sa/api")
        assert (told.status, told.out) == (2, "")
        assert "write the whole SPIFFE ID of the peer, such as spiffe://" in told.err


class TestExplainOfRulesThatEnd:
    """And of what they leave out."""

    QUESTION = ("explain", "ending.toml", *PROD, "--target", "payments")

    @pytest.fixture(autouse=True)
    def ending(self) -> None:
        Path("ending.toml").write_text(
            'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]\n'
            '[[allow]]\nid = "batch"\nwhy = "Nightly."\nfrom = ["/ns/**"]\nnot_from = ["/ns/old/**"]\n'
            'to = ["payments"]\nhttp = ["GET /v1/**"]\nnot_http = ["* /v1/internal/**"]\nuntil = 2027-01-31\n'
        )

    @pytest.mark.parametrize(
        ("now", "status"),
        [
            ("2027-01-31", 0),
            ("2027-01-31T23:59:59Z", 0),
            ("2027-02-01", 1),
            ("2027-02-01T01:00+02:00", 0),
            ("2027-02-01T00:00:00Z", 1),
        ],
    )
    def test_as_of_another_day(self, ask: Ask, now: str, status: int) -> None:
        told = ask(*self.QUESTION, "--peer", CHECKOUT, "--request", "GET /v1/a", "--now", now)
        assert told.status == status
        assert ("its last day was 2027-01-31 (until)" in told.out) is bool(status)
        listed = ask(*self.QUESTION, "--now", now)
        assert listed.status == status
        over = ", which is over" if status else ""
        assert f'  allow rule "batch"{over}' in listed.lines
        assert listed.lines[0].startswith(
            "no peer may reach 'payments': no allow rule is about it any more" if over else "who"
        )

    def test_a_listing_has_all_that_a_rule_says(self, ask: Ask) -> None:
        told = ask(*self.QUESTION, "--now", "2027-01-31")
        assert told.lines[1:-1] == [
            '  allow rule "batch"',
            "    from  spiffe://prod.example.org/ns/**",
            "    but   spiffe://prod.example.org/ns/old/**",
            "    for   GET /v1/**",
            "    not   * /v1/internal/**",
            "    till  2027-01-31",
            "    why   Nightly.",
        ]
        (rule,) = json.loads(ask(*self.QUESTION, "--json", "--now", "2027-02-01").out)["rules"]
        assert (
            rule
            | {
                "not_from": ["spiffe://prod.example.org/ns/old/**"],
                "not_http": ["* /v1/internal/**"],
                "until": "2027-01-31",
                "over": True,
            }
            == rule
        )

    def test_requests_to_follow(self, ask: Ask) -> None:
        question = (*self.QUESTION, "--peer", CHECKOUT, "--now", "2027-01-31")
        alone, following = ask(*question), ask(*question, "--requests-follow")
        waits = (
            "allow rule \"batch\" matches if the request is 'GET /v1/**', unless it is '* /v1/internal/**'"
        )
        assert (alone.status, following.status) == (1, 0)
        assert alone.lines[0] == f"some requests: {CHECKOUT} at 'payments'"
        assert f"  with requests (http=True): {waits}" in alone.lines
        assert following.lines[0] == f"allowed: {CHECKOUT} at 'payments'"
        assert f"  {waits}" in following.lines

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (["--now", "tomorrow"], "'tomorrow' is no day; write it as 2027-01-31"),
            (["--now", "2027-01-31T18:00"], "names no time zone; add Z for UTC"),
            (["--requests-follow"], "add --peer SPIFFE_ID"),
            (["--requests-follow", "--request", "GET /"], "not allowed with argument"),
        ],
        ids=["no day", "no zone", "nobody", "both"],
    )
    def test_what_is_no_question(self, ask: Ask, arguments: list[str], why: str) -> None:
        told = ask(*self.QUESTION, *arguments)
        assert (told.status, told.out) == (2, "")
        assert why in told.err


class TestLint:
    def test_nothing_is_found(self, ask: Ask) -> None:
        assert ask("lint", "policy.toml") == Told(0, "nothing found\n", "")

    def test_findings_and_warnings(self, ask: Ask) -> None:
        Path("loose.toml").write_text(
            f'{FILE}\n[[allow]]\nid = "loose"\nfrom = ["/ns/web/sa/*"]\nto = ["**"]\n'
        )
        told = ask("lint", "loose.toml")
        assert told.status == 1
        assert told.lines == [
            "1 finding, 1 warning",
            '  allow[2] (rule "loose"): the rule has no `why`; say what it is for [no_why]',
            '  allow[2].to[0] (rule "loose"): it allows every target; name the ones you mean [wide]',
        ]
        assert ask("lint", "loose.toml", "--ignore", "wide").status == 0
        assert ask("lint", "loose.toml", "--ignore", "wide", "--ignore", "no_why").out == "nothing found\n"

    def test_a_finding_of_one_environment_is_told_with_it(self, ask: Ask) -> None:
        rule = '\n[[allow]]\nid = "x"\nwhy = "x"\nfrom = ["spiffe://dev.example.org/a"]\nto = ["x"]\n'
        federation = 'federates_with = ["partner.example"]'
        extra = federation.replace('"]', '", "extra.example"]')
        Path("one.toml").write_text(FILE.replace(federation, extra, 1))
        told = ask("lint", "one.toml")
        assert told.status == 1
        assert "(in prod) [unused_federation]" in told.lines[1]
        assert rule not in told.out

    def test_json(self, ask: Ask) -> None:
        Path("why.toml").write_text(FILE.replace('why  = "Contract 114."\n', ""))
        told = ask("lint", "why.toml", "--json")
        assert told.status == 0
        assert told.json == {
            "environments": ["prod", "dev"],
            "findings": [
                {
                    "kind": "no_why",
                    "warning": True,
                    "where": "allow[1]",
                    "rule": "partner-reads-charges",
                    "what": "the rule has no `why`; say what it is for",
                    "environments": ["prod", "dev"],
                }
            ],
        }

    def test_an_unknown_kind_is_told_with_the_known_ones(self, ask: Ask) -> None:
        told = ask("lint", "policy.toml", "--ignore", "wiide")
        assert (told.status, told.out) == (2, "")
        assert all(kind in told.err for kind in FindingKind)

    def test_a_wrong_file_is_no_answer(self, ask: Ask) -> None:
        told = ask("lint", "wrong.toml")
        assert (told.status, told.out) == (2, "")
        assert told.err.count("\n") == 3


class TestDiff:
    def test_two_files(self, ask: Ask) -> None:
        told = ask("diff", "policy.toml", "wider.toml", *PROD)
        assert (told.status, told.err) == (1, "")
        assert told.lines[0] == "changes in 'prod'"
        assert told.lines[2].startswith("    + /ns/checkout/** -> payments")
        assert ask("diff", "wider.toml", "policy.toml", *PROD).lines[2].startswith("    - ")

    def test_the_same(self, ask: Ask) -> None:
        assert ask("diff", "policy.toml", "policy.toml", *PROD).status == 0

    def test_two_environments(self, ask: Ask) -> None:
        told = ask("diff", "policy.toml", *PROD, "--and", "dev")
        assert (told.status, told.lines[0]) == (
            0,
            "nothing changes from 'prod' to 'dev', each with its own peers",
        )

    def test_two_environments_of_two_files_one_of_them_standard_input(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        give(monkeypatch, FILE.encode())
        assert ask("diff", "-", "wider.toml", *PROD, "--and", "dev").status == 1
        give(monkeypatch, FILE.encode())
        assert ask("diff", "-", *PROD, "--and", "dev").status == 0

    def test_json(self, ask: Ask) -> None:
        told = ask("diff", "policy.toml", "wider.toml", *PROD, "--json")
        assert told.status == 1
        assert told.json["empty"] is False

    def test_one_alone_has_no_difference(self, ask: Ask) -> None:
        told = ask("diff", "policy.toml", *PROD)
        assert told == Told(
            2,
            "",
            "meshid: there is only one policy to compare;"
            " add another file, or another environment with --and\n",
        )

    def test_the_wrong_one_of_two_is_named(self, ask: Ask) -> None:
        told = ask("diff", "policy.toml", "wrong.toml", *PROD)
        assert (told.status, told.out) == (2, "")
        assert all(line.startswith("meshid: 'wrong.toml': allow[0]") for line in told.err.splitlines())
        told = ask("diff", "policy.toml", *PROD, "--and", "deev")
        assert "meshid: 'policy.toml': environments: there is no environment 'deev'" in told.err


class TestProve:
    def test_it_holds(self, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, "--never", "/ns/ci/**")
        assert told == Told(0, f"holds in 'prod': /ns/ci/** never reaches **\n  policy {HASH}\n", "")

    def test_it_does_not_hold(self, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, "--never", "/ns/checkout/**", "--reach", "payments")
        assert (told.status, told.err) == (1, "")
        assert told.lines[0].startswith("does not hold in 'prod'")
        assert 'is allowed by rule "checkout-charges-cards"' in told.lines[1]

    def test_json(self, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, "--never", "/**", "--reach", "payments", "--json")
        assert (told.status, told.json["holds"]) == (1, False)

    def test_a_target_that_nobody_may_reach_makes_a_warning(self, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, "--never", "/**", "--reach", "paymetns")
        assert (told.status, told.err) == (0, "")
        assert told.lines[:2] == [
            "holds in 'prod': /** never reaches paymetns, but",
            "  no allow rule is about 'paymetns', so this holds for every peer; did you mean 'payments'?",
        ]

    def test_a_name_of_nothing_that_is_loaded(self, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, "--never", "/ns/chekout/**")
        assert (told.status, told.lines[1]) == (
            0,
            "  nothing that is loaded can be called '/ns/chekout/**'; did you mean '/ns/checkout/**'?",
        )

    def test_a_trust_domain_that_the_file_does_not_know_is_no_answer(self, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, "--never", "spiffe://prod.exmaple.org/**")
        assert (told.status, told.out) == (2, "")
        assert told.err == (
            "meshid: 'spiffe://prod.exmaple.org/**': environment 'prod' neither has nor federates with"
            " prod.exmaple.org, nor does another environment of its file; did you mean prod.example.org?\n"
        )

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["--never", "ns/ci/**"], "argument --never: "),
            (["--never", "/**", "--reach", "/payments"], "argument --reach: "),
            ([], "--never"),
        ],
    )
    def test_wrong_patterns(self, arguments: list[str], named: str, ask: Ask) -> None:
        told = ask("prove", "policy.toml", *PROD, *arguments)
        assert (told.status, told.out) == (2, "")
        assert named in told.err


OLD = Policy.from_toml(FILE, "prod")
NEW = FILE.replace('to   = ["payments"]', 'to   = ["other"]', 1)


def log(*lines: bytes) -> None:
    Path("audit.jsonl").write_bytes(b"".join(lines))


class TestReplay:
    QUESTION = ("replay", "audit.jsonl", "--policy", "new.toml", *PROD)

    @pytest.fixture(autouse=True)
    def new(self) -> None:
        Path("new.toml").write_text(NEW)

    def test_what_would_flip(self, ask: Ask) -> None:
        one = asked(OLD, peer=CHECKOUT, target="payments")
        log(
            one,
            one,
            asked(OLD, "GET /v1/a", peer=CHECKOUT, target="payments"),
            b"junk\n",
            asked(OLD, peer=BOT, target="x"),
        )
        told = ask(*self.QUESTION)
        assert told == Told(
            1,
            "3 of 4 decisions would flip\n"
            f"  now refused, 3 times: {CHECKOUT} at 'payments'\n"
            "    was    allowed, rule checkout-charges-cards\n"
            f"    now    {told.lines[3].partition('now    ')[2]}\n"
            "    first  2027-01-15 08:00:00+00:00\n"
            "    last   2027-01-15 08:00:00+00:00\n"
            "    for    a handshake (2 times), 'GET /v1/a'\n"
            "  not replayed: 1 line\n"
            "    1 line: Not a JSON object. At line 4\n"
            f"  policy {Policy.from_toml(NEW, 'prod').hash}\n",
            "",
        )
        assert told.lines[3].startswith(
            '    now    no_rule: allow rule "checkout-charges-cards" would match, except for'
        )

    def test_the_other_way_round(self, ask: Ask) -> None:
        log(asked(OLD, peer=CHECKOUT, target="other"))
        assert ask(*self.QUESTION).lines[1].startswith("  now admitted, 1 time: ")

    def test_nothing_flips(self, ask: Ask) -> None:
        log(asked(OLD, peer=BOT, target="payments"))
        told = ask(*self.QUESTION)
        assert (told.status, told.lines[0]) == (0, "none of 1 decision would flip")

    def test_as_of_another_day(self, ask: Ask) -> None:
        Path("new.toml").write_text(
            FILE.replace('to   = ["payments"]', 'to = ["payments"]\nuntil = 2027-01-31', 1)
        )
        log(asked(OLD, peer=CHECKOUT, target="payments"))
        assert ask(*self.QUESTION, "--now", "2027-01-31").status == 0
        told = ask(*self.QUESTION, "--now", "2027-02-01")
        assert (told.status, told.lines[0]) == (1, "1 of 1 decision would flip")

    def test_many_requests_of_one_flip_are_summed_up(self, ask: Ask) -> None:
        log(*(asked(OLD, f"GET /{number}", peer=CHECKOUT, target="payments") for number in range(8)))
        assert ask(*self.QUESTION).lines[6].endswith("'GET /3', 'GET /4', and 3 more")

    def test_many_flips_are_summed_up(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replay_command, "_SHOWN_FLIPS", 1)
        monkeypatch.setattr("meshid.audit.replay.replay.MAX_FLIPS", 2)
        Path("old.toml").write_text(FILE.replace("/sa/api", "/**"))
        old = Policy.from_toml(Path("old.toml").read_text(), "prod")
        log(*(asked(old, peer=f"{CHECKOUT}{number}", target="payments") for number in range(5)))
        told = ask(*self.QUESTION)
        assert "  ... and 1 more kinds of flips; --json shows them" in told.lines
        assert "  3 more would flip; they are only counted, as there are too many kinds" in told.lines

    def test_many_skipped_lines_are_summed_up(self, ask: Ask) -> None:
        log(*[asked(OLD, peer=BOT, target="x")] * 5, *[b"junk\n"] * 5)
        told = ask(*self.QUESTION)
        assert told.status == 0
        assert "    5 lines: Not a JSON object. At line 6, 7, 8, ..." in told.lines

    def test_too_little_to_say_that_nothing_flips_is_no_answer(self, ask: Ask) -> None:
        log(*[asked(OLD, peer=BOT, target="x")] * 5, *[b"junk\n"] * 6)
        assert ask(*self.QUESTION) == Told(
            2,
            "",
            "meshid: 'audit.jsonl': only 5 of 11 decisions can be replayed:"
            " too few to say that none would flip\n"
            "meshid: 'audit.jsonl': 6 lines: Not a JSON object. At line 6, 7, 8, ...\n",
        )
        # What flips, flips; and what no policy of this environment decides is not missing.
        log(asked(OLD, peer=CHECKOUT, target="payments"), *[b"junk\n"] * 6)
        told = ask(*self.QUESTION, "--json")
        assert (told.status, told.json["flipped"], told.json["enough"]) == (1, 1, False)
        log(asked(OLD, peer=BOT, target="x"), *[b"{}\n"] * 6)
        assert ask(*self.QUESTION).status == 0

    def test_json(self, ask: Ask) -> None:
        log(asked(OLD, "GET /v1/a", peer=CHECKOUT, target="payments"), b"{}\n")
        told = ask(*self.QUESTION, "--json")
        assert told.status == 1
        [flip] = json.loads(told.out)["flips"]
        detail = flip["now"].pop("detail")
        assert "would match, except for the target" in detail
        assert flip == {
            "spiffe_id": CHECKOUT,
            "target": "payments",
            "was": {
                "verdict": "admitted",
                "reason": "allowed",
                "rule": "checkout-charges-cards",
                "detail": "",
            },
            "now": {"verdict": "refused", "reason": "no_rule", "rule": None},
            "count": 1,
            "first": "2027-01-15 08:00:00+00:00",
            "last": "2027-01-15 08:00:00+00:00",
            "requests": [{"request": "GET /v1/a", "count": 1}],
        }
        assert told.json | {"lines": 2, "replayed": 1, "flipped": 1, "unlisted": 0} == told.json
        assert told.json["skipped"] == [
            {
                "cause": "other_record",
                "meaning": "Another record of the same log, not a decision.",
                "count": 1,
                "examples": [{"line": 2, "what": ""}],
            }
        ]

    def test_a_log_with_nothing_to_replay_is_no_answer(self, ask: Ask) -> None:
        log(b"junk\n", line_of(OLD.decide(SpiffeId.parse(CHECKOUT), "payments"), environment="dev"))
        told = ask(*self.QUESTION)
        assert (told.status, told.out) == (2, "")
        assert "meshid: 'audit.jsonl': none of its 2 lines can be replayed\n" in told.err
        assert "Decided in another environment than the policy is for. At line 2 ('dev')" in told.err
        log()
        assert ask(*self.QUESTION) == Told(2, "", "meshid: 'audit.jsonl' is empty\n")

    def test_standard_input(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        give(monkeypatch, asked(OLD, peer=BOT, target="x"))
        assert ask("replay", "-", "--policy", "new.toml", *PROD).status == 0

    def test_a_log_that_is_missing(self, ask: Ask) -> None:
        told = ask(*self.QUESTION)
        assert told == Told(2, "", "meshid: 'audit.jsonl' cannot be read: No such file or directory\n")

    def test_what_a_stranger_wrote_is_escaped(self, ask: Ask) -> None:
        log(
            asked(OLD, f"GET /{HOSTILE}", peer=CHECKOUT, target="payments"),
            edited(asked(OLD, peer=BOT), "meshid.target", HOSTILE),
        )
        told = ask(*self.QUESTION)
        assert told.status in {0, 1}
        assert "\x1b" not in told.out


def read_to_the_end(terminal: io.FileIO) -> bytes:
    shown = b""
    # Linux ends the reading of a terminal with an error, EIO.
    with suppress(OSError):
        while data := terminal.read(4096):
            shown += data
    return shown


class TestProgress:
    def shown(self, log_file: str, lines: int = 20_000) -> str:
        """Replay a log with standard error on a terminal, and return what is shown there."""
        Path("new.toml").write_text(NEW)
        log(*[asked(OLD, peer=CHECKOUT, target="payments")] * lines)
        return self.run(["replay", log_file, "--policy", "new.toml", *PROD], Path("audit.jsonl").read_bytes())

    def run(self, arguments: list[str], given: bytes = b"", seconds: float = 0.02) -> str:
        script = (
            "import sys\n"
            "from meshid.__main__ import main\n"
            "from meshid.cli.policy import progress\n"
            f"progress._SECONDS = {seconds}\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
        command = [sys.executable, "-c", script, "policy", *arguments]
        control, terminal = pty.openpty()
        # Read while it runs: a terminal holds a few kilobytes, and then whoever writes to it waits.
        with os.fdopen(control, "rb", buffering=0) as reading, ThreadPoolExecutor(1) as pool:
            shown = pool.submit(read_to_the_end, reading)
            subprocess.run(command, input=given, stdout=subprocess.PIPE, stderr=terminal, check=False)
            os.close(terminal)
            return shown.result(timeout=60).decode()

    def test_a_bar_grows_and_is_gone_at_the_end(self) -> None:
        shown = self.shown("audit.jsonl")
        assert re.search(r"\r\[#+\.+\] +\d+%  \d+ lines", shown)
        assert re.search(r"\r +\r$", shown)

    def test_a_short_log_needs_none(self) -> None:
        assert self.shown("audit.jsonl", 1) == ""

    def test_rules_are_counted_now_and_then_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress_of("linting") as tell:
            assert tell is not None
            tell(1, 1000)
        assert terminal.getvalue() == ""

    def test_of_a_pipe_the_lines_are_counted(self) -> None:
        shown = self.shown("-")
        assert re.search(r"\r\d+ lines", shown)
        assert "%" not in shown

    def test_lint_counts_the_rules(self) -> None:
        rules = "".join(
            f'[[allow]]\nid = "r{each}"\nwhy = "w"\nfrom = ["/a{each}"]\nto = ["t"]\n' for each in range(1001)
        )
        Path("many.toml").write_text(
            'version = 1\n[environments.prod]\ntrust_domains = ["prod.example.org"]\n' + rules
        )
        shown = self.run(["lint", "many.toml", *PROD], seconds=0)
        assert "\rlinting: 0 of 1 001 rules\rlinting: 1 of 1 001 rules" in shown
        assert re.search(r"\rlinting: 1 000 of 1 001 rules\r +\r$", shown)

    def test_it_is_for_terminals_only(self, ask: Ask) -> None:
        Path("new.toml").write_text(NEW)
        log(asked(OLD, peer=BOT, target="x"))
        assert ask("replay", "audit.jsonl", "--policy", "new.toml", *PROD).err == ""

    def test_an_interrupt_ends_it_quietly_and_leaves_nothing(self) -> None:
        Path("new.toml").write_text(NEW)
        command = [sys.executable, "-m", "meshid", "policy", "replay", "-", "--policy", "new.toml", *PROD]
        running = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=UNMEASURED,
        )
        assert running.stdin is not None
        for _ in range(2_000):
            running.stdin.write(asked(OLD, peer=CHECKOUT, target="payments"))
        running.stdin.flush()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
        assert (running.returncode, out, err) == (130, b"", b"")


class TestImport:
    IMPORT = ("import", "istio", "istio.yaml", *PROD, "--trust-domain", "prod.example.org")

    def test_a_policy_file_is_printed(self, ask: Ask) -> None:
        told = ask(*self.IMPORT)
        assert told.status == 0
        assert Policy.from_toml(told.out, "prod").rules[0].id == "shop.p.0"

    def test_what_has_no_equivalent_is_left_out_by_asking(self, ask: Ask) -> None:
        Path("istio.yaml").write_text(
            ISTIO.replace(", namespace: shop", "").replace("source: {", "source: {ipBlocks: [192.0.2.1], ")
            + "---\n"
            + ISTIO.replace("name: p", "name: q").replace("spec: {", "spec: {action: CUSTOM, ")
        )
        assert ask(*self.IMPORT, "--namespace", "shop", "--stricter").status == 2
        told = ask(*self.IMPORT, "--namespace", "shop", "--stricter", "--without-custom")
        assert (told.status, Policy.from_toml(told.out, "prod").rules) == (0, ())
        assert "shop/p: spec.rules[0].from[0].source.ipBlocks: is about an address" in told.err
        assert "shop/q: is left out, so everything that its extension provider would refuse" in told.err

    def test_it_is_written(self, ask: Ask) -> None:
        told = ask(*self.IMPORT, "-o", "mesh.toml")
        assert (told.status, told.out) == (0, "")
        assert ask("check", "mesh.toml").status == 0

    def test_json(self, ask: Ask) -> None:
        told = ask(*self.IMPORT, "--json")
        assert Policy.from_json(told.out, "prod") == Policy.from_toml(ask(*self.IMPORT).out, "prod")

    def test_what_a_person_should_know_is_told_beside_it(self, ask: Ask) -> None:
        Path("istio.yaml").write_text(
            f"{ISTIO}---\n{ISTIO.replace('name: p', 'name: q').partition('spec')[0]}"
        )
        told = ask(*self.IMPORT)
        assert told.status == 0
        assert "meshid: note: 'istio.yaml': shop/q: has no rules, so it allows nothing\n" in told.err

    def test_what_is_not_imported_is_named_and_there_is_no_policy_file(self, ask: Ask) -> None:
        Path("istio.yaml").write_text(f"{ISTIO}---\nkind: Service\n")
        told = ask(*self.IMPORT, "-o", "mesh.toml")
        assert (told.status, told.out) == (2, "")
        assert "'istio.yaml': 'Service': is not an AuthorizationPolicy, and is not imported" in told.err
        assert not Path("mesh.toml").exists()

    def test_what_kubectl_prints_is_imported_whole(self) -> None:
        """In a process of its own, from standard input, as in a pipeline."""
        command = [sys.executable, "-m", "meshid", "policy", *self.IMPORT[:2], "-", *self.IMPORT[3:]]
        done = subprocess.run(command, input=KUBECTL, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("note:")) == (0, 2)
        policy = Policy.from_toml(done.stdout, "prod")
        assert policy.decide(SpiffeId.parse("spiffe://prod.example.org/ns/shop/sa/web"), "shop/pay").allowed
        bot = SpiffeId.parse("spiffe://prod.example.org/ns/shop/sa/bot")
        assert policy.decide(bot, "shop/pay").rule == "shop.no-bots.0"

    def test_what_has_no_equal_is_refused(self, ask: Ask) -> None:
        Path("istio.yaml").write_text(ISTIO.replace("principals", "ipBlocks"))
        told = ask(*self.IMPORT, "-o", "mesh.toml")
        assert (told.status, told.out) == (2, "")
        assert "'istio.yaml': shop/p: spec.rules[0].from[0].source.ipBlocks" in told.err
        assert not Path("mesh.toml").exists()


class TestExport:
    EXPORT = ("export", "envoy", "policy.toml", *PROD, "--target", "payments")

    def test_filters_are_printed_and_notes_told_beside_them(self, ask: Ask) -> None:
        told = ask(*self.EXPORT)
        policy = Policy.from_toml(FILE, "prod")
        exported = export_rbac(policy, "payments")
        assert (told.status, told.out) == (0, exported.yaml)
        assert told.err.splitlines() == [f"meshid: note: {note}" for note in exported.notes]

    def test_they_are_written(self, ask: Ask) -> None:
        told = ask(*self.EXPORT, "-o", "rbac.yaml")
        assert (told.status, told.out) == (0, "")
        assert Path("rbac.yaml").read_text() == ask(*self.EXPORT).out

    def test_the_policy_is_not_written_over(self, ask: Ask) -> None:
        assert ask(*self.EXPORT, "-o", "policy.toml").status == 2
        assert Path("policy.toml").read_text() == FILE

    def test_what_envoy_cannot_say_is_named_and_nothing_is_written(self, ask: Ask) -> None:
        Path("policy.toml").write_text(OBSERVING)
        told = ask(*self.EXPORT, "-o", "rbac.yaml")
        assert (told.status, told.out) == (2, "")
        first, instead = told.err.splitlines()
        assert first == "meshid: 'policy.toml': observe: the policy only observes, and Envoy would enforce it"
        assert instead.startswith("meshid: nothing is exported; let Envoy ask meshid")
        assert not Path("rbac.yaml").exists()


class TestReport:
    def test_a_table_for_the_terminal(self, ask: Ask) -> None:
        told = ask("report", "policy.toml")
        assert told.status == 0
        assert (
            "  payments  /ns/checkout/sa/api                        allowed        checkout-charges-cards"
            in told.lines
        )

    def test_a_page_for_a_file(self, ask: Ask) -> None:
        assert ask("report", "policy.toml", "-o", "policy.html") == Told(0, "", "")
        assert Path("policy.html").read_text().startswith("<!doctype html>")

    @pytest.mark.parametrize(
        ("form", "begins"),
        [
            ("html", "<!doctype html>"),
            ("table", "policy.toml, 20"),
            ("json", "{"),
            ("mermaid", "flowchart LR"),
        ],
    )
    def test_each_format(self, form: str, begins: str, ask: Ask) -> None:
        assert ask("report", "policy.toml", "--format", form).out.startswith(begins)

    def test_json_is_one_of_them(self, ask: Ask) -> None:
        assert ask("report", "policy.toml", "--json") == ask("report", "policy.toml", "--format", "json")
        assert ask("report", "policy.toml", "--json", "--format", "html").status == 2

    def test_one_environment(self, ask: Ask) -> None:
        assert "dev:" not in ask("report", "policy.toml", *PROD).out

    def test_what_it_is_called(self, ask: Ask) -> None:
        assert ask("report", "policy.toml", "--revision", "v7\x1b[2J").out.startswith("v7\\x1b[2J, 20")
        told = ask("report", "policy.toml", "--json")
        assert (told.json["revision"], "changes" in told.json) == ("policy.toml", False)

    def test_what_changed_since_the_version_signed_last(self, ask: Ask) -> None:
        Path("signed.toml").write_text(FILE.replace("/ns/checkout/sa/api", "/ns/checkout/sa/old"))
        told = ask("report", "policy.toml", "--since", "signed.toml", *PROD)
        assert "since signed.toml" in told.lines
        assert "changes in 'prod'" in told.out
        assert "'dev'" not in told.out
        told = ask("report", "policy.toml", "--since", "signed.toml", "--json")
        assert sorted(cast("dict[str, Any]", told.json["changes"])) == ["dev", "prod"]
        told = ask("report", "policy.toml", "--since", "signed.toml", "-o", "./signed.toml")
        assert told == Told(2, "", "meshid: './signed.toml' is an input file; write to another file\n")

    def test_standard_input_is_read_once(self, ask: Ask) -> None:
        told = ask("report", "-", "--since", "-")
        assert told.status == 2
        assert "standard input can be read only once; name another file for --since" in told.err


class TestWriting:
    """A file is written whole or not at all, and never over what is read."""

    def test_what_was_there_is_replaced(self, ask: Ask) -> None:
        Path("policy.html").write_text("old")
        assert ask("report", "policy.toml", "-o", "policy.html").status == 0
        assert "old" not in Path("policy.html").read_text()[:10]

    def test_the_input_is_not_overwritten(self, ask: Ask) -> None:
        told = ask("report", "policy.toml", "-o", "./policy.toml")
        assert told == Told(2, "", "meshid: './policy.toml' is an input file; write to another file\n")
        assert Path("policy.toml").read_text() == FILE

    @pytest.mark.parametrize("output", ["/dev/full", ".", "link"])
    def test_what_is_no_plain_file_is_left_alone(self, output: str, ask: Ask) -> None:
        Path("link").symlink_to("elsewhere")
        told = ask("report", "policy.toml", "-o", output)
        assert (told.status, told.out) == (2, "")
        assert "is not a regular file" in told.err

    def test_a_place_that_does_not_exist(self, ask: Ask) -> None:
        told = ask("report", "policy.toml", "-o", "no/where.html")
        assert told == Told(2, "", "meshid: 'no/where.html' cannot be written: No such file or directory\n")

    def test_a_disk_that_is_full_leaves_what_was_there(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("policy.html").write_text("old")

        def full(path: Path, text: str, encoding: str) -> None:
            path.write_bytes(text[:10].encode(encoding))
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", full)
        told = ask("report", "policy.toml", "-o", "policy.html")
        assert told == Told(2, "", "meshid: 'policy.html' cannot be written: No space left on device\n")
        assert Path("policy.html").read_bytes() == b"old"
        assert not list(Path().glob(".policy.html*"))


class TestAll:
    def test_the_schema_is_printed(self, ask: Ask) -> None:
        assert ask("schema").json == schema()
        assert ask("schema", "--json") == ask("schema")

    @pytest.mark.parametrize("name", POLICY_COMMANDS)
    def test_each_command_has_help(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["policy", name, "--help"])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: meshid policy {name} ")

    @pytest.mark.parametrize(
        "arguments",
        [
            pytest.param([], id="no command"),
            pytest.param(["chekc", "policy.toml"], id="a mistyped one"),
            pytest.param(["import"], id="an import of nothing"),
            pytest.param(["check"], id="no file"),
            pytest.param(["check", "policy.tml"], id="a file that does not exist"),
            pytest.param(["check", "."], id="a directory"),
            pytest.param(["explain", "policy.toml", "--target", "x"], id="no environment"),
            pytest.param(
                ["explain", "policy.toml", "--environment", "prd", "--target", "x"], id="an unknown one"
            ),
            pytest.param(["lint", "policy.toml", "--environment", "prd"], id="an unknown one of several"),
            pytest.param(
                ["prove", "policy.toml", "--env", "prod", "--never", "/**"], id="an option cut short"
            ),
            pytest.param(["report", "wrong.toml", "-o", "out.html"], id="a wrong file"),
        ],
    )
    def test_what_cannot_be_answered_says_so_on_standard_error_only(
        self, arguments: list[str], ask: Ask
    ) -> None:
        told = ask(*arguments)
        assert (told.status, told.out) == (2, "")
        assert all(line.startswith("meshid: ") for line in told.err.splitlines())
        assert told.err
        assert not Path("out.html").exists()

    def test_a_file_that_is_too_large(self, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inputs, "MAX_FILE_BYTES", 10)
        assert "is larger than 10 bytes" in ask("check", "policy.toml").err


NAMED = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org"]
[environments.prod.issuers.cluster]
profile = "kubernetes"
issuer = "https://kubernetes.default.svc.cluster.local"
audience = ["meshid:prod"]
jwks = "https://kubernetes.default.svc/openid/v1/jwks"
[[peers]]
name = "checkout"
spiffe = ["/ns/checkout/sa/api"]
kubernetes = ["checkout/api"]
[[allow]]
id = "refunds"
why = "Checkout takes money back."
from = ["@checkout"]
to = ["refunds"]
evidence = ["x509", "token"]
"""


class TestPeersByName:
    @pytest.fixture(autouse=True)
    def named(self, tmp_path: Path) -> None:
        (tmp_path / "named.toml").write_text(NAMED)

    def test_a_token_can_be_tried(self, ask: Ask) -> None:
        asked = ["explain", "named.toml", *PROD, "--target", "refunds"]
        alone = ask(*asked, "--peer", CHECKOUT)
        assert alone.status == 1
        assert "except for the evidence: a token is needed, and there is none" in alone.out
        told = ask(*asked, "--peer", CHECKOUT, "--token", "cluster=checkout/api")
        assert told.status == 0
        assert told.lines[:4] == [
            f"allowed: {CHECKOUT} at 'refunds'",
            "  An allow rule matches and no deny rule does.",
            "  it is @checkout by a token",
            '  allow rule "refunds" matches',
        ]
        stranger = CHECKOUT.replace("api", "web")
        unbound = ask(*asked, "--peer", stranger, "--token", "cluster=checkout/api")
        assert (
            "  The certificate and the token name different peers, or the token names none.\n" in unbound.out
        )
        assert "  the token of issuer 'cluster' names '@checkout', is bound to nothing, and no" in unbound.out
        bound = ask(*asked, "--peer", stranger, "--token", "cluster=checkout/api", "--bound", "--json")
        assert (bound.status, bound.json["peer"]) == (0, "checkout")

    def test_who_may_reach_a_target(self, ask: Ask) -> None:
        told = ask("explain", "named.toml", *PROD, "--target", "refunds")
        assert told.lines[1:5] == [
            '  allow rule "refunds"',
            f"    from  {CHECKOUT} (@checkout)",
            "          beside a certificate, a token of 'cluster' for 'checkout/api' (@checkout)",
            "    with  a token",
        ]
        told = ask("explain", "named.toml", *PROD, "--target", "refunds", "--json")
        assert '"evidence": [' in told.out

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            pytest.param(
                ["--peer", CHECKOUT, "--bound"], "--bound says something of a token; add", id="bound"
            ),
            pytest.param(["--token", "a=b"], "a token never stands alone; add --peer", id="alone"),
        ],
    )
    def test_a_token_needs_a_certificate(self, ask: Ask, arguments: list[str], error: str) -> None:
        told = ask("explain", "named.toml", *PROD, "--target", "refunds", *arguments)
        assert (told.status, told.out) == (2, "")
        assert error in told.err

    @pytest.mark.parametrize("text", ["cluster", "=x", "cluster="])
    def test_a_token_has_an_issuer_and_a_principal(self, ask: Ask, text: str) -> None:
        told = ask("explain", "named.toml", *PROD, "--target", "refunds", "--peer", CHECKOUT, "--token", text)
        assert (told.status, told.out) == (2, "")
        assert f"{text!r} is not ISSUER=PRINCIPAL, such as" in told.err

    def test_lint_says_what_is_proved(self, ask: Ask) -> None:
        told = ask("lint", "named.toml")
        assert told.status == 0
        assert told.lines[0] == "nothing found"
        assert told.lines[1].startswith("isolation is proved: of 1 issuer and 1 peer by name, no principal")
        assert str(ask("lint", "named.toml", "--json").json["isolation"]) == told.lines[1]
        assert "isolation" not in ask("lint", "policy.toml", "--json").json
