"""Issuers, peers by name and evidence in a policy file: what is read, and what is refused, with its place."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import attrs
import pytest
from _pytest.mark.structures import ParameterSet

from meshid import InvalidPolicy, Policy
from meshid.names.pattern import Pattern
from meshid.policy.issuers import Issuer, IssuerProfile, Pin
from meshid.policy.named_peers import TokenAlias
from tests.helpers.issuer_files import ISSUERS, PEER, RULE, TENANT, THUMBPRINTS, document, loaded, problems_of

# -- What is read -------------------------------------------------------------


def issuer(name: str, changes: dict[str, object]) -> Issuer:
    """Return one of the right issuers as it is read, with these keys changed."""
    content = document(**{name: {**ISSUERS[name], **changes}})
    return loaded({**content, "peers": [], "allow": []}).issuers[0]


def test_each_profile_is_read_with_its_principal() -> None:
    policy = loaded(document())
    read = {each.profile: (each.name, each.principal, each.issuer, each.jwks) for each in policy.issuers}
    assert set(read) == set(IssuerProfile)
    assert {str(profile): principal for profile, (_, principal, _, _) in read.items()} == {
        "okta": "cid",
        "aws-iam": "sub",
        "kubernetes": "sub",
        "eks": "sub",
        "github-actions": "sub",
        "google": "sub",
        "entra": "oid",
        "jwt-svid": "sub",
        "oidc": "sub",
    }
    assert read[IssuerProfile.GITHUB_ACTIONS][2:] == ("https://token.actions.githubusercontent.com", None)
    assert read[IssuerProfile.GOOGLE][2:] == (
        "https://accounts.google.com",
        "https://www.googleapis.com/oauth2/v3/certs",
    )
    assert read[IssuerProfile.JWT_SVID][2:] == (None, None)
    assert [each.name for each in policy.issuers] == sorted(ISSUERS)
    assert loaded(document(), "dev").issuers == ()


def test_every_key_of_an_issuer_is_read() -> None:
    written = {
        "principal": "client_id",
        "pins": {"tenant": "b", "https://example.org/role": "a"},
        "jwks": "/etc/meshid/keys.json",
        "pinned_keys": [THUMBPRINTS[1], THUMBPRINTS[0], THUMBPRINTS[1]],
        "audience": ["two", "one", "two"],
        "binding": "required",
        "confirm_by_tls_key": True,
        "max_lifetime": 60,
        "max_stale": 604800,
    }
    read = issuer("other", written)
    assert read == Issuer(
        name="other",
        profile=IssuerProfile.OIDC,
        issuer="https://id.example.org",
        audience=("one", "two"),
        principal="client_id",
        pins=(Pin("https://example.org/role", "a"), Pin("tenant", "b")),
        jwks="/etc/meshid/keys.json",
        pinned_keys=THUMBPRINTS[:2],
        binding_required=True,
        confirms_by_tls_key=True,
        max_lifetime=60,
        max_stale=604800,
    )
    assert read.place == "environments.prod.issuers.other"
    cluster = issuer("cluster", {"jwks": "https://10.0.0.1:6443/openid/v1/jwks?timeout=9s"})
    assert cluster.jwks == "https://10.0.0.1:6443/openid/v1/jwks?timeout=9s"
    assert cluster.roots == "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    assert cluster.bearer_file == "/var/run/secrets/kubernetes.io/serviceaccount/token"


def test_no_variable_is_expanded() -> None:
    assert issuer("other", {"audience": ["${AUDIENCE}"]}).audience == ("${AUDIENCE}",)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("okta", {"issuer": "https://login.acme.example/oauth2/aus1b2c3"}),
        ("okta", {"pins": {"department": "payments"}}),
        ("aws", {"pins": {"principal_tags/team": "payments", "org_id": "o-a1b2c3d4e5"}}),
        ("eks", {"issuer": "https://oidc.eks.cn-north-1.amazonaws.com.cn/id/1A"}),
        ("eks", {"issuer": "https://oidc-eks.us-east-1.api.aws/id/1A"}),
        ("cluster", {"issuer": "https://container.googleapis.com/v1/projects/p/locations/l/clusters/c"}),
        ("cluster", {"pins": {"namespace": "payments", "serviceaccount/uid": "1f2e"}}),
        ("ci", {"issuer": "https://token.actions.githubusercontent.com"}),
        ("ci", {"principal": "repository_id", "pins": {"repository_owner_id": "1", "environment": "prod"}}),
        ("google", {"pins": {"project_id": "acme-prod"}, "principal": "sub"}),
        ("entra", {"issuer": f"https://login.microsoftonline.us/{TENANT}/v2.0", "principal": "azp"}),
        ("entra", {"issuer": f"https://sts.windows.net/{TENANT}/", "principal": "appid"}),
        ("other", {"issuer": "https://localhost:8443/a/"}),
        # Okta is not the only one whose issuers look like this.
        ("other", {"issuer": "https://localhost:9443/oauth2/token"}),
        ("other", {"principal": "https://example.org/workload"}),
    ],
    ids=str,
)
def test_what_the_providers_document_is_right(name: str, changes: dict[str, object]) -> None:
    assert issuer(name, changes).name == name


def test_a_peer_is_read_for_the_issuers_of_its_environment() -> None:
    policy = loaded(document())
    (peer,) = policy.peers
    assert peer.tokens == (
        TokenAlias("aws", Pattern("arn:aws:iam::111122223333:role/payments-api")),
        TokenAlias("ci", Pattern("repo:acme/payments:*")),
        TokenAlias("cluster", Pattern("payments/api")),
        TokenAlias("eks", Pattern("payments/api")),
        TokenAlias("okta", Pattern("0oa1b2c3d4e5")),
    )
    assert [str(each) for each in peer.spiffe] == ["/ns/payments/sa/api"]
    assert (peer.place, peer.idle) == ("peers[0]", ())
    (rule,) = policy.rules
    assert (rule.peers, rule.sources, rule.needs_token) == ((peer,), (), True)


def test_what_counts_for_nothing_in_an_environment_is_told() -> None:
    changed = document()
    changed["peers"][0]["spiffe"].append("spiffe://partner.example/x")
    (peer,) = loaded(changed, "dev").peers
    assert (peer.tokens, len(peer.spiffe)) == ((), 1)
    assert peer.idle == (
        ("peers[0].spiffe[1]", "'dev' does not federate with partner.example"),
        ("peers[0].kubernetes[0]", "'dev' has no issuer with profile kubernetes or eks"),
        ("peers[0].aws[0]", "'dev' has no issuer with profile aws-iam"),
        ("peers[0].okta[0]", "'dev' has no issuer with profile okta"),
        ("peers[0].tokens[0]", "'dev' has no issuer 'ci'"),
    )
    assert not loaded(changed).peers[0].idle


def test_a_peer_stands_beside_patterns_and_counts_once() -> None:
    changed = document()
    changed["allow"] = [{**RULE, "from": ["/a", "@payments-api", "**", "@payments-api"]}]
    (rule,) = loaded(changed).rules
    assert [str(each) for each in rule.sources] == ["/a", "/**"]
    assert [each.name for each in rule.peers] == ["payments-api"]


def test_the_certificate_alone_is_the_same_as_saying_nothing() -> None:
    said, unsaid = document(), document()
    said["allow"][0]["evidence"] = ["x509"]
    unsaid["allow"][0].pop("evidence")
    assert not loaded(said).rules[0].needs_token
    assert loaded(said).hash == loaded(unsaid).hash != loaded(document()).hash


def test_toml_says_the_same() -> None:
    text = """
        version = 1
        [environments.prod]
        trust_domains = ["prod.example.org"]
        [environments.prod.issuers.ci]
        profile  = "github-actions"
        audience = ["meshid:prod"]
        pins     = { repository_owner_id = "1234" }
        [[peers]]
        name   = "payments-api"
        tokens = [{ issuer = "ci", principal = "repo:acme/payments:*" }]
        [[allow]]
        id       = "r"
        from     = ["@payments-api"]
        to       = ["refunds"]
        evidence = ["x509", "token"]
    """
    assert Policy.from_toml(text, "prod") == loaded(tomllib.loads(text))


# -- What is wrong ------------------------------------------------------------


def wrong(name: str, told: dict[str, str], /, **changes: object) -> ParameterSet:
    """Return a file in which one issuer has these keys; those that are None are left out."""
    merged = {**ISSUERS[name], **changes}
    content = document(**{name: {key: value for key, value in merged.items() if value is not None}})
    content.update(peers=[], allow=[])
    where = f"environments.prod.issuers.{name}"
    return pytest.param(
        content,
        {f"{where}.{key}" if key else where: what for key, what in told.items()},
        id=f"{name}: {', '.join(told)} {', '.join(map(str, changes.values()))[:40]}",
    )


WRONG_ISSUERS = [
    wrong("okta", {"profile": "did you mean 'okta'?"}, profile="Okta"),
    wrong("okta", {"profile": "must be one of okta, aws-iam"}, profile="zzz"),
    wrong("okta", {"profile": "is missing; write the kind of issuer"}, profile=None),
    wrong("okta", {"profile": "not the number 1"}, profile=1),
    wrong("okta", {"clientid": "is unknown; known: profile, issuer, audience"}, clientid="x"),
    wrong("okta", {"audiences": "is unknown; did you mean 'audience'?"}, audiences=["x"]),
    wrong("okta", {"audience": "is missing; write a list"}, audience=None),
    wrong("okta", {"audience": 'must be a list: write ["x"]'}, audience="x"),
    wrong("okta", {"audience[1]": "not the string '*'"}, audience=["x", "*"]),
    wrong("okta", {"issuer": "is missing; write the `iss`"}, issuer=None),
    wrong("okta", {"issuer": "must be an https:// URL"}, issuer="http://acme.okta.com/oauth2/default"),
    wrong(
        "okta", {"issuer": "must be that of a custom authorization server"}, issuer="https://acme.okta.com"
    ),
    wrong("okta", {"issuer": "must be an https:// URL"}, issuer="https://ACME.okta.com/oauth2/default"),
    wrong("okta", {"issuer": "without a user"}, issuer="https://a@acme.okta.com/oauth2/default"),
    wrong("okta", {"principal": "profile okta has one: cid"}, principal="cid"),
    wrong("okta", {"pins.uid": "cannot be pinned: a user is no workload"}, pins={"uid": "x"}),
    wrong("okta", {"pins.email": "cannot be pinned: it can be changed"}, pins={"email": "x"}),
    wrong("okta", {"pins.foo": "must be a string of at most 1024"}, pins={"foo": 1}),
    wrong("okta", {"pins": "must be a table of strings, not an empty table"}, pins={}),
    wrong("okta", {"pins": "must be a table of strings, not a list"}, pins=["x"]),
    wrong("okta", {"pins.iss": "is judged by it already"}, pins={"iss": "x"}),
    wrong("okta", {"jwks": "must be an https:// URL or an absolute path"}, jwks="keys.json"),
    wrong("okta", {"jwks": "must be an https:// URL or an absolute path"}, jwks="http://a/keys"),
    wrong("okta", {"jwks": "remove '.', '..'"}, jwks="/etc/../keys"),
    wrong("okta", {"jwks": "remove '.', '..'"}, jwks="https://acme.example/a//b"),
    wrong("okta", {"jwks": "remove '.', '..'"}, jwks="https://acme.example/a/%2e%2E/b"),
    wrong("okta", {"jwks": "leave out :443"}, jwks="https://acme.example:443/keys"),
    wrong("okta", {"jwks": "no host with a port"}, jwks="https://acme.example:080/keys"),
    wrong("okta", {"jwks": "no host with a port"}, jwks="https://acme.example:65536/keys"),
    wrong("okta", {"jwks": "no host with a port"}, jwks="https://acme.example:/keys"),
    wrong("okta", {"jwks": "no host with a port"}, jwks=f"https://acme.example:{'9' * 900}/keys"),
    wrong("okta", {"jwks": "is no host"}, jwks="https://acme.example./keys"),
    wrong("okta", {"roots": "must be an absolute path"}, roots="ca.crt"),
    wrong("okta", {"bearer_file": "must be an absolute path"}, bearer_file="token"),
    wrong("okta", {"roots": "counts for nothing"}, jwks="/keys", roots="/ca.crt"),
    wrong("okta", {"bearer_file": "counts for nothing"}, jwks="/keys", bearer_file="/token"),
    wrong("okta", {"pinned_keys[0]": "a thumbprint of RFC 7638"}, pinned_keys=["x" * 43]),
    wrong("okta", {"pinned_keys": "is empty"}, pinned_keys=[]),
    wrong("okta", {"binding": 'must be "if-present" or "required"'}, binding="ignore"),
    wrong("okta", {"confirm_by_tls_key": "must be true or false"}, confirm_by_tls_key="yes"),
    wrong("okta", {"max_lifetime": "from 60 to 604800, not the number 59"}, max_lifetime=59),
    wrong("okta", {"max_lifetime": "not true"}, max_lifetime=True),
    wrong("okta", {"max_stale": "not the number 604801"}, max_stale=604801),
    wrong("okta", {"max_stale": "not the number 60.0"}, max_stale=60.0),
    wrong("aws", {"issuer": "must be that of one account"}, issuer="https://sts.amazonaws.com"),
    wrong("aws", {"audience": "means another service"}, audience=["sts.amazonaws.com"]),
    wrong(
        "aws", {"pins.request_tags": "whoever asks for the token chooses them"}, pins={"request_tags": "x"}
    ),
    wrong("aws", {"pins.'request_tags/a'": "chooses them"}, pins={"request_tags/a": "x"}),
    wrong("aws", {"pins.account": "did you mean 'aws_account'?"}, pins={"account": "x"}),
    wrong("aws", {"pins.zzz": "known: 'aws_account'"}, pins={"zzz": "x"}),
    wrong("aws", {"pins.principal_tags": "did you mean 'principal_tags/KEY'?"}, pins={"principal_tags": "x"}),
    wrong("eks", {"issuer": "must be that of one cluster"}, issuer="https://eks.amazonaws.com"),
    wrong("eks", {"audience": "means another service"}, audience=["x", "https://kubernetes.default.svc"]),
    wrong("ci", {"pins": 'pins = { repository_owner_id = "..." }'}, pins=None),
    wrong(
        "ci",
        {"pins.repository": "pin repository_id", "pins": "strangers have the same issuer"},
        pins={"repository": "x"},
    ),
    wrong("ci", {"pins": "must be a table of strings"}, pins="x"),
    wrong("ci", {"issuer": "has only one"}, issuer="https://token.actions.githubusercontent.com/"),
    wrong("ci", {"principal": "pin repository_id"}, principal="repository"),
    wrong("ci", {"principal": "whoever opens a pull request"}, principal="head_ref"),
    wrong("ci", {"principal": "must be sub or repository_id"}, principal="run_id"),
    wrong("google", {"principal": "can be changed, or given to somebody else"}, principal="email"),
    wrong("google", {"principal": "must be sub for"}, principal="azp"),
    wrong("entra", {"issuer": "by its id"}, issuer="https://login.microsoftonline.com/common/v2.0"),
    wrong("entra", {"principal": "can be changed"}, principal="upn"),
    wrong("spire", {"issuer": "leave it out"}, issuer="https://id.example.org"),
    wrong("spire", {"jwks": "are in the trust bundles"}, jwks="/keys"),
    wrong("spire", {"pinned_keys": "are in the trust bundles"}, pinned_keys=[THUMBPRINTS[0]]),
    wrong("spire", {"pins.foo": "it has none"}, pins={"foo": "x"}),
    wrong("other", {"principal": "can be changed"}, principal="preferred_username"),
    wrong("other", {"principal": "is judged by it already"}, principal="jti"),
    wrong("other", {"principal": "must be the name of a claim"}, principal=""),
    wrong("other", {"issuer": "remove '.', '..'"}, issuer="https://id.example.org/./a"),
]


@pytest.mark.parametrize(("content", "told"), WRONG_ISSUERS)
def test_every_error_of_an_issuer_is_told_at_its_place(content: object, told: dict[str, str]) -> None:
    found = {each.where: each.what for each in problems_of(content)}
    assert list(found) == list(told), found
    for where, what in told.items():
        assert what in found[where]


def peers(told: dict[str, str], /, *changes: dict[str, object], **rule: object) -> ParameterSet:
    """Return a file with these peers, each the right one with keys changed, and this rule."""
    content = document()
    content["peers"] = [
        {key: value for key, value in {"name": "a", "spiffe": ["/a"], **each}.items() if value is not None}
        for each in changes
    ]
    content["allow"] = [{"id": "r", "from": ["@a"], "to": ["t"], **rule}]
    return pytest.param(content, told, id=f"{', '.join(told)} {changes} {rule}"[:90])


WRONG_PEERS = [
    peers({"peers[0].name": "is missing; write a name"}, {"name": None}),
    peers({"peers[0].name": "write 'a-b'"}, {"name": "A b"}),
    peers({"peers[1].name": "already the name of peers[0]"}, {}, {"spiffe": ["/b"]}),
    peers({"peers[0]": "has nothing to prove itself by"}, {"spiffe": None}),
    peers({"peers[0].spife": "did you mean 'spiffe'?"}, {"spife": ["/b"]}),
    peers({"peers[0].spiffe": 'write ["/b"]'}, {"spiffe": "/b"}),
    peers({"peers[0].spiffe[1]": "may hold only"}, {"spiffe": ["/a", "/b c"]}),
    peers({"peers[0].spiffe[0]": "must begin with '/'"}, {"spiffe": ["@b"]}),
    peers({"peers[0].kubernetes[0]": "write 'ns/sa'"}, {"kubernetes": ["system:serviceaccount:ns:sa"]}),
    peers({"peers[0].kubernetes[0]": "must be namespace/service-account"}, {"kubernetes": ["api"]}),
    peers({"peers[0].kubernetes[0]": "segment of its own"}, {"kubernetes": ["a**/b"]}),
    peers({"peers[0].aws[0]": "write the ARN of its role"}, {"aws": ["arn:aws:sts::1:assumed-role/a/b"]}),
    peers({"peers[0].aws[0]": "must be the ARN of an IAM role"}, {"aws": ["payments-api"]}),
    peers({"peers[0].aws[0]": "must be a string, not the number 1"}, {"aws": [1]}),
    peers({"peers[0].okta[0]": "must be a client id, exactly"}, {"okta": ["0oa*"]}),
    peers({"peers[0].tokens": "tokens = [{ ... }]"}, {"tokens": {"issuer": "ci"}}),
    peers({"peers[0].tokens[0]": "must be a table with issuer, principal"}, {"tokens": ["ci"]}),
    peers(
        {"peers[0].tokens[0].issuer": "is missing", "peers[0].tokens[0].principal": "is missing"},
        {"tokens": [{}]},
    ),
    peers(
        {"peers[0].tokens[0].principal": "no leading '/'"},
        {"tokens": [{"issuer": "other", "principal": "/a"}]},
    ),
    peers(
        {"peers[0].tokens[0].principal": "segment of its own"},
        {"tokens": [{"issuer": "other", "principal": "a**"}]},
    ),
    peers(
        {"peers[0].tokens[0].issuer": "no environment has an issuer 'othr'; did you mean 'other'?"},
        {"tokens": [{"issuer": "othr", "principal": "a"}]},
    ),
    peers(
        {"peers[0].tokens[0].issuer": "no environment has an issuer 'zzzz'"},
        {"tokens": [{"issuer": "zzzz", "principal": "a"}]},
    ),
    peers(
        {"peers[0].tokens[0].issuer": "write it under `spiffe`"},
        {"tokens": [{"issuer": "spire", "principal": "a"}]},
    ),
    peers(
        {"peers[0].tokens[0].principal": "strangers have the same issuer"},
        {"tokens": [{"issuer": "google", "principal": "1*"}]},
    ),
    peers(
        {"allow[0].from[0]": "write '@payments'"},
        {"name": "payments"},
        **{"from": ["payments"]},
    ),
    peers({"allow[0].from[0]": "there is no peer 'b'; name it under [[peers]]"}, {}, **{"from": ["@b"]}),
    peers(
        {"allow[0].from[1]": "did you mean '@payments'?"},
        {"name": "payments"},
        **{"from": ["@payments", "@payment"]},
    ),
    peers({"allow[0].evidence": "a token never stands alone"}, {}, evidence=["token"]),
    peers({"allow[0].evidence": 'write ["x509", "token"]'}, {}, evidence="token"),
    peers({"allow[0].evidence": 'must be a list: write ["x509"]'}, {}, evidence="x509"),
    peers({"allow[0].evidence": "is empty"}, {}, evidence=[]),
    peers({"allow[0].evidence[1]": 'must be "x509" or "token"'}, {}, evidence=["x509", "jwt"]),
]


@pytest.mark.parametrize(("content", "told"), WRONG_PEERS)
def test_every_error_of_a_peer_is_told_at_its_place(content: object, told: dict[str, str]) -> None:
    found = {each.where: each.what for each in problems_of(content)}
    assert list(found) == list(told), found
    for where, what in told.items():
        assert what in found[where]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"peers": {"name": "a"}}, {"peers": "must be a list of tables (in TOML: [[peers]])"}),
        ({"peers": [1]}, {"peers[0]": "must be a table with name, not the number 1"}),
        ({"peers": [{"spiffe": ["/a"]}]}, {"peers[0].name": "is missing"}),
    ],
    ids=["a table", "a number", "no name"],
)
def test_a_rule_is_not_blamed_for_a_peer_that_is_wrong(
    change: dict[str, object], told: dict[str, str]
) -> None:
    found = {each.where: each.what for each in problems_of({**document(), **change})}
    assert list(found) == list(told)


def test_a_deny_rule_wants_no_evidence() -> None:
    content = document()
    content["deny"] = [{**RULE, "id": "d"}]
    ((where, what),) = [(each.where, each.what) for each in problems_of(content)]
    assert (where, what[:25]) == ("deny[0].evidence", "is for allow rules only: ")


@pytest.mark.parametrize("name", ["Okta", "", "a b", "a" * 65, "\u00e9"], ids=ascii)
def test_an_issuer_has_a_name_that_a_log_can_show(name: str) -> None:
    content = {**document(**{name: ISSUERS["other"]}), "peers": [], "allow": []}
    (problem,) = problems_of(content)
    assert "must be the name of an issuer: 1 to 64 of" in problem.what


@pytest.mark.parametrize("content", [1, [], {}], ids=["a number", "a list", "none"])
def test_issuers_are_tables_by_name(content: object) -> None:
    changed = document()
    changed["environments"]["prod"]["issuers"] = content
    changed.update(peers=[], allow=[])
    (problem,) = problems_of(changed)
    assert problem.where == "environments.prod.issuers"
    assert "must be tables [environments.prod.issuers.NAME], not " in problem.what


def test_an_issuer_is_no_number() -> None:
    changed = document()
    changed["environments"]["prod"]["issuers"] = {"a": 1}
    changed.update(peers=[dict(PEER)], allow=[])
    found = {each.where: each.what for each in problems_of(changed)}
    # The shorthands could mean it; only the alias that names another one is wrong, too.
    assert list(found) == ["environments.prod.issuers.a", "peers[0].tokens[0].issuer"]
    assert found["environments.prod.issuers.a"] == "must be a table with profile, audience, not the number 1"


def test_a_shorthand_without_any_issuer_of_its_profile_is_an_error() -> None:
    changed = document(other=ISSUERS["other"])
    changed["peers"][0].pop("tokens")
    found = {each.where: each.what for each in problems_of(changed)}
    assert found == {
        "peers[0].kubernetes[0]": "no environment has an issuer with profile kubernetes or eks",
        "peers[0].aws[0]": "no environment has an issuer with profile aws-iam",
        "peers[0].okta[0]": "no environment has an issuer with profile okta",
    }


def test_an_issuer_is_declared_once_in_an_environment() -> None:
    """A token is told by its `iss`, and a JWT-SVID by having none."""
    twice = document(a=ISSUERS["other"], b=ISSUERS["other"], c=ISSUERS["spire"], d=ISSUERS["spire"])
    twice.update(peers=[], allow=[])
    found = {each.where: each.what for each in problems_of(twice)}
    assert found == {
        "environments.prod.issuers.b": "is the same issuer as environments.prod.issuers.a: a token is told "
        "by its `iss`; put both into one table",
        "environments.prod.issuers.d": "is the same issuer as environments.prod.issuers.c: there is one for "
        "JWT-SVIDs; put both into one table",
    }


def test_all_errors_come_at_once() -> None:
    content = document()
    content["environments"]["prod"]["issuers"]["okta"].update(principal="email", foo=1)
    content["environments"]["dev"]["issuers"] = {"ci": {"profile": "githb-actions", "audience": [1]}}
    content["peers"].append({"name": "b", "kubernetes": ["x", "payments/api"], "spiffe": ["spiffe://x/y"]})
    content["allow"][0]["from"] = ["@c", "@b"]
    assert [each.where for each in problems_of(content)] == [
        "environments.dev.issuers.ci.profile",
        "environments.dev.issuers.ci.audience[0]",
        "environments.prod.issuers.okta.foo",
        "environments.prod.issuers.okta.principal",
        "peers[1].kubernetes[0]",
        "peers[1].spiffe[0]",
        "peers[1].kubernetes[1]",
        "allow[0].from[0]",
    ]


# -- The hash -----------------------------------------------------------------

OLD = """
version = 1
[environments.prod]
trust_domains = ["prod.example.org", "old.example.org"]
federates_with = ["partner.example"]
[[allow]]
id   = "a"
from = ["/ns/checkout/sa/api", "spiffe://partner.example/x"]
to   = ["payments"]
http = ["GET /v1/**"]
[[deny]]
id   = "b"
from = ["/ns/ci/**"]
to   = ["**"]
"""
OLD_HASH = "806f41a04936826dfb529ada49a6216c8e2054c2b92e468cac56a3d618566c3a"


def test_a_file_without_issuers_and_peers_has_the_hash_that_it_always_had() -> None:
    policy = Policy.from_toml(OLD, "prod")
    assert policy.hash == OLD_HASH
    assert (policy.peers, policy.issuers, policy.isolation) == ((), (), None)


def test_order_and_place_mean_nothing_to_the_hash() -> None:
    content = document()
    content["environments"]["prod"]["issuers"]["other"]["audience"] = ["a", "b"]
    content["peers"].append({"name": "z", "spiffe": ["/z", "/y"], "okta": ["1", "2"]})
    content["allow"][0]["from"] = ["@z", "@payments-api"]
    turned = json.loads(json.dumps(content), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    turned["environments"]["prod"]["issuers"]["other"]["audience"].reverse()
    turned["peers"].reverse()
    turned["allow"][0]["from"].reverse()
    for peer in turned["peers"]:
        peer["spiffe"].reverse()
        peer["okta"].reverse()
    assert json.dumps(content) != json.dumps(turned)
    assert loaded(content).hash == loaded(turned).hash
    assert loaded(content).issuers == loaded(turned).issuers


CHANGES = [
    ("issuers", "other", "audience", ["else"]),
    ("issuers", "other", "issuer", "https://else.example.org"),
    ("issuers", "other", "principal", "client_id"),
    ("issuers", "other", "pins", {"a": "b"}),
    ("issuers", "other", "jwks", "/keys"),
    ("issuers", "other", "roots", "/ca.crt"),
    ("issuers", "other", "bearer_file", "/token"),
    ("issuers", "other", "pinned_keys", [THUMBPRINTS[0]]),
    ("issuers", "other", "binding", "required"),
    ("issuers", "other", "confirm_by_tls_key", True),
    ("issuers", "other", "max_lifetime", 60),
    ("issuers", "other", "max_stale", 60),
    ("issuers", "new", "", {**ISSUERS["other"], "issuer": "https://else.example.org"}),
    ("peers", 0, "name", "payments"),
    ("peers", 0, "spiffe", ["/else"]),
    ("peers", 0, "okta", ["else"]),
    ("peers", 0, "tokens", [{"issuer": "ci", "principal": "else"}]),
]


@pytest.mark.parametrize(("part", "which", "key", "value"), CHANGES, ids=str)
def test_whatever_decides_is_part_of_the_hash(part: str, which: int | str, key: str, value: object) -> None:
    content = document()
    content["allow"][0]["from"] = ["/a"]
    before = loaded(content).hash
    parts: Any = content["environments"]["prod"]["issuers"] if part == "issuers" else content["peers"]
    if key:
        parts[which][key] = value
    else:
        parts[which] = value
    assert loaded(content).hash != before


def test_who_a_rule_is_about_is_part_of_the_hash() -> None:
    content = document()
    before = loaded(content).hash
    content["allow"][0]["from"] = ["/a"]
    assert loaded(content).hash != before


def test_each_field_of_an_issuer_is_in_the_hash_or_for_people() -> None:
    """One that is added later must be seen by somebody: `CHANGES` has each."""
    keys = {"binding": "binding_required", "confirm_by_tls_key": "confirms_by_tls_key"}
    changed = {keys.get(key, key) for part, _, key, _ in CHANGES if part == "issuers"}
    assert {field.name for field in attrs.fields(Issuer)} - changed == {"name", "profile", "place"}


@pytest.mark.parametrize("name", ["ci", "google", "entra", "aws", "eks"])
def test_an_issuer_that_is_known_has_its_own_profile(name: str) -> None:
    """As plain OIDC, a stranger's or a user's token would count."""
    known = issuer(name, {})
    other = {**ISSUERS["other"], "issuer": known.issuer}
    (problem,) = problems_of({**document(other=other), "peers": [], "allow": []})
    assert problem.where == "environments.prod.issuers.other.issuer"
    assert problem.what.endswith(
        f'is an issuer of profile {known.profile}: write profile = "{known.profile}"'
    )


def test_the_error_names_no_python() -> None:
    content = document(okta={**ISSUERS["okta"], "profile": "kuberntes"})
    with pytest.raises(InvalidPolicy, match="did you mean 'kubernetes'"):
        loaded(content)
