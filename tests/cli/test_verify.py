"""`meshid verify`: the verdict, its facts, and each way in which there can be none."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from meshid.__main__ import main
from meshid.cli import inputs
from meshid.cli.no_answer import NoAnswer
from meshid.reasons import Reason
from meshid.testing import CA, Issued

PROD = CA("prod.example.org")
DEV = CA("dev.example.org")
LINKERD = CA("cluster.local")
API = PROD.issue("/ns/checkout/sa/api")
API_ID = "spiffe://prod.example.org/ns/checkout/sa/api"
FINGERPRINT = hashlib.sha256(API.chain[0]).hexdigest()

ROOTS = ["--bundle", "prod.example.org=roots.pem"]
POLICY_FOR_PROD = ["--policy", "policy.toml", "--environment", "prod", "--target"]

POLICY = """\
version = 1

[environments.prod]
trust_domains = ["prod.example.org"]

[[allow]]
id   = "checkout-charges-cards"
from = ["/ns/checkout/sa/api"]
to   = ["payments"]

[[allow]]
id   = "checkout-reads-refunds"
from = ["/ns/checkout/sa/api"]
to   = ["refunds"]
http = ["GET /v1/**"]

[[deny]]
id   = "no-build-agents"
from = ["/ns/ci/**"]
to   = ["**"]
"""

HOSTILE = "x\n\x1b[2Jadmitted: allowed\r"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a directory of its own, with good files in it."""
    monkeypatch.chdir(tmp_path)
    Path("roots.pem").write_bytes(PROD.pem)
    Path("roots.json").write_bytes(PROD.bundle().to_spiffe_json())
    Path("linkerd.pem").write_bytes(LINKERD.pem)
    Path("policy.toml").write_text(POLICY)
    Path("chain.pem").write_bytes(API.chain_pem)


def write(issued: Issued) -> str:
    Path("other.pem").write_bytes(issued.chain_pem)
    return "other.pem"


class Asked:
    """What `meshid verify` said, and how it ended."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err
        self.verdict, *lines = out.splitlines() or [""]
        self.told: dict[str, str] = {}
        for line in lines:
            name, _, fact = line.removeprefix("  ").partition("  ")
            self.told[name.strip()] = fact.strip()


Ask = Callable[..., Asked]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*arguments: str) -> Asked:
        status = main(["verify", *arguments])
        return Asked(status, *capsys.readouterr())

    return ask


class TestVerified:
    @pytest.mark.parametrize("bundle", ["roots.pem", "roots.json"])
    def test_a_peer_is_told_with_everything_that_was_verified(self, bundle: str, ask: Ask) -> None:
        asked = ask("--bundle", f"prod.example.org={bundle}", "chain.pem")
        assert (asked.status, asked.verdict, asked.err) == (0, "verified", "")
        assert asked.told == {
            "spiffe id": API_ID,
            "trust domain": "prod.example.org",
            "profile": "spiffe",
            "role": "client",
            "valid from": str(API.certificate.not_valid_before_utc),
            "valid until": str(API.certificate.not_valid_after_utc),
            "path length": "2",
            "fingerprint": FINGERPRINT,
            "names in the leaf": f"URI:{API_ID}",
        }

    def test_a_chain_may_be_one_der_certificate(self, ask: Ask) -> None:
        Path("chain.der").write_bytes(API.chain[0])
        assert ask(*ROOTS, "chain.der").told["fingerprint"] == FINGERPRINT

    def test_a_chain_may_have_text_around_its_certificates(self, ask: Ask) -> None:
        Path("chain.pem").write_bytes(b"Subject: CN=x\n" + API.chain_pem + b"---\nServer certificate\n")
        assert ask(*ROOTS, "chain.pem").told["fingerprint"] == FINGERPRINT

    def test_intermediates_of_the_file_are_used(self, ask: Ask) -> None:
        issued = PROD.intermediate().issue("/ns/checkout/sa/api")
        assert ask(*ROOTS, write(issued)).told["path length"] == "3"

    def test_each_leaf_is_judged_under_the_bundle_of_its_own_trust_domain(self, ask: Ask) -> None:
        Path("dev.pem").write_bytes(DEV.pem)
        both = [*ROOTS, "--bundle", "dev.example.org=dev.pem"]
        assert ask(*both, write(DEV.issue("/x"))).told["trust domain"] == "dev.example.org"
        forged = ask(*both, write(DEV.issue(API_ID)))
        assert (forged.status, forged.verdict) == (1, "refused: foreign_authority")

    def test_a_linkerd_name_needs_the_profile(self, ask: Ask) -> None:
        name = "web.shop.serviceaccount.identity.linkerd.cluster.local"
        arguments = ["--bundle", "cluster.local=linkerd.pem", write(LINKERD.issue(uris=[], dns=[name]))]
        assert ask(*arguments).verdict == "refused: no_name"
        asked = ask(*arguments, "--profile", "cluster.local=linkerd")
        assert asked.told["spiffe id"] == "spiffe://cluster.local/ns/shop/sa/web"
        assert asked.told["profile"] == "linkerd"

    def test_the_role_decides_the_purpose_that_the_leaf_needs(self, ask: Ask) -> None:
        server = write(PROD.issue("/x", purposes={"server"}))
        assert ask(*ROOTS, "--role", "server", server).told["role"] == "server"
        assert ask(*ROOTS, server).verdict == "refused: wrong_key_purpose"


class TestRefused:
    def test_a_refusal_says_what_it_means_and_what_to_do(self, ask: Ask) -> None:
        ended = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        asked = ask(*ROOTS, write(PROD.issue("/ns/checkout/sa/api", not_after=ended)))
        assert (asked.status, asked.verdict, asked.err) == (1, "refused: expired", "")
        assert asked.told.pop("detail").startswith(f"valid until {ended}, and it is ")
        assert asked.told == {
            "meaning": Reason.EXPIRED.meaning,
            "clause": Reason.EXPIRED.clause,
            "what to do": Reason.EXPIRED.remedy,
            "claimed name": API_ID,
        }

    def test_a_chain_without_a_name_claims_none(self, ask: Ask) -> None:
        asked = ask(*ROOTS, write(PROD.issue(uris=[])))
        assert asked.verdict == "refused: no_name"
        assert asked.told["claimed name"] == "none that can be read"

    def test_what_is_no_certificate_within_its_armour_is_refused_as_a_server_would(self, ask: Ask) -> None:
        Path("chain.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        assert ask(*ROOTS, "chain.pem").verdict == "refused: malformed_certificate"

    def test_a_revoked_certificate_is_refused(self, ask: Ask) -> None:
        Path("prod.crl").write_bytes(PROD.crl(API))
        assert ask(*ROOTS, "--crl", "prod.crl", "chain.pem").verdict == "refused: revoked"

    @pytest.mark.parametrize(
        "entry",
        [API_ID, "spiffe://prod.example.org/ns/checkout/**", FINGERPRINT],
        ids=["name", "pattern", "fingerprint"],
    )
    def test_a_denied_peer_is_refused(self, entry: str, ask: Ask) -> None:
        asked = ask(*ROOTS, "--deny", "spiffe://prod.example.org/other", "--deny", entry, "chain.pem")
        assert (asked.status, asked.verdict) == (1, "refused: deny_listed")


class TestPolicy:
    def test_an_admitted_peer_is_told_with_the_rule(self, ask: Ask) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "payments", "chain.pem")
        assert (asked.status, asked.verdict, asked.err) == (0, "admitted: allowed", "")
        assert asked.told["rule"] == "checkout-charges-cards"
        assert asked.told["target"] == "payments"
        assert asked.told["matching rules"] == 'allow rule "checkout-charges-cards" matches'
        assert asked.told["environment"] == "prod"
        assert re.fullmatch("[0-9a-f]{64}", asked.told["policy hash"])
        assert asked.told["spiffe id"] == API_ID
        assert not {"meaning", "clause", "what to do", "near misses"} & asked.told.keys()

    def test_a_json_policy_is_known_by_its_first_character(self, ask: Ask) -> None:
        rule = {"id": "all", "from": ["/**"], "to": ["**"]}
        environments = {"prod": {"trust_domains": ["prod.example.org"]}}
        Path("policy").write_text(
            "\n" + json.dumps({"version": 1, "environments": environments, "allow": [rule]})
        )
        asked = ask(*ROOTS, "--policy", "policy", *POLICY_FOR_PROD[2:], "payments", "chain.pem")
        assert asked.told["rule"] == "all"

    def test_a_denied_peer_is_told_with_the_rule(self, ask: Ask) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "payments", write(PROD.issue("/ns/ci/sa/runner")))
        assert (asked.status, asked.verdict) == (1, "refused: denied")
        assert asked.told["rule"] == "no-build-agents"
        assert asked.told["what to do"] == Reason.DENIED.remedy
        assert asked.told["spiffe id"] == "spiffe://prod.example.org/ns/ci/sa/runner"

    def test_without_a_rule_the_nearest_misses_are_told_the_very_nearest_as_detail(self, ask: Ask) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "refunds", "chain.pem")
        assert (asked.status, asked.verdict) == (1, "refused: no_rule")
        assert asked.told["detail"].startswith(
            "allow rule \"checkout-reads-refunds\" is about requests only, 'GET /v1/**', and none is promised"
        )
        assert asked.told["near misses"].startswith(
            'allow rule "checkout-charges-cards" would match, except for the target'
        )

    def test_a_request_is_judged_if_there_is_one(self, ask: Ask) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "refunds", "--request", "GET /v1/x?y", "chain.pem")
        assert (asked.status, asked.verdict) == (0, "admitted: allowed")
        assert asked.told["request"] == "GET /v1/x"

    def test_an_unsafe_request_is_refused(self, ask: Ask) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "refunds", "--request", "GET /v1/../x", "chain.pem")
        assert (asked.status, asked.verdict) == (1, "refused: unsafe_request")

    def test_an_observing_policy_says_what_it_would_have_decided(self, ask: Ask) -> None:
        Path("policy.toml").write_text(f"observe = true\n{POLICY}")
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "payments", write(PROD.issue("/ns/ci/sa/runner")))
        assert (asked.status, asked.verdict) == (0, "admitted: observed")
        assert asked.told["observed"] == "deny: no-build-agents"
        assert asked.told["what to do"] == Reason.OBSERVED.remedy

    def test_a_chain_that_is_refused_never_reaches_the_policy(self, ask: Ask) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "payments", write(CA("prod.example.org").issue("/x")))
        assert asked.status == 1
        assert "policy hash" not in asked.told


class TestJson:
    def test_it_has_the_facts_of_the_lines(self, ask: Ask) -> None:
        arguments = [*ROOTS, *POLICY_FOR_PROD, "refunds", "chain.pem"]
        lines, document = ask(*arguments), json.loads(ask("--json", *arguments).out)
        assert lines.verdict == f"{document.pop('verdict')}: {document.pop('reason')}"
        told = {
            name.replace("_", " "): fact[-1] if isinstance(fact, list) else str(fact)
            for name, fact in document.items()
        }
        assert lines.told == told

    @pytest.mark.parametrize(
        ("issued", "verdict", "status"),
        [
            pytest.param(API, "admitted", 0, id="admitted"),
            pytest.param(PROD.issue("/ns/ci/sa/runner"), "refused", 1, id="denied"),
            pytest.param(PROD.issue(""), "refused", 1, id="not verified"),
        ],
    )
    def test_its_verdict_agrees_with_the_status(
        self, issued: Issued, verdict: str, status: int, ask: Ask
    ) -> None:
        asked = ask(*ROOTS, *POLICY_FOR_PROD, "payments", "--json", write(issued))
        assert (json.loads(asked.out)["verdict"], asked.status) == (verdict, status)

    def test_a_name_that_is_only_claimed_is_not_called_a_spiffe_id(self, ask: Ask) -> None:
        document = json.loads(ask(*ROOTS, "--json", write(DEV.issue(API_ID))).out)
        assert document["claimed_name"] == API_ID
        assert "spiffe_id" not in document


BAD_FILES = [
    pytest.param(None, "cannot be read: No such file or directory", id="missing"),
    pytest.param("directory", "cannot be read: Is a directory", id="a directory"),
    pytest.param(b"", "is empty", id="empty"),
    pytest.param(b" \n\t\n", "is empty", id="blank"),
]

BAD_CHAINS = [
    *BAD_FILES,
    pytest.param(API.chain_pem[:400], "cut off", id="half of it"),
    pytest.param(API.key_pem, "'PRIVATE KEY'; a chain holds certificates only", id="a key"),
    pytest.param(API.chain_pem + API.key_pem, "PEM block 2 is 'PRIVATE KEY'", id="a key behind it"),
    pytest.param(PROD.crl(), "'X509 CRL'", id="a revocation list"),
    pytest.param(b"hello", "PEM certificates, leaf first, or one DER certificate", id="some text"),
    pytest.param(b"0 hello", "PEM certificates, leaf first, or one DER certificate", id="text like DER"),
    pytest.param(b"\x00\xff", "PEM certificates, leaf first, or one DER certificate", id="some bytes"),
    pytest.param(
        b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "not base64", id="no base64"
    ),
]

BAD_BUNDLES = [
    *BAD_FILES,
    pytest.param(PROD.pem[:300], "cut off", id="half of it"),
    pytest.param(API.key_pem, "'PRIVATE KEY'", id="a key"),
    pytest.param(API.chain_pem, "no certificate in it can be an authority", id="a leaf"),
    pytest.param(b"hello", "no PEM certificate", id="some text"),
    pytest.param(b'{"keys": [', "it is not JSON", id="half of some JSON"),
    pytest.param(b"{}", '"keys"', id="other JSON"),
]

BAD_POLICIES = [
    *BAD_FILES,
    pytest.param(b"version = ", "cannot be parsed", id="half of some TOML"),
    pytest.param(b"{", "cannot be parsed", id="half of some JSON"),
    pytest.param(b"a = '\xff'", "not UTF-8, at byte 6", id="no UTF-8"),
    pytest.param(POLICY.replace("prod", "test").encode(), "no environment 'prod'", id="no such environment"),
]

BAD_LISTS = [
    *BAD_FILES,
    pytest.param(PROD.crl()[:200], "cut off", id="half of it"),
    pytest.param(PROD.pem, "'CERTIFICATE' does not belong here", id="a certificate"),
    pytest.param(b"hello", "revocation list 1", id="some text"),
]


def plant(content: bytes | str | None) -> None:
    if content == "directory":
        Path("bad").mkdir()
    elif isinstance(content, bytes):
        Path("bad").write_bytes(content)


class TestNoVerdict:
    def no_verdict(self, asked: Asked, *parts: str) -> None:
        assert (asked.status, asked.out) == (2, "")
        assert asked.err.startswith("meshid: ")
        assert asked.err.count("\n") == 1
        for part in parts:
            assert part in asked.err

    @pytest.mark.parametrize(("content", "what"), BAD_CHAINS)
    def test_a_chain_that_cannot_be_used_is_told_with_its_file(
        self, content: bytes | str | None, what: str, ask: Ask
    ) -> None:
        plant(content)
        self.no_verdict(ask(*ROOTS, "bad"), "'bad'", what)

    @pytest.mark.parametrize(("content", "what"), BAD_BUNDLES)
    def test_a_bundle_that_cannot_be_used_is_told_with_its_file(
        self, content: bytes | str | None, what: str, ask: Ask
    ) -> None:
        plant(content)
        self.no_verdict(ask("--bundle", "prod.example.org=bad", "chain.pem"), "'bad'", what)

    @pytest.mark.parametrize(("content", "what"), BAD_POLICIES)
    def test_a_policy_that_cannot_be_used_is_told_with_its_file(
        self, content: bytes | str | None, what: str, ask: Ask
    ) -> None:
        plant(content)
        asked = ask(*ROOTS, "--policy", "bad", *POLICY_FOR_PROD[2:], "payments", "chain.pem")
        self.no_verdict(asked, "'bad'", what)

    @pytest.mark.parametrize(("content", "what"), BAD_LISTS)
    def test_a_revocation_list_that_cannot_be_used_is_told_with_its_file(
        self, content: bytes | str | None, what: str, ask: Ask
    ) -> None:
        plant(content)
        Path("good.crl").write_bytes(PROD.crl())
        self.no_verdict(ask(*ROOTS, "--crl", "good.crl", "--crl", "bad", "chain.pem"), "'bad'", what)

    def test_a_policy_with_three_mistakes_shows_all_three(self, ask: Ask) -> None:
        wrong = POLICY.replace("version = 1", "version = 2").replace("from = [", "form = [", 1)
        Path("bad").write_text(wrong.replace('to   = ["**"]', "to   = []"))
        asked = ask(*ROOTS, "--policy", "bad", *POLICY_FOR_PROD[2:], "payments", "chain.pem")
        assert (asked.status, asked.out) == (2, "")
        lines = asked.err.splitlines()
        assert all(line.startswith("meshid: 'bad': ") for line in lines)
        places = [line.split(": ")[2] for line in lines]
        assert places == ["version", "allow[0].form", "allow[0].from", "deny[0].to"]

    def test_a_file_that_never_ends_is_not_read_to_its_end(
        self, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inputs, "MAX_FILE_BYTES", 1000)
        Path("bad").write_bytes(b"x" * 1000)
        self.no_verdict(ask(*ROOTS, "bad"), "neither")
        self.no_verdict(ask(*ROOTS, "/dev/urandom"), "'/dev/urandom' is larger than 1000 bytes")

    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            pytest.param(["--bundle", "roots.pem"], ["'roots.pem'", "TRUST_DOMAIN="], id="no trust domain"),
            pytest.param(["--bundle", "a="], ["'a='", "TRUST_DOMAIN="], id="no file"),
            pytest.param(["--bundle", "=roots.pem"], ["trust domain name is missing"], id="an empty name"),
            pytest.param(["--bundle", "Prod=roots.pem"], ["'Prod'", "a-z"], id="upper case"),
            pytest.param(ROOTS, ["two bundles", "prod.example.org"], id="a bundle twice"),
            pytest.param(["--profile", "a.example=istio"], ["'istio'", "linkerd"], id="no such profile"),
            pytest.param(["--profile", "spiffe"], ["'spiffe'", "TRUST_DOMAIN="], id="a profile for nobody"),
            pytest.param(["--profile", "a.example=dns"], ["a.example", "--bundle"], id="without a bundle"),
            pytest.param(["--role", "peer"], ["'peer'", "client", "server"], id="no such role"),
            pytest.param(["--deny", "runner"], ["'runner'", "spiffe://"], id="neither name nor SHA-256"),
            pytest.param(["--target", "x"], ["--target", "--policy"], id="a target without a policy"),
            pytest.param(
                ["--environment", "x", "--request", "GET /"],
                ["--environment and --request", "--policy"],
                id="all but the policy",
            ),
            pytest.param(["--policy", "policy.toml"], ["--environment and --target"], id="only the policy"),
            pytest.param(["--policy", "policy.toml", "--environment", "prod"], ["--target"], id="no target"),
            pytest.param(
                ["--policy", "policy.toml", "--target", "payments"], ["--environment"], id="no environment"
            ),
            pytest.param(
                [*POLICY_FOR_PROD, "payments", "--role", "server"], ["--role server"], id="a server's policy"
            ),
        ],
    )
    def test_arguments_that_do_not_fit_together_are_told(
        self, arguments: list[str], parts: list[str], ask: Ask
    ) -> None:
        self.no_verdict(ask(*ROOTS, *arguments, "chain.pem"), *parts)


class TestWarnings:
    def test_an_authority_that_can_never_verify_is_told_and_the_verdict_stands(self, ask: Ask) -> None:
        useless = CA("prod.example.org", key=ed25519.Ed25519PrivateKey.generate())
        Path("roots.pem").write_bytes(PROD.pem + useless.pem)
        asked = ask(*ROOTS, "chain.pem")
        assert (asked.status, asked.verdict) == (0, "verified")
        assert asked.err.startswith("meshid: warning: 'roots.pem': skipped certificate 2: ")
        assert asked.err.count("\n") == 1
        assert "Ed25519" in asked.err


class TestWhatStrangersWrote:
    @pytest.mark.parametrize(
        "issued",
        [
            pytest.param(PROD.issue("/x", dns=[HOSTILE]), id="a DNS name of a peer"),
            pytest.param(PROD.issue(uris=[], dns=[HOSTILE]), id="a DNS name of nobody"),
            pytest.param(PROD.issue(uris=[API_ID + HOSTILE]), id="a URI"),
            pytest.param(PROD.issue(uris=[API_ID, HOSTILE]), id="a second URI"),
        ],
    )
    @pytest.mark.parametrize("form", [[], ["--json"]], ids=["lines", "JSON"])
    def test_it_cannot_write_to_the_terminal(self, issued: Issued, form: list[str], ask: Ask) -> None:
        asked = ask(*ROOTS, *form, write(issued))
        assert "x1b[2Jadmitted" in asked.out or "u001b[2Jadmitted" in asked.out
        assert set(filter(lambda character: not character.isprintable(), asked.out)) == {"\n"}
        assert not any(line.startswith("admitted") for line in asked.out.splitlines())

    @given(data=st.binary(max_size=400))
    def test_whatever_is_in_a_file_is_a_chain_or_a_fault_that_names_it(self, data: bytes) -> None:
        Path("any").write_bytes(data)
        try:
            chain = inputs.read_chain("any")
        except NoAnswer as fault:
            assert all("'any'" in line for line in fault.lines)
        else:
            assert chain

    def test_the_name_of_a_file_cannot_either(self, ask: Ask) -> None:
        asked = ask(*ROOTS, "\x1b[2J\nadmitted\udcff")
        assert asked.err == "meshid: '\\x1b[2J\\nadmitted\\udcff' cannot be read: No such file or directory\n"


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """Run the command with a terminal for its output."""
    control, terminal = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    with os.fdopen(control, "rb", buffering=0) as reading:
        command = [sys.executable, "-m", "meshid", *arguments]
        subprocess.run(command, stdout=terminal, env={**inherited, **environment}, check=False)
        shown = reading.read(65536)
        os.close(terminal)
    return shown.decode()


class TestColours:
    def test_a_terminal_is_coloured(self) -> None:
        assert on_a_terminal("verify", *ROOTS, "chain.pem").startswith("\x1b[32mverified\x1b[0m")
        refused = on_a_terminal("verify", *ROOTS, "--deny", FINGERPRINT, "chain.pem")
        assert refused.startswith("\x1b[31mrefused: deny_listed\x1b[0m")

    def test_a_terminal_is_not_coloured_with_no_color(self) -> None:
        assert "\x1b" not in on_a_terminal("verify", *ROOTS, "chain.pem", NO_COLOR="1")

    def test_an_empty_no_color_does_not_count(self) -> None:
        assert "\x1b" in on_a_terminal("verify", *ROOTS, "chain.pem", NO_COLOR="")

    def test_json_is_never_coloured(self) -> None:
        assert "\x1b" not in on_a_terminal("verify", *ROOTS, "--json", "chain.pem")

    def test_a_pipe_is_not_coloured(self, ask: Ask) -> None:
        assert "\x1b" not in ask(*ROOTS, "chain.pem").out
