"""The names of what peers want to reach."""

from __future__ import annotations

import re
from functools import lru_cache

from meshid.support.quoting import quote
from meshid.support.types import check_type

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NO_SEGMENTS = frozenset({"", ".", ".."})


def check_target(target: str) -> None:
    """Check that a target is one: a name, or several with "/" between them.

    That is what patterns are about: no rule and no proof is about another text, and yet ``**`` would match
    it. It is the calling code that names the target, so that a wrong one is its mistake and no refusal.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is empty, begins or ends with "/", or has an empty segment, a dot segment or a
            control character.
    """
    # Each question asks: a call less counts.
    if type(target) is not str:
        check_type(type(target), str, "target", "a str")
    _check_form(target)


@lru_cache(maxsize=1024)
def _check_form(target: str) -> None:
    if not _NO_SEGMENTS.isdisjoint(target.split("/")) or _CONTROL.search(target):
        msg = (
            f"target must be a name such as 'payments', or several with '/' between them, not {quote(target)}"
        )
        raise ValueError(msg)
