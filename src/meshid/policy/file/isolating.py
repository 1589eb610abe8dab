"""The proof that no environment of a file can mint a name of another: for all of them, whichever is loaded.

Who holds a key of an issuer can mint every principal of it. So no issuer, no place of keys and no
pinned key may count in two environments; and no alias may name a trust domain of an environment,
because the same peers are in all of them. Each error names what could be minted otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from meshid.names.common_value import common_value
from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.file.peers_section import Alias, WrittenPeer, kinds_of
from meshid.policy.file.table_reader import TableReader, below
from meshid.policy.issuer_profiles import PROFILES
from meshid.policy.issuers import Issuer
from meshid.support.quoting import quote

_EVERYTHING = Pattern("**")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = re.compile("[A-Za-z0-9._~-]")
_OWN = "give each environment its own, or pin the keys of both (pinned_keys) and none in both"
_ADVICE = {"issuer": _OWN, "jwks": _OWN, "pinned_keys": "a key belongs to one environment"}


def isolate_issuers(
    reader: TableReader, issuers: Mapping[str, Sequence[Issuer]], peers: Sequence[WrittenPeer]
) -> None:
    """Note each issuer that could mint names of an environment that is not its own."""
    by_source: dict[str, tuple[str, Issuer]] = {}
    by_key: dict[str, tuple[str, Issuer]] = {}
    examples: dict[str, Alias] = {}
    for alias in (alias for peer in peers for alias in peer.aliases):
        examples.setdefault(alias.issuers, alias)
    for environment, each in ((name, issuer) for name, listed in issuers.items() for issuer in listed):
        shared = _shared_keys(by_key, environment, each) or _shared_source(by_source, environment, each)
        if shared is not None:
            key, what, (other, owner) = shared
            could = _could_mint(environment, each, other, owner, examples)
            told = f"{what} counts in environment {quote(other)}, too ({owner.place}): {could}"
            reader.fail(below(each.place, key), f"{told}; {_ADVICE[key]}")


_Shared = tuple[str, str, tuple[str, Issuer]]


def _shared_source(seen: dict[str, tuple[str, Issuer]], environment: str, issuer: Issuer) -> _Shared | None:
    for key, source, what in _sources(issuer):
        other, owner = seen.setdefault(source, (environment, issuer))
        if other != environment and not (owner.pinned_keys and issuer.pinned_keys):
            return key, what, (other, owner)
        # Of two, remember the one without pinned keys: whoever comes next must not pass beside it.
        if not issuer.pinned_keys:
            seen[source] = (environment, issuer)
    return None


def _shared_keys(seen: dict[str, tuple[str, Issuer]], environment: str, issuer: Issuer) -> _Shared | None:
    for thumbprint in issuer.pinned_keys:
        other, owner = seen.setdefault(thumbprint, (environment, issuer))
        if other != environment:
            return "pinned_keys", f"the key {thumbprint}", (other, owner)
    return None


def _sources(issuer: Issuer) -> Iterator[tuple[str, str, str]]:
    """Yield where the keys of an issuer come from: the key of the file, a name for the place, and words."""
    if issuer.issuer is None:
        return
    facts, iss = PROFILES[issuer.profile], issuer.issuer.rstrip("/")
    yield "issuer", f"iss {_one_spelling(iss)}", f"the issuer {quote(issuer.issuer)}"
    if (customer := facts.customer_of(issuer.issuer)) is not None:
        yield "issuer", f"{issuer.profile} {customer}", f"{quote(customer)} of profile {issuer.profile}"
    if issuer.jwks is not None:
        yield "jwks", f"keys {_one_spelling(issuer.jwks)}", f"{quote(issuer.jwks)}"
    elif facts.keys_at is not None:
        place = iss + facts.keys_at
        yield "issuer", f"keys {_one_spelling(place)}", f"what is at {quote(place)}"


def _one_spelling(where: str) -> str:
    """Return a URL or a path as all of its spellings are: what reads it takes them for one place.

    RFC 3986 section 6.2.2, for a URL; and discovery asks at the same place with a "/" at the end and without.
    """
    if where.startswith("https://"):
        where = _ESCAPE.sub(_unescaped, where).removesuffix("?")
    return where.rstrip("/")


def _unescaped(escape: re.Match[str]) -> str:
    octet = chr(int(escape[0][1:], 16))
    return octet if _UNRESERVED.fullmatch(octet) else escape[0].upper()


def _could_mint(one: str, by: Issuer, other: str, of: Issuer, examples: Mapping[str, Alias]) -> str:
    """Tell what one issuer could mint of the environment of another; or the other way round."""
    for minting, minter, owner, owned in ((one, by, other, of), (other, of, one, by)):
        alias = next((examples[kind] for kind in kinds_of(owned) if kind in examples), None)
        if alias is not None:
            example = common_value(alias.pattern, _EVERYTHING) or ""
            return (
                f"whoever mints for {quote(f'{minting}.{minter.name}')} could mint peer "
                f"{quote(alias.peer)} of environment {quote(owner)}, as {quote(example)}"
            )
    every = f"every principal of {quote(f'{other}.{of.name}')}"
    return f"whoever mints for {quote(f'{one}.{by.name}')} could mint {every}"


def isolate_trust_domains(
    reader: TableReader,
    owners: Mapping[TrustDomain, str],
    federated: Mapping[TrustDomain, str],
    environments: int,
    peers: Sequence[WrittenPeer],
) -> None:
    """Note each alias with a trust domain by which one environment could mint a name of another."""
    for place, name, pattern in ((place, peer.name, each) for peer in peers for place, each in peer.spiffe):
        domain = pattern.trust_domain
        owner = owners.get(domain) if domain is not None else None
        if domain is None or (owner is None and domain in federated):
            continue
        if owner is None:
            near = reader.suggestions.to(domain.name, [each.name for each in (*owners, *federated)])
            hint = f"; did you mean {near}?" if near else ""
            reader.fail(place, f"no environment has or federates with {domain}{hint}")
        elif environments > 1:
            example = f"spiffe://{domain}/{common_value(pattern.path, _EVERYTHING)}"
            reader.fail(
                place,
                f"{domain} belongs to environment {quote(owner)}, and a peer is in all environments: an "
                f"authority of {quote(owner)} could mint {quote(name)} of another one, as {quote(example)}; "
                f"write {quote(pattern.path.text)}",
            )
