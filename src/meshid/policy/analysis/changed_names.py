"""What changes between two policies in whom tokens name.

A diff compares names, not principals: that another role is `@payments-api` from now on changes what the role
reaches, and nothing that is said of the name. So it is told here.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from meshid.policy.issuers import Issuer
from meshid.policy.named_peers import NamedPeer, TokenAlias
from meshid.policy.rules import RuleSet
from meshid.support.quoting import some_of

_FEW = 3


def changed_names(before: RuleSet, after: RuleSet) -> Iterator[str]:
    """Yield a sentence for each peer by name, and each issuer, that means others than it meant.

    For two environments there are none: their issuers differ by intent.
    """
    if before.environment.name != after.environment.name:
        return
    new_peers = {peer.name: peer for peer in after.peers}
    for peer in before.peers:
        if peer.name in new_peers:
            yield from _about_peer(peer, new_peers[peer.name])
    new_issuers = {issuer.name: issuer for issuer in after.issuers}
    for issuer in before.issuers:
        if issuer.name in new_issuers:
            yield from _about_issuer(issuer, new_issuers[issuer.name])


def _about_peer(old: NamedPeer, new: NamedPeer) -> Iterator[str]:
    known = {each.issuer for peer in (old, new) for each in peer.tokens}
    for issuer in sorted(known):
        gone, more = (
            [_shown(each) for each in one.tokens if each.issuer == issuer and each not in other.tokens]
            for one, other in ((old, new), (new, old))
        )
        words = [f"no longer {some_of(gone, _FEW)}"] if gone else []
        words += [f"now {some_of(more, _FEW)}"] if more else []
        if words:
            yield f"tokens of {issuer!r} that name '@{old.name}': {', '.join(words)}"


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
