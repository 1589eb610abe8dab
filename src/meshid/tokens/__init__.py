"""Tokens: what an identity provider says of a peer, beside its certificate; and the token that we send.

To verify tokens needs the extra ``oidc``. To send one needs nothing: `TokenFile` and `FetchedToken` are
for a client of a mesh.
"""

from meshid.errors import InvalidKeySet, TokenUnavailable
from meshid.policy.evidence import Binding, TokenEvidence, TokenName
from meshid.tokens.fetched_token import FetchedToken
from meshid.tokens.key_set import KeySet, KeySets, TokenKey
from meshid.tokens.token_file import TokenFile

__all__ = [
    "Binding",
    "FetchedToken",
    "InvalidKeySet",
    "KeySet",
    "KeySets",
    "TokenEvidence",
    "TokenFile",
    "TokenKey",
    "TokenName",
    "TokenUnavailable",
]
