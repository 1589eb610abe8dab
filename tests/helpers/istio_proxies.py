"""What Istio's proxies make of an `AuthorizationPolicy`, written down from what Istio gives them.

A sidecar gets regular expressions, from `pilot/pkg/security/authz/model/generator.go` and
`pilot/pkg/security/trustdomain/bundle.go`; the ztunnel compares the parts of an identity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

Source: TypeAlias = dict[str, list[str]]
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


def sidecar_sees(source: Source, name: str, namespace: str, own: Sequence[str]) -> bool:
    if "principals" in source:
        return any(_is_principal(each, name, own) for each in source["principals"])
    if "namespaces" in source:
        return any(re.fullmatch(f".*/ns/{each.replace('*', '.*')}/.*", name) for each in source["namespaces"])
    return any(
        re.fullmatch(f"spiffe://.+/ns/{ns}/(.+/|)sa/{sa}(/.+)?", name)
        for ns, sa in (_account(each, namespace) for each in source["serviceAccounts"])
    )


def ztunnel_sees(source: Source, name: str, namespace: str, own: Sequence[str]) -> bool:
    if "principals" in source:
        return any(_is_principal(each, name, own) for each in source["principals"])
    if (account := _ACCOUNT.fullmatch(name)) is None:
        return False
    if "namespaces" in source:
        return any(agrees(each, account[1]) for each in source["namespaces"])
    return account.groups() in [_account(each, namespace) for each in source["serviceAccounts"]]


def _account(text: str, namespace: str) -> tuple[str, str]:
    where, slash, name = text.partition("/")
    return (where, name) if slash else (namespace, where)


PROXIES = {"sidecar": sidecar_sees, "ztunnel": ztunnel_sees}


def _is_for(operations: list[dict[str, Any]], method: str, path: str) -> bool:
    return any(
        any(agrees(pattern, method) for pattern in each["operation"].get("methods", ["*"]))
        and any(agrees(pattern, path) for pattern in each["operation"].get("paths", ["*"]))
        for each in operations
    )


def verdicts(
    policies: Policies, name: str, app: str, request: str, own: Sequence[str]
) -> dict[str, set[str]]:
    """Return the actions whose policies match, for each kind of proxy."""
    matched: dict[str, set[str]] = {proxy: set() for proxy in PROXIES}
    method, _, path = request.partition(" ")
    for policy in policies:
        namespace, spec = policy["metadata"]["namespace"], policy["spec"]
        selected = spec.get("selector", {}).get("matchLabels", {}).get("app", app.partition("/")[2])
        if namespace != "istio-system" and f"{namespace}/{selected}" != app:
            continue
        action = spec.get("action", "ALLOW")
        if policy["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true":
            action = "AUDIT"
        for rule in spec.get("rules", []):
            if "to" in rule and not _is_for(rule["to"], method, path):
                continue
            for proxy, sees in PROXIES.items():
                if "from" not in rule or any(
                    sees(each["source"], name, namespace, own) for each in rule["from"]
                ):
                    matched[proxy].add(action)
    return matched
