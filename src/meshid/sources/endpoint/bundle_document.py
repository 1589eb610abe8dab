"""What an endpoint serves: a bundle, which one is newer, and when to ask again."""

from __future__ import annotations

from typing import Self, cast

import attrs

from meshid.errors import InvalidBundle
from meshid.names.spiffe_id import TrustDomain
from meshid.support.quoting import quote
from meshid.trust.bundles import TrustBundle, parse_document

DEFAULT_HINT = 300
"""Seconds; "five minutes is recommended" (SPIFFE Federation section 4.1)."""

MIN_HINT = 60
"""Seconds; no server can make us ask more often."""

MAX_HINT = 3600
"""Seconds; no server can make us trust a revoked authority for days."""


@attrs.frozen
class BundleDocument:
    """A SPIFFE bundle document (SPIFFE Trust Domain and Bundle section 4.1).

    Attributes:
        bundle: The bundle.
        sequence: Grows with each change of the bundle; None if the document has none.
        refresh_hint: After how many seconds to ask again, within the limits above.
    """

    bundle: TrustBundle
    sequence: int | None
    refresh_hint: int

    @classmethod
    def read(cls, trust_domain: TrustDomain, data: bytes) -> Self:
        """Read a document.

        Raises:
            InvalidBundle: If it is not a bundle, or if its sequence is not a whole number.
        """
        document = parse_document(trust_domain, data)
        bundle = TrustBundle.from_spiffe_document(trust_domain, document)
        # A bundle is read from an object only.
        members = cast("dict[str, object]", document)
        return cls(bundle, _sequence(members), _refresh_hint(members.get("spiffe_refresh_hint")))

    def following(self, last: BundleDocument | None) -> BundleDocument:
        """Return it with the highest sequence seen so far, unless it is older than the *last* one.

        The same bundle is never older: servers that share a name need not agree on a sequence.

        Raises:
            InvalidBundle: If it is another bundle, and its sequence is lower or missing.
        """
        if last is None or last.sequence is None:
            return self
        if self.sequence is not None and self.sequence >= last.sequence:
            return self
        if self.bundle != last.bundle:
            sequence = "missing" if self.sequence is None else quote(str(self.sequence))
            msg = (
                f"an older bundle came back: its spiffe_sequence is {sequence}, and"
                f" {quote(str(last.sequence))} was seen before; the endpoint must serve its latest bundle"
            )
            raise InvalidBundle(msg)
        return attrs.evolve(self, sequence=last.sequence)


def _sequence(document: dict[str, object]) -> int | None:
    if "spiffe_sequence" not in document:
        return None
    sequence = document["spiffe_sequence"]
    # In Python, True is an integer.
    if type(sequence) is not int or sequence < 0:
        msg = "spiffe_sequence must be a whole number, not negative and without quotes"
        raise InvalidBundle(msg)
    return sequence


def _refresh_hint(hint: object) -> int:
    if type(hint) is not int or hint < 0:
        return DEFAULT_HINT
    return max(MIN_HINT, min(hint, MAX_HINT))
