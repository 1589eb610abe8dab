"""A verdict as facts: one flat mapping, which is the JSON, and from which the lines are made.

Facts stand in the order in which a person wants them, and what does not apply is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from meshid.cli.terminal import Colour, Paint, clean
from meshid.decisions import Decision
from meshid.policy import Explanation, Policy
from meshid.reasons import Reason
from meshid.verification.verifier import Peer

Facts: TypeAlias = dict[str, str | int | list[str]]

_COLOURS = {"refused": Colour.BAD, "admitted": Colour.GOOD, "verified": Colour.GOOD}


def facts_of_refused_chain(decision: Decision) -> Facts:
    """Return the facts of a chain without a peer."""
    claimed: Facts = {"claimed_name": decision.name or "none that can be read"}
    return _decision_facts(decision) | claimed


def facts_of_verified_peer(peer: Peer) -> Facts:
    """Return the facts of a peer about whom no policy was asked."""
    return {"verdict": "verified"} | _peer_facts(peer)


def facts_of_decision(peer: Peer, policy: Policy, explanation: Explanation) -> Facts:
    """Return the facts of a peer about whom a policy was asked."""
    return _decision_facts(explanation.decision) | _policy_facts(policy, explanation) | _peer_facts(peer)


def facts_of_explanation(policy: Policy, explanation: Explanation) -> Facts:
    """Return the facts of a name about which a policy was asked; nothing was verified."""
    name: Facts = {"spiffe_id": explanation.decision.name or ""}
    return _decision_facts(explanation.decision) | name | _policy_facts(policy, explanation)


def lines_of(facts: Facts, paint: Paint) -> Iterator[str]:
    """Return the facts as lines for a person; whatever a stranger wrote is escaped."""
    rest = {name.replace("_", " "): fact for name, fact in facts.items()}
    verdict = str(rest.pop("verdict"))
    reason = rest.pop("reason", "")
    yield paint(f"{verdict}: {reason}" if reason else verdict, _COLOURS[verdict])
    width = max(map(len, rest))
    for name, fact in rest.items():
        for number, each in enumerate(fact if isinstance(fact, list) else [fact]):
            label = "" if number else name
            yield f"  {paint(label.ljust(width), Colour.QUIET)}  {clean(str(each))}"


def _decision_facts(decision: Decision) -> Facts:
    reason = decision.reason
    return _without_empty(
        {
            "verdict": "admitted" if decision.allowed else "refused",
            "reason": str(reason),
            "rule": decision.rule or "",
            "target": decision.target or "",
            "request": decision.request or "",
            "observed": list(decision.observed),
            "detail": decision.detail,
            # What is as it should be needs no explanation.
            **({} if reason is Reason.ALLOWED else _meaning(reason)),
        }
    )


def _meaning(reason: Reason) -> Facts:
    return {"meaning": reason.meaning, "clause": reason.clause, "what_to_do": reason.remedy}


def _policy_facts(policy: Policy, explanation: Explanation) -> Facts:
    near = [str(look) for look in explanation.nearest]
    return _without_empty(
        {
            "matching_rules": [str(look) for look in explanation.rules if look.matches],
            # The nearest one of all may be the detail of the decision already.
            "near_misses": [look for look in near if look != explanation.decision.detail],
            "environment": policy.environment.name,
            "policy_hash": policy.hash,
        }
    )


def _peer_facts(peer: Peer) -> Facts:
    return {
        "spiffe_id": str(peer.spiffe_id),
        "trust_domain": str(peer.trust_domain),
        "profile": str(peer.profile),
        "role": str(peer.role),
        "valid_from": peer.not_before.isoformat(sep=" "),
        "valid_until": peer.not_after.isoformat(sep=" "),
        "path_length": len(peer.chain),
        "fingerprint": peer.fingerprint,
        "names_in_the_leaf": list(peer.names),
    }


def _without_empty(facts: Facts) -> Facts:
    return {name: fact for name, fact in facts.items() if fact}
