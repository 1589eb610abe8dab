"""What changes between two policies in whom certificates and tokens name.

A diff compares names, not principals: that another role is `@payments-api` from now on changes what the role
reaches, and nothing that is said of the name. So it is told here. So is which tokens may stand beside a
certificate: one that has a name agrees only with a token that gives the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from meshid.policy.issuers import Issuer
from meshid.policy.named_peers import NamedPeer, TokenAlias
from meshid.policy.rules import RuleSet
from meshid.support.quoting import quote_all, some_of

_FEW = 3


def changed_names(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield a sentence for each peer by name, and each issuer, that means others than it meant.

    For two environments there are none: their issuers differ by intent.
    """
    if before.environment.name != after.environment.name:
        return
    has_tokens = bool(before.issuers or after.issuers)
    old_peers, new_peers = ({peer.name: peer for peer in each.peers} for each in (before, after))
    for name in sorted(old_peers.keys() | new_peers.keys()):
        old, new = old_peers.get(name), new_peers.get(name)
        if has_tokens:
            yield from _about_certificates(name, old, new)
        if old is not None and new is not None:
            yield from _about_tokens(old, new)
    if has_tokens:
        yield from changed_domains(before, after)
    new_issuers = {issuer.name: issuer for issuer in after.issuers}
    for issuer in before.issuers:
        if issuer.name in new_issuers:
            yield from _about_issuer(issuer, new_issuers[issuer.name])


def changed_domains(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield a sentence for the trust domains that patterns without one mean from now on, or no longer."""
    if before.environment.name == after.environment.name:
        words = come_and_gone(*(each.environment.trust_domains for each in (before, after)))
        if words:
            yield f"this environment's own trust domains: {words}"


def come_and_gone(old: Iterable[object], new: Iterable[object]) -> str:
    """Return in words what two lists differ in; nothing if they have the same."""
    words = [f"no longer {quote_all(gone)}"] if (gone := _less(old, new)) else []
    words += [f"also {quote_all(more)}"] if (more := _less(new, old)) else []
    return ", ".join(words)


def _about_certificates(name: str, old: NamedPeer | None, new: NamedPeer | None) -> Iterator[str]:
    was, now = (tuple(peer.spiffe) if peer else () for peer in (old, new))
    yield from _sentence(f"certificates that are '@{name}'", _quoted(was, now), _quoted(now, was))


def _about_tokens(old: NamedPeer, new: NamedPeer) -> Iterator[str]:
    for issuer in sorted({each.issuer for peer in (old, new) for each in peer.tokens}):
        was, now = ([each for each in peer.tokens if each.issuer == issuer] for peer in (old, new))
        gone, more = (
            [_shown(each) for each in one if each not in two] for one, two in ((was, now), (now, was))
        )
        yield from _sentence(f"tokens of {issuer!r} that name '@{old.name}'", gone, more)


def _sentence(what: str, gone: list[str], more: list[str]) -> Iterator[str]:
    words = [f"no longer {some_of(gone, _FEW)}"] if gone else []
    words += [f"now {some_of(more, _FEW)}"] if more else []
    if words:
        yield f"{what}: {', '.join(words)}"


def _quoted(some: Iterable[object], others: Iterable[object]) -> list[str]:
    return [f"'{each}'" for each in _less(some, others)]


def _less(some: Iterable[object], others: Iterable[object]) -> list[str]:
    left_out = set(others)
    return [str(each) for each in some if each not in left_out]


def _about_issuer(old: Issuer, new: Issuer) -> Iterator[str]:
    fields = [
        field.name
        for field in attrs.fields(Issuer)
        if field.eq and getattr(old, field.name) != getattr(new, field.name)
    ]
    if fields:
        yield f"issuer {old.name!r} is declared otherwise: {', '.join(fields)}"


def _shown(alias: TokenAlias) -> str:
    return repr(str(alias.principal))
