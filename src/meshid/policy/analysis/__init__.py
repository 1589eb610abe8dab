"""The analysis of policies: exact over all names, targets and requests."""
