"""`meshid token`: what a service would make of a token, and that nobody sees the token."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshid.__main__ import main
from meshid.testing import CA, TokenIssuer
from tests.helpers.oidc_provider import OidcProvider, oidc_provider

POLICY = """\
version = 1

[environments.prod]
trust_domains = ["prod.example.org"]
[environments.prod.issuers.okta]
profile  = "okta"
issuer   = "https://acme.okta.com/oauth2/prod"
audience = ["api://payments"]
[environments.prod.issuers.keycloak]
profile  = "oidc"
issuer   = "{issuer}"
audience = ["payments"]
roots    = "{roots}"
[environments.prod.issuers.spire]
profile  = "jwt-svid"
audience = ["payments"]

[environments.dev]
trust_domains = ["dev.example.org"]
[environments.dev.issuers.okta]
profile  = "okta"
issuer   = "https://acme.okta.com/oauth2/dev"
audience = ["api://payments"]

[[peers]]
name   = "checkout"
spiffe = ["/ns/checkout/sa/api"]
okta   = ["0oa1"]
tokens = [{{ issuer = "keycloak", principal = "checkout" }}]

[[allow]]
id   = "all"
from = ["@checkout"]
to   = ["payments"]
"""

CA_OF_PROD = CA("prod.example.org")
OKTA = TokenIssuer("https://acme.okta.com/oauth2/prod")
DEV = TokenIssuer("https://acme.okta.com/oauth2/dev")
SPIRE = TokenIssuer(None, use="jwt-svid")
GOOD = {"aud": "api://payments", "sub": "0oa1", "cid": "0oa1", "jti": "AT.1"}
SVID = {"aud": "payments", "sub": "spiffe://prod.example.org/ns/ledger/sa/api"}
IN_PROD = ["--policy", "policy.toml", "--environment", "prod"]
KEYS = ["--keys", "okta=jwks.json"]


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: OidcProvider) -> None:
    """Run each test in a directory of its own, with good files in it."""
    monkeypatch.chdir(tmp_path)
    roots = tmp_path / "roots.pem"
    roots.write_bytes(provider.roots)
    Path("policy.toml").write_text(POLICY.format(issuer=provider.issuer, roots=roots))
    Path("jwks.json").write_bytes(OKTA.jwks())
    for name in ("checkout", "support"):
        issued = CA_OF_PROD.issue(f"/ns/{name}/sa/api")
        Path(f"{name}.pem").write_bytes(issued.chain_pem)


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(token: str, *arguments: str) -> tuple[int, str, str]:
        Path("token").write_text(f"{token}\n")
        status = main(["token", *IN_PROD, *arguments, "token"])
        out, err = capsys.readouterr()
        assert token not in out + err
        assert token.rpartition(".")[2] not in out + err
        return status, out, err

    return ask


def test_it_says_whom_a_token_names_and_how_that_peer_is_known(ask: Ask) -> None:
    exp = int(time.time()) + 100
    status, out, _ = ask(OKTA.mint({**GOOD, "exp": exp}), *KEYS, "--json")
    told = json.loads(out)
    assert told.pop("expires").endswith("+00:00")
    assert (status, told) == (
        0,
        {
            "verdict": "verified",
            "peer": "@checkout",
            "spiffe": ["/ns/checkout/sa/api"],
            "issuer": "okta",
            "principal": "0oa1",
            "bound_to": "nothing",
            "certificate": "not given",
            "key_id": "key-1",
            "token_id": "AT.1",
        },
    )


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
def test_it_is_judged_with_a_certificate(ask: Ask, *, bound: bool) -> None:
    token = OKTA.mint({**GOOD, **({"cnf": {"x5t#S256": "A" * 43}} if bound else {})})
    status, out, _ = ask(token, *KEYS, "--certificate", "checkout.pem")
    if bound:
        assert (status, out.splitlines()[0]) == (1, "refused: token_bound_elsewhere")
    else:
        assert status == 0
        assert "  certificate  agrees\n" in out
    _, out, _ = ask(token, *KEYS)
    told = f"certificate {'A' * 43}" if bound else "nothing"
    assert f"  bound to     {told}\n" in out


@pytest.mark.parametrize(
    ("claims", "arguments", "reason", "detail"),
    [
        pytest.param(
            {"aud": "api://ledger"},
            [],
            "token_audience",
            "it is for 'api://ledger'; this is 'api://payments'",
            id="for somebody else",
        ),
        pytest.param(
            {"sub": "0oa2", "cid": "0oa2"},
            [],
            "token_disagrees",
            "no peer has the name '0oa2' of issuer 'okta'",
            id="of no peer",
        ),
        pytest.param(
            {},
            ["--certificate", "support.pem"],
            "token_disagrees",
            "the token of issuer 'okta' names '@checkout', is bound to nothing, and no peer by name has the"
            " certificate's spiffe://prod.example.org/ns/support/sa/api",
            id="with the certificate of another",
        ),
    ],
)
def test_a_refusal_has_its_reason_and_what_to_do(
    ask: Ask, claims: dict[str, str], arguments: list[str], reason: str, detail: str
) -> None:
    status, out, _ = ask(OKTA.mint({**GOOD, **claims}), *KEYS, *arguments)
    verdict, told, *rest = out.splitlines()
    assert (status, verdict, told.strip()) == (1, f"refused: {reason}", f"detail      {detail}")
    assert [line.split("  ")[1] for line in rest] == ["meaning", "clause", "what to do"]


def test_keys_that_are_given_are_all_there_is(ask: Ask) -> None:
    """What is asked for offline stays offline."""
    status, out, _ = ask(OKTA.mint(GOOD, kid="key-9"), *KEYS)
    assert (status, out.splitlines()[0]) == (1, "refused: token_key_unknown")
    status, out, _ = ask(SPIRE.mint(SVID), *KEYS)
    assert (status, out.splitlines()[0]) == (1, "refused: token_keys_unavailable")


def test_a_token_of_another_environment_is_told_by_its_issuer(ask: Ask, provider: OidcProvider) -> None:
    status, out, _ = ask(DEV.mint(GOOD), *KEYS)
    verdict, detail, *rest = out.splitlines()
    assert (status, verdict) == (1, "not judged")
    assert detail.startswith("  detail  no issuer of this environment issues it")
    assert rest == [
        "  iss     https://acme.okta.com/oauth2/dev",
        "  sub     0oa1",
        "  issuer  okta of environment dev",
        f"  judged  {provider.issuer}",
        "          https://acme.okta.com/oauth2/prod",
    ]


def test_a_token_of_nobody_is_told(ask: Ask) -> None:
    for token in ("opaque", TokenIssuer(None).mint({})):
        status, out, _ = ask(token, *KEYS)
        assert (status, out.splitlines()[2:4]) == (1, ["  iss     none", "  sub     none"])


def test_the_keys_are_read_where_the_policy_says(ask: Ask, provider: OidcProvider) -> None:
    status, out, _ = ask(f"Bearer {provider.mint({'aud': 'payments', 'sub': 'checkout'})}")
    assert (status, out.splitlines()[:2]) == (0, ["verified", "  peer         @checkout"])


@pytest.mark.parametrize(
    "around",
    ["{}", "Bearer {}", "bearer {}", "Authorization: Bearer {}", '"{}"'],
    ids=["alone", "scheme", "another case", "header", "JSON"],
)
def test_what_is_copied_along_with_a_token_is_left_out(ask: Ask, around: str) -> None:
    assert ask(around.format(OKTA.mint(GOOD)), *KEYS)[0] == 0


def test_keys_that_cannot_be_read_are_no_answer(ask: Ask, provider: OidcProvider) -> None:
    provider.is_down = True
    try:
        status, out, err = ask(provider.mint({"aud": "payments", "sub": "checkout"}))
    finally:
        provider.is_down = False
    assert (status, out) == (2, "")
    assert err.startswith("meshid: keys of issuer 'keycloak'")
    assert err.endswith("; or give them: --keys keycloak=FILE\n")


def test_a_jwt_svid_is_judged_by_the_keys_of_its_trust_domain(ask: Ask) -> None:
    bundle = json.loads(CA_OF_PROD.bundle().to_spiffe_json())
    bundle["keys"] += json.loads(SPIRE.jwks())["keys"]
    Path("bundle.json").write_text(json.dumps(bundle))
    status, out, _ = ask(SPIRE.mint(SVID), "--bundle", "prod.example.org=bundle.json")
    assert (status, out.splitlines()[:3]) == (
        0,
        ["verified", "  issuer       spire", "  principal    spiffe://prod.example.org/ns/ledger/sa/api"],
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["--environment", "stage"],
            "'policy.toml' has no environment 'stage'; it has 'prod', 'dev'",
            id="environment",
        ),
        pytest.param(
            ["--keys", "aws=jwks.json"],
            "--keys: there is no issuer 'aws' in this environment; it has 'keycloak', 'okta', 'spire'",
            id="issuer",
        ),
        pytest.param(["--keys", "okta=policy.toml"], "'policy.toml': ", id="key set"),
        pytest.param(
            ["--keys", "okta="], "argument --keys: 'okta=' must be ISSUER=FILE, such as", id="option"
        ),
        pytest.param(["--certificate", "bad.der"], "--certificate: it cannot be read: ", id="certificate"),
    ],
)
def test_what_is_no_question_has_no_answer(ask: Ask, arguments: list[str], told: str) -> None:
    Path("bad.der").write_bytes(b"\x30\x82\x00\x00")
    status, out, err = ask(OKTA.mint(GOOD), *KEYS, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"meshid: {told}")


def test_the_token_comes_from_standard_input() -> None:
    token = OKTA.mint(GOOD)
    ran = subprocess.run(
        [sys.executable, "-m", "meshid", "token", *IN_PROD, *KEYS],
        input=f"{token}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("verified\n  peer         @checkout\n")
