"""The part of X.509 that meshid accepts: reading, leaf, authority, chain, JWK."""
