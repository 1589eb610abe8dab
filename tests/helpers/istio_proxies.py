"""What Istio's proxies make of an `AuthorizationPolicy`, written down from what Istio gives them.

A sidecar gets regular expressions, from `pilot/pkg/security/authz/model/generator.go` and
`pilot/pkg/security/trustdomain/bundle.go`; the ztunnel compares the parts of an identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import attrs

Source: TypeAlias = dict[str, list[str]]
Has: TypeAlias = Callable[[str, str], bool]
Policies: TypeAlias = Sequence[dict[str, Any]]

_ACCOUNT = re.compile(r"spiffe://[^/]+/ns/([^/]+)/sa/([^/]+)")


def agrees(pattern: str, text: str) -> bool:
    """Match as Istio's reference says: exact, prefix, suffix or presence."""
    if pattern == "*":
        return bool(text)
    if pattern.startswith("*"):
        return text.endswith(pattern[1:])
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _expanded(principal: str, own: Sequence[str]) -> list[str]:
    parts = principal.split("/")
    if len(parts) != 5 or parts[0] == "*":
        return [principal]
    if parts[0] != "cluster.local" and not any(agrees(parts[0], each) for each in own):
        return [principal]
    is_suffix = parts[0].startswith("*")
    return [
        principal if is_suffix and agrees(parts[0], each) else "/".join([each, *parts[1:]]) for each in own
    ]


def _is_principal(principal: str, name: str, own: Sequence[str]) -> bool:
    for each in _expanded(principal, own):
        if each == "*":
            expression = ".+"
        elif each.startswith("*"):
            # Istio does not escape it.
            expression = f"spiffe://.*{each[1:]}"
        else:
            exact, star = each.removesuffix("*"), each.endswith("*")
            expression = re.escape(f"spiffe://{exact}") + (".*" if star else "")
        if re.fullmatch(expression, name):
            return True
    return False


def _sidecar_is(name: str, namespace: str, own: Sequence[str], kind: str, text: str) -> bool:
    if kind == "principals":
        return _is_principal(text, name, own)
    if kind == "namespaces":
        return bool(re.fullmatch(f".*/ns/{text.replace('*', '.*')}/.*", name))
    ns, sa = _account(text, namespace)
    return bool(re.fullmatch(f"spiffe://.+/ns/{ns}/(.+/|)sa/{sa}(/.+)?", name))


def _ztunnel_is(name: str, namespace: str, own: Sequence[str], kind: str, text: str) -> bool:
    if kind == "principals":
        return _is_principal(text, name, own)
    if (account := _ACCOUNT.fullmatch(name)) is None:
        return False
    return agrees(text, account[1]) if kind == "namespaces" else account.groups() == _account(text, namespace)


def _account(text: str, namespace: str) -> tuple[str, str]:
    where, slash, name = text.partition("/")
    return (where, name) if slash else (namespace, where)


PROXIES = (_sidecar_is, _ztunnel_is)
KINDS = ("principals", "namespaces", "serviceAccounts")
CONDITIONS = dict(zip(("source.principal", "source.namespace", "source.serviceAccount"), KINDS, strict=True))


@attrs.frozen
class Workload:
    """A workload, as Istio knows it."""

    namespace: str
    labels: dict[str, str]
    port: str

    def is_selected(self, policy: dict[str, Any]) -> bool:
        wanted = policy["spec"].get("selector", {}).get("matchLabels", {})
        is_near = policy["metadata"]["namespace"] in {"istio-system", self.namespace}
        return is_near and wanted.items() <= self.labels.items()


def _holds(has: Callable[[str], bool], fields: dict[str, list[str]], name: str, negated: str) -> bool:
    is_named = name not in fields or any(map(has, fields[name]))
    return is_named and not any(map(has, fields.get(negated, [])))


def _negated(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


def _sees(has: Has, source: Source) -> bool:
    """Tell whether a peer is one of a source: all its fields hold."""
    return all(_holds(partial(has, kind), source, kind, _negated(kind)) for kind in KINDS)


def _is_for(operation: dict[str, list[str]], method: str, path: str, port: str) -> bool:
    values = {"methods": method, "paths": path, "ports": port}
    return all(
        _holds(partial(_is_agreed, value), operation, field, _negated(field))
        for field, value in values.items()
    )


def _is_agreed(value: str, pattern: str) -> bool:
    return agrees(pattern, value)


def _hold(has: Has, conditions: Sequence[dict[str, Any]], port: str) -> bool:
    return all(
        _holds(
            port.__eq__ if each["key"] == "destination.port" else partial(has, CONDITIONS[each["key"]]),
            each,
            "values",
            "notValues",
        )
        for each in conditions
    )


def actions(policies: Policies, name: str, workload: Workload, request: str, own: Sequence[str]) -> set[str]:
    """Return the actions that an import has to take.

    An ALLOW, if all kinds of proxies find it in one entry of one rule; any other, if one of them does.
    """
    taken = set()
    method, _, path = request.partition(" ")
    for policy in filter(workload.is_selected, policies):
        spec = policy["spec"]
        action = spec.get("action", "ALLOW")
        if policy["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true":
            action = "AUDIT"
        proxies = [partial(is_, name, policy["metadata"]["namespace"], own) for is_ in PROXIES]
        for rule in spec.get("rules", []):
            if "to" in rule and not any(
                _is_for(each["operation"], method, path, workload.port) for each in rule["to"]
            ):
                continue
            for entry in rule.get("from", [{"source": {}}]):
                found = [
                    _sees(has, entry["source"]) and _hold(has, rule.get("when", []), workload.port)
                    for has in proxies
                ]
                if all(found) or (any(found) and action != "ALLOW"):
                    taken.add(action)
    return taken
