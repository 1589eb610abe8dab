"""Arguments of a wrong type, refused where they are given and not somewhere inside."""

from __future__ import annotations


def check_type(kind: type, wanted: type, name: str, right: str) -> None:
    """Check that the argument called *name* has the type that is *wanted*.

    Args:
        kind: The type of the argument. The argument itself would be in the traceback, and it may be a
            private key.
        wanted: The type that it must have.
        name: The name of the argument.
        right: What to give, with an article.

    Raises:
        TypeError: If it has another type.
    """
    if not issubclass(kind, wanted):
        msg = f"{name} must be {right}, not {kind.__name__}"
        raise TypeError(msg)
