"""Which of the SVIDs that an agent offers is ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from meshid.errors import InvalidCredentials
from meshid.names.spiffe_id import SpiffeId
from meshid.support.quoting import quote, some_of

Offer = tuple[SpiffeId, str]
"""The SPIFFE ID and the hint of one SVID; the hint is empty if it has none."""

Pick = Callable[[Sequence[Offer]], Offer]
"""Returns one of the offers that it is given, which are in the order of the agent."""

_MAX_SHOWN = 8


@attrs.frozen(kw_only=True)
class Choice:
    """How to choose one of several SVIDs.

    Attributes:
        spiffe_id: The SPIFFE ID that it must have.
        hint: The hint that it must have, unless *spiffe_id* decides.
        pick: Decides in place of both.
    """

    spiffe_id: SpiffeId | None = None
    hint: str | None = None
    pick: Pick | None = None

    def of(self, offers: Sequence[Offer], current: SpiffeId | None) -> Offer:
        """Return the offer to take.

        Without a rule it is the first (SPIFFE Workload API section 5.3). Where several would
        do, it is the one with our present name: an entry that somebody adds at the agent must
        not change who we are. Only then the first, as the standard says for hints (5.2.1).

        Args:
            offers: What the agent offers, in its order; at least one.
            current: Our name until now; None at the start.

        Raises:
            InvalidCredentials: If none is what it must be.
        """
        if self.pick is not None:
            return self._picked(self.pick, offers)
        good = [offer for offer in offers if self._is_good(offer)]
        if not good:
            wanted = f"SPIFFE ID {self.spiffe_id}" if self.spiffe_id else f"hint {quote(self.hint or '')}"
            msg = f"no SVID of the agent has the {wanted}; it offers {_shown(offers)}"
            raise InvalidCredentials(msg)
        # `max` takes the first of those that are equally good.
        return max(good, key=lambda offer: (offer[0] == current, offer[1] == self.hint))

    def _is_good(self, offer: Offer) -> bool:
        name, hint = offer
        if self.spiffe_id is not None:
            return name == self.spiffe_id
        return self.hint is None or hint == self.hint

    def _picked(self, pick: Pick, offers: Sequence[Offer]) -> Offer:
        try:
            picked = pick(tuple(offers))
        # The caller's own code may fail in any way.
        except Exception as error:
            msg = f"pick failed: {type(error).__name__}: {quote(str(error))}"
            raise InvalidCredentials(msg) from error
        if picked not in offers:
            msg = f"pick returned {quote(repr(picked))}, which is not one of {_shown(offers)}"
            raise InvalidCredentials(msg)
        return picked


def _shown(offers: Sequence[Offer]) -> str:
    return some_of(offers, _MAX_SHOWN, _named)


def _named(offer: Offer) -> str:
    name, hint = offer
    return f"{name} (hint {quote(hint)})" if hint else str(name)
