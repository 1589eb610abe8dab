"""A token as it arrived: nobody sees its text by accident."""

from __future__ import annotations

from hashlib import sha256

from meshid.support.types import check_type


class BearerToken:
    """A token that nobody has verified (RFC 6750).

    Error reporters show the local variables of each frame of a traceback. So the text is put in here
    before anything can fail, and its own variable is deleted: this has no text to show.

    Args:
        text: The token alone, without ``Bearer``.

    Raises:
        TypeError: If *text* is no `str`.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        check_type(type(text), str, "token", "a str: the token alone, without 'Bearer '")
        self.text = text

    def digest(self) -> bytes:
        """Return SHA-256 over the text, which stands for it where something is remembered about it."""
        return sha256(self.text.encode("utf-8", "surrogatepass")).digest()

    def __repr__(self) -> str:
        return "<BearerToken>"
