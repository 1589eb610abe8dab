"""Istio's policies mean the same after the import, or are refused with the field that has no equivalent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshid import InvalidInput, Policy, SpiffeId
from meshid.istio import Imported, InvalidIstioPolicy, import_istio
from meshid.istio.importing import NOTES
from meshid.istio.yaml_documents import documents
from tests.helpers.istio_proxies import verdicts

OWN = "prod.example.org"
OLD = "old"
PARTNER = "partner.example"


def document(name: str = "p", namespace: str = "shop", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def imported(*policies: object, aliases: Sequence[str] = ()) -> Imported:
    data = yaml.safe_dump_all(policies).encode()
    return import_istio([("mesh.yaml", data)], environment="prod", trust_domains=[OWN, *aliases])


def problems(*policies: object) -> list[str]:
    with pytest.raises(InvalidIstioPolicy) as caught:
        imported(*policies)
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    return [str(problem) for problem in caught.value.problems]


# -- The same semantics --------------------------------------------------------

PRINCIPALS = st.sampled_from(
    [
        "*",
        "cluster.local/ns/a/sa/x",
        f"{OWN}/ns/a/sa/x",
        f"{PARTNER}/ns/a/sa/x",
        "cluster.local/ns/a/*",
        "cluster.local/ns/a*",
        f"{PARTNER}/ns*",
        "cluster.local/*",
        "*/sa/x",
        "*x",
        "*a/sa/x",
        "*org/ns/a/sa/x",
        "*d/ns/a/sa/x",
        "*e/ns/a/sa/x",
        "*l/ns/a/sa/x",
        "*/ns/a/sa/x",
        "*local/sa/x",
        "cluster.local/ns/a/sa/*",
        f"{OLD}/ns/a/sa/x",
        f"{OLD}/ns/a/*",
        f"{OWN}/ns/a/sa/x/*",
        "cluster.local/ns/a",
    ]
)
NAMES = st.sampled_from(["*", "a", "a*", "*a", "ab"])
SOURCES = st.one_of(
    st.fixed_dictionaries({"principals": st.lists(PRINCIPALS, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"namespaces": st.lists(NAMES, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"serviceAccounts": st.lists(st.sampled_from(["x", "a/x", "ab/xy"]), min_size=1)}),
)
OPERATIONS = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.lists(st.sampled_from(["GET", "PUT", "*"]), min_size=1, max_size=2),
        "paths": st.lists(
            st.sampled_from(["*", "/", "/v", "/v/", "/v*", "/v/*", "/*", "*/v", "*v", "/v/w", "/v/w*"]),
            min_size=1,
            max_size=2,
        ),
    },
).filter(bool)
ISTIO_RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(SOURCES.map(lambda each: {"source": each}), min_size=1, max_size=2),
        "to": st.lists(OPERATIONS.map(lambda each: {"operation": each}), min_size=1, max_size=2),
    },
)


def istio_policy(
    namespace: str, app: str | None, action: str | None, rules: list[Any], *, dry_run: bool
) -> dict[str, Any]:
    spec: dict[str, Any] = {"rules": rules}
    if app and namespace != "istio-system":
        spec["selector"] = {"matchLabels": {"app": app}}
    if action:
        spec["action"] = action
    policy = {**document(namespace=namespace), "spec": spec}
    if dry_run:
        policy["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    return policy


def named(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for number, policy in enumerate(policies):
        policy["metadata"]["name"] = f"p{number}"
    return policies


POLICIES = st.lists(
    st.builds(
        istio_policy,
        st.sampled_from(["shop", "a", "istio-system"]),
        st.sampled_from(["pay", "ship", None]),
        st.sampled_from(["ALLOW", "DENY", "AUDIT", None]),
        st.lists(ISTIO_RULES, max_size=2),
        dry_run=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=3,
).map(named)
PATHS = [
    "/ns/a/sa/x",
    "/ns/ab/sa/x",
    "/ns/ab/sa/xy",
    "/ns/a",
    "/ns/shop/sa/x",
    "/ns/b/sa/y",
    "/q/ns/a/sa/x",
    "/sa/x",
    "/ns/a/sa/x/y",
    "/ns/a/r/1/sa/x",
    "/ns/a/b/c",
    "/ns/b/ns/a/sa/x",
]
DOMAINS = [OWN, OLD, PARTNER, "cluster.local"]
PEERS = [SpiffeId.parse(f"spiffe://{domain}{path}") for domain, path in product(DOMAINS, PATHS)]
# It makes these known, as they are to a mesh that federates with them, and says nothing else.
FEDERATED = document(
    name="f",
    namespace="other",
    rules=[{"from": [{"source": {"principals": [f"{PARTNER}/none", "cluster.local/none"]}}]}],
)
REQUESTS = [
    f"{m} {p}" for m, p in product(["GET", "PUT"], ["/", "/v", "/v/", "/v/w", "/v/w/z", "/vv", "/w/v"])
]


def answers_differ(policies: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return the questions to which the imported policy and Istio's proxies have different answers.

    Where the proxies differ from each other, an ALLOW means what both let in, and a DENY what
    either refuses.
    """
    policies = [*policies, FEDERATED]
    policy = Policy.from_toml(imported(*policies, aliases=[OLD]).toml, environment="prod")
    differ = []
    for peer, app, request in product(PEERS, ["shop/pay", "a/ship"], REQUESTS):
        matched = verdicts(policies, str(peer), app, request, [OWN, OLD]).values()
        allowed = all("ALLOW" in each for each in matched) and not any("DENY" in each for each in matched)
        if policy.decide(peer, app, request).allowed != allowed:
            differ.append((str(peer), app, request))
    return differ


@pytest.mark.slow
@settings(max_examples=150)
@given(POLICIES)
def test_everybody_gets_the_same_answer_as_from_istio(policies: list[dict[str, Any]]) -> None:
    assert answers_differ(policies) == []


def of(action: str, **source: list[str]) -> list[dict[str, Any]]:
    rules = [{"from": [{"source": source}]}]
    if action == "ALLOW":
        return [document(name="p", rules=rules)]
    return [document(name="p", action=action, rules=rules), document(name="all", rules=[{}])]


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
@pytest.mark.parametrize(
    "source",
    [
        {"principals": ["cluster.local/ns/a/*"]},
        {"principals": ["cluster.local/ns/a/sa/*"]},
        {"principals": ["cluster.local/ns/a/sa/x/y"]},
        {"principals": [f"{OWN}/ns/a/*"]},
        {"principals": [f"{OLD}/ns/a/sa/x"]},
        {"principals": ["*d/ns/a/sa/x"]},
        {"principals": ["*d/sa/x"]},
        {"principals": ["*org/ns/a/sa/x"]},
        {"namespaces": ["a"]},
        {"namespaces": ["a*"]},
        {"namespaces": ["*b"]},
        {"namespaces": ["*"]},
        {"serviceAccounts": ["a/x"]},
        {"serviceAccounts": ["x"]},
    ],
    ids=str,
)
def test_each_source_means_what_it_means_to_istio(action: str, source: dict[str, list[str]]) -> None:
    assert answers_differ(of(action, **source)) == []


def test_a_principal_of_other_than_five_parts_names_its_trust_domain_literally() -> None:
    result = imported(from_source(principals=["cluster.local/ns/a/*", "cluster.local/ns/a/sa/*"]))
    loaded = Policy.from_toml(result.toml, "prod")
    assert list(map(str, loaded.rules[0].sources)) == ["spiffe://cluster.local/ns/a/*/**", "/ns/a/sa/*/**"]
    assert result.notes[0] == (
        "'mesh.yaml': shop/p: spec.rules[0].from[0].source.principals[0]: 'cluster.local/ns/a/*' has not five"
        " parts, so Istio takes cluster.local literally: it means no peer of this mesh"
    )


def test_a_mesh_may_be_called_as_istio_calls_every_mesh() -> None:
    data = yaml.safe_dump(from_source(principals=["cluster.local/ns/a/*"])).encode()
    result = import_istio([("a", data)], environment="prod", trust_domains=["cluster.local", OLD])
    (source,) = Policy.from_toml(result.toml, "prod").rules[0].sources
    assert str(source) == "spiffe://cluster.local/ns/a/*/**"
    assert result.notes == NOTES


@pytest.mark.parametrize(
    "source",
    [
        {"principals": ["*.org/ns/a/sa/x"]},
        {"principals": ["*/sa/a.b"]},
        {"namespaces": ["a.b"]},
        {"serviceAccounts": ["a/x.y"]},
    ],
    ids=str,
)
def test_a_dot_that_istio_reads_as_any_character_is_refused_in_a_deny(source: dict[str, list[str]]) -> None:
    (problem,) = problems(*of("DENY", **source))
    assert "has a '.', which Istio's sidecars read as any character; deny the principals" in problem
    assert "[[allow]]" in imported(*of("ALLOW", **source)).toml


def test_a_dry_run_only_observes() -> None:
    policy = document(action="DENY", rules=[{}])
    policy["metadata"]["annotations"] = {"istio.io/dry-run": "true"}
    (rule,) = Policy.from_toml(imported(policy).toml, "prod").rules
    assert (rule.effect, rule.observe) == ("deny", True)
    policy["metadata"]["annotations"] = {"istio.io/dry-run": "false", "x": "y"}
    (rule,) = Policy.from_toml(imported(policy).toml, "prod").rules
    assert not rule.observe


def test_the_file_is_made_for_people() -> None:
    policy = document(
        name="payments-1",
        selector={"matchLabels": {"app": "payments"}},
        action="AUDIT",
        rules=[
            {
                "from": [
                    {"source": {"principals": ["cluster.local/ns/checkout/sa/api", f"{PARTNER}/ns/acc*"]}}
                ],
                "to": [{"operation": {"methods": ["GET"], "paths": ["/v1/*", "/info"]}}],
            }
        ],
    )
    result = imported(policy, None, document(name="none"), document(name="payments-2", rules=[{}]), policy)
    assert (
        result.toml
        == """\
version = 1

[environments."prod"]
trust_domains = ["prod.example.org"]
federates_with = ["partner.example"]

[[allow]]
id = "shop.payments-1.0"
why = "Istio AuthorizationPolicy shop/payments-1, rule 0."
from = ["/ns/checkout/sa/api", "spiffe://partner.example/ns/acc*/**"]
to = ["shop/payments"]
http = ["GET /v1/*/**", "GET /info"]
observe = true

[[allow]]
id = "shop.payments-2.0"
why = "Istio AuthorizationPolicy shop/payments-2, rule 0."
from = ["/**", "spiffe://partner.example/**"]
to = ["shop/**"]
"""
    )
    assert result.notes == (
        "'mesh.yaml': shop/none: has no rules, so it allows nothing",
        (
            "targets are called namespace/app: name each service like that,"
            " as in Mesh(service='shop/payments')"
        ),
        "Istio lets everybody reach a workload that no ALLOW policy selects; here, nobody may",
    )


def test_long_lists_get_a_line_each() -> None:
    accounts = [f"shop/account-{number}" for number in range(9)]
    text = imported(document(rules=[{"from": [{"source": {"serviceAccounts": accounts}}]}])).toml
    assert '    "/ns/shop/sa/account-8",\n]' in text
    assert len(Policy.from_toml(text, environment="prod").rules[0].sources) == 9


# -- Refused -------------------------------------------------------------------

NO_EQUAL = "has no exact equivalent in a policy file; write the rule in another way, or by hand"


def from_source(**source: object) -> dict[str, Any]:
    return document(rules=[{"from": [{"source": source}]}])


def to_operation(**operation: object) -> dict[str, Any]:
    return document(rules=[{"to": [{"operation": operation}]}])


def test_a_suffix_may_begin_inside_the_name_of_the_trust_domain() -> None:
    policy = from_source(principals=["*e.org/ns/shop/sa/api", "*other/ns/shop/sa/api"])
    loaded = Policy.from_toml(imported(policy).toml, "prod")
    assert list(map(str, loaded.rules[0].sources)) == [
        "/**/*e.org/ns/shop/sa/api",
        f"spiffe://{OWN}/ns/shop/sa/api",
        "/**/*other/ns/shop/sa/api",
    ]


def test_a_suffix_of_whole_segments_is_one_pattern() -> None:
    policy = from_source(principals=["*/sa/api"])
    loaded = Policy.from_toml(imported(policy).toml, "prod")
    assert list(map(str, loaded.rules[0].sources)) == ["/**/sa/api"]


def test_a_suffix_without_a_slash_is_not_about_trust_domains() -> None:
    policy = from_source(principals=["*api"])
    loaded = Policy.from_toml(imported(policy).toml, "prod")
    assert list(map(str, loaded.rules[0].sources)) == ["/**/*api"]


def test_each_form_of_a_path_has_its_pattern() -> None:
    policy = to_operation(methods=["GET"], paths=["*", "/info", "/v1/*", "*/health", "*.css"])
    loaded = Policy.from_toml(imported(policy).toml, "prod")
    assert list(map(str, loaded.rules[0].http)) == [
        "GET /**",
        "GET /info",
        "GET /v1/*/**",
        "GET /**/health",
        "GET /**/*.css",
    ]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        *(
            pytest.param(
                from_source(**{field: ["x"]}),
                f"spec.rules[0].from[0].source.{field}: {NO_EQUAL}",
                id=field,
            )
            for field in (
                "notPrincipals",
                "requestPrincipals",
                "notRequestPrincipals",
                "notNamespaces",
                "notServiceAccounts",
                "ipBlocks",
                "notIpBlocks",
                "remoteIpBlocks",
                "notRemoteIpBlocks",
            )
        ),
        *(
            pytest.param(
                to_operation(**{field: ["x"]}),
                f"spec.rules[0].to[0].operation.{field}: {NO_EQUAL}",
                id=field,
            )
            for field in ("hosts", "notHosts", "ports", "notPorts", "notMethods", "notPaths")
        ),
        pytest.param(
            from_source(principals=["a.b/c"], namespaces=["x"]),
            f"spec.rules[0].from[0].source: principals and namespaces together {NO_EQUAL}",
            id="two of a source",
        ),
        pytest.param(document(rules=[{"when": []}]), f"spec.rules[0].when: {NO_EQUAL}", id="when"),
        pytest.param(document(action="CUSTOM"), f"spec.action: 'CUSTOM' {NO_EQUAL}", id="custom"),
        pytest.param(document(targetRefs=[]), f"spec.targetRefs: {NO_EQUAL}", id="targetRefs"),
        pytest.param(
            document(selector={"matchLabels": {"version": "1"}}),
            "spec.selector: must be matchLabels with one label, app or app.kubernetes.io/name;"
            f" any other {NO_EQUAL}",
            id="another label",
        ),
        pytest.param(
            document(namespace="istio-system", selector={"matchLabels": {"app": "x"}}),
            f"spec.selector: in istio-system it selects in every namespace, and {NO_EQUAL}",
            id="selector in the root namespace",
        ),
        pytest.param(
            document(selector={"matchLabels": {"app": "a*"}}),
            "spec.selector: 'a*' is not the name of a workload",
            id="a star",
        ),
        pytest.param(
            document(selector={"matchLabels": {"app": 7}}),
            "spec.selector: '7' is not the name of a workload",
            id="a number",
        ),
        pytest.param(document(rules={}), None, id="empty rules are no rules"),
        pytest.param(document(rules="x"), "spec.rules: must be a list", id="rules"),
        pytest.param(document(rules=["x"]), "spec.rules[0]: must be a mapping", id="a rule"),
        pytest.param(
            document(rules=[{"from": []}]),
            "spec.rules[0].from: must be a list that is not empty",
            id="from",
        ),
        pytest.param(
            document(rules=[{"from": ["x"]}]),
            "spec.rules[0].from[0]: must be a mapping with 'source', and nothing else",
            id="a source",
        ),
        pytest.param(from_source(), "spec.rules[0].from[0].source: names no peer", id="an empty source"),
        pytest.param(
            to_operation(), "spec.rules[0].to[0].operation: names no request", id="an empty operation"
        ),
        pytest.param(
            from_source(principals=[]),
            "spec.rules[0].from[0].source.principals: must be a list of strings",
            id="an empty list is not everybody",
        ),
        pytest.param(
            from_source(principals="*"),
            "spec.rules[0].from[0].source.principals: must be a list of strings",
            id="a string is not taken apart",
        ),
        pytest.param(
            from_source(principals=["cluster*"]),
            "spec.rules[0].from[0].source.principals[0]: 'cluster*' must be TRUST-DOMAIN/PATH;"
            " a wildcard in the trust domain has no equivalent",
            id="a prefix that ends in the trust domain",
        ),
        pytest.param(
            from_source(principals=["a.b/*/sa/x"]),
            "spec.rules[0].from[0].source.principals[0]: 'a.b/*/sa/x' has a '*' in the middle,"
            " where Istio takes it literally: nothing matches it",
            id="a star in the middle",
        ),
        pytest.param(
            from_source(namespaces=["a/b"]),
            "spec.rules[0].from[0].source.namespaces[0]: 'a/b' is not a namespace",
            id="no namespace",
        ),
        pytest.param(
            from_source(serviceAccounts=["a/b/c"]),
            "spec.rules[0].from[0].source.serviceAccounts[0]: 'a/b/c' must be NAMESPACE/NAME or NAME,"
            " without wildcards",
            id="no service account",
        ),
        pytest.param(
            to_operation(paths=["/v1/{*}"]),
            "spec.rules[0].to[0].operation.paths[0]: '/v1/{*}' is a template, which has no exact equivalent;"
            " write the paths out",
            id="a template",
        ),
        pytest.param(
            to_operation(paths=["/caf\u00e9"]),
            "spec.rules[0].to[0].operation.paths[0]: '/caf\\xe9' has a character that no path has as Istio"
            " compares it, percent-encoded",
            id="a path that is not ASCII",
        ),
        pytest.param(
            to_operation(paths=["v1"]),
            "spec.rules[0].to[0].operation.paths[0]: 'v1' does not begin with '/', and would match no path",
            id="no path",
        ),
    ],
)
def test_what_has_no_equivalent_is_refused_with_its_place(
    policy: dict[str, Any], expected: str | None
) -> None:
    if expected is None:
        assert "[[" not in imported(policy).toml
        return
    namespace = policy["metadata"]["namespace"]
    assert problems(policy) == [f"'mesh.yaml': {namespace}/p: {expected}"]


def test_all_errors_are_reported_at_once() -> None:
    found = problems(
        document(name="a", action="CUSTOM"),
        document(
            name="b", rules=[{"when": [], "to": [{"operation": {"ports": ["80"], "methods": ["GET|PUT"]}}]}]
        ),
        {**document(name="c"), "apiVersion": "v2"},
        {**document(name="d"), "spec": []},
        {**document(name="e"), "metadata": {"name": "E!"}},
        {**document(name="e"), "metadata": None},
        from_source(principals=["Bad_Domain/x"]),
    )
    assert [each.partition(": ")[2].split(" ")[0].rstrip(":") for each in found] == [
        "'c'",
        "'d'",
        "'E!'",
        "'None'",
        "shop/a",
        "shop/b",
        "shop/b",
        "shop/b",
        "shop/p",
    ]


def test_a_wrong_trust_domain_is_an_error() -> None:
    with pytest.raises(InvalidIstioPolicy, match="--trust-domain"):
        import_istio([], environment="prod", trust_domains=["Prod"])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(
            b"a: &x 1\nb: *x", "line 1: anchors and aliases are not read; write it out", id="anchor"
        ),
        pytest.param(b"a: *x", "line 1: anchors and aliases are not read; write it out", id="alias"),
        pytest.param(b"a: !!python/object:os.system x", "line 1: tags are not read; remove", id="tag"),
        pytest.param(b"a: 1\na: 2", "line 2: the key 'a' occurs twice", id="a key twice"),
        pytest.param(b"1: 2", "line 1: a key must be a string; put it in quotes", id="a number as key"),
        pytest.param(b"[a]: 2", "line 1: a key must be a string; put it in quotes", id="a list as key"),
        pytest.param(b"[" * 100, "line 1: it is nested more than 32 levels deep", id="deep"),
        pytest.param(b"a: [", "line 1: ", id="open"),
        pytest.param(b"\xff\xfe", "it is not UTF-8, at byte 0", id="encoding"),
        pytest.param(b"a: \x01", "'unacceptable character #x0001", id="control"),
        pytest.param(b" " * (4 * 1024 * 1024 + 1), "it is larger than 4194304 bytes", id="large"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(InvalidIstioPolicy) as caught:
        import_istio([("x.yaml", data)], environment="prod", trust_domains=[OWN])
    assert str(caught.value).startswith(f"'x.yaml': {expected}")


def test_scalars_are_what_they_look_like() -> None:
    (read,) = documents(b"[no, yes, on, 22:22, 012, 0x1, 1e3, 2020-01-01, <<, true, -3, 0, null, ~, '']")
    assert read == [
        *("no", "yes", "on", "22:22", "012", "0x1", "1e3", "2020-01-01", "<<"),
        *(True, -3, 0, None, None, ""),
    ]


@given(
    st.one_of(
        st.binary(max_size=200), st.text(alphabet="ab:-[]{}&*!|>#'\"\n ,?%@`~", max_size=60).map(str.encode)
    )
)
def test_no_bytes_but_give_documents_or_one_clear_error(data: bytes) -> None:
    try:
        list(documents(data))
    except InvalidInput as error:
        assert str(error)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["from", "to", "source", "operation", "principals", "paths", "when", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@pytest.mark.slow
@given(
    st.fixed_dictionaries(
        {}, optional={"selector": JSON, "action": JSON, "rules": st.one_of(JSON, st.lists(JSON))}
    )
)
def test_no_shape_but_is_imported_or_refused(spec: dict[str, Any]) -> None:
    policy = json.loads(json.dumps(document(**spec)))
    try:
        imported(policy)
    except InvalidInput as error:
        assert str(error)
