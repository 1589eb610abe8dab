"""What the loading of a file has proven of its environments."""

from __future__ import annotations

import attrs

from meshid.support.quoting import plural, quote_all


@attrs.frozen
class Isolation:
    """No environment can name a peer of another, and no principal names two peers: it is proven.

    That holds for the file, and so for all names and principals: no issuer, key set, pinned key or
    trust domain counts in two environments, no alias names a trust domain of an environment, and no
    aliases of two peers match one SPIFFE ID or one principal. Whether two issuers publish the same
    keys cannot be seen in a file, unless the keys are pinned.

    Attributes:
        environments: The names of the environments of the file.
        issuers: How many issuers they have.
        peers: How many peers have names.
    """

    environments: tuple[str, ...]
    issuers: int
    peers: int

    def __str__(self) -> str:
        """Return the sentence for people."""
        what = f"{plural(self.issuers, 'issuer')} and {plural(self.peers, 'peer')} by name"
        if len(self.environments) == 1:
            return f"isolation is proved: of {what}, no principal and no SPIFFE ID names two peers"
        return (
            f"isolation is proved: of {what}, none of environments {quote_all(self.environments)} can mint "
            "a name of another, and no principal and no SPIFFE ID names two peers"
        )
