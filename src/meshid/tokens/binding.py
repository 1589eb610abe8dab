"""A verified token and the connection that it came on: is it this one that it is bound to?"""

from __future__ import annotations

import hashlib
import hmac

from meshid.certificates.jwk import base64url, thumbprint
from meshid.certificates.reading import public_key_of, read_leaf
from meshid.errors import Refused
from meshid.policy.evidence import Binding, TokenEvidence
from meshid.reasons import Reason
from meshid.support.quoting import quote
from meshid.tokens.confirmation import Confirmation
from meshid.tokens.token_verifier import VerifiedToken


def bind(verified: VerifiedToken, leaf_der: bytes) -> TokenEvidence:
    """Bind a token to the connection that it came on.

    A token that is bound to something is evidence only where that is satisfied, whoever asks. One that is
    bound to nothing must agree with the certificate, which is for the policy to tell.

    Args:
        verified: The token.
        leaf_der: The leaf of the peer of this connection, in DER. It has proven its key in the handshake.

    Raises:
        Refused: TOKEN_BOUND_ELSEWHERE, if the token is bound to another certificate (RFC 8705 section 3) or
            another key (RFC 7800 section 3.1); TOKEN_UNBOUND, if it is bound to nothing and must be, or
            to a key, and the issuer's ``confirm_by_tls_key`` is not set.
    """
    return TokenEvidence(
        issuer=verified.issuer.name,
        principal=verified.principal,
        binding=_checked(verified, leaf_der),
        key=verified.key,
        key_id=verified.key_id,
        token_id=verified.token_id,
        expires_at=verified.expires_at,
        declared=verified.issuer,
    )


def _checked(verified: VerifiedToken, leaf_der: bytes) -> Binding:
    issuer, confirmation = verified.issuer, verified.confirmation
    if confirmation is None:
        if issuer.binding_required:
            msg = f"it has no claim 'cnf', and issuer {quote(issuer.name)} says binding = \"required\""
            raise Refused(Reason.TOKEN_UNBOUND, msg)
        return Binding.NONE
    if confirmation.key is not None and not issuer.confirms_by_tls_key:
        msg = f"it is bound to a key, and issuer {quote(issuer.name)} does not say confirm_by_tls_key = true"
        raise Refused(Reason.TOKEN_UNBOUND, msg)
    return _satisfied(confirmation, leaf_der)


def _satisfied(confirmation: Confirmation, leaf_der: bytes) -> Binding:
    if confirmation.key is not None and not _same(confirmation.key, _key_of(leaf_der)):
        msg = "it is bound to another key than that of the peer's certificate"
        raise Refused(Reason.TOKEN_BOUND_ELSEWHERE, msg)
    if confirmation.certificate is None:
        return Binding.KEY
    if not _same(confirmation.certificate, certificate_thumbprint(leaf_der)):
        msg = "it is bound to another certificate than the peer's; after a renewal, a new token is needed"
        raise Refused(Reason.TOKEN_BOUND_ELSEWHERE, msg)
    return Binding.CERTIFICATE


def certificate_thumbprint(leaf_der: bytes) -> str:
    """Return the ``x5t#S256`` of a certificate in DER (RFC 8705 section 3.1)."""
    return base64url(hashlib.sha256(leaf_der).digest())


def _key_of(leaf_der: bytes) -> str:
    """Return the thumbprint of the leaf's key; an empty text, which is none, for a key that has none."""
    try:
        return thumbprint(public_key_of(read_leaf(leaf_der)))
    except ValueError:
        return ""


def _same(named: str, own: str) -> bool:
    return hmac.compare_digest(named, own)
