"""Whether the certificate and the token of a peer name the same one.

The rules of this module:

- A token never stands alone. One that is bound to nothing must name the peer that the certificate
  names; one that is bound to the connection may give a name to a certificate that has none.
- A JWT-SVID of the certificate's own SPIFFE ID agrees, even if no peer by name has it.
- A certificate of a trust domain that the environment neither has nor federates with gets no name.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from meshid.errors import InvalidSpiffeId, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.evidence import NamedByToken
from meshid.policy.issuers import IssuerProfile
from meshid.policy.named_peers import NamedPeer, PeerNames
from meshid.policy.rules import RuleSet
from meshid.reasons import Reason
from meshid.support.quoting import quote


@attrs.frozen
class Standing:
    """Who a peer is to a policy, and by what.

    Attributes:
        spiffe_id: The name in its certificate.
        peer: The peer by name that it is; None if it is none.
        has_token: Whether a token agrees.
        may_bring_token: Whether a token may agree that is still to come.
        could_be: The names that such a token may give.
    """

    spiffe_id: SpiffeId
    peer: NamedPeer | None = None
    has_token: bool = False
    may_bring_token: bool = False
    could_be: frozenset[str] = frozenset()

    @property
    def name(self) -> str | None:
        """The name of the peer by name that it is."""
        return None if self.peer is None else self.peer.name


class Agreement:
    """Which certificates and tokens agree, in one environment.

    Args:
        rules: Everything that a file says for the environment.

    Attributes:
        provable: The names of the peers that a token can name.
        svid_issuers: The names of the issuers of JWT-SVIDs.
    """

    def __init__(self, rules: RuleSet) -> None:
        environment = rules.environment
        self._own = frozenset(environment.trust_domains)
        self._known = self._own | frozenset(environment.federates_with)
        self._environment = environment.name
        self._profiles = {each.name: each.profile for each in rules.issuers}
        self._names = PeerNames(rules.peers, environment.trust_domains, rules.issuers)
        self.svid_issuers = tuple(
            name for name, profile in self._profiles.items() if profile is IssuerProfile.JWT_SVID
        )
        self.provable = frozenset(each.name for each in rules.peers if self._is_provable(each))

    def without_token(self, spiffe_id: SpiffeId) -> Standing:
        """Return who a peer is by its certificate alone, and who it may be with a token."""
        peer = self._names.of(spiffe_id)
        with_svid = bool(self.svid_issuers) and spiffe_id.trust_domain in self._own
        if peer is not None:
            return Standing(spiffe_id, peer, may_bring_token=with_svid or peer.name in self.provable)
        could_be = self.provable if spiffe_id.trust_domain in self._known else frozenset[str]()
        return Standing(spiffe_id, may_bring_token=with_svid or bool(could_be), could_be=could_be)

    def with_token(self, spiffe_id: SpiffeId, token: NamedByToken) -> Standing:
        """Return who a peer is by its certificate and a token that was verified.

        Raises:
            Refused: If they disagree (`TOKEN_DISAGREES`), or the environment has no such issuer
                (`TOKEN_ISSUER_UNKNOWN`).
        """
        profile = self._profiles.get(token.issuer)
        if profile is None:
            detail = f"environment {quote(self._environment)} has no issuer {quote(token.issuer)}"
            raise Refused(Reason.TOKEN_ISSUER_UNKNOWN, detail)
        domain = spiffe_id.trust_domain
        if domain not in self._known:
            detail = f"environment {quote(self._environment)} neither has nor federates with {domain}"
            raise Refused(Reason.TOKEN_DISAGREES, detail)
        by_certificate = self._names.of(spiffe_id)
        if profile is IssuerProfile.JWT_SVID:
            subject = self._subject(token.principal)
            if subject == spiffe_id:
                return Standing(spiffe_id, by_certificate, has_token=True)
        by_token = self._names.of_token(token.issuer, token.principal)
        if by_token is None:
            detail = f"no peer has the name {quote(token.principal)} of issuer {quote(token.issuer)}"
            raise Refused(Reason.TOKEN_DISAGREES, detail)
        if by_token != by_certificate and not (by_certificate is None and token.is_bound):
            raise Refused(Reason.TOKEN_DISAGREES, _disagreement(spiffe_id, by_certificate, by_token, token))
        return Standing(spiffe_id, by_token, has_token=True)

    def _is_provable(self, peer: NamedPeer) -> bool:
        of_tokens = [self._profiles.get(each.issuer) for each in peer.tokens]
        if not {None, IssuerProfile.JWT_SVID}.issuperset(of_tokens):
            return True
        return bool(self.svid_issuers) and any(
            not self._own.isdisjoint(each.domains(tuple(self._own))) for each in peer.spiffe
        )

    def _subject(self, principal: str) -> SpiffeId:
        try:
            subject = SpiffeId.parse(principal)
        except InvalidSpiffeId as error:
            raise Refused(Reason.TOKEN_DISAGREES, f"the token names no SPIFFE ID: {error}") from error
        if subject.trust_domain not in self._own:
            detail = f"the token names {subject}, and JWT-SVIDs count here only for {_either(self._own)}"
            raise Refused(Reason.TOKEN_DISAGREES, detail)
        return subject


def _disagreement(
    spiffe_id: SpiffeId, by_certificate: NamedPeer | None, by_token: NamedPeer, token: NamedByToken
) -> str:
    named = f"the token of issuer {quote(token.issuer)} names {quote(f'@{by_token.name}')}"
    if by_certificate is None:
        return f"{named}, is bound to nothing, and no peer by name has the certificate's {spiffe_id}"
    return f"{named}, and the certificate's {spiffe_id} is {quote(f'@{by_certificate.name}')}"


def _either(domains: Iterable[object]) -> str:
    return " or ".join(sorted(map(str, domains)))
