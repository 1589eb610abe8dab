"""The policy: who may reach what."""

from meshid.policy.analysis.answers import Access, Counterexample, Proof
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.policy_diff import Area, Change, PolicyDiff, Unchanged
from meshid.policy.explain import Explanation, Miss, RuleLook
from meshid.policy.policy import Policy
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import Effect, Environment, HttpCondition, Rule

__all__ = [
    "REQUEST_FOLLOWS",
    "Access",
    "Area",
    "Change",
    "Counterexample",
    "Effect",
    "Environment",
    "Explanation",
    "Finding",
    "FindingKind",
    "HttpCondition",
    "Miss",
    "Policy",
    "PolicyDiff",
    "Proof",
    "Request",
    "RequestLike",
    "Rule",
    "RuleLook",
    "Unchanged",
]
