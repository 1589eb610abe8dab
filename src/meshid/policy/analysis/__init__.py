"""The analysis of policies: exact over all names, targets and requests."""

from meshid.policy.analysis.diff import Change, PolicyDiff, compare
from meshid.policy.analysis.lint import lint
from meshid.policy.analysis.prove import Counterexample, Proof, find_access
from meshid.policy.analysis.regions import Access

__all__ = [
    "Access",
    "Change",
    "Counterexample",
    "PolicyDiff",
    "Proof",
    "compare",
    "find_access",
    "lint",
]
