"""The grace of a leaf: how much longer than its leaf a connection that is open may last.

A connection ends with its peer's leaf, although the peer has a new one by then: it proved the old
one when it connected, and TLS has no way to prove another on the same connection. With leafs that
live for a minute, that ends every long call. A grace lets it go on for a while.

What it costs: the end of a leaf is what makes a stolen key worthless where nobody revokes. With a
grace, a connection that a thief has opened lasts so much longer; a new one cannot be opened.
"""

from __future__ import annotations

from meshid.errors import InvalidInput
from meshid.support.quoting import quote

MAX_LEAF_GRACE = 3600.0
"""One hour, in seconds: the whole life of an X.509-SVID, as SPIRE issues it by default. With more than
another such life, short lives would protect nothing; whoever needs it can issue longer ones."""


def checked_leaf_grace(seconds: object) -> float:
    """Return a grace, in seconds.

    Raises:
        InvalidInput: If it is not a number from 0 to `MAX_LEAF_GRACE`.
    """
    # Written this way so that NaN is rejected.
    if not isinstance(seconds, (int, float)) or not 0 <= seconds <= MAX_LEAF_GRACE:
        wanted = f"write a number of seconds from 0 to {MAX_LEAF_GRACE:g}"
        given = f"{seconds:g}" if isinstance(seconds, (int, float)) else quote(repr(seconds))
        msg = f"the grace of a leaf is {given}: {wanted}"
        raise InvalidInput(msg)
    return float(seconds)
