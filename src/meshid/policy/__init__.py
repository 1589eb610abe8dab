"""The policy: who may reach what."""

from meshid.policy.analysis import Access, Change, Counterexample, PolicyDiff, Proof
from meshid.policy.engine import Policy
from meshid.policy.explain import Explanation, Miss, RuleLook
from meshid.policy.findings import Finding, FindingKind
from meshid.policy.model import Effect, Environment, HttpCondition, Rule
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike

__all__ = [
    "REQUEST_FOLLOWS",
    "Access",
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
]
