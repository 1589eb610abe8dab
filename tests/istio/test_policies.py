"""Everything that is not imported is named: it could have been a DENY."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest
import yaml

from meshid import Policy, SpiffeId
from meshid.istio import Imported, InvalidIstioPolicy, import_istio
from meshid.istio.problems import MAX_PROBLEMS
from tests.istio.test_istio import OWN, document, problems

# As `kubectl get authorizationpolicies -A -o yaml` prints it.
KUBECTL = """\
apiVersion: v1
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"security.istio.io/v1","kind":"AuthorizationPolicy","metadata":{}}
    creationTimestamp: "2026-11-02T10:14:07Z"
    generation: 3
    name: frontends
    namespace: shop
    resourceVersion: "81231"
    uid: 3c0d1bf8-7a57-4a6e-9d0f-2f5d6d1a7f10
  spec:
    rules:
    - from:
      - source:
          principals:
          - cluster.local/ns/shop/sa/*
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    creationTimestamp: "2026-11-02T10:15:00Z"
    generation: 1
    name: no-bots
    namespace: shop
    resourceVersion: "81240"
    uid: 9f3c2f0e-58fb-4e5a-8d2e-1a4f0f4a1b0c
  spec:
    action: DENY
    rules:
    - from:
      - source:
          principals:
          - cluster.local/ns/shop/sa/bot
  status:
    conditions: []
kind: List
metadata:
  resourceVersion: ""
"""
WEB, BOT = (SpiffeId.parse(f"spiffe://{OWN}/ns/shop/sa/{name}") for name in ("web", "bot"))


def imported(*texts: str) -> Imported:
    files = [(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    return import_istio(files, environment="prod", trust_domains=[OWN])


def items(*documents: object, **more: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(documents), **more}


def deny(name: str = "no-bots") -> dict[str, Any]:
    source = {"principals": ["cluster.local/ns/shop/sa/bot"]}
    return document(name=name, action="DENY", rules=[{"from": [{"source": source}]}])


def test_the_policies_of_a_list_are_imported() -> None:
    policy = Policy.from_toml(imported(KUBECTL).toml, "prod")
    assert policy.decide(WEB, "shop/pay").rule == "shop.frontends.0"
    assert policy.decide(BOT, "shop/pay").rule == "shop.no-bots.0"


def test_a_list_in_a_list_is_one_as_well() -> None:
    text = yaml.safe_dump(items(document(rules=[{}]), items(items(deny()))))
    policy = Policy.from_toml(imported(text).toml, "prod")
    assert [policy.decide(peer, "shop/pay").allowed for peer in (WEB, BOT)] == [True, False]


def test_the_list_that_the_api_server_prints_is_one_as_well() -> None:
    listed = items(deny(), apiVersion="security.istio.io/v1", kind="AuthorizationPolicyList", metadata={})
    assert 'id = "shop.no-bots.0"' in imported(yaml.safe_dump(listed)).toml


LEFT_OUT = "is not an AuthorizationPolicy, and is not imported; leave it out"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param({"kind": "Service"}, f"'Service': {LEFT_OUT}", id="no object of Kubernetes"),
        pytest.param({"apiVersion": "v1", "kind": 7}, f"'7': {LEFT_OUT}", id="a number as kind"),
        pytest.param(
            {
                "apiVersion": "rbac.istio.io/v1alpha1",
                "kind": "ServiceRole",
                "metadata": {"name": "m", "namespace": "shop"},
            },
            f"'ServiceRole shop/m': {LEFT_OUT}",
            id="what Istio had before, with its name",
        ),
        pytest.param(
            {"apiVersion": "v1", "kind": "AuthorisationPolicy"},
            f"'AuthorisationPolicy': {LEFT_OUT}",
            id="a kind that looks alike",
        ),
        pytest.param({"kind": ["List"]}, f"\"['List']\": {LEFT_OUT}", id="no kind at all"),
        pytest.param({"items": []}, f"\"{{'items': []}}\": {LEFT_OUT}", id="a list without its kind"),
        pytest.param("text", f"'text': {LEFT_OUT}", id="text"),
        pytest.param([deny()], f'"{str([deny()])[:64]}": {LEFT_OUT}', id="a bare list"),
        pytest.param({**deny(), "kind": "authorizationpolicy"}, None, id="lower case"),
        pytest.param({**items(deny()), "kind": "list"}, None, id="a list in lower case"),
        pytest.param(items({"kind": "Service"}), f"'Service': {LEFT_OUT}", id="another kind in a list"),
        pytest.param(
            items(None), "List: items: must be a list of AuthorizationPolicy objects", id="nothing in a list"
        ),
        pytest.param(
            items(items={}), "List: items: must be a list of AuthorizationPolicy objects", id="no items"
        ),
        pytest.param(items(apiVersion="v2"), "List: apiVersion: must be v1", id="another version of a list"),
        pytest.param(
            items(more=[deny()]),
            "List: more: is unknown; known: apiVersion, kind, metadata, items",
            id="an unknown field of a list",
        ),
        pytest.param(
            items(metadata={"continue": "eyJ2Ij"}),
            "List: is only the first part; get all of it, without a limit",
            id="a part of a list",
        ),
        pytest.param(
            {**deny(), "sepc": {}},
            "'no-bots': sepc: is unknown; known: apiVersion, kind, metadata, spec, status",
            id="an unknown field of a policy",
        ),
        pytest.param(
            {**deny(), "metadata": {"name": "p", "namespace": "shop", "labels": {"istio.io/rev": "canary"}}},
            "'p': metadata.labels.istio.io/rev: only some control planes obey it, which has no exact"
            " equivalent in a policy file; write the rule in another way, or by hand",
            id="a revision",
        ),
        *(
            pytest.param(
                {
                    **deny(),
                    "metadata": {"name": "p", "namespace": "shop", "annotations": {"istio.io/dry-run": each}},
                },
                "'p': metadata.annotations.istio.io/dry-run: must be 'true' or 'false', in quotes",
                id=f"a dry run: {each!r}",
            )
            for each in ("yes", True, ["true"])
        ),
    ],
)
def test_what_is_not_imported_is_named(content: object, expected: str | None) -> None:
    found = problems(content)
    assert len(found) == 1
    assert found == [f"'mesh.yaml': {expected}"] if expected else LEFT_OUT in found[0]


def other(kind: str, version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}}


def test_what_is_no_rule_is_passed_over_and_named() -> None:
    text = yaml.safe_dump_all(
        [
            other("Service"),
            deny(),
            items(other("Service"), other("Gateway", "networking.istio.io/v1")),
            other("EnvoyFilter", "networking.istio.io/v1alpha3"),
            other("PeerAuthentication", "security.istio.io/v1"),
            other("RequestAuthentication", "security.istio.io/v1"),
        ]
    )
    assert imported(text).notes[:5] == (
        "'0.yaml': 'Service' (2 of them) is not an AuthorizationPolicy, and is left out",
        "'0.yaml': 'Gateway' is not an AuthorizationPolicy, and is left out",
        "'0.yaml': 'EnvoyFilter' can change what Istio's proxies decide; it is not imported",
        "'0.yaml': 'PeerAuthentication' says who needs a certificate; here, every peer does",
        (
            "'0.yaml': 'RequestAuthentication' refuses requests whose token is not valid; that is not"
            " imported: verify tokens"
        ),
    )


def test_a_policy_without_a_namespace_has_the_one_that_is_given() -> None:
    bare = {**deny(), "metadata": {"name": "no-bots"}}
    data = [("a.yaml", yaml.safe_dump_all([bare, document(rules=[{}])]).encode())]
    result = import_istio(data, environment="prod", trust_domains=[OWN], namespace="pay")
    assert [rule.id for rule in Policy.from_toml(result.toml, "prod").rules] == ["pay.no-bots.0", "shop.p.0"]
    with pytest.raises(InvalidIstioPolicy) as caught:
        import_istio(data, environment="prod", trust_domains=[OWN])
    assert str(caught.value) == (
        "'a.yaml': 'no-bots': metadata: has no namespace, which decides what is selected; add it, or"
        " give the one of all policies without: --namespace NAME"
    )
    with pytest.raises(InvalidIstioPolicy, match="--namespace: 'Pay' is not a namespace"):
        import_istio([], environment="prod", trust_domains=[OWN], namespace="Pay")


def test_what_kubectl_prints_as_json_is_read_as_well() -> None:
    text = json.dumps(yaml.safe_load(KUBECTL), indent=4)
    assert imported(text).toml == imported(KUBECTL).toml


def test_a_file_without_policies_is_told() -> None:
    notes = imported("# nothing\n", "---\n---\n", yaml.safe_dump(items()), KUBECTL).notes
    assert notes[:3] == tuple(f"'{number}.yaml': holds no AuthorizationPolicy" for number in range(3))
    assert not any("3.yaml" in note for note in notes)


def test_the_same_policy_twice_is_one() -> None:
    assert imported(KUBECTL, KUBECTL).toml == imported(KUBECTL).toml


def test_of_two_policies_with_one_name_only_one_can_be_in_force() -> None:
    with pytest.raises(InvalidIstioPolicy) as caught:
        imported(KUBECTL, KUBECTL.replace("sa/bot", "sa/robot"))
    assert str(caught.value) == (
        "'1.yaml': shop/no-bots: is another one in '0.yaml'; leave out the one that is not in force"
    )


def test_the_root_namespace_is_told() -> None:
    text = yaml.safe_dump(document(name="all", namespace="istio-system", rules=[{}]))
    assert imported(text).notes[0] == (
        "'0.yaml': istio-system/all: is for all namespaces, if meshConfig has no other rootNamespace"
        " than istio-system"
    )


def test_problems_are_kept_up_to_a_limit_and_counted() -> None:
    many = items(*({"kind": "Service"} for _ in range(MAX_PROBLEMS + 7)))
    found = problems(many)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == "... and 7 more"


def test_long_names_get_ids_of_their_own() -> None:
    names = ["n" * 60 + each for each in "abc"]
    text = textwrap.dedent("\n---\n").join(yaml.safe_dump(document(name=each, rules=[{}])) for each in names)
    ids = [rule.id for rule in Policy.from_toml(imported(text).toml, "prod").rules]
    assert ids == [f"shop.{'n' * 43}.0{suffix}" for suffix in ("", "-2", "-3")]
