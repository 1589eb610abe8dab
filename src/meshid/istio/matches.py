"""Istio's matches of strings, as patterns.

Istio has four: exact, ``prefix*``, ``*suffix`` and ``*`` for anything. Its ``*`` runs
across "/" and ours does not, so each form becomes patterns that match exactly the same
SPIFFE IDs or paths, or is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

MESH = "cluster.local"
"""Istio's name for the mesh's own trust domain, whatever it is called."""


def sources_of_principal(text: str, domains: Sequence[str], own: Sequence[str]) -> list[str]:
    """Return the patterns of peers that a principal means; *domains* are all but our own.

    Raises:
        InvalidInput: If it has no exact equivalent.
    """
    if text == "*":
        return _everywhere("/**", domains)
    if text.startswith("*"):
        return _with_suffix(text[1:], domains, own)
    domain, slash, path = text.removesuffix("*").partition("/")
    if not slash or not domain or (not path and not text.endswith("*")):
        msg = f"{quote(text)} must be TRUST-DOMAIN/PATH; a wildcard in the trust domain has no equivalent"
        raise InvalidInput(msg)
    _refuse_star(text, domain + path)
    pattern = "/" + path if not text.endswith("*") else _prefix("/" + path)
    return [pattern if domain in {MESH, *own} else f"spiffe://{domain}{pattern}"]


def sources_of_namespace(text: str, domains: Sequence[str]) -> list[str]:
    """Return the patterns of peers in the namespaces that *text* means, in any trust domain.

    Raises:
        InvalidInput: If it has no exact equivalent.
    """
    _refuse_star(text, text.removeprefix("*") if text.startswith("*") else text.removesuffix("*"))
    if not text or "/" in text:
        msg = f"{quote(text)} is not a namespace"
        raise InvalidInput(msg)
    return _everywhere(f"/ns/{text}/sa/*", domains)


def sources_of_account(text: str, namespace: str, domains: Sequence[str]) -> list[str]:
    """Return the patterns of peers of a service account: ``namespace/name``, or a name in *namespace*.

    Raises:
        InvalidInput: If *text* is neither.
    """
    where, slash, name = text.rpartition("/")
    if not name or "*" in text or "/" in where or (slash and not where):
        msg = f"{quote(text)} must be NAMESPACE/NAME or NAME, without wildcards"
        raise InvalidInput(msg)
    return _everywhere(f"/ns/{where or namespace}/sa/{name}", domains)


def path_pattern(text: str) -> str:
    """Return the pattern of the paths that *text* means.

    Raises:
        InvalidInput: If it has no exact equivalent.
    """
    if text == "*":
        return "/**"
    if "{" in text:
        msg = f"{quote(text)} is a template, which has no exact equivalent; write the paths out"
        raise InvalidInput(msg)
    if text.startswith("*"):
        suffix = text[1:]
        _refuse_star(text, suffix)
        return f"/**{suffix}" if suffix.startswith("/") else f"/**/*{suffix}"
    _refuse_star(text, text.removesuffix("*"))
    if not text.startswith("/"):
        msg = f"{quote(text)} does not begin with '/', and would match no path"
        raise InvalidInput(msg)
    return _prefix(text.removesuffix("*")) if text.endswith("*") else text


def _prefix(text: str) -> str:
    """Return the pattern of every text that begins with *text*; its last segment may go on."""
    return f"{text}*/**"


def _with_suffix(suffix: str, domains: Sequence[str], own: Sequence[str]) -> list[str]:
    _refuse_star(f"*{suffix}", suffix)
    if suffix.startswith("/"):
        return _everywhere(f"/**{suffix}", domains)
    patterns = _everywhere(f"/**/*{suffix}", domains)
    # The suffix may begin inside the name of the trust domain.
    end, slash, path = suffix.partition("/")
    if slash:
        patterns += [f"spiffe://{domain}/{path}" for domain in (*own, *domains) if domain.endswith(end)]
    return patterns


def _everywhere(path: str, domains: Sequence[str]) -> list[str]:
    return [path, *(f"spiffe://{domain}{path}" for domain in domains)]


def _refuse_star(text: str, rest: str) -> None:
    if "*" in rest:
        msg = f"{quote(text)} has a '*' in the middle, where Istio takes it literally: nothing matches it"
        raise InvalidInput(msg)
