"""Tokens: what an identity provider says of a peer, beside its certificate (the extra ``oidc``)."""
