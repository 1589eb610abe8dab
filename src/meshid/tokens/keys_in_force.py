"""The keys of an issuer that count now, and the one among them that a token claims."""

from __future__ import annotations

from typing import Self

import attrs

from meshid.errors import Refused
from meshid.policy.issuers import Issuer
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.tokens.header import ClaimedKey
from meshid.tokens.key_set import KeySet, TokenKey


class KeysWanted(Refused):
    """A token is refused for want of a key, and the issuer may have published it by now.

    Args:
        reason: TOKEN_KEY_UNKNOWN or TOKEN_KEYS_UNAVAILABLE.
        detail: As for `Refused`.
        issuer: The name of the issuer.

    Attributes:
        issuer: The same.
    """

    def __init__(self, reason: Reason, detail: str, issuer: str) -> None:
        super().__init__(reason, detail)
        self.issuer = issuer


@attrs.frozen
class KeysInForce:
    """The keys of one issuer.

    Attributes:
        issuer: The name of the issuer.
        keys: The keys, without those that the policy does not pin.
        thumbprints: Their thumbprints.
        serve_until: Until when they count, in POSIX seconds; None if there have never been any.
    """

    issuer: str
    keys: tuple[TokenKey, ...]
    thumbprints: frozenset[str]
    serve_until: float | None

    @classmethod
    def of(cls, issuer: Issuer, key_set: KeySet | None) -> Self:
        """Return the keys of the *key_set* that count for the *issuer*."""
        found = key_set.keys if key_set else ()
        # Who published the key set may have read it without the pins.
        keys = tuple(key for key in found if not issuer.pinned_keys or key.thumbprint in issuer.pinned_keys)
        thumbprints = frozenset(key.thumbprint for key in keys)
        return cls(issuer.name, keys, thumbprints, key_set.serve_until if key_set else None)

    def check_fresh(self, now: float) -> None:
        """Check that the keys have been read, and not too long ago.

        Raises:
            KeysWanted: TOKEN_KEYS_UNAVAILABLE.
        """
        if self.serve_until is None:
            msg = f"the keys of issuer {quote(self.issuer)} have not been read yet"
            raise KeysWanted(Reason.TOKEN_KEYS_UNAVAILABLE, msg, self.issuer)
        if self.serve_until <= now:
            msg = f"the keys of issuer {quote(self.issuer)} could not be read again in time"
            raise KeysWanted(Reason.TOKEN_KEYS_UNAVAILABLE, msg, self.issuer)

    def claimed_by(self, claimed: ClaimedKey) -> TokenKey:
        """Return the key that a token claims to be signed with.

        Raises:
            Refused: TOKEN_KEY_UNKNOWN, if a token names none of several keys; TOKEN_ALGORITHM, if the key
                is for another algorithm.
            KeysWanted: TOKEN_KEY_UNKNOWN.
        """
        named = [key for key in self.keys if claimed.key_id in {None, key.key_id}]
        if not named:
            shown = "any name" if claimed.key_id is None else quote(claimed.key_id, 64)
            msg = f"issuer {quote(self.issuer)} has no key of {shown}; it has {len(self.keys)}"
            raise KeysWanted(Reason.TOKEN_KEY_UNKNOWN, msg, self.issuer)
        if claimed.key_id is None and len(named) > 1:
            msg = f"its header has no 'kid', and issuer {quote(self.issuer)} has {len(named)} keys"
            raise Refused(Reason.TOKEN_KEY_UNKNOWN, msg)
        for key in named:
            if key.algorithm == claimed.algorithm:
                return key
        msg = f"its header names the algorithm {claimed.algorithm}; its key is for {named[0].algorithm}"
        raise Refused(Reason.TOKEN_ALGORITHM, msg)
