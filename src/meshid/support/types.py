"""Mistakes of the calling code that annotations cannot stop: a wrong type is one clear `TypeError`."""

from __future__ import annotations


def require_text(value: object, what: str) -> None:
    """Refuse anything but a string.

    Raises:
        TypeError: If *value* is not a string; *what* names it, as in ``a SPIFFE ID``.
    """
    if not isinstance(value, str):
        msg = f"{what} must be a str, not {type(value).__name__}"
        raise TypeError(msg)
