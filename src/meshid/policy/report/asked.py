"""What a cell of a matrix asks, and what is found of it."""

from __future__ import annotations

import attrs

from meshid.names.pattern import Pattern
from meshid.names.spiffe_id import TrustDomain
from meshid.policy.analysis.extent import Extent
from meshid.policy.analysis.token_states import ANYTHING, NO_TOKEN, TokenState
from meshid.policy.report.verdicts import RuleBehind, Verdict


@attrs.frozen
class Asked:
    """Peers of a row at all targets of a column.

    Attributes:
        path: The pattern of the paths in their certificates.
        target: The pattern of the targets.
        domains: Their trust domains.
        by_token: The name that their tokens give; None for peers without a token.
    """

    path: Pattern
    target: Pattern
    domains: tuple[TrustDomain, ...]
    by_token: str | None = None

    @property
    def extent(self) -> Extent:
        """All of these peers, at all of these targets, with any request."""
        return Extent((self.path, self.target, ANYTHING))

    @property
    def state(self) -> TokenState:
        """What these peers show beside their certificates."""
        return NO_TOKEN if self.by_token is None else TokenState(has_token=True, name=self.by_token)


@attrs.frozen
class Judged:
    """What is found of a cell.

    Attributes:
        verdict: The verdict.
        behind: The rules behind it.
        if_enforced: The verdict if the observing rules decided, too; None if none is about the cell.
    """

    verdict: Verdict
    behind: tuple[RuleBehind, ...]
    if_enforced: Verdict | None
