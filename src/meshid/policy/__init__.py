"""The policy: who may reach what."""

from meshid.policy.engine import Policy
from meshid.policy.explain import Explanation, Miss, RuleLook
from meshid.policy.model import Effect, Environment, HttpCondition, Rule
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike

__all__ = [
    "REQUEST_FOLLOWS",
    "Effect",
    "Environment",
    "Explanation",
    "HttpCondition",
    "Miss",
    "Policy",
    "Request",
    "RequestLike",
    "Rule",
    "RuleLook",
]
