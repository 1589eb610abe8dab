"""What peers can show beside their certificates: a thing to go through, as trust domains and methods are.

What a token changes is the name that it gives, so that one state stands for all tokens of a name; and one
more for all tokens whose names make no difference to the boxes at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from meshid.names.pattern import Pattern
from meshid.names.pattern_index import PatternIndex
from meshid.names.spiffe_id import SpiffeId, TrustDomain
from meshid.policy.agreement import Agreement
from meshid.policy.analysis.automata import Words, shortest
from meshid.policy.evidence import TokenName
from meshid.policy.named_peers import NamedPeer
from meshid.policy.rules import RuleSet

if TYPE_CHECKING:
    from meshid.policy.analysis.boxes import Box

ANYTHING = Pattern.parse("/**")


@attrs.frozen
class TokenState:
    """What a peer shows beside its certificate.

    Attributes:
        has_token: Whether it has a token that agrees.
        name: The name that the token gives; None for any but those in *others*, and for none.
        others: The names that have a state of their own.
    """

    has_token: bool = False
    name: str | None = None
    others: frozenset[str] = frozenset()


NO_TOKEN = TokenState()


@attrs.frozen
class Elsewhere:
    """The paths of a trust domain at which no peer can be in a state: the aliases of other names.

    They are looked up: with a box for each of them, each point would be compared with all of them.

    Attributes:
        naming: Which peers can have which tokens.
        domain: The trust domain.
        state: The state.
    """

    naming: Naming = attrs.field(eq=False, repr=False)
    domain: TrustDomain
    state: TokenState

    def hit(self, path: str) -> Pattern | None:
        """Return such an alias that a path matches, if there is one."""
        return next(self._matching(path), None)

    def _matching(self, path: str) -> Iterator[Pattern]:
        for name, alias in self.naming.aliases_of(self.domain, path):
            if not self.naming.may_be(name, self.state):
                yield alias


class Naming:
    """Which peers can have which tokens, in one environment.

    Args:
        rules: Everything that a file says for it.

    Attributes:
        own: The trust domains of the environment.
        known: Those, and the ones that it federates with.
        provable: The names that a token can give.
    """

    def __init__(self, rules: RuleSet) -> None:
        environment = rules.environment
        self.own = environment.trust_domains
        self.known = tuple(dict.fromkeys((*self.own, *environment.federates_with)))
        self._agreement = Agreement(rules)
        self.provable = self._agreement.provable
        self.has_svids = bool(self._agreement.svid_issuers)
        self._peers = {peer.name: peer for peer in rules.peers}
        self._words: dict[Pattern, str] = {}
        self._aliases: PatternIndex[list[tuple[TrustDomain, str, Pattern]]] = PatternIndex()
        for peer in rules.peers:
            for each in peer.spiffe:
                aliases = self._aliases.setdefault(each.path, list[tuple[TrustDomain, str, Pattern]])
                for domain in each.domains(self.own):
                    aliases.append((domain, peer.name, each.path))

    def is_like(self, other: Naming) -> bool:
        """Tell whether the same peers have the same SPIFFE IDs, and tokens give the same names."""
        return self._like == other._like

    @property
    def _like(self) -> tuple[object, ...]:
        spiffe = {name: set(peer.spiffe) for name, peer in self._peers.items()}
        return spiffe, self.provable, self.has_svids

    def has_own_svid(self, domain: TrustDomain) -> bool:
        """Tell whether a JWT-SVID of its own counts for each peer of a trust domain."""
        return self.has_svids and domain in self.own

    def domains(self, box: Box) -> tuple[TrustDomain, ...]:
        """Return the trust domains of the peers of a box."""
        return self.known if box.by_token is not None else box.peers.domains(self.own)

    def states(self, box: Box, others: Iterable[Box]) -> Iterator[TokenState]:
        """Yield each state of a box in which the *others* may differ."""
        if box.by_token is not None:
            yield TokenState(has_token=True, name=box.by_token)
        elif not box.rule.needs_token:
            # With a token, no rule matches less: what is covered without one is covered with any.
            yield NO_TOKEN
        elif box.name is not None:
            # A token agrees with a certificate that has a name only if it gives the same.
            yield TokenState(has_token=True, name=box.name)
        else:
            names = frozenset(each.by_token for each in others if each.by_token is not None)
            only = self.names_of(box)
            yield from self.with_token(names if only is None else names & only)

    def names_of(self, box: Box) -> frozenset[str] | None:
        """Return the names that tokens can give to the peers of a box; None if it may be any."""
        if box.by_token is not None:
            return frozenset({box.by_token})
        if not box.rule.needs_token:
            return frozenset()
        path, domains = box.patterns[0], set(box.peers.domains(self.own))
        found = {
            (where, name)
            for aliases in self._aliases.intersecting(path)
            for where, name, alias in aliases
            if where in domains and alias.contains(path)
        }
        # Whose certificate has a name already can be given no other one.
        return frozenset(name for _, name in found) if domains == {where for where, _ in found} else None

    def with_token(self, names: frozenset[str]) -> Iterator[TokenState]:
        """Yield the states of peers with a token, with one for each of *names*."""
        yield from (TokenState(has_token=True, name=name) for name in sorted(names))
        yield TokenState(has_token=True, others=names)

    def is_possible(self, domain: TrustDomain, state: TokenState) -> bool:
        """Tell whether any peer of a trust domain can be in a state."""
        if not state.has_token:
            return True
        if domain not in self.known:
            return False
        if state.name is not None:
            return state.name in self.provable
        return bool(self.provable - state.others) or self.has_own_svid(domain)

    def aliases_of(self, domain: TrustDomain, path: str) -> Iterator[tuple[str, Pattern]]:
        """Yield each alias of the peer with a SPIFFE ID, with its name."""
        for aliases in self._aliases.matching(path):
            for where, name, alias in aliases:
                if where == domain:
                    yield name, alias

    def example(self, spiffe_id: SpiffeId, state: TokenState) -> TokenName | None:
        """Return a token that brings a peer into a state; None for a state without."""
        if not state.has_token:
            return None
        by_certificate = self._agreement.without_token(spiffe_id).name
        name = state.name or by_certificate
        if name is None and self.has_own_svid(spiffe_id.trust_domain):
            return TokenName(self._agreement.svid_issuers[0], str(spiffe_id))
        peer = self._peers[name or min(self.provable - state.others)]
        issuer, principal = self._principal(peer, spiffe_id)
        return TokenName(issuer, principal, is_bound=by_certificate is None)

    def _principal(self, peer: NamedPeer, spiffe_id: SpiffeId) -> tuple[str, str]:
        svid_issuers = self._agreement.svid_issuers
        if peer.tokens:
            alias = peer.tokens[0]
            return alias.issuer, self._word(alias.principal)
        if (
            any(each.matches(spiffe_id, self.own) for each in peer.spiffe)
            and spiffe_id.trust_domain in self.own
        ):
            return svid_issuers[0], str(spiffe_id)
        alias_of_own = next(each for each in peer.spiffe if set(each.domains(self.own)) & set(self.own))
        path = shortest(Words.PEER_PATHS, (alias_of_own.path,)) or ""
        return svid_issuers[0], str(SpiffeId(alias_of_own.domains(self.own)[0], path))

    def _word(self, pattern: Pattern) -> str:
        # An example may be asked for again and again; there are no more patterns than aliases.
        if pattern not in self._words:
            self._words[pattern] = (shortest(Words.TARGETS, (pattern,)) or "").removeprefix("/")
        return self._words[pattern]

    def may_be(self, name: str, state: TokenState) -> bool:
        """Tell whether a peer with a certificate of a name can be in a state with a token."""
        if state.name is not None:
            return name == state.name
        return name in self.provable and name not in state.others
