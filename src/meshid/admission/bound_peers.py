"""Binds tokens to peers, and remembers the tokens that were verified.

The rules of this module:

- A token is remembered by its SHA-256, never by itself, and only once it was verified: refusals are
  cheap, and the attacker chooses their keys.
- Nothing is ever invalidated. What is remembered belongs to one `TokenVerifier`, and so to one state of
  the issuers, their keys and the bundles; and it is used for at most `MAX_AGE`. A clock that steps back
  is a miss.
- What else a bound peer rests on is looked at each time: its own chain by the caller, the time and the
  keys' time here. Whom a token was bound to last is remembered for one generation, in which neither
  the policy nor the deny list changes.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import attrs

from meshid.errors import InvalidSpiffeId, Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.evidence import Binding, TokenEvidence
from meshid.support.sieve import Sieve
from meshid.tokens.bearer_token import BearerToken
from meshid.tokens.binding import bind
from meshid.tokens.compact_jws import MAX_TOKEN_BYTES
from meshid.tokens.keys_in_force import KeysWanted
from meshid.tokens.token_verifier import TokenVerifier, VerifiedToken
from meshid.trust.revocations import Revocations
from meshid.verification.verifier import Peer, with_token

if TYPE_CHECKING:
    from meshid.admission.snapshot import Snapshot

REMEMBERED = 4096
"""Tokens that are remembered; each takes about 2 kB, with whom it was bound to last."""

MAX_AGE = 60.0
"""For how many seconds a token is not verified again."""


class RefusedToken(Refused):
    """A token was verified, and is refused all the same: whose it is goes on record.

    Args:
        refusal: Why.
        evidence: What it says.

    Attributes:
        evidence: The same.
    """

    def __init__(self, refusal: Refused, evidence: TokenEvidence) -> None:
        super().__init__(refusal.reason, refusal.detail)
        self.evidence = evidence


@attrs.define(eq=False)
class _Known:
    """A token that was verified.

    Attributes:
        verified: What it says.
        since: When it was verified.
        last: The peer that it was bound to last, the generation, and the bound peer.
    """

    verified: VerifiedToken
    since: float
    last: tuple[Peer, int, Peer] | None = None


class BoundPeers:
    """Binds tokens to peers, under one state of the issuers and their keys.

    Args:
        verifier: Verifies tokens.
        capacity: Tokens that are remembered.

    Attributes:
        verifier: The same.
    """

    def __init__(self, verifier: TokenVerifier, *, capacity: int = REMEMBERED) -> None:
        self.verifier = verifier
        self._known: Sieve[bytes, _Known] = Sieve(capacity)

    def bind(self, peer: Peer, token: BearerToken, snapshot: Snapshot, now: float) -> Peer | None:
        """Return a *peer* that is verified at this instant with what a *token* adds.

        Args:
            peer: The peer.
            token: The token.
            snapshot: What it is bound under; this is its `bound_peers`.
            now: The POSIX time in seconds.

        Returns:
            The peer, bound; None if the token is not of a configured issuer.

        Raises:
            Refused: If the token is refused.
        """
        known = self._verify(token, now)
        if known is None or snapshot.policy is None:
            return None
        last = known.last
        if last is not None and last[0] is peer and last[1] == snapshot.generation:
            bound = last[2]
            self.verifier.check_current(cast("TokenEvidence", bound.token), now)
            return bound
        evidence = _unbound(known.verified)
        try:
            evidence = bind(known.verified, peer.chain[0])
            self.check_current(evidence, snapshot.revocations, now)
            snapshot.policy.agree(peer.spiffe_id, evidence)
        except KeysWanted:
            raise
        except Refused as refusal:
            raise RefusedToken(refusal, evidence) from None
        bound = with_token(peer, evidence)
        known.last = (peer, snapshot.generation, bound)
        return bound

    def check_current(self, evidence: TokenEvidence, revocations: Revocations, now: float) -> None:
        """Check that a token still counts that was bound before; whom it names is for the policy.

        Args:
            evidence: What is kept of it.
            revocations: What is revoked.
            now: The POSIX time in seconds.

        Raises:
            Refused: If it counts no more.
        """
        self.verifier.check_current(evidence, now)
        if revocations.deny and evidence.principal.startswith("spiffe://"):
            with suppress(InvalidSpiffeId):
                name = SpiffeId.parse(evidence.principal)
                revocations.check_name(name, datetime.fromtimestamp(now, UTC))

    def _verify(self, token: BearerToken, now: float) -> _Known | None:
        # Over-long ones are refused before they cost anything, a hash included.
        if len(token.text) > MAX_TOKEN_BYTES:
            self.verifier.verify(token.text, now)
            return None
        digest = token.digest()
        known = self._known.get(digest)
        if known is not None and known.since <= now <= known.since + MAX_AGE:
            return known
        verified = self.verifier.verify(token.text, now)
        if verified is None:
            return None
        known = _Known(verified, now)
        self._known.put(digest, known)
        return known


def _unbound(verified: VerifiedToken) -> TokenEvidence:
    """Return what a token says, for the record, if nothing ties it to the connection."""
    return TokenEvidence(
        issuer=verified.issuer.name,
        principal=verified.principal,
        binding=Binding.NONE,
        key=verified.key,
        key_id=verified.key_id,
        token_id=verified.token_id,
        expires_at=verified.expires_at,
    )
