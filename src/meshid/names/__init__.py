"""SPIFFE IDs, trust domains, and the pattern grammar for peers, targets and paths."""
