"""Token to principal: verified under the issuers, the keys and the bundles in force.

A token is not a peer, and proves nothing alone: what is verified here must still be bound to the
connection that it came on, or agree with its certificate (`meshid.tokens.binding`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from meshid.errors import Refused
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.evidence import TokenEvidence
from meshid.policy.issuers import Issuer, IssuerProfile
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.support.types import check_type
from meshid.tokens.bundle_keys import key_set_of
from meshid.tokens.claims import check_audience, check_pins, check_times, check_use, has_ended, optional_text
from meshid.tokens.compact_jws import CompactJws, check_bearer, objects_that_may_be_in, read_compact
from meshid.tokens.confirmation import Confirmation, read_confirmation
from meshid.tokens.header import check_header
from meshid.tokens.key_set import KeySet
from meshid.tokens.keys_in_force import KeysInForce
from meshid.tokens.principal import principal_of
from meshid.tokens.token_signature import check_signature
from meshid.trust.bundles import TrustBundle

_SPIFFE = "spiffe://"


@attrs.frozen(kw_only=True)
class VerifiedToken:
    """What a token says that its issuer has signed, for us and for now.

    It is no evidence yet: `meshid.tokens.binding.bind` makes it evidence about a connection.

    Attributes:
        issuer: The issuer.
        principal: Whom it names.
        key: The thumbprint of the key that verified it (RFC 7638, SHA-256, base64url).
        key_id: The ``kid`` in its header; None if it has none.
        token_id: Its ``jti``; None if it has none.
        expires_at: Its ``exp``, in POSIX seconds.
        confirmation: What it is bound to; None if it is bound to nothing.
    """

    issuer: Issuer
    principal: str
    key: str
    key_id: str | None
    token_id: str | None
    expires_at: float
    confirmation: Confirmation | None


class TokenVerifier:
    """Verifies tokens; remembers none.

    Args:
        issuers: The issuers of the environment.
        key_sets: The keys of each, by the name of the issuer.
        bundles: The trust bundles, with the keys for JWT-SVIDs.
        trust_domains: The trust domains of the environment itself: JWT-SVIDs of others name nobody here.

    Raises:
        ValueError: If two issuers have the same ``iss``, or two are for JWT-SVIDs: a token would not tell
            whose it is.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        key_sets: Mapping[str, KeySet],
        bundles: Mapping[TrustDomain, TrustBundle],
        *,
        trust_domains: Collection[TrustDomain] = (),
    ) -> None:
        self._by_name = {issuer.name: issuer for issuer in issuers}
        self._by_iss = {issuer.issuer: issuer for issuer in issuers}
        if len(self._by_iss) < len(issuers):
            msg = "two issuers have the same 'issuer', or two are for JWT-SVIDs: keep one of them"
            raise ValueError(msg)
        for_svids = [issuer for issuer in issuers if issuer.profile is IssuerProfile.JWT_SVID]
        self._svid_issuer = for_svids[0] if for_svids else None
        self._keys = {issuer.name: KeysInForce.of(issuer, key_sets.get(issuer.name)) for issuer in issuers}
        self._svid_keys = {
            domain.name: KeysInForce.of(issuer, key_set_of(bundles[domain]) if domain in bundles else None)
            for issuer in for_svids
            for domain in trust_domains
        }
        names = [*(iss for iss in self._by_iss if iss), *(_SPIFFE + domain for domain in self._svid_keys)]
        self._marks = tuple(name.encode() for name in names)

    def verify(self, token: str, now: float) -> VerifiedToken | None:
        """Verify a bearer token (RFC 7519 section 7.2, RFC 8725 section 3; JWT-SVID sections 2 to 4).

        Args:
            token: The token.
            now: The instant, in POSIX seconds.

        Returns:
            None if it is not a token of one of the issuers, nor one that a careless reader could take for
            one: it is for the application to judge, and says nothing here.

        Raises:
            Refused: If it is one, or could be taken for one, and does not count. The detail has nothing of
                the token but single claims, bounded and escaped.
            KeysWanted: If it does not count for want of a key, which its issuer may have published by now.
            TypeError: If *token* is not a string.
        """
        check_type(type(token), str, "a token", "a str")
        if not self._by_name:
            return None
        check_bearer(token)
        try:
            jws = read_compact(token)
            issuer = self._issuer_of(jws.claims)
        except Refused:
            if not self._may_be_ours(token):
                return None
            raise
        return None if issuer is None else self._verified(issuer, jws, now)

    def check_current(self, evidence: TokenEvidence, now: float) -> None:
        """Check that a token still counts that was verified before, perhaps under another policy.

        Args:
            evidence: What was kept of it.
            now: The instant, in POSIX seconds.

        Raises:
            Refused: TOKEN_ISSUER_UNKNOWN, if its issuer is no longer declared, or is declared otherwise, and
                the token would have to be verified again; TOKEN_NOT_IN_DATE, if it has ended;
                TOKEN_KEY_UNKNOWN, if its key is withdrawn.
            KeysWanted: TOKEN_KEYS_UNAVAILABLE.
        """
        issuer = self._by_name.get(evidence.issuer)
        if issuer is None or (issuer is not evidence.declared and issuer != evidence.declared):
            msg = (
                f"issuer {quote(evidence.issuer)} is gone, or is declared otherwise than when it was verified"
            )
            raise Refused(Reason.TOKEN_ISSUER_UNKNOWN, msg)
        if has_ended(evidence.expires_at, now):
            msg = "it has ended since it was verified"
            raise Refused(Reason.TOKEN_NOT_IN_DATE, msg)
        keys = self._keys_of(issuer, evidence.principal)
        keys.check_fresh(now)
        if evidence.key not in keys.thumbprints:
            msg = f"issuer {quote(evidence.issuer)} has withdrawn the key that it was verified with"
            raise Refused(Reason.TOKEN_KEY_UNKNOWN, msg)

    def _verified(self, issuer: Issuer, jws: CompactJws, now: float) -> VerifiedToken:
        claimed = check_header(issuer.profile, jws.header)
        keys = self._keys_of(issuer, jws.claims.get("sub"))
        keys.check_fresh(now)
        key = keys.claimed_by(claimed)
        check_signature(jws, key)
        check_use(jws.claims)
        check_audience(issuer, jws.claims)
        end = check_times(issuer, jws.claims, now)
        check_pins(issuer, jws.claims)
        return VerifiedToken(
            issuer=issuer,
            principal=principal_of(issuer, jws.claims),
            key=key.thumbprint,
            key_id=claimed.key_id,
            token_id=optional_text(jws.claims, "jti"),
            expires_at=end,
            confirmation=read_confirmation(jws.claims),
        )

    def _issuer_of(self, claims: dict[str, Any]) -> Issuer | None:
        """Return the issuer that a token claims: it only chooses what the token is then judged by."""
        claimed = optional_text(claims, "iss")
        if claimed is not None and (issuer := self._by_iss.get(claimed)):
            return issuer
        return self._svid_issuer if _trust_domain(claims.get("sub")) in self._svid_keys else None

    def _keys_of(self, issuer: Issuer, subject: object) -> KeysInForce:
        if issuer is not self._svid_issuer:
            return self._keys[issuer.name]
        keys = self._svid_keys.get(_trust_domain(subject) or "")
        if keys is None:
            msg = "its trust domain is none of this environment's own"
            raise Refused(Reason.TOKEN_ISSUER_UNKNOWN, msg)
        return keys

    def _may_be_ours(self, token: str) -> bool:
        # An escape in a text that is not read here can hide a name.
        parts = objects_that_may_be_in(token)
        return any(b"\\" in part or any(mark in part for mark in self._marks) for part in parts)


def _trust_domain(subject: object) -> str | None:
    """Return the trust domain in a text that may be a SPIFFE ID, whatever it is else."""
    if not isinstance(subject, str) or not subject.startswith(_SPIFFE):
        return None
    return subject.removeprefix(_SPIFFE).partition("/")[0]
