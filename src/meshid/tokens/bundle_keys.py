"""Keys for JWT-SVIDs: those in the trust bundle of a trust domain (JWT-SVID section 6.2)."""

from __future__ import annotations

from meshid.tokens.key_set import KeySet
from meshid.trust.bundles import TrustBundle


def key_set_of(bundle: TrustBundle) -> KeySet:
    """Return the keys that verify JWT-SVIDs of the bundle's trust domain, and of no other one.

    The key set has the name of the trust domain. Until when the keys count is for the bundle to
    say, as it is for its authorities.
    """
    return KeySet(issuer=str(bundle.trust_domain), keys=bundle.jwt_keys)
