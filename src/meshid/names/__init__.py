"""SPIFFE IDs, trust domains, and the patterns that match them."""
