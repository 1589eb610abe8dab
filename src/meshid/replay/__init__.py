"""What another policy would have decided, from the audit log of one.

The log is what `meshid.audit.JsonFormatter` writes: one event a line.
"""

from meshid.replay.outcome import (
    MAX_EXAMPLES,
    MAX_FLIPS,
    MAX_LINE_BYTES,
    MAX_REQUESTS,
    Cause,
    Example,
    Flip,
    Replayed,
    Requests,
    Skipped,
)
from meshid.replay.recorded import lines_of
from meshid.replay.replaying import replay

__all__ = [
    "MAX_EXAMPLES",
    "MAX_FLIPS",
    "MAX_LINE_BYTES",
    "MAX_REQUESTS",
    "Cause",
    "Example",
    "Flip",
    "Replayed",
    "Requests",
    "Skipped",
    "lines_of",
    "replay",
]
