"""What a policy has decided, remembered: as long as the same rules count, the same is decided.

The rules of this module:

- What holds for a peer at a target is worked out once. What a token changes is remembered beside it, by the
  name that it gives: never the token.
- Of requests, only those are remembered that are allowed: whoever is refused chooses what is asked.
"""

from __future__ import annotations

from typing import TypeAlias

from meshid.decisions import Decision
from meshid.errors import Refused
from meshid.names.spiffe_id import SpiffeId
from meshid.policy.agreement import Standing
from meshid.policy.decider import Decider, Prospects
from meshid.policy.evidence import NamedByToken
from meshid.policy.requests import REQUEST_FOLLOWS, Request, RequestLike
from meshid.policy.target_form import check_target
from meshid.support.sieve import Sieve

REMEMBERED = 8192
"""Pairs of a peer and a target whose rules are remembered, requests of theirs that are allowed, and pairs of
a certificate's name and a token's that agree: each."""

_LONGEST_REMEMBERED = 512
"""The most characters of the path of a request that is remembered: 16 MB in all, with the decisions."""

Who: TypeAlias = SpiffeId | tuple[SpiffeId, str | None]
"""A peer, as it is remembered: without a token, or with one and the name that it gives."""


class Memory:
    """What was decided in one stage of a policy.

    Args:
        decider: Decides what is not remembered.

    Attributes:
        decider: The same.
        prospects: The rules for peers at targets.
        allowed: The requests that were allowed.
    """

    __slots__ = ("allowed", "decider", "prospects")

    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.prospects: Sieve[tuple[Who, str], Prospects] = Sieve(REMEMBERED)
        self.allowed: Sieve[tuple[Who, str, Request], Decision] = Sieve(REMEMBERED)

    def decide_with_token(
        self, spiffe_id: SpiffeId, token: NamedByToken, target: str, request: RequestLike
    ) -> Decision:
        """Decide about a peer with a token."""
        try:
            standing = self.decider.standing(spiffe_id, token)
        except Refused as error:
            return self.decider.refused(error, spiffe_id, target, request)
        who = (spiffe_id, standing.name)
        if isinstance(request, Request):
            known = self.allowed.get((who, target, request))
            if known is not None:
                return known
        prospects = self.prospects.get((who, target)) or self.look_up(who, standing, target)
        return self.decide(prospects, who, request)

    def look_up(self, who: Who, standing: Standing, target: str) -> Prospects:
        """Find the rules for a peer at a target, and remember them."""
        check_target(target)
        prospects = self.decider.prospects(standing, target)
        self.prospects.put((who, target), prospects)
        return prospects

    def decide(self, prospects: Prospects, who: Who, request: RequestLike) -> Decision:
        """Decide by the rules for a peer at a target."""
        if request is None:
            if prospects.without_request is None:
                prospects.without_request = self.decider.without_request(prospects)
            return prospects.without_request
        if request is REQUEST_FOLLOWS:
            if prospects.request_follows is None:
                prospects.request_follows = self.decider.before_requests(prospects)
            return prospects.request_follows
        return self._decide_request(prospects, who, request)

    def _decide_request(self, prospects: Prospects, who: Who, request: Request | str) -> Decision:
        asked = self.decider.asked(prospects, request)
        if isinstance(asked, Decision):
            return asked
        known = self.allowed.get((who, prospects.target, asked))
        if known is not None:
            return known
        decision = self.decider.about_request(prospects, asked)
        # Only after a yes: whoever is refused chooses what is asked.
        if decision.allowed and len(asked.path) <= _LONGEST_REMEMBERED:
            self.allowed.put((who, prospects.target, asked), decision)
        return decision
