"""meshid's own log lines: a handler that fails costs the line, and nothing else.

A handler, a filter or a formatter is the user's code, and may raise anything. What meshid was
doing goes on: a peer is not refused, and a review not stopped, because a log server is down.
So all lines of meshid go through `log`, and never while it holds a lock: whatever a handler asks
of a mesh is answered.

Logging concerns the whole process. So what is known of lost lines is global, as loggers are.
"""

from __future__ import annotations

import logging

import attrs

from meshid.support.quoting import described, plural

INFO = logging.INFO
WARNING = logging.WARNING
ERROR = logging.ERROR


@attrs.frozen
class _Lost:
    lines: int
    error: str


_LOST: dict[tuple[str, int], _Lost] = {}
"""What was lost last, by logger and level. No lock guards it, so under threads the counts are not exact."""


def log(
    logger: logging.Logger,
    level: int,
    message: str,
    *args: object,
    error: BaseException | None = None,
    **extra: object,
) -> None:
    """Log one line; an `Exception` of a handler is kept for `failures`, and does not leave this call.

    Args:
        logger: The logger.
        level: The level, as in `logging`.
        message: The message, with a ``%s`` for each of the *args*.
        args: What goes into it.
        error: Whose traceback comes with it.
        extra: The attributes of the record that are not `logging`'s own.
    """
    if not logger.isEnabledFor(level):
        return
    key = logger.name, level
    try:
        logger.log(level, message, *args, exc_info=error, extra=extra)
    except Exception as failure:  # noqa: BLE001 - the user's code may raise anything
        lost = _LOST.get(key)
        _LOST[key] = _Lost(1 if lost is None else lost.lines + 1, described(failure))
    else:
        # The next line of its level went through, so the handler works again.
        _LOST.pop(key, None)


def failures() -> str | None:
    """Say which log lines are being lost, and why; None if none are."""
    return "; ".join(_text(*key, lost) for key, lost in sorted(dict(_LOST).items())) or None


def _text(name: str, level: int, lost: _Lost) -> str:
    were = "was lost:" if lost.lines == 1 else "were lost, the last one to"
    return f"{plural(lost.lines, 'line')} of {name} at {logging.getLevelName(level)} {were} {lost.error}"
