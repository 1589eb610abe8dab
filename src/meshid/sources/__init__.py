"""Where credentials, trust, revocations and policies come from, and go on coming from."""

from meshid.sources.faults import AmbiguousSources, SourceUnavailable
from meshid.sources.state import Source, State

__all__ = ["AmbiguousSources", "Source", "SourceUnavailable", "State"]
