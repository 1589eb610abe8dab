"""What is exported, and what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from meshid import Policy
from meshid.envoy import Exported, NotExportable, export_rbac
from meshid.envoy.exporting import NOTES
from tests.helpers.small_world import PARTNER, PROD

DAY = 86400.0

OKTA = {"profile": "okta", "issuer": "https://acme.okta.com/oauth2/dev", "audience": ["api://payments"]}


def rule(name: str = "r", effect: str = "allow", **more: object) -> tuple[str, dict[str, Any]]:
    return effect, {"id": name, "from": ["/**"], "to": ["payments"], **more}


def policy(*rules: tuple[str, dict[str, Any]], **more: object) -> Policy:
    environment = {"trust_domains": [PROD], "federates_with": [PARTNER]}
    document: dict[str, Any] = {"version": 1, "environments": {"prod": environment}, "allow": [], "deny": []}
    for effect, values in rules:
        document[effect].append({key.replace("from_", "from"): value for key, value in values.items()})
    return Policy.from_json(json.dumps(document | more), "prod")


def exported(*rules: tuple[str, dict[str, Any]], target: str = "payments", now: float = 0.0) -> Exported:
    return export_rbac(policy(*rules), target, now=now)


def policies(found: Exported) -> list[Any]:
    filters = yaml.safe_load(found.yaml)["http_filters"]
    return [each["typed_config"]["rules"]["policies"] for each in filters]


def problems(said: Policy) -> list[str]:
    with pytest.raises(NotExportable) as refused:
        export_rbac(said, "payments", now=0.0)
    return str(refused.value).splitlines()


def test_rules_about_other_targets_are_left_out() -> None:
    found = exported(rule("ours"), rule("all", "deny", to=["**"]), rule("other", to=["ledger"], observe=True))
    deny, allow = policies(found)
    assert [each for each in deny if not each.startswith("_")] == ["all"]
    assert list(allow) == ["ours"]
    assert found.notes == NOTES


def test_it_does_not_change_with_the_order_of_the_file() -> None:
    one, two = rule("a", http=["GET /a"]), rule("b", "deny")
    assert exported(one, two) == exported(two, one)


def test_a_target_that_nobody_reaches_is_told() -> None:
    found = exported(rule(), rule("b", "deny", to=["**"]), target="paymens")
    # Without this empty mapping Envoy would let everybody in.
    assert policies(found)[1] == {}
    assert "no rule lets anybody reach 'paymens'" in found.notes[0]


def test_an_expired_rule_is_left_out_and_told() -> None:
    rules = (rule(), rule("old", until="1970-01-02"), rule("other", to=["ledger"], until="1970-01-02"))
    assert problems(policy(*rules)) == ["rule 'old': ends after 1970-01-02, and Envoy's filters know no date"]
    found = exported(*rules, now=2 * DAY)
    assert list(policies(found)[1]) == ["r"]
    assert found.notes == ("the rule 'old' ended after 1970-01-02, and is left out", *NOTES)


def test_by_default_it_is_now() -> None:
    assert policies(export_rbac(policy(rule(until="2001-01-01")), "payments"))[1] == {}
    with pytest.raises(NotExportable):
        export_rbac(policy(rule(until="9999-01-01")), "payments")


def test_everything_that_cannot_be_said_is_told_at_once() -> None:
    environment = {"trust_domains": [PROD], "federates_with": [PARTNER], "issuers": {"idp": OKTA}}
    rules = (
        rule("seen", observe=True),
        rule("both", evidence=["x509", "token"]),
        rule("named", "deny", from_=["@batch"]),
        rule("ends", until="1970-01-02"),
        rule("far", http=["GET /é/**", "GET /e"], not_http=["GET /é/a"]),
        rule("kept", http=["GET /a%2Fb"], not_http=["GET /b%2Fc"]),
        rule("near", "deny", http=["GET /é", "GET /a%2Fb"]),
        rule("elsewhere", to=["ledger"], observe=True),
    )
    said = policy(
        *rules,
        observe=True,
        environments={"prod": environment},
        peers=[{"name": "batch", "spiffe": ["/ns/batch/**"], "okta": ["0oa1b2c3d4e5f6g7h8i9"]}],
    )
    assert problems(said) == [
        "observe: the policy only observes, and Envoy would enforce it",
        "issuer 'idp': meshid refuses a token that disagrees with its certificate, and Envoy reads no token",
        "rule 'both': wants a token as evidence, and Envoy reads none",
        "rule 'ends': ends after 1970-01-02, and Envoy's filters know no date",
        "rule 'far': allows 'GET /\\xe9/**': the filters deny what is encoded there, as it is sent",
        "rule 'kept': allows 'GET /a%2Fb': the filters deny what is encoded there, as it is sent",
        "rule 'named': names '@batch', whom a token can prove, and Envoy reads none",
        "rule 'seen': observes: Envoy's filters would keep no record of what it would have decided",
    ]


def test_a_peer_by_name_without_a_spiffe_id_is_nobody_for_envoy() -> None: ...


def test_exceptions_and_sets_are_written_out() -> None:
    peers = [
        {"name": "api", "spiffe": ["/ns/b/sa/api", f"spiffe://{PARTNER}/api"]},
        {"name": "team", "members": ["/ns/a/**", "@api"]},
    ]
    written = rule(
        from_=["@team", "/x"], not_from=["@api"], http=["GET /v1/**", "* /", "PUT /**"], not_http=["* /v1/x"]
    )
    said = export_rbac(policy(written, peers=peers), "payments").yaml
    for pattern in (
        "/ns/a/**",
        "/x",
        "/ns/b/sa/api",
        f"spiffe://{PARTNER}/api",
        "GET /v1/**",
        "* /",
        "* /v1/x",
    ):
        assert f"# {pattern}\n" in said
    (only,) = policies(Exported(said, ()))[1].values()
    assert [list(each) for each in only["principals"]] == [["and_ids"]]
    assert [list(each) for each in only["permissions"]] == [["and_rules"]]


def test_what_people_wrote_stays_in_its_comment() -> None:
    found = exported(rule(why="x\nhttp_filters: []\u2028\x85y: z " + "w" * 300))
    assert len(policies(found)) == 2
    assert found.yaml.isascii()
    assert max(len(line) for line in found.yaml.splitlines() if "#" in line) < 400


def test_a_target_is_a_name() -> None:
    with pytest.raises(TypeError, match="target must be a str"):
        export_rbac(policy(rule()), None)  # type: ignore[arg-type]
    # No rule means it, and `**` would match it.
    for target in ("", "payments/", "/payments", "a//b", "a\n"):
        with pytest.raises(ValueError, match="target must be a name such as 'payments'"):
            export_rbac(policy(rule()), target)
