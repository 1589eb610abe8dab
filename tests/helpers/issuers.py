"""Issuers of tokens: declared in a policy, with a provider on the loopback behind them."""

from __future__ import annotations

from pathlib import Path

from meshid import Policy
from meshid.policy.issuers import DEFAULT_SECONDS, Issuer, IssuerProfile
from tests.helpers.oidc_provider import OidcProvider
from tests.helpers.tls_peers import POLICY, policy

OKTA = "okta"


def issuer_of(provider: OidcProvider, root: Path, **members: object) -> Issuer:
    """Return the issuer whose provider it is, trusted by a file in *root*; *members* replace its members."""
    values = {
        "name": OKTA,
        "profile": IssuerProfile.OIDC,
        "issuer": provider.issuer,
        "audience": ("payments",),
        "principal": "sub",
        "roots": str(roots_in(root, provider)),
        **members,
    }
    return Issuer(**values)  # type: ignore[arg-type]


def roots_in(root: Path, provider: OidcProvider) -> Path:
    """Return a file with the authority of a provider's web certificate."""
    path = root / f"roots-{provider.port}.pem"
    if not path.exists():
        path.write_bytes(provider.roots)
    return path


def declaring(*issuers: Issuer, before: str = POLICY) -> str:
    """Return a policy file that declares *issuers* in ``prod``."""
    return before + "".join(map(_table, issuers))


def policy_with(*issuers: Issuer) -> Policy:
    """Return a policy that declares *issuers*."""
    return policy(declaring(*issuers))


def _table(issuer: Issuer) -> str:
    values = {
        "profile": str(issuer.profile),
        "issuer": issuer.issuer,
        "audience": issuer.audience,
        "jwks": issuer.jwks,
        "roots": issuer.roots,
        "bearer_file": issuer.bearer_file,
        "pinned_keys": issuer.pinned_keys,
        "max_stale": None if issuer.max_stale == DEFAULT_SECONDS else issuer.max_stale,
    }
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items() if value]
    return f"[environments.prod.issuers.{issuer.name}]\n{''.join(lines)}"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'
