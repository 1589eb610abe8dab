"""Arguments of a wrong type, refused where they are given and not somewhere inside."""

from __future__ import annotations

from math import inf


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


def positive_seconds(value: object, name: str) -> float:
    """Return the time that the argument called *name* is.

    Args:
        value: The argument.
        name: Its name.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not positive and finite.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        msg = f"{name} must be a number of seconds, not {type(value).__name__}"
        raise TypeError(msg)
    try:
        seconds = float(value)
    except OverflowError:
        seconds = inf
    # Written this way so that NaN is rejected.
    if not 0 < seconds < inf:
        msg = f"{name} must be a positive, finite number of seconds, not {seconds:g}"
        raise ValueError(msg)
    return seconds
