"""The other kinds of Kubernetes objects: what is passed over, what is said of it, and what is refused.

Only an AuthorizationPolicy is a rule. A kind that looks like one is a mistake, and could be a DENY;
an object of Istio's own that is not known here could be one under another name. Both are refused.
"""

from __future__ import annotations

from typing import Any

KIND = "AuthorizationPolicy"

_OLD_GROUPS = ("rbac.istio.io", "authentication.istio.io", "config.istio.io", "security.istio.io")
"""Istio's groups in which every kind decides who may reach whom, or whom a peer is taken for."""

_SAID = {
    "EnvoyFilter": "can change what Istio's proxies decide; it is not imported",
    "WasmPlugin": "can decide about requests itself; it is not imported",
    "NetworkPolicy": "decides about addresses, below Istio; it is not imported",
    "PeerAuthentication": "says who needs a certificate; here, every peer does",
    "RequestAuthentication": "refuses requests whose token is not valid; that is not imported: verify tokens",
}


def passed_over(fields: dict[str, Any]) -> tuple[str, str] | None:
    """Return the kind of an object that is no rule, and what to say of it; None if it is refused."""
    kind, version = fields.get("kind"), fields.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str) or not kind or not version:
        return None
    if "items" in fields:
        # A list under another name.
        return None
    if kind in _SAID:
        return kind, _SAID[kind]
    group = version.rpartition("/")[0]
    looks_alike = "authori" in kind.casefold() and "polic" in kind.casefold()
    if looks_alike or group in _OLD_GROUPS:
        return None
    return kind, f"is not an {KIND}, and is left out"
