"""Istio's policies mean the same after the import, or are refused with the field that has no equivalent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshid import InvalidInput, Policy
from meshid.istio import Imported, InvalidIstioPolicy, import_istio
from meshid.istio.yaml_documents import documents

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


def of(action: str, **source: list[str]) -> list[dict[str, Any]]:
    rules = [{"from": [{"source": source}]}]
    if action == "ALLOW":
        return [document(name="p", rules=rules)]
    return [document(name="p", action=action, rules=rules), document(name="all", rules=[{}])]


# -- Forms -------------------------------------------------------------------


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
    assert result.notes == (
        "targets are called namespace/app: name each service like that, as in Mesh(service='shop/payments')",
        "Istio lets everybody reach a workload that no ALLOW policy selects; here, nobody may",
    )


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
    assert "has a '.', which Istio's sidecars read as any character; write the principals out" in problem
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
OR_LESS = f"it {NO_EQUAL} ('stricter' imports it so that less is allowed)"


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
                f"spec.rules[0].from[0].source.{field}: {why}; {OR_LESS}",
                id=field,
            )
            for field, why in (
                ("requestPrincipals", "is about the token of an end user"),
                ("notRequestPrincipals", "is about the token of an end user"),
                ("ipBlocks", "is about an address, which anybody can have"),
                ("notIpBlocks", "is about an address, which anybody can have"),
                ("remoteIpBlocks", "is about an address, which anybody can have"),
                ("notRemoteIpBlocks", "is about an address, which anybody can have"),
            )
        ),
        *(
            pytest.param(
                to_operation(**{field: ["x"]}),
                f"spec.rules[0].to[0].operation.{field}: {why}; {OR_LESS}",
                id=field,
            )
            for field, why in (
                ("hosts", "is about the header Host, which is not judged"),
                ("notHosts", "is about the header Host, which is not judged"),
                ("notPorts", "is about all ports but some, and a target has no exceptions"),
            )
        ),
        pytest.param(
            from_source(principals=["*/sa/api"], namespaces=["x"]),
            "spec.rules[0].from[0].source: '/**/sa/api' and '/ns/x/sa/*' overlap in part,"
            f" which together {NO_EQUAL}",
            id="two of a source that overlap",
        ),
        pytest.param(
            from_source(trustDomains=["a"]),
            f"spec.rules[0].from[0].source.trustDomains: {NO_EQUAL}",
            id="new",
        ),
        pytest.param(document(rules=[{"when": "x"}]), "spec.rules[0].when: must be a list", id="when"),
        *(
            pytest.param(
                document(rules=[{"when": [each]}]),
                "spec.rules[0].when[0]: must be a mapping with 'key', and 'values' or 'notValues'",
                id=f"a condition: {each}",
            )
            for each in (
                "x",
                {},
                {"key": 7, "values": ["x"]},
                {"key": "source.namespace"},
                {"key": "a", "x": []},
            )
        ),
        pytest.param(
            document(rules=[{"when": [{"key": "source.namespce", "values": ["x"]}]}]),
            f"spec.rules[0].when[0].key: 'source.namespce' is unknown; it {NO_EQUAL}",
            id="an unknown condition",
        ),
        *(
            pytest.param(
                document(rules=[{"when": [{"key": key, "values": ["x"]}]}]),
                f"spec.rules[0].when[0]: {why}; {OR_LESS}",
                id=key,
            )
            for key, why in (
                ("request.auth.claims[iss]", "is about the token of an end user"),
                ("request.headers[x-user]", "is about a header, which is not judged"),
                ("source.ip", "is about an address, which anybody can have"),
            )
        ),
        pytest.param(
            document(rules=[{"when": [{"key": "destination.port", "notValues": ["80"]}]}]),
            "spec.rules[0].when[0].notValues: is about all ports but some, and a target has no exceptions;"
            f" {OR_LESS}",
            id="a condition on all ports but some",
        ),
        *(
            pytest.param(
                to_operation(ports=[each]),
                f"spec.rules[0].to[0].operation.ports[0]: {each!r} must be a port, from 1 to 65535",
                id=f"the port {each}",
            )
            for each in ("0", "080", "65536", "http")
        ),
        pytest.param(
            document(action="CUSTOM"),
            "spec.action: 'CUSTOM' lets an extension provider decide, which has no equivalent in a policy"
            " file ('without-custom' leaves it out, so that nobody asks the provider)",
            id="custom",
        ),
        pytest.param(document(action="LOG"), f"spec.action: 'LOG' {NO_EQUAL}", id="an unknown action"),
        pytest.param(
            document(action="ALOW"),
            "spec.action: 'ALOW' is unknown; did you mean 'ALLOW'?",
            id="a mistyped action",
        ),
        pytest.param(
            from_source(principal=["*"]),
            "spec.rules[0].from[0].source.principal: is unknown; did you mean 'principals'?",
            id="a mistyped field of a source",
        ),
        pytest.param(
            document(rule=[{}]),
            "spec.rule: is unknown; did you mean 'rules'?",
            id="a mistyped field of a spec",
        ),
        pytest.param(
            document(targetRefs=[], rules=[{}]),
            "spec.targetRefs: is obeyed by waypoints and gateways only, beside what other proxies obey, and"
            f" all must allow; {OR_LESS}",
            id="targetRefs",
        ),
        pytest.param(
            document(selector={"matchExpressions": []}),
            f"spec.selector: must be matchLabels; anything else {NO_EQUAL}",
            id="another selector",
        ),
        *(
            pytest.param(
                document(selector={"matchLabels": {key: value}}),
                f"spec.selector: '{key}: {value}' is not the label of a workload",
                id=f"the label {key}: {value!r}",
            )
            for key, value in (
                ("app", "a*"),
                ("app", 7),
                ("app", "a/b"),
                ("app", "-"),
                ("app", ""),
                ("a b", "c"),
            )
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
        pytest.param(
            from_source(),
            "spec.rules[0].from[0].source: names no peer; write whom it means, or leave 'from' out",
            id="an empty source",
        ),
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
            from_source(principals=["*/sa/x*"]),
            "spec.rules[0].from[0].source.principals[0]: '*/sa/x*' has a '*' in the middle,"
            " which Istio's proxies read differently",
            id="a star in the suffix of a principal",
        ),
        pytest.param(
            from_source(namespaces=["a*b"]),
            "spec.rules[0].from[0].source.namespaces[0]: 'a*b' has a '*' in the middle,"
            " which Istio's proxies read differently",
            id="a star in a namespace",
        ),
        pytest.param(
            to_operation(paths=["/a/*/b"]),
            "spec.rules[0].to[0].operation.paths[0]: '/a/*/b' has a '*' in the middle, where Istio takes it"
            f" literally; {OR_LESS}",
            id="a star in a path",
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
            "spec.rules[0].to[0].operation.paths[0]: '/v1/{*}' is a template, which takes some characters"
            f" only; {OR_LESS}",
            id="a template",
        ),
        *(
            pytest.param(
                to_operation(paths=[each]),
                f"spec.rules[0].to[0].operation.paths[0]: {each!r} is a template that is not known here;"
                " write the paths out",
                id=f"the template {each}",
            )
            for each in ("/v1/{name}", "/v1/a{**}b")
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
            name="b",
            rules=[{"when": "", "x": 1, "to": [{"operation": {"ports": [80], "methods": ["GET|PUT"]}}]}],
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
