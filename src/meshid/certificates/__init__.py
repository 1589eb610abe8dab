"""What meshid accepts of X.509: reading, leaf, authority, chain, JWK."""
