"""A verdict as one flat mapping: it is the JSON, and the lines for a person are made from it.

What a person wants to know first comes first, and what does not apply is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from meshid.cli.terminal import Colour, Paint, clean
from meshid.decisions import Decision
from meshid.policy import Explanation
from meshid.verification.verifier import Peer

Verdict: TypeAlias = dict[str, str | int | list[str]]

_COLOURS = {
    "refused": Colour.BAD,
    "not judged": Colour.BAD,
    "admitted": Colour.GOOD,
    "verified": Colour.GOOD,
}


def refused_chain(decision: Decision) -> Verdict:
    """Return the verdict on a chain that was not verified."""
    claimed: Verdict = {"claimed_name": decision.name or "none that can be read"}
    return decision.as_dict() | claimed


def verified_peer(peer: Peer) -> Verdict:
    """Return the verdict on a peer if no policy was asked."""
    return {
        "verdict": "verified",
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


def judged_peer(peer: Peer, explanation: Explanation) -> Verdict:
    """Return the verdict on a peer if a policy was asked."""
    judged: Verdict = {**explanation.as_dict()}
    return {name: value for name, value in judged.items() if name != "spiffe_id"} | {
        name: value for name, value in verified_peer(peer).items() if name != "verdict"
    }


def lines_of(verdict: Verdict, paint: Paint) -> Iterator[str]:
    """Return the verdict as lines for a person; what a peer wrote is escaped."""
    rest = {name.replace("_", " "): value for name, value in verdict.items()}
    answer = str(rest.pop("verdict"))
    reason = rest.pop("reason", "")
    yield paint(f"{answer}: {reason}" if reason else answer, _COLOURS[answer])
    width = max(map(len, rest))
    for name, value in rest.items():
        for number, each in enumerate(value if isinstance(value, list) else [value]):
            label = "" if number else name
            yield f"  {paint(label.ljust(width), Colour.QUIET)}  {clean(str(each))}"
