"""The policy: who may reach what."""

from meshid.policy.analysis.diff import Change, PolicyDiff
from meshid.policy.analysis.finding import Finding, FindingKind
from meshid.policy.analysis.prove import Counterexample, Proof
from meshid.policy.analysis.regions import Access
from meshid.policy.explain import Explanation, Miss, RuleLook
from meshid.policy.policy import Policy
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.rules import Effect, Environment, HttpCondition, Rule

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
